"""Those who attack: sprays, lone guesses, and accounts taken over in several ways.

Attackers do not know what a defender looks at. Some take over without a failure before, some from
the victim's country, some with the victim's own browser; many fail only, for weeks. What they all
have in common is nothing but that somebody else than the owner signs in.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.bench.company.people import (
    BROWSED,
    COMPUTERS,
    INSTALLED,
    LEGACY,
    PHONES,
    device,
    guid,
)
from tests.bench.company.signins import (
    INTERACTIVE,
    NO_RISK,
    PRINCIPAL,
    RENEWED,
    Account,
    App,
    Device,
    Risk,
    SignIn,
)
from tests.bench.company.world import DAY, STRANGE, Block, Place, World, poisson

if TYPE_CHECKING:
    from tests.bench.company.people import Person, Staff
    from tests.bench.company.personality import Personality
    from tests.bench.company.principals import Principals
    from tests.bench.company.truth import Truth

HOUR = 3_600.0
_TOOLS = (
    Device("", "", "", "python-requests/2.32.3", managed=False),
    Device("", "Windows10", "Chrome 120.0.0", "axios/1.7.9", managed=False),
    Device("", "", "Rich Client 4.61.0", "", managed=False),
    Device("", "Linux", "Chrome 125.0.0", "Mozilla/5.0 (X11; Linux x86_64)", managed=False),
)
_GUESSED = (50126, 50053, 50034, 50057, 50055)
_GUESS_WEIGHTS = (84, 9, 1, 3, 0.3)
_FOLLOWED = {"phish": 2.0, "token": 2.2, "principal": 2.0, "spray": 1.1, "brute": 1.0,
             "bought": 1.3, "fatigue": 1.4}  # fmt: skip
_MASKS = {
    # where the first sign-in of a take-over comes from: residential, hosting, vpn, tor, pool
    "spray": (35, 17, 13, 3, 32),
    "brute": (35, 25, 10, 2, 28),
    "phish": (24, 52, 20, 1, 3),
    "token": (46, 27, 24, 2, 1),
    "bought": (66, 11, 19, 3, 1),
    "fatigue": (50, 17, 26, 5, 2),
    "principal": (10, 76, 14, 0, 0),
}


class Attackers:
    """Everything bad in a recording, planned ahead: :attr:`events`, in no order."""

    def __init__(
        self,
        seed: str,
        world: World,
        personality: Personality,
        staff: Staff,
        principals: Principals,
        truth: Truth,
        days: int,
    ) -> None:
        self._dice = random.Random(f"{seed} attacks")
        self._world = world
        self._is = personality
        self._people = staff.people
        self._principals = principals.all
        self._truth = truth
        self._end = days * DAY
        self._scale = len(self._people) / 2_000
        self._pools: list[tuple[float, float, list[Place]]] = []
        self._fails: list[Place] = []
        self.events: list[SignIn] = []
        for _ in range(max(1, poisson(self._dice, personality.campaigns * days / 30))):
            self._campaign()
        self._lone_guesses(days)
        for _ in range(poisson(self._dice, personality.takeovers * self._scale * days / 30)):
            self._take_over()
        self._note_addresses()

    def _note_addresses(self) -> None:
        """Tell the truth of each address: how it was used, and first."""
        first: dict[str, SignIn] = {}
        taken: set[str] = set()
        for one in sorted(self.events):
            first.setdefault(one.place.address, one)
            if one.code == 0:
                taken.add(one.place.address)
        for address, one in first.items():
            self._truth.bad(one.place, one.time, "takeover" if address in taken else "guessing")

    def _add(self, time: float, table: int, who: Account, place: Place, machine: Device, app: App,
             code: int, evil: str, *, mfa: bool = False, risk: Risk = NO_RISK) -> None:  # fmt: skip
        if 0 <= time < self._end:
            self.events.append(SignIn(time, table, who, place, machine, app, code, mfa, risk, evil))

    # --- guessing ---

    def _campaign(self) -> None:
        """Spray: many accounts, a few tries each, from a pool of addresses that is used for it."""
        dice = self._dice
        start = dice.uniform(-0.02, 0.98) * self._end
        length = dice.choice((3, 8, 24, 60, 120)) * HOUR * dice.uniform(0.5, 1.5)
        low, high = self._is.pool
        size = max(10, round(dice.uniform(low**0.5, high**0.5) ** 2 * min(1.0, self._scale)))
        pool = self._pool(size)
        self._pools.append((start, length, pool))
        self._fails += pool
        tries = dice.choice((1, 1, 2, 2, 3, 5))
        share = dice.choice((0.15, 0.4, 0.8, 1.0))
        strangers = round(len(self._people) * dice.choice((0, 0.1, 0.4)))
        app = dice.choice((*LEGACY, INSTALLED[0], BROWSED[2]))
        tool = dice.choice(_TOOLS) if dice.random() < 0.6 else None
        victims = [one.who for one in self._people if dice.random() < share]
        victims += [self._stranger() for _ in range(strangers)]
        planned = [who for who in victims for _ in range(tries)]
        # each address of the pool is used at least about once, however few the tries
        while len(planned) < len(pool):
            planned += victims[: len(pool) - len(planned)]
        places = pool + dice.choices(pool, k=len(planned) - len(pool))
        for who, place in zip(planned, places, strict=True):
            time = start + length * dice.random()
            machine = tool or device(dice, COMPUTERS, "", managed=False)
            code = dice.choices(_GUESSED, _GUESS_WEIGHTS)[0] if who.app_id != "?" else 50034
            risk = Risk("low", "low", "atRisk") if dice.random() < 0.02 else NO_RISK
            self._add(time, INTERACTIVE, who, place, machine, app, code, "spray", risk=risk)

    def _stranger(self) -> Account:
        name = f"info{self._dice.randrange(9_999)}@{self._is.name}.example"
        return Account(name, "00000000-0000-0000-0000-000000000000", "?")

    def _pool(self, size: int) -> list[Place]:
        dice, world = self._dice, self._world
        kind = dice.choices(("residential", "hosting", "mixed"), (45, 25, 30))[0]
        racks = [(world.rack(dice), dice.randrange(256)) for _ in range(dice.randrange(2, 12))]
        countries = dice.sample(STRANGE, 5)
        pool: dict[str, Place] = {}
        while len(pool) < size:
            server = kind == "hosting" or (kind == "mixed" and dice.random() < 0.4)
            if server:
                block, part = dice.choice(racks)
                near = Block(block.v4 | part << 8, *block[1:])
                place = world.place(dice, near, "hosting")
                if len(pool) > 100 * len(racks):
                    racks.append((world.rack(dice), dice.randrange(256)))
            else:
                place = self._residential(dice.choice(countries))
            pool[place.address] = place
        return list(pool.values())

    def _residential(self, country: str) -> Place:
        return self._world.residential(self._dice, country)

    def _lone_guesses(self, days: int) -> None:
        """Add the noise that never ends: one guess here and there, addresses come again."""
        dice = self._dice
        known: list[Place] = []
        for _ in range(round(self._is.noise * self._scale * days)):
            if not known or dice.random() < 0.5:
                place = (self._world.hosted(dice) if dice.random() < 0.35
                         else self._residential(dice.choice(STRANGE)))  # fmt: skip
                known.append(place)
            else:
                place = dice.choice(known[-400:])
            who = self._stranger() if dice.random() < 0.3 else dice.choice(self._people).who
            code = 50034 if who.app_id == "?" else dice.choices(_GUESSED, _GUESS_WEIGHTS)[0]
            self._add(dice.random() * self._end, INTERACTIVE, who, place, dice.choice(_TOOLS),
                      dice.choice(LEGACY), code, "noise")  # fmt: skip
        self._fails += known

    # --- accounts taken over ---

    def _mask(self, kind: str, victim: Person | None, time: float) -> Place:
        """Return an address behind which an attacker hides."""
        dice, world = self._dice, self._world
        how = dice.choices(("residential", "hosting", "vpn", "tor", "pool"), _MASKS[kind])[0]
        if how == "pool":
            running = [pool for start, _, pool in self._pools if start <= time] or [self._fails]
            return dice.choice(running[-1] or self._fails or [world.hosted(dice)])
        if how == "residential":
            own = victim is not None and dice.random() < self._is.from_own_country
            country = victim.country if own and victim else dice.choice(STRANGE)
            return self._residential(country)
        return world.hosted(dice) if how == "hosting" else world.exit(dice, how)

    def _take_over(self) -> None:
        dice = self._dice
        kinds = self._is.kinds
        kind = dice.choices(list(kinds), list(kinds.values()))[0]
        if kind == "principal" and self._principals:
            self._steal_secret()
            return
        time = dice.random() * self._end
        weak = [one for one in self._people if not one.mfa]
        choice = weak if weak and kind in ("spray", "brute", "bought") else self._people
        victim = dice.choice(choice if dice.random() < 0.8 else self._people)
        if kind == "spray":
            start, length, _ = dice.choice(self._pools)
            time = min(start + length * dice.random() + dice.choice((0, 0, 1, 9, 40)) * HOUR,
                       self._end - HOUR)  # fmt: skip
        place = self._mask(kind, victim, time)
        machine = self._machine(kind, victim)
        flagged = dice.random() < self._is.risk_recall
        self._before(kind, victim, time, place, machine)
        app = dice.choice(BROWSED if kind != "spray" or dice.random() < 0.5 else LEGACY)
        table = RENEWED if kind == "token" else INTERACTIVE
        passed = kind in ("phish", "token", "fatigue") and victim.mfa
        self._add(time, table, victim.who, place, machine, app, 0, kind, mfa=passed,
                  risk=self._risk(flagged, table))  # fmt: skip
        self._go_on(kind, victim, time, place, machine, flagged=flagged)

    def _before(self, kind: str, victim: Person, time: float, place: Place, machine: Device
                ) -> None:  # fmt: skip
        """Add what leads to it, where anything does."""
        dice = self._dice
        app = dice.choice(BROWSED)
        if kind == "brute":
            places = [self._mask(kind, victim, time) for _ in range(dice.randrange(2, 25))]
            for _ in range(dice.randrange(20, 200)):
                then = time - dice.expovariate(1 / (5 * HOUR))
                self._add(then, INTERACTIVE, victim.who, dice.choice([place, *places]),
                          dice.choice(_TOOLS), dice.choice(LEGACY),
                          dice.choices(_GUESSED, _GUESS_WEIGHTS)[0], kind)  # fmt: skip
        stopped = {"fatigue": 1.0, "spray": 0.4, "bought": 0.35, "brute": 0.3, "phish": 0.15}
        if dice.random() < stopped.get(kind, 0.0):
            code = 500121 if kind == "fatigue" else dice.choice((50076, 50074, 53003, 50126))
            for number in range(1, dice.randrange(2, 9 if kind == "fatigue" else 4)):
                self._add(time - number * dice.uniform(20, 400), INTERACTIVE, victim.who, place,
                          machine, app, code, kind, mfa=victim.mfa)  # fmt: skip

    def _go_on(self, kind: str, victim: Person, time: float, place: Place, machine: Device, *,
               flagged: bool) -> None:  # fmt: skip
        """Use the account, for minutes or days, from the same address or from others."""
        dice = self._dice
        for _ in range(min(7, poisson(dice, _FOLLOWED[kind]))):
            time += dice.expovariate(1 / (dice.choice((0.2, 3, 20, 50)) * HOUR))
            if dice.random() < 0.42:
                place = self._mask("token" if kind == "phish" else kind, victim, time)
            table = RENEWED if dice.random() < 0.7 else INTERACTIVE
            risk = self._risk(flagged and dice.random() < 0.85, table)
            app = dice.choice((*BROWSED, *INSTALLED[:3]))
            self._add(time, table, victim.who, place, machine, app, 0, kind, mfa=victim.mfa,
                      risk=risk)  # fmt: skip

    def _machine(self, kind: str, victim: Person) -> Device:
        """Return what the attacker's program says that it runs on."""
        dice = self._dice
        if kind in ("token", "phish") and dice.random() < 0.5:
            own = victim.computer
            stolen = own.id if kind == "token" and dice.random() < 0.6 else ""
            return own._replace(id=stolen, managed=own.managed and bool(stolen))
        if dice.random() < 0.2:
            return dice.choice(_TOOLS)
        registered = guid(dice) if dice.random() < 0.1 else ""
        kinds = PHONES if dice.random() < 0.25 else COMPUTERS
        return device(dice, kinds, registered, managed=False)

    def _risk(self, flagged: bool, table: int) -> Risk:
        dice = self._dice
        if not flagged:
            return NO_RISK
        level = dice.choices(("low", "medium", "high"), (25, 45, 30))[0]
        at_once = dice.random() < (0.95 if table == INTERACTIVE else 0.75)
        state = dice.choices(("atRisk", "remediated", "dismissed"), (66, 30, 4))[0]
        return Risk(level if at_once else "none", level, state)

    def _steal_secret(self) -> None:
        """Sign in as a service principal, with a secret that lay about somewhere."""
        dice = self._dice
        job = dice.choice(self._principals)
        time = dice.random() * self._end
        place = self._mask("principal", None, time)
        for _ in range(1 + poisson(dice, _FOLLOWED["principal"])):
            self._add(time, PRINCIPAL, job.who, place, _TOOLS[0], job.app, 0, "principal")
            time += dice.expovariate(1 / (5 * HOUR))
            if dice.random() < 0.25:
                place = self._mask("principal", None, time)
