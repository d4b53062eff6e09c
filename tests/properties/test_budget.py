"""The quota is never exceeded, whoever asks, whatever fails, and whoever dies in between."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.enrichment.budget import Budget, Reservation
from consumers.ledger.sqlite.ledger import SqliteLedger
from tests.contracts.support_ledger import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTANCES = 3
Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("reserve", "together", "refund", "die", "wait", "look", "restart")),
        st.integers(0, INSTANCES - 1),
        st.integers(0, 40),
    ),
    max_size=60,
)


class World:
    """Some instances on one ledger, and the lookups that a source would have counted."""

    def __init__(self, folder: Path, quota: int, *, paced: bool) -> None:
        self.clock = Clock()
        self.clock.time = 1_800_000_000.0
        self.quota = quota
        self._folder = folder
        self._paced = paced
        self.ledger = self._open()
        self.budgets = [self._budget() for _ in range(INSTANCES)]
        self.counted: dict[str, int] = {}
        self._unsettled: list[tuple[Budget, Reservation]] = []

    def _open(self) -> SqliteLedger:
        return SqliteLedger(self._folder, self.clock, waiting_per_address=5, keep=False)

    def _budget(self) -> Budget:
        return Budget(
            self.ledger, self.clock, key="k", quota=self.quota, reset_day=1, paced=self._paced
        )

    def _take(self, budget: Budget, reservation: Reservation) -> None:
        """Make the lookups: from now on the source may have counted them."""
        period = reservation.period
        self.counted[period] = self.counted.get(period, 0) + reservation.lookups
        self._unsettled.append((budget, reservation))

    async def step(self, kind: str, which: int, number: int) -> None:
        """Do one thing."""
        budget = self.budgets[which]
        if kind == "reserve":
            self._take(budget, await budget.reserve(number))
        elif kind == "together":
            several = await asyncio.gather(*(one.reserve(number) for one in self.budgets))
            for one, reservation in zip(self.budgets, several, strict=True):
                self._take(one, reservation)
        elif kind == "refund" and self._unsettled:
            asker, reservation = self._unsettled.pop()
            self.counted[reservation.period] -= reservation.lookups  # it surely did not count
            await asker.refund(reservation)
        elif kind == "die":
            self.budgets[which] = self._budget()
        elif kind == "wait":
            self.clock.time += number * 86_400 / 4
        elif kind == "look":
            await budget.look()
        elif kind == "restart":
            await self.ledger.close()
            self.ledger = self._open()
            self.budgets = [self._budget() for _ in range(INSTANCES)]
            self._unsettled.clear()


async def _live(folder: Path, quota: int, steps: Sequence[Step], *, paced: bool) -> None:
    world = World(folder, quota, paced=paced)
    try:
        for step in steps:
            await world.step(*step)
            assert max(world.counted.values(), default=0) <= quota
        if not paced:
            await world.step("reserve", 0, 10_000)
            status = await world.budgets[0].status()
            assert status.left == 0
            assert world.counted[status.period] <= quota
    finally:
        await world.ledger.close()


@given(steps=STEPS, quota=st.integers(1, 200), paced=st.booleans())
@settings(deadline=None, max_examples=60)
def test_the_quota_is_never_exceeded(steps: list[Step], quota: int, *, paced: bool) -> None:
    """In no period, in any order of asking, dying, refunding and waiting."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_live(Path(folder), quota, steps, paced=paced))
