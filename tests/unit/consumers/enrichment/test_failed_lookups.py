"""What is looked up again after a failure, and at what cost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from consumers.enrichment.paid_lookup import KEY_DOUBT_PAUSE_SECONDS
from schemas.errors import (
    KeyRefused,
    SourceUnavailable,
)
from schemas.intel.verdicts import (
    Unanswered,
    Verdict,
    WhyUnanswered,
)
from tests.support.lookups import Fault, Setup, Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("no_waiting")


async def test_the_end_of_a_refusal_is_noticed(tmp_path: Path) -> None:
    """Once: what waits for the key can be looked up at once, not with the next dispatch."""
    source = Source(lambda n, _: KeyRefused("CROWDSEC__API_KEY: refused") if n == 1 else None)
    setup = Setup(source, tmp_path, degrade=True)
    paid_lookup = setup.lookups.paid_lookup
    await setup.ask("x")
    assert setup.reasons() == {WhyUnanswered.KEY_REFUSED}
    assert not paid_lookup.take_recovery()
    setup.time += KEY_DOUBT_PAUSE_SECONDS
    await setup.ask("x")
    assert isinstance(setup.delivered["x"], Verdict)
    assert [paid_lookup.take_recovery() for _ in range(2)] == [True, False]
    await setup.close()


async def test_a_refused_key_reaches_the_caller(tmp_path: Path) -> None:
    """And costs nothing."""
    setup = Setup(Source(lambda *_: KeyRefused("CROWDSEC__API_KEY: refused")), tmp_path)
    with pytest.raises(KeyRefused):
        await setup.ask("x", "y", "z", "a")
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
