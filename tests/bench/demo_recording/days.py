"""The ordinary days of the demonstration's company, and the recorder that takes them down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tests.bench.demo_recording import events as events
from tests.bench.demo_recording.company import (
    BROWSED,
    OUTLOOK,
    PRIVATE,
    RENEWED,
    App,
    Company,
    Device,
    Dice,
    Person,
    Place,
    Principal,
)
from tests.bench.demo_recording.events import (
    ADFS,
    IDENTITY,
    INTERACTIVE,
    NON_INTERACTIVE,
    OKTA,
    SignIn,
)

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
END = datetime(2026, 3, 5, 18, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ROWS, RECORDS = "rows", "records"
PEOPLE_APP = App("HR Portal", "", "HR Portal", "Browser")
LAB_APP = App("Calibration Desk", "urn:nwi:calibration", "Calibration Desk", "Browser")

_TURN = 4_500
"""Seconds for which one envelope is in use, then the other: alike messages compress together."""
_OWN_LANE = (INTERACTIVE, NON_INTERACTIVE)


class Delivery(NamedTuple):
    """One event on its way to the hub."""

    emitted: datetime
    lane: tuple[str, str]
    """Envelope and table; rare tables share a lane and so a message."""
    event: events.Event | None


class Recorder:
    """Collects what happens between START and END."""

    def __init__(self, dice: Dice, company: Company) -> None:
        self.dice = dice
        self.company = company
        self.deliveries: list[Delivery] = []

    def sign_in(
        self,
        table: str,
        time: datetime,
        who: Person | Principal,
        place: Place,
        app: App,
        device: Device | None = None,
        **more: Any,
    ) -> None:
        """Add one sign-in; *more* are further fields of :class:`SignIn`."""
        time += timedelta(milliseconds=self.dice.randrange(1000), microseconds=417)
        if not START <= time < END:
            return
        dice = self.dice
        ids = {name: dice.guid() for name in ("id", "correlation", "session")}
        delay = dice.randint(35, 290)
        made: dict[str, Any] = ids | {"delay": delay, "device": device} | more
        sign_in = SignIn(table=table, time=time, who=who, place=place, app=app, **made)
        self.deliver(sign_in)
        if dice.happens(0.004):
            self.deliver(sign_in, later=timedelta(minutes=dice.uniform(5, 50)))

    def deliver(self, sign_in: SignIn, later: timedelta = timedelta()) -> None:
        """Write a sign-in down in one of its envelopes."""
        envelope = (RECORDS, ROWS)[int(sign_in.emitted.timestamp()) // _TURN % 2]
        envelope = {OKTA: ROWS, IDENTITY: RECORDS}.get(sign_in.table, envelope)
        write = events.as_row if envelope == ROWS else events.as_record
        self.add(sign_in.emitted + later, envelope, sign_in.table, write(sign_in))

    def add(self, emitted: datetime, envelope: str, table: str, event: events.Event | None) -> None:
        """Add an event as it is."""
        lane = (envelope, table if table in _OWN_LANE else "")
        self.deliveries.append(Delivery(emitted, lane, event))

    def somebody(self, country: str = "GB") -> Person:
        """Return a person of one of the offices."""
        there = [one for one in self.company.people if one.office.network.country == country]
        return self.dice.choice(there)


def ordinary_days(recorder: Recorder) -> None:
    """Let people and machines work from START to END."""
    for number, person in enumerate(recorder.company.people):
        away = recorder.company.trip() if number % 16 == 5 else None
        for day in range(4):
            _day(recorder, person, START.replace(hour=0) + timedelta(days=day), away)
    for principal in (*recorder.company.principals, *recorder.company.managed):
        _machine(recorder, principal)


def _day(recorder: Recorder, person: Person, day: datetime, away: Place | None) -> None:
    dice = recorder.dice
    midnight = day - timedelta(hours=person.hours_from_utc)
    if dice.happens(0.08):  # a day off: the telephone alone
        _phone(recorder, person, midnight, person.home)
        return
    place = away or (person.office if dice.happens(0.55) else person.home)
    start = midnight + timedelta(minutes=dice.gauss(505, 38))
    _morning(recorder, person, start, place)
    for _ in range(dice.choices((1, 2), (9, 1))[0]):
        time = start + timedelta(minutes=dice.triangular(2, 530, 90))
        _renewals(recorder, time, person, place, person.laptop, most=5)
    if dice.happens(0.07):
        evening = midnight + timedelta(minutes=dice.gauss(1230, 45))
        _renewals(recorder, evening, person, away or person.home, person.laptop, most=5)
    _phone(recorder, person, midnight, away or person.home)
    _other_doors(recorder, person, start, place)


def _morning(recorder: Recorder, person: Person, start: datetime, place: Place) -> None:
    """Sign in with the browser, now and then at the second try."""
    dice = recorder.dice
    outside = place is not person.office
    for _ in range(dice.choices((1, 2, 3), (7, 4, 1))[0]):
        app, time = dice.choice(BROWSED), start
        if dice.happens(0.07):
            code = dice.choice((50126, 50126, 50140, 50074 if outside else 50126))
            recorder.sign_in(INTERACTIVE, time, person, place, app, person.laptop, code=code)
            time += MINUTE * dice.uniform(0.3, 1.5)
        recorder.sign_in(INTERACTIVE, time, person, place, app, person.laptop, mfa=outside)
        start += MINUTE * dice.uniform(20, 260)


def _renewals(
    recorder: Recorder, time: datetime, person: Person, place: Place, device: Device, most: int
) -> None:
    """Renew a few tokens at once, as programs do, without asking anybody."""
    dice = recorder.dice
    shared = {"correlation": dice.guid(), "session": None, "delay": dice.randint(35, 290)}
    for app in dice.sample(RENEWED, dice.randint(most // 2, most)):
        code = dice.choices((0, 50058, 50173), (96, 3, 1))[0]
        recorder.sign_in(
            NON_INTERACTIVE, time, person, place, app, device, code=code, mfa=not code, **shared
        )


def _phone(recorder: Recorder, person: Person, midnight: datetime, indoors: Place) -> None:
    if person.phone is None:
        return
    dice = recorder.dice
    for _ in range(dice.choices((1, 2, 3), (5, 4, 1))[0]):
        time = midnight + timedelta(minutes=dice.triangular(400, 1390, 1080))
        outdoors = dice.happens(0.48)
        place = recorder.company.on_the_road(person) if outdoors else indoors
        _renewals(recorder, time, person, place, person.phone, most=2)


def _other_doors(recorder: Recorder, person: Person, start: datetime, place: Place) -> None:
    """Sign in where Entra is not the one who asks: Okta, AD FS, the domain."""
    dice = recorder.dice
    if dice.happens(0.5):
        time = start + MINUTE * dice.uniform(5, 400)
        wrong = 50126 if dice.happens(0.04) else 0
        recorder.sign_in(OKTA, time, person, place, PEOPLE_APP, person.laptop, code=wrong)
    if dice.happens(0.45):
        inside = place is person.office and dice.happens(0.25)
        where = recorder.company.in_building() if inside else place
        time = start + MINUTE * dice.uniform(1, 300)
        recorder.sign_in(IDENTITY, time, person, where, OUTLOOK, person.laptop)
    if dice.happens(0.24):
        inside = place is person.office and dice.happens(0.3)
        where = recorder.company.in_building() if inside else place
        time = start + MINUTE * dice.uniform(10, 480)
        recorder.sign_in(ADFS, time, person, where, LAB_APP, person.laptop)


def _machine(recorder: Recorder, principal: Principal) -> None:
    app = App("", principal.app_id, principal.resource)
    table = events.PRINCIPAL if principal.place else events.MANAGED
    place = principal.place or Place("", PRIVATE)
    time = START + MINUTE * recorder.dice.uniform(0, principal.every_minutes)
    while time < END:
        recorder.sign_in(table, time, principal, place, app)
        time += MINUTE * principal.every_minutes * recorder.dice.uniform(0.9, 1.2)
