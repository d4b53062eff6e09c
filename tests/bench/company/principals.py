"""Service principals: jobs that sign in by the clock, from clouds, hosting and build machines."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.company.people import guid
from tests.bench.company.signins import PRINCIPAL, Account, App, Device, SignIn
from tests.bench.company.world import DAY, Place, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.company.personality import Personality

NO_DEVICE = Device("", "", "", "", managed=False)
_RESOURCES = ("Microsoft Graph", "Azure Key Vault", "Windows Azure Service Management API",
              "Azure Storage", "Office 365 Exchange Online")  # fmt: skip


class Job(NamedTuple):
    """A service principal and its habits."""

    who: Account
    app: App
    places: list[Place]
    a_day: float
    wanders: float
    """Share of its sign-ins from a machine that was never seen before, as build agents are."""


class Principals:
    """All service principals of a company."""

    def __init__(
        self, seed: str, world: World, personality: Personality, users: int, days: int
    ) -> None:
        self._dice = random.Random(f"{seed} principals")
        self._world = world
        self._days = days
        count = max(2, round(personality.principals * min(1.0, users / 2_000)))
        self.all = [self._job(number, personality) for number in range(count)]

    def _job(self, number: int, personality: Personality) -> Job:
        dice = self._dice
        outside = dice.random() < personality.principals_outside
        places = [
            self._world.hosted(dice, clouds=not outside) for _ in range(dice.choice((1, 1, 2, 4)))
        ]
        app_id, name = guid(dice), f"job-{number:03}"
        wanders = dice.choice((0.0, 0.0, 0.0, 0.02, 0.3))
        a_day = min(600.0, dice.lognormvariate(3.6, 1.0))
        return Job(Account(name, guid(dice), app_id), App(dice.choice(_RESOURCES), app_id), places,
                   a_day, wanders)  # fmt: skip

    def day(self, day: int) -> Iterator[SignIn]:
        """Yield the sign-ins of one day."""
        dice = self._dice
        for job in self.all:
            broken = dice.random() < 0.01  # its secret has expired
            for _ in range(round(job.a_day * dice.uniform(0.8, 1.2))):
                new = dice.random() < job.wanders
                place = self._world.hosted(dice, clouds=True) if new else dice.choice(job.places)
                code = 7000215 if broken or dice.random() < 0.002 else 0
                time = (day + dice.random()) * DAY
                yield SignIn(time, PRINCIPAL, job.who, place, NO_DEVICE, job.app, code)
