"""The memory front: bounded, and never beyond an answer's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from consumers.ledger.cache import VerdictCache
from schemas.intel.verdicts import Answer, Reputation, Verdict
from schemas.run_mode import LIVE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock


class Store:
    """A ledger of answers that counts what it is asked for."""

    mode = LIVE

    def __init__(self) -> None:
        self.time = 0.0
        self.kept: dict[str, Answer] = {}
        self.asked: list[str] = []

    def now(self) -> float:
        """Return the time that the test set."""
        return self.time

    async def get_verdicts(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Return what is kept and not expired."""
        self.asked += addresses
        kept = {one: self.kept[one] for one in addresses if one in self.kept}
        return {one: answer for one, answer in kept.items() if answer.expires > self.time}

    async def put_verdicts(self, answers: Mapping[str, Answer]) -> None:
        """Keep."""
        self.kept.update(answers)


def _verdict(expires: float = 100.0) -> Verdict:
    return Verdict(reputation=Reputation.UNKNOWN, source="x", time=0.0, expires=expires)


def _memory(store: Store, most: int = 100) -> VerdictCache:
    return VerdictCache(cast("Ledger", store), cast("Clock", store), max_addresses=most)


async def test_what_is_known_is_not_asked_for_again() -> None:
    """The second look costs the store nothing."""
    store = Store()
    memory = _memory(store)
    await memory.put_verdicts({"a": _verdict()})
    store.kept["b"] = _verdict()
    assert set(await memory.get_verdicts(["a", "b", "c"])) == {"a", "b"}
    assert set(await memory.get_verdicts(["a", "b"])) == {"a", "b"}
    assert store.asked == ["b", "c"]


async def test_an_answer_ends_at_its_time() -> None:
    """Expiry is looked at with each reading, to the second."""
    store = Store()
    memory = _memory(store)
    await memory.put_verdicts({"a": _verdict(100.0)})
    store.time = 99.9
    assert set(await memory.get_verdicts(["a"])) == {"a"}
    store.time = 100.0
    assert await memory.get_verdicts(["a"]) == {}


async def test_it_forgets_and_asks_the_store() -> None:
    """Of many addresses it holds a bounded number, and what is used stays."""
    store = Store()
    memory = _memory(store, most=20)
    for number in range(1_000):
        await memory.put_verdicts({f"a{number}": _verdict()})
        await memory.get_verdicts(["often"] if number % 2 else ["a0"])
    assert len(memory._young) + len(memory._old) <= 20
    assert set(await memory.get_verdicts([f"a{n}" for n in range(1_000)])) == set(store.kept)
