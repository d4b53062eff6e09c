"""People who work: their devices, homes and habits, and what they sign in to day by day."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench.company.signins import (
    INTERACTIVE,
    NO_RISK,
    RENEWED,
    Account,
    App,
    Device,
    Risk,
    SignIn,
)
from tests.bench.company.world import COUNTRIES, DAY, Line, Place, World, poisson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.company.personality import Personality, Site
    from tests.bench.company.world import Block

HOUR = 3_600.0
_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/14{0}.0.0.0 Safari/537.36"
_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) "
COMPUTERS = (
    ("Windows11", "Edge 14{0}.0.0", _WINDOWS + _CHROME + " Edg/14{0}.0.0.0"),
    ("Windows11", "Chrome 14{0}.0.0", _WINDOWS + _CHROME),
    ("Windows10", "Edge 14{0}.0.0", _WINDOWS + _CHROME + " Edg/14{0}.0.0.0"),
    ("Windows10", "Firefox 14{0}.0", "Mozilla/5.0 (Windows NT 10.0; rv:14{0}.0) Firefox/14{0}.0"),
    ("MacOs", "Safari 19.{0}", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/19.{0}"),
    ("MacOs", "Chrome 14{0}.0.0", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) " + _CHROME),
    ("Linux", "Chrome 14{0}.0.0", "Mozilla/5.0 (X11; Linux x86_64) " + _CHROME),
)
PHONES = (
    ("Ios 19.{0}", "Mobile Safari", "Mozilla/5.0 (iPhone; CPU iPhone OS 19_{0} like Mac OS X)"),
    ("Ios 18.{0}", "Mobile Safari", "Outlook-iOS/729.26{0}8.0.prod.iphone (4.26{0}8.0)"),
    ("Android 16", "Chrome Mobile", "Dalvik/2.1.0 (Linux; U; Android 16; Build/BP{0}A)"),
    ("Android 15", "Chrome Mobile", "Mozilla/5.0 (Linux; Android 10; K) " + _CHROME),
)
BROWSED = (
    App("OfficeHome", "4765445b-32c6-49b0-83e6-1d93765276ca", "Browser"),
    App("Office 365 SharePoint Online", "00000003-0000-0ff1-ce00-000000000000", "Browser"),
    App("Azure Portal", "c44b4083-3bb0-49c1-b47d-974e53cbdf3c", "Browser"),
    App("One Outlook Web", "9199bf20-a13f-4107-85dc-02114787ef48", "Browser"),
)
INSTALLED = (
    App("Microsoft Office", "d3590ed6-52b3-4102-aeff-aad2292ab01c"),
    App("Microsoft Teams", "1fec8e78-bce4-4aaf-ab1b-5451cc387264"),
    App("Outlook Mobile", "27922004-5251-4030-b22d-91ecd9a37ea4"),
    App("OneDrive SyncEngine", "ab9b8c07-8f02-4f72-87fa-80105867a763"),
    App("Windows Sign In", "38aa3b87-a06d-4817-b275-7a316988d93b"),
)
LEGACY = tuple(
    App("Office 365 Exchange Online", "00000002-0000-0ff1-ce00-000000000000", client)
    for client in ("IMAP4", "Authenticated SMTP", "Exchange ActiveSync")
)
_CODES = (0, 50126, 50140, 50074, 50076, 50058, 500121, 50055, 53003, 65001, 16000)
_CODE_WEIGHTS = (897, 22, 27, 14, 17, 10, 4, 2, 3, 2, 2)
_RENEWED_CODES = (0, 70043, 50173, 50076, 53003, 700082, 65001)
_RENEWED_WEIGHTS = (958, 12, 8, 6, 5, 8, 3)
_DAYTIME = ((8.7, 1.2), (10.5, 1.5), (13.5, 1.5), (15.8, 1.5), (20.0, 1.9))
_NIGHT = ((21.5, 1.2), (24.0, 2.0), (27.5, 1.5), (30.0, 0.8))


def guid(dice: random.Random) -> str:
    """Return a GUID."""
    text = f"{dice.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-b{text[17:20]}-{text[20:]}"


def device(dice: random.Random, kinds: tuple[tuple[str, str, str], ...], id_: str, *, managed: bool
           ) -> Device:  # fmt: skip
    """Return a device of one of the *kinds*."""
    system, browser, agent = (one.format(dice.randrange(4, 7)) for one in dice.choice(kinds))
    return Device(id_, system, browser, agent, managed)


def false_alarm(dice: random.Random, *, mfa: bool) -> Risk:
    """Return what Identity Protection says of a harmless sign-in that looks odd to it."""
    level = dice.choices(("low", "medium", "high"), (55, 36, 9))[0]
    during = "none" if dice.random() < 0.3 else level
    state = dice.choices(("atRisk", "remediated", "dismissed"), (50, 40 if mfa else 8, 10))[0]
    return Risk(during, level, state)


@dataclass(slots=True)
class Person:
    """Somebody with an account."""

    who: Account
    site: int
    country: str
    utc: float
    line: Line
    carrier: Block
    six: bool
    """Whether the carrier gives the phone IPv6."""
    computer: Device
    phone: Device | None
    night: bool
    sse: bool
    vpn: bool
    relay: bool
    mfa: bool
    legacy: App | None
    joined: int
    activity: float
    trips: list[tuple[int, int, str, bool]] = field(default_factory=list)
    """First day, last day, country, whether it is a holiday."""
    stale: tuple[int, int] = (-1, -1)
    """Days on which a program goes on with an old password."""


class Today:
    """Where a person is reached from on one day: each kind of place is drawn once, or twice."""

    __slots__ = ("elsewhere", "home", "mobiles", "mode", "office", "phone_home", "travel", "vpn")

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.elsewhere: Place | None = None
        self.home: Place | None = None
        self.phone_home: Place | None = None
        self.office: Place | None = None
        self.travel: list[Place] = []
        self.vpn: Place | None = None
        self.mobiles: list[Place] = []


class Staff:
    """All people of a company."""

    def __init__(
        self, seed: str, world: World, personality: Personality, users: int, days: int
    ) -> None:
        self._dice = random.Random(f"{seed} people")
        self._world = world
        self._is = personality
        self._days = days
        self._offices = [self._office(site) for site in personality.sites]
        countries = list(dict.fromkeys(site.country for site in personality.sites))
        self._gateways = world.gateways(self._dice, countries, 24)
        self._hotels = {code: [world.travel(self._dice, code) for _ in range(25)]
                        for code in COUNTRIES}  # fmt: skip
        self._shared = [
            device(self._dice, COMPUTERS[:3], guid(self._dice), managed=True)
            for _ in range(max(4, users // 12))
        ]
        self.people = [self._person(number) for number in range(users)]

    def _office(self, site: Site) -> list[Place] | Line:
        if site.own_network:
            return self._world.office(self._dice, site.country, site.city, site.egress)
        block = self._world.home_block(self._dice, site.country, site.city)
        return Line(self._dice, block, six=False, lease_days=20, kind="office")

    def _person(self, number: int) -> Person:
        dice, its, world = self._dice, self._is, self._world
        site = dice.choices(range(len(its.sites)), [one.weight for one in its.sites])[0]
        at_site = its.sites[site].country
        country = dice.choice(list(COUNTRIES)) if dice.random() < its.abroad else at_site
        city = its.sites[site].city if country == at_site else None
        byod = dice.random() < its.byod
        known = not byod or dice.random() < 0.35
        if dice.random() < its.shared_devices:
            computer = dice.choice(self._shared)
        else:
            computer = device(dice, COMPUTERS, guid(dice) if known else "", managed=not byod)
        phone_id = guid(dice) if dice.random() < 0.55 else ""
        phone_managed = bool(phone_id) and dice.random() < 0.5
        joined = dice.randrange(1, self._days) if dice.random() < its.turnover else 0
        person = Person(
            who=Account(f"user{number:05}@{its.name}.example", guid(dice)),
            site=site,
            country=country,
            utc=COUNTRIES[country].utc,
            line=Line(
                dice,
                world.home_block(dice, country, city),
                six=dice.random() < its.home_v6,
                lease_days=its.lease_days,
            ),
            carrier=world.carrier(dice, country),
            six=dice.random() < its.mobile_v6,
            computer=computer,
            phone=device(dice, PHONES, phone_id, managed=phone_managed)
            if dice.random() < its.phone
            else None,
            night=dice.random() < its.nights,
            sse=not byod and dice.random() < its.sse,
            vpn=dice.random() < its.private_vpn,
            relay=dice.random() < its.private_relay,
            mfa=dice.random() < its.mfa,
            legacy=dice.choice(LEGACY) if dice.random() < its.legacy else None,
            joined=joined if self._days > 1 else 0,
            activity=min(3.0, dice.lognormvariate(-0.12, 0.5)),
        )
        self._plan(person)
        return person

    def _plan(self, person: Person) -> None:
        dice, its = self._dice, self._is
        for _ in range(poisson(dice, its.trips * self._days / 30)):
            first = dice.randrange(self._days)
            near = [site.country for site in its.sites] + [person.country] * 2
            country = dice.choice(near if dice.random() < 0.6 else list(COUNTRIES))
            person.trips.append((first, first + dice.randrange(1, 5), country, False))
        if dice.random() < its.holidays_abroad * self._days / 30:
            first = dice.randrange(self._days)
            holiday = (first, first + dice.randrange(4, 15), dice.choice(list(COUNTRIES)), True)
            person.trips.append(holiday)
        if dice.random() < 0.012:
            first = dice.randrange(self._days)
            person.stale = first, first + dice.randrange(1, 4)

    def day(self, day: int) -> Iterator[SignIn]:
        """Yield the sign-ins of one day, person by person, each by their own clock."""
        for person in self.people:
            if day >= person.joined:
                yield from self._of_day(person, day)

    def _of_day(self, person: Person, day: int) -> Iterator[SignIn]:
        dice, its = self._dice, self._is
        today = Today(self._mode(person, day))
        if dice.random() < its.elsewhere:
            today.elsewhere = self._hotspot(person.country)
        mean = its.per_day * person.activity
        if today.mode == "off":
            mean *= 0.17
        if any(first <= day <= last and away for first, last, _, away in person.trips):
            mean *= 0.25
        count = max(0, round(dice.gauss(mean, 0.35 * mean)))
        hours = _NIGHT if person.night else _DAYTIME
        midnight = day * DAY - person.utc * HOUR
        for _ in range(count):
            hour = dice.gauss(*dice.choice(hours))
            yield self._sign_in(person, today, day, hour, midnight + hour * HOUR)
        first, last = person.stale
        if first <= day <= last and person.phone:
            for _ in range(dice.randrange(8, 50)):
                hour = dice.uniform(6, 23)
                place = self._place(person, today, day, hour, phone=True)
                yield SignIn(midnight + hour * HOUR, INTERACTIVE, person.who, place,
                             person.phone, LEGACY[2], 50126)  # fmt: skip

    def _mode(self, person: Person, day: int) -> str:
        dice, its = self._dice, self._is
        if any(first <= day <= last for first, last, _, _ in person.trips):
            return "trip"
        works = dice.random() < (0.93 if (day % 7) < 5 else its.weekend)
        if not works:
            return "off"
        away = COUNTRIES[person.country] is not COUNTRIES[its.sites[person.site].country]
        return "home" if away or dice.random() < its.remote else "office"

    def _sign_in(self, person: Person, today: Today, day: int, hour: float, time: float) -> SignIn:
        dice, its = self._dice, self._is
        on_phone = person.phone is not None and dice.random() < (
            0.8 if today.mode == "off" else its.phone_use
        )
        place = self._place(person, today, day, hour, phone=on_phone)
        machine = person.phone if on_phone and person.phone else person.computer
        if dice.random() < (0.06 if on_phone else 0.17):
            code = dice.choices(_CODES, _CODE_WEIGHTS)[0]
            app = dice.choice(BROWSED if dice.random() < 0.6 else INSTALLED)
            if person.legacy and dice.random() < 0.4:
                app, code = person.legacy, dice.choices((0, 50126), (95, 5))[0]
            odd = place.kind in ("travel", "vpn", "relay", "tor") or day - person.joined < 4
            new = odd and (day > 3 or person.joined > 0)
            risky = dice.random() < its.false_risk * (9 if new else 1)
            risk = false_alarm(dice, mfa=person.mfa) if risky else NO_RISK
            mfa = person.mfa and (odd or dice.random() < 0.7)
            return SignIn(time, INTERACTIVE, person.who, place, machine, app, code, mfa, risk)
        code = dice.choices(_RENEWED_CODES, _RENEWED_WEIGHTS)[0]
        risk = false_alarm(dice, mfa=person.mfa) if dice.random() < its.false_risk / 20 else NO_RISK
        app = dice.choice(INSTALLED)
        return SignIn(time, RENEWED, person.who, place, machine, app, code, person.mfa, risk)

    # --- places ---

    def _place(self, person: Person, today: Today, day: int, hour: float, *, phone: bool) -> Place:
        dice, its = self._dice, self._is
        if person.vpn and (phone or not person.computer.managed) and dice.random() < 0.3:
            if today.vpn is None or dice.random() < 0.1:
                today.vpn = self._world.exit(dice, "tor" if dice.random() < 0.01 else "vpn")
            return today.vpn
        if person.relay and phone and dice.random() < 0.4:
            return self._world.exit(dice, "relay")
        if person.sse and not phone and dice.random() < 0.92:
            near = [one for one in self._gateways if one.country == person.country]
            return dice.choice(near or self._gateways)
        at_work = today.mode == "office" and (person.night or 8 < hour < 18)
        if phone:
            indoors = its.wifi if at_work else 0.25 if today.mode == "trip" else 0.6
            if dice.random() >= indoors:
                return self._mobile(person, today)
        if today.mode == "trip":
            return self._travelling(person, today, day)
        if today.elsewhere is not None and not at_work and dice.random() < 0.35:
            return today.elsewhere
        return (
            self._at_work(person, today, day)
            if at_work
            else self._at_home(person, today, day, phone=phone)
        )

    def _mobile(self, person: Person, today: Today) -> Place:
        if not today.mobiles or (len(today.mobiles) < 4 and self._dice.random() < 0.04):
            six = person.six and self._dice.random() < 0.9
            today.mobiles.append(self._world.mobile(self._dice, person.carrier, six=six))
        return today.mobiles[-1]

    def _at_home(self, person: Person, today: Today, day: int, *, phone: bool) -> Place:
        if phone:
            if today.phone_home is None:
                today.phone_home = person.line.on(day)
            return today.phone_home
        if today.home is None:
            today.home = person.line.on(day)
        return today.home

    def _at_work(self, person: Person, today: Today, day: int) -> Place:
        if today.office is None:
            office = self._offices[person.site]
            today.office = office.on(day) if isinstance(office, Line) else self._dice.choice(office)
        return today.office

    def _travelling(self, person: Person, today: Today, day: int) -> Place:
        if not today.travel or (len(today.travel) < 3 and self._dice.random() < 0.08):
            country = next(one[2] for one in person.trips if one[0] <= day <= one[1])
            today.travel.append(self._hotspot(country))
        return today.travel[-1]

    def _hotspot(self, country: str) -> Place:
        """Return somebody else's network, half of the time one that colleagues use as well."""
        if self._dice.random() < 0.5:
            return self._dice.choice(self._hotels[country])
        return self._world.travel(self._dice, country)
