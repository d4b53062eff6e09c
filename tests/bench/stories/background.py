"""Two weeks of ordinary sign-ins of the company."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING

from tests.bench.stories.actors import (
    HOME_PAGE,
    OFFICE_APPS,
    OUTLOOK_MOBILE,
    OUTLOOK_WEB,
    SHAREPOINT,
    TEAMS,
    Person,
)
from tests.bench.stories.company import (
    PEOPLE,
    SPLIT_TUNNEL,
    VPN_NL,
    absent,
    desk,
    home_on,
    home_six,
    on_the_move,
)
from tests.bench.stories.habits import habits
from tests.bench.stories.model import Place, Record, at, began, later

if TYPE_CHECKING:
    from datetime import datetime

FIRST, LAST = 4, 18
WEEKEND = frozenset({9, 10, 16, 17})
APPS = (OUTLOOK_WEB, TEAMS, OFFICE_APPS, SHAREPOINT)


def background() -> list[Record]:
    """Return every ordinary record, sorted by time; the caller may change them."""
    return [dict(record) for record in _ordinary()]


@cache
def _ordinary() -> tuple[Record, ...]:
    records = habits()
    for surname, person in PEOPLE.items():
        for day in range(FIRST, LAST + 1):
            if absent(surname, day):
                continue
            draw = random.Random(f"{surname} {day}")
            records += _phone(surname, person, day, draw)
            if day in WEEKEND:
                records += _weekend(person, day, draw)
            else:
                records += _working_day(surname, person, day, draw)
    return tuple(sorted(records, key=began))


def _local(person: Person, day: int, hour: float) -> datetime:
    """Return a time of the day where somebody lives."""
    ahead = 2 if person.home.country == "NL" else 1
    return later(at(day, 0), (hour - ahead) * 60)


def _working_day(surname: str, person: Person, day: int, draw: random.Random) -> list[Record]:
    place = desk(surname, day)
    start = later(_local(person, day, 7.6), draw.random() * 80)
    records = _morning(surname, person, start, place, draw)
    for _ in range(draw.randrange(4, 8)):
        when = later(start, 10 + draw.random() * 460)
        app = draw.choice(APPS)
        records.append(person.refresh(when, place, app=app, IncomingTokenType=_token(draw)))
    direct = home_on(person, day) if place == VPN_NL else place
    records += _activity(person, start, direct, draw)
    if place == VPN_NL and surname in SPLIT_TUNNEL:
        for hour in (2, 5):
            when = later(start, hour * 60 + draw.random() * 30)
            records.append(person.refresh(when, direct, app=OUTLOOK_WEB))
    elif place == person.office and draw.random() < 0.25:
        when = later(_local(person, day, 19.5), draw.random() * 120)
        records.append(person.refresh(when, home_on(person, day), app=OFFICE_APPS))
    return records


def _token(draw: random.Random) -> str:
    return draw.choice(["refreshToken", "refreshToken", "primaryRefreshToken"])


def _morning(
    surname: str, person: Person, start: datetime, place: Place, draw: random.Random
) -> list[Record]:
    records = []
    clumsy = 0.5 if surname == "kok" else 0.06
    if draw.random() < clumsy:
        for attempt in range(draw.randrange(1, 3)):
            when = later(start, -1.5 + attempt * 0.4)
            records.append(person.sign_in(when, place, app=HOME_PAGE, result="50126"))
    if draw.random() < 0.15:
        expired = draw.choice(["50089", "700082", "50173"])
        records.append(person.refresh(later(start, -3), place, app=OFFICE_APPS, result=expired))
    if place == person.office and draw.random() < 0.8:
        return [*records, person.sign_in(start, place, app=HOME_PAGE)]
    if draw.random() < 0.08:
        missed = later(start, -1)
        records.append(person.sign_in(missed, place, app=HOME_PAGE, result="500121"))
    first = draw.choice(["50074", "50076"])
    return [*records, *person.prompted(start, place, first, app=HOME_PAGE)]


def _activity(person: Person, start: datetime, place: Place, draw: random.Random) -> list[Record]:
    records = [
        person.graph(later(start, 20 + draw.random() * 400), place, uri)
        for uri in ("me/messages?$top=25", "me/calendarView", "me/drive/recent")
        if draw.random() < 0.6
    ]
    if draw.random() < 0.7:
        when = later(start, 30 + draw.random() * 400)
        records.append(person.office_365(when, place, "MailItemsAccessed"))
    return records


def _phone(surname: str, person: Person, day: int, draw: random.Random) -> list[Record]:
    home = home_six(person) if draw.random() < 0.4 else home_on(person, day)
    moves: list[tuple[float, Place]] = [(6.9, home), (12.5, on_the_move(surname, f"{day} noon"))]
    if day not in WEEKEND:
        moves.append((8.0, on_the_move(surname, f"{day} train")))
    moves.append((20.8, home))
    records = []
    for hour, place in moves:
        if draw.random() < 0.75:
            when = later(_local(person, day, hour), draw.random() * 30)
            app = draw.choice([OUTLOOK_MOBILE, OUTLOOK_MOBILE, TEAMS])
            records.append(person.refresh(when, place, app=app, client=person.mobile))
    return records


def _weekend(person: Person, day: int, draw: random.Random) -> list[Record]:
    if draw.random() > 0.15:
        return []
    when = later(_local(person, day, 10), draw.random() * 400)
    home = home_on(person, day)
    mail = person.refresh(later(when, 12), home, app=OUTLOOK_WEB)
    return [*person.prompted(when, home, app=HOME_PAGE), mail]
