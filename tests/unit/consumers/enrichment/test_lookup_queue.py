"""Asking: single flight, budget, and what each kind of trouble may cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consumers.clock import WallClock
from consumers.enrichment.budget import Budget
from consumers.enrichment.lookup_queue import LookupQueue
from consumers.enrichment.paid_lookup import Lifetimes, PaidLookup
from consumers.ledger.cache import VerdictCache
from consumers.ledger.sqlite.ledger import SqliteLedger
from consumers.service.health import Health
from schemas.errors import (
    BatchRefused,
    KeyRefused,
    QuotaSpent,
    SourceFailed,
    SourceUnavailable,
    TooFast,
)
from schemas.intel.verdicts import (
    AddressClass,
    Answer,
    Intel,
    Reputation,
    Unanswered,
    Verdict,
    WhyUnanswered,
)
from schemas.ports import SourceVerdict
from schemas.run_mode import LIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("no_waiting")
Fault = Exception | None


class Source:
    """A source that counts and fails as told."""

    name = "crowdsec"

    def __init__(self, fault: Callable[[int, Sequence[str]], Fault] = lambda *_: None) -> None:
        self.batch_size = 3
        self.asked: Counter[str] = Counter()
        self.requests = 0
        self.sizes: list[int] = []
        self.together = self.most_together = 0
        self._fault = fault

    async def look_up(self, addresses: Sequence[str]) -> dict[str, SourceVerdict]:
        """Answer "unknown", or fail."""
        self.requests += 1
        self.sizes.append(len(addresses))
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        await asyncio.sleep(0)
        self.together -= 1
        if (fault := self._fault(self.requests, addresses)) is not None:
            if not (isinstance(fault, SourceFailed) and not fault.counted):
                self.asked.update(addresses)
            raise fault
        self.asked.update(addresses)
        return dict.fromkeys(
            addresses, SourceVerdict(Reputation.UNKNOWN, Intel(), AddressClass.UNKNOWN)
        )

    def use_key(self, key: str) -> None:
        """Any key will do."""

    async def close(self) -> None:
        """Nothing is open."""


class Setup:
    """Lookups over a source, with what they delivered."""

    def __init__(
        self,
        source: Source,
        folder: Path,
        quota: int = 100,
        *,
        degrade: bool = False,
        repeat_failed_after: float = LIVE.repeat_failed_after,
    ) -> None:
        clock = WallClock(replace(LIVE, repeat_failed_after=repeat_failed_after))
        self.time = 1_000.0
        """The monotonic clock."""
        self.source = source
        self.ledger = SqliteLedger(folder, clock, waiting_per_address=5, keep=False)
        self.memory = VerdictCache(self.ledger, clock)
        self.budget = Budget(self.ledger, clock, key="k", quota=quota, reset_day=1, paced=False)
        self.delivered: dict[str, Answer] = {}
        self.heard = asyncio.Event()
        self.health = Health()
        self.lookups = LookupQueue(
            PaidLookup(
                source,
                self.budget,
                clock,
                lifetimes=Lifetimes(100.0, 100.0, 100.0, 100.0),
                concurrency=4,
                health=self.health,
                degrade=degrade,
                monotonic=lambda: self.time,
            ),
            clock,
            cache=self.memory,
            deliver=self.deliver,
        )

    async def deliver(self, answers: Mapping[str, Answer]) -> None:
        """Note what comes."""
        self.delivered.update(answers)
        self.heard.set()

    async def ask(self, *addresses: str) -> dict[str, Answer]:
        """Ask and wait until all is done."""
        self.lookups.enqueue(addresses)
        await self.lookups.wait_until_idle()
        return self.delivered

    def reasons(self) -> set[WhyUnanswered]:
        """Return why addresses are unanswered."""
        return {one.why for one in self.delivered.values() if isinstance(one, Unanswered)}

    async def close(self) -> None:
        """Let go of the state."""
        await self.lookups.close()
        await self.ledger.close()


NAMES = tuple(f"a{n}" for n in range(10))


async def test_a_partial_batch_is_asked_by_itself(tmp_path: Path) -> None:
    """Soon, without anybody looking; and an error of a lookup is not kept a secret."""
    source = Source(lambda _, addresses: ValueError("a bug") if "bug" in addresses else None)
    setup = Setup(source, tmp_path)
    flushing = asyncio.create_task(setup.lookups.flush_lingering())
    setup.lookups.enqueue(["x"])
    assert source.requests == 0
    async with asyncio.timeout(10):
        await setup.heard.wait()
        assert set(setup.delivered) == {"x"}
        setup.lookups.enqueue(["y", "z", "bug"])  # a full batch, for which no timer runs
        with pytest.raises(ValueError, match="a bug"):
            await flushing
    await setup.close()


async def test_two_batches_ask_once(tmp_path: Path) -> None:
    """An address in flight is not asked again, in whatever batch it comes."""
    setup = Setup(Source(), tmp_path)
    await setup.ask("x", "y", "z")  # from now on requests go side by side
    setup.lookups.enqueue(["a", "b", "c", "a"])
    setup.lookups.enqueue(["c", "d", "a"])
    await setup.lookups.wait_until_idle()
    assert setup.source.asked == dict.fromkeys("xyzabcd", 1)
    assert set(setup.delivered) == set("xyzabcd")
    assert set(await setup.memory.get_verdicts(list("abcd"))) == set("abcd")
    await setup.close()


async def test_batches_are_full_until_flushed(tmp_path: Path) -> None:
    """Two addresses wait for a third; a flush does not wait."""
    setup = Setup(Source(), tmp_path)
    setup.lookups.enqueue(["a", "b"])
    await asyncio.sleep(0)
    assert setup.source.requests == 0
    setup.lookups.flush()
    await setup.lookups.wait_until_idle()
    assert setup.source.requests == 1
    await setup.close()


async def test_the_first_answer_opens_the_way(tmp_path: Path) -> None:
    """One request tells whether key and batches work; then many go at once, within bounds."""
    setup = Setup(Source(), tmp_path)
    await setup.ask(*(f"a{n}" for n in range(60)))
    assert setup.source.requests == 20
    assert setup.source.most_together == 4
    await setup.close()


async def test_quota_is_reserved_before_asking(tmp_path: Path) -> None:
    """What the quota does not cover stays unanswered and may be asked later."""
    setup = Setup(Source(), tmp_path, quota=4)
    await setup.ask(*NAMES)
    assert setup.source.asked.total() == setup.lookups.counts.lookups == 4
    assert setup.reasons() == {WhyUnanswered.QUOTA}
    assert not await setup.lookups.may_look_up()
    assert await setup.budget.remaining() == 0
    await setup.close()


@pytest.mark.parametrize(
    ("fault", "counted"),
    [
        pytest.param(SourceUnavailable("500"), True, id="may have counted"),
        pytest.param(SourceUnavailable("refused", counted=False), False, id="surely did not"),
    ],
)
async def test_only_what_may_have_counted_is_paid(
    tmp_path: Path, fault: SourceFailed, counted: bool
) -> None:
    """A lost connection is tried again and refunded; a 500 is neither, and is postponed."""
    setup = Setup(Source(lambda *_: fault), tmp_path)
    await setup.ask("a", "b", "c")
    assert setup.source.requests == (1 if counted else 3)
    assert await setup.budget.remaining() == (97 if counted else 100)
    assert setup.reasons() == {WhyUnanswered.SOURCE_DOWN}
    assert bool(await setup.memory.get_verdicts(["a"])) == counted
    await setup.close()


async def test_a_source_that_is_down_is_left_alone(tmp_path: Path) -> None:
    """After a few failures in a row no more requests go out, until it is tried again."""
    setup = Setup(Source(lambda *_: SourceUnavailable("500")), tmp_path)
    await setup.ask(*(f"a{n}" for n in range(90)))
    assert setup.source.requests == 2
    assert len(setup.delivered) == 90
    assert not await setup.lookups.may_look_up()
    setup.lookups.reopen()
    await setup.ask("z1", "z2", "z3", "z4", "z5", "z6")
    assert setup.source.requests == 3
    await setup.close()


async def test_a_burst_refusal_is_asked_again(tmp_path: Path) -> None:
    """Everything is answered in the end, with fewer requests at once, and costs once."""
    slow = Source(
        lambda n, _: TooFast("slow", counted=False, retry_after=0.0) if n in (4, 5, 6) else None
    )
    setup = Setup(slow, tmp_path)
    await setup.ask(*(f"a{n}" for n in range(30)))
    assert set(slow.asked.values()) == {1}
    assert len(slow.asked) == 30
    assert await setup.budget.remaining() == 70
    await setup.close()


async def test_a_key_without_batches_asks_singly(tmp_path: Path) -> None:
    """One refusal, then single questions; nothing is paid twice."""
    setup = Setup(
        Source(lambda _, asked: BatchRefused("no", counted=False) if len(asked) > 1 else None),
        tmp_path,
    )
    await setup.ask(*NAMES)
    assert set(setup.source.asked.values()) == {1}
    assert setup.source.requests == 11
    assert all(isinstance(one, Verdict) for one in setup.delivered.values())
    assert await setup.budget.remaining() == 90
    await setup.close()


async def test_a_refused_batch_turns_batches_off_for_a_while_only(tmp_path: Path) -> None:
    """One minute, then five, then an hour; one batch that is answered makes it a minute again."""
    refusing = [True]
    sizes: list[int] = []

    def fault(_: int, asked: Sequence[str]) -> Fault:
        sizes.append(len(asked))
        return BatchRefused("no", counted=False) if refusing[0] and len(asked) > 1 else None

    setup = Setup(Source(fault), tmp_path, quota=1_000)
    names = (f"n{number}" for number in range(1_000))

    async def batch_sizes() -> list[int]:
        sizes.clear()
        await setup.ask(*(next(names) for _ in range(6)))
        return list(sizes)

    assert await batch_sizes() == [3, 1, 1, 1, 1, 1, 1]
    for pause in (60.0, 300.0, 3_600.0, 3_600.0):
        setup.time += pause - 1
        assert set(await batch_sizes()) == {1}
        setup.time += 1
        assert (await batch_sizes())[0] == 3
    refusing[0] = False
    setup.time += 3_600
    assert await batch_sizes() == [3, 3]
    refusing[0] = True
    assert (await batch_sizes())[0] == 3
    setup.time += 60
    assert (await batch_sizes())[0] == 3
    await setup.close()


async def test_a_single_call_decides_whether_the_key_is_refused(tmp_path: Path) -> None:
    """Then it is tried again every ten seconds for two minutes, one call at a time, then rarely."""
    refusing = [True]

    def fault(_: int, asked: Sequence[str]) -> Fault:
        if not refusing[0]:
            return None
        if len(asked) > 1:
            return BatchRefused("no", counted=False)
        return KeyRefused("CROWDSEC__API_KEY: refused")

    setup = Setup(Source(fault), tmp_path, degrade=True)
    await setup.ask(*NAMES)
    assert setup.source.requests == 2, "a batch, and one address that decided"
    assert setup.reasons() == {WhyUnanswered.KEY_REFUSED}
    tried = []
    for _ in range(200):
        setup.time += 5
        before = setup.source.requests
        await setup.ask("x")
        if setup.source.requests > before:
            tried.append(setup.time - 1_000)
    assert tried == [*range(10, 121, 10), 720]
    refusing[0] = False
    setup.lookups.paid_lookup.use_key("another")
    await setup.ask("x")
    assert isinstance(setup.delivered["x"], Verdict)
    assert setup.health.reasons() == []
    await setup.close()


async def test_a_refused_key_reaches_the_caller(tmp_path: Path) -> None:
    """And costs nothing."""
    setup = Setup(Source(lambda *_: KeyRefused("CROWDSEC__API_KEY: refused")), tmp_path)
    with pytest.raises(KeyRefused):
        await setup.ask(*NAMES)
    assert await setup.budget.remaining() == 100
    await setup.close()


async def test_one_address_that_always_fails_costs_no_other(
    tmp_path: Path,
) -> None:
    """Its batch fails once; then each is asked alone, and it alone is postponed longer."""

    def fault(_: int, addresses: Sequence[str]) -> Fault:
        return SourceUnavailable("status 500") if "poison" in addresses else None

    setup = Setup(Source(fault), tmp_path, repeat_failed_after=0.0)
    await setup.ask("x", "poison", "y")
    assert setup.reasons() == {WhyUnanswered.SOURCE_DOWN}
    setup.lookups.reopen()
    await setup.ask("x", "y", "poison")
    assert isinstance(setup.delivered["x"], Verdict)
    assert isinstance(setup.delivered["y"], Verdict)
    assert isinstance(setup.delivered["poison"], Unanswered)
    assert setup.source.asked == Counter({"x": 2, "y": 2, "poison": 2})
    await setup.close()


@pytest.mark.parametrize(
    ("quota", "batch", "sizes", "booked"),
    [
        (2_000, 8, [8, 4, 4, 2, 2, 1, 1], 8 + 8 + 4 + 2),
        (100, 8, [8, 4, *[1] * 8], 8 + 8 + 4),  # 5 % of the 91 left: one half is repeated
        (40, 8, [8, *[1] * 8], 8 + 8),
        (5_000, 100, [100, 50, 50, 25, 25, 12, 12, 6, 6, 3, 3, 1, 1, 1, 1], 296),
        (120, 100, [100, *[1] * 19], 119),
    ],
)
async def test_the_part_with_a_poisonous_address_is_halved(
    tmp_path: Path,
    quota: int,
    batch: int,
    sizes: list[int],
    booked: int,
) -> None:
    """Until it is alone, as far as five in a hundred of the lookups left allow it."""
    source = Source(
        lambda _, addresses: SourceUnavailable("status 500") if "poison" in addresses else None
    )
    source.batch_size = batch
    setup = Setup(source, tmp_path, quota=quota, repeat_failed_after=0.0)
    await setup.ask("p")  # the source works
    source.sizes.clear()
    source.asked.clear()
    left = ["poison", *(f"a{number}" for number in range(batch - 1))]
    while len(left) > 1 and await setup.budget.remaining():
        await setup.ask(*left)
        left = [name for name in left if not isinstance(setup.delivered[name], Verdict)]
    assert left == ["poison"] or not await setup.budget.remaining()
    assert sorted(source.sizes, reverse=True) == sizes
    assert source.asked.total() == booked == quota - 1 - await setup.budget.remaining()
    await setup.close()


async def test_after_an_outage_batches_are_repeated_together(
    tmp_path: Path,
) -> None:
    """Not one by one, and side by side."""
    source = Source(lambda n, _: SourceUnavailable("status 503") if 1 < n < 4 else None)
    source.batch_size = 8
    setup = Setup(source, tmp_path, quota=2_000, repeat_failed_after=0.0)
    await setup.ask("p")
    names = [f"b{number}" for number in range(16)]
    await setup.ask(*names)
    source.sizes.clear()
    await setup.ask(*names)
    assert source.sizes == [4, 4, 4, 4]
    assert source.most_together == 4
    assert all(isinstance(setup.delivered[name], Verdict) for name in names)
    await setup.close()


async def test_that_the_quota_is_spent_is_told(tmp_path: Path) -> None:
    """Also when the last lookups went to a part of a batch, and for as long as it lasts."""
    setup = Setup(Source(), tmp_path, quota=2)
    await setup.ask("x", "y", "z")
    health = setup.health
    assert [one["code"] for one in health.reasons()] == ["quota-spent"]
    await setup.ask("later")
    assert [one["code"] for one in health.reasons()] == ["quota-spent"]
    assert setup.source.asked.total() == 2
    await setup.close()


async def test_a_service_probes_a_source_that_says_its_quota_is_spent(tmp_path: Path) -> None:
    """Its period may not be ours, and a refusal costs nothing."""
    setup = Setup(
        Source(lambda n, _: QuotaSpent("Limit Exceeded", counted=False) if n == 1 else None),
        tmp_path,
    )
    await setup.ask("x")
    assert setup.reasons() == {WhyUnanswered.QUOTA}
    assert not await setup.lookups.may_look_up()
    setup.lookups.reopen()
    await setup.ask("x")
    assert isinstance(setup.delivered["x"], Verdict)
    assert await setup.budget.remaining() == 99
    await setup.close()
