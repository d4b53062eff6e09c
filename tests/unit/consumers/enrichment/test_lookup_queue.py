"""Asking: single flight, budget, and what each kind of trouble may cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from consumers.enrichment.lookup_queue import LookupRequest
from schemas.errors import (
    BatchRefused,
    KeyRefused,
    QuotaSpent,
    SourceFailed,
    SourceUnavailable,
    TooFast,
)
from schemas.intel.verdicts import (
    Verdict,
    WhyUnanswered,
)
from schemas.ledger_ports import PendingAddress
from tests.support.lookups import Fault, Setup, Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("no_waiting")

NAMES = tuple(f"a{n}" for n in range(10))


async def test_a_partial_batch_is_asked_by_itself(tmp_path: Path) -> None:
    """Soon, without anybody looking; and an error of a lookup is not kept a secret."""
    source = Source(lambda _, addresses: ValueError("a bug") if "bug" in addresses else None)
    setup = Setup(source, tmp_path)
    flushing = asyncio.create_task(setup.lookups.flush_lingering())
    setup.enqueue("x")
    assert source.requests == 0
    async with asyncio.timeout(10):
        await setup.lookups.wait_for_results()
        assert [result.request.address for result in setup.lookups.take_results()] == ["x"]
        setup.enqueue("y", "z", "bug")  # a full batch, for which no timer runs
        with pytest.raises(ValueError, match="a bug"):
            await flushing
    await setup.close()


async def test_two_batches_ask_once(tmp_path: Path) -> None:
    """An address in flight is not asked again, in whatever batch it comes."""
    setup = Setup(Source(), tmp_path)
    await setup.ask("x", "y", "z")  # from now on requests go side by side
    setup.enqueue("a", "b", "c", "a")
    setup.enqueue("c", "d", "a")
    await setup.ask()
    assert setup.source.asked == dict.fromkeys("xyzabcd", 1)
    assert set(setup.delivered) == set("xyzabcd")
    assert set(await setup.memory.get_verdicts(list("abcd"))) == set("abcd")
    await setup.close()


async def test_batches_are_full_until_flushed(tmp_path: Path) -> None:
    """Two addresses wait for a third; a flush does not wait."""
    setup = Setup(Source(), tmp_path)
    setup.enqueue("a", "b")
    await asyncio.sleep(0)
    assert setup.source.requests == 0
    setup.lookups.flush()
    await setup.ask()
    assert setup.source.requests == 1
    await setup.close()


async def test_results_that_nobody_takes_hold_back_further_requests(tmp_path: Path) -> None:
    """Else answers that are paid for pile up in memory, and a crash loses them all."""
    setup = Setup(Source(), tmp_path)
    await setup.ask("x", "y", "z")
    setup.enqueue(*(f"a{n}" for n in range(60)))
    for _ in range(1_000):
        await asyncio.sleep(0)
    assert setup.source.requests == 1 + 4
    assert len(setup.lookups.take_results()) == 4 * 3
    await setup.lookups.wait_for_results()
    assert setup.source.requests > 1 + 4
    await setup.close()


async def test_an_address_is_in_flight_until_it_is_released(tmp_path: Path) -> None:
    """A further request meanwhile is the same one; what the ledger's queue knows is added to it."""
    setup = Setup(Source(), tmp_path)
    pending = PendingAddress("a", 5.0, 1.0)
    setup.enqueue("a", "b", "c")
    setup.lookups.enqueue([LookupRequest("a", pending), LookupRequest("b")])
    await setup.lookups.wait_for_results()
    setup.enqueue("b")
    results = setup.lookups.take_results()
    assert {result.request for result in results} == {
        LookupRequest("a", pending),
        LookupRequest("b"),
        LookupRequest("c"),
    }
    assert setup.lookups.outstanding == 0
    setup.lookups.release(["a", "b"])
    await setup.ask("a", "c")
    assert setup.source.asked == Counter({"a": 2, "b": 1, "c": 1}), "nobody has stored the answer"
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
