"""What is wrong and what is odd in the demonstration: attacks, decoys, and awkward events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.bench.demo_recording import events as events
from tests.bench.demo_recording.actors import DECOYS, PLANTED
from tests.bench.demo_recording.company import (
    IMAP,
    OFFICE,
    OUTLOOK,
    TEAMS,
    TENANT,
    App,
    Device,
    Person,
    Place,
)
from tests.bench.demo_recording.days import (
    END,
    LAB_APP,
    MINUTE,
    PEOPLE_APP,
    RECORDS,
    ROWS,
    START,
    Recorder,
)
from tests.bench.demo_recording.events import ADFS, IDENTITY, INTERACTIVE, NON_INTERACTIVE, OKTA

_ROBOT = Device("", "", "Linux", "Python Requests 2.32", "python-requests/2.32.3", managed=False)
_KIT = Device(
    "",
    "",
    "Windows10",
    "Chrome 133.0.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/133.0.0.0 Safari/537.36",
    managed=False,
)
_ONION_BROWSER = _KIT._replace(
    browser="Firefox 140.0",
    agent="Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0",
)


def _at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def _spray(recorder: Recorder) -> None:
    """Three addresses, one guess at each account a night; the second night one fits."""
    dice = recorder.dice
    victims = dice.sample(recorder.company.people, 66)
    keys = ("take_over", "spray_two", "spray_three")
    for number in range(132):
        place = PLANTED[keys[number % 3]].place
        time = _at(3 + number // 66, 1, 40) + MINUTE * (number % 66) * 2.1
        who, code = victims[number % 66], 50053 if dice.happens(0.06) else 50126
        recorder.sign_in(INTERACTIVE, time, who, place, OFFICE, _ROBOT, code=code, risk="low")
    taken, place = victims[21], PLANTED["take_over"].place
    recorder.sign_in(INTERACTIVE, _at(4, 4, 12), taken, place, OFFICE, _ROBOT, risk="medium")
    for minutes in (16, 31, 75, 140):
        time = _at(4, 4) + MINUTE * minutes
        recorder.sign_in(NON_INTERACTIVE, time, taken, place, OUTLOOK, _KIT)
    _risk(recorder, _at(4, 4, 12), taken, place, "high")


def _phish(recorder: Recorder) -> None:
    """Relay a sign-in that passes MFA, then use the stolen token."""
    victim, place = recorder.somebody("NL"), PLANTED["phish"].place
    stolen: dict[str, Any] = {"session": recorder.dice.guid(), "mfa": True}
    time = _at(3, 9, 47)
    recorder.sign_in(INTERACTIVE, time, victim, place, OFFICE, _KIT, risk="low", **stolen)
    for minutes, app in ((9, OUTLOOK), (21, TEAMS), (64, OUTLOOK), (127, OUTLOOK), (310, OUTLOOK)):
        later = time + MINUTE * minutes
        recorder.sign_in(NON_INTERACTIVE, later, victim, place, app, _KIT, **stolen)
    _risk(recorder, _at(3, 9, 47), victim, place, "medium")


def _stopped(recorder: Recorder) -> None:
    victim, place = recorder.somebody(), PLANTED["stopped"].place
    for minutes, code in ((0, 50126), (1, 50074), (2, 500121), (9, 50074), (10, 500121)):
        time = _at(4, 21, 15) + MINUTE * minutes
        recorder.sign_in(INTERACTIVE, time, victim, place, OFFICE, _KIT, code=code, risk="medium")
    _risk(recorder, _at(4, 21, 16), victim, place, "medium")


def _night_guesses(recorder: Recorder) -> None:
    """Guess from IPv6 until one fits, in both spellings of the address."""
    victims, place = recorder.dice.sample(recorder.company.people, 9), PLANTED["six"].place
    for number, victim in enumerate(victims):
        time = _at(5, 2, 5) + MINUTE * 3 * number
        spelled = "2D0E:7A40:0019:00C3:0000:0000:0000:8F21" if number % 2 else place.address
        code = 50126 if number < 8 else 0
        recorder.sign_in(
            INTERACTIVE, time, victim, place, OFFICE, _ROBOT, code=code, address=spelled
        )


def _adfs_brute_force(recorder: Recorder) -> None:
    victim, place = recorder.somebody(), PLANTED["adfs"].place
    for number in range(172):
        time = _at(4, 23, 2) + timedelta(seconds=19 * number + recorder.dice.uniform(0, 9))
        recorder.sign_in(ADFS, time, victim, place, LAB_APP, _ROBOT, code=50126)


def _single_stories(recorder: Recorder) -> None:
    sign_in, company = recorder.sign_in, recorder.company
    for day in (2, 4):
        tor, hour = PLANTED["tor_known"].place, 19 + day
        sign_in(INTERACTIVE, _at(day, hour), recorder.somebody(), tor, OFFICE, _ONION_BROWSER)
    tor, leaver = PLANTED["tor_malicious"].place, recorder.somebody("US")
    sign_in(INTERACTIVE, _at(3, 23, 40), leaver, tor, OFFICE, _ONION_BROWSER, risk="medium")
    secret = next(one for one in company.principals if one.name == "nwi-deploy")
    app = App("", secret.app_id, secret.resource)
    for minutes, code in ((0, 7000215), (2, 0), (3, 0), (44, 0)):
        time = _at(5, 3, 30) + MINUTE * minutes
        sign_in(events.PRINCIPAL, time, secret, PLANTED["principal"].place, app, code=code)
    okta, user = PLANTED["okta"].place, recorder.somebody("US")
    for minutes, code in ((0, 50126), (1, 0)):
        time = _at(2, 13, 20) + MINUTE * minutes
        sign_in(OKTA, time, user, okta, PEOPLE_APP, _KIT, code=code)
    mailbox, imap = recorder.somebody(), PLANTED["imap"].place
    for hour in (1, 7, 13, 19):
        sign_in(INTERACTIVE, _at(4, hour, 26), mailbox, imap, IMAP, _ROBOT)
    sign_in(IDENTITY, _at(4, 1, 27), mailbox, imap, OUTLOOK, _ROBOT)


def _shared_addresses(recorder: Recorder) -> None:
    """Bad addresses with ordinary people behind them."""
    dice, sign_in = recorder.dice, recorder.sign_in
    for person in dice.sample(recorder.company.people, 3):
        for day in (2, 3, 4):
            time = _at(day, 10) + MINUTE * dice.uniform(0, 300)
            proxy, code = PLANTED["corporate"].place, 50126 if dice.happens(0.25) else 0
            sign_in(INTERACTIVE, time, person, proxy, OFFICE, person.laptop, code=code)
    user = next(one for one in recorder.company.people if one.phone and one.hours_from_utc == 0)
    for hour in (8, 12, 17):
        carrier = PLANTED["carrier"].place
        sign_in(NON_INTERACTIVE, _at(3, hour, 11), user, carrier, OUTLOOK, user.phone, mfa=True)


def _noise(recorder: Recorder) -> None:
    """Guess, as at every tenant, from addresses that nobody has reported yet and from one bad."""
    dice = recorder.dice
    east = PLANTED["noise"].place
    unheard = [
        Place(f"{block}.{dice.randint(2, 250)}.{dice.randint(2, 250)}", east.network)
        for block in ("6.201", "7.77", "11.12", "214.160") * 9
    ]
    for place in (*unheard, *[east] * 7):
        time = START + (END - START) * dice.random()
        who, code = dice.choice(recorder.company.people), dice.choice((50126, 50053, 50034))
        recorder.sign_in(INTERACTIVE, time, who, place, OFFICE, _ROBOT, code=code)


def _decoys(recorder: Recorder) -> None:
    dice, sign_in, places = recorder.dice, recorder.sign_in, {k: a.place for k, a in DECOYS.items()}
    for key, hours in (("cdn", 9), ("vpn", 7), ("nulls", 6), ("faded", 11), ("neighbour", 26)):
        person, time = recorder.somebody(), START + timedelta(hours=2)
        while time < END:
            if 7 <= time.hour <= 21:
                sign_in(INTERACTIVE, time, person, places[key], OFFICE, person.laptop, mfa=True)
            time += timedelta(hours=hours) * dice.uniform(0.8, 1.2)
    owners = [one for one in recorder.company.people if one.phone and one.hours_from_utc == 0]
    for key, person in zip(("relay", "relay_six"), owners[-2:], strict=True):
        seen = (8, 12, 18, 21)
        for hour in seen:
            sign_in(NON_INTERACTIVE, _at(3, hour, 31), person, places[key], OUTLOOK, person.phone)
    for number in range(12):
        who, time = dice.choice(recorder.company.people), _at(2, 22) + MINUTE * 341 * number
        sign_in(INTERACTIVE, time, who, places["scanner"], OFFICE, _ROBOT, code=50126)
    probe = recorder.company.principals[-2]
    app = App("", probe.app_id, probe.resource)
    for number in range(20):
        time = START + timedelta(hours=4 * number)
        sign_in(events.PRINCIPAL, time, probe, places["monitor"], app)


def _risk(recorder: Recorder, time: datetime, who: Person, place: Place, level: str) -> None:
    recorder.sign_in(events.RISK, time, who, place, OFFICE, risk=level, delay=900.0)


# --- What is odd ------------------------------------------------------------------------------


def _odd_addresses(recorder: Recorder) -> None:
    """Write addresses with ports and brackets, or none."""
    dice = recorder.dice
    for number in range(24):
        person, hour = recorder.somebody(), 7 + number % 12
        time, home = _at(2 + number % 3, hour, 13), person.home
        six = recorder.company.on_the_road(person).address
        ported = f"[{six}]:{dice.randint(2000, 60000)}" if ":" in six else f"{six}:49152"
        text = (f"{home.address}:{dice.randint(2000, 60000)}", ported, "<null>", "")[number % 4]
        where = home if number % 4 != 1 else Place(six, person.phone_network)
        recorder.sign_in(NON_INTERACTIVE, time, person, where, OUTLOOK, person.laptop, address=text)
    for number in range(16):
        traveller = dice.choice(recorder.company.people)
        time, place = START + timedelta(hours=5 * number + 1), recorder.company.trip()
        _risk(recorder, time, traveller, place, dice.choice(("low", "medium")))


def _tables_that_are_off(recorder: Recorder) -> None:
    dice = recorder.dice
    for number in range(90):
        person, time = recorder.somebody(), START + timedelta(minutes=55 * number)
        call: events.Event = {
            "responseStatusCode": 200,
            "requestMethod": "GET",
            "requestId": dice.guid(),
        }
        call |= {"ipAddress": person.home.address, "userId": person.object_id}
        initiated = {"user": {"userPrincipalName": person.upn, "ipAddress": person.home.address}}
        audit: events.Event = {"id": dice.guid(), "result": "success", "initiatedBy": initiated}
        graph = number % 2 == 0
        name, properties = ("MicrosoftGraphActivityLogs", call) if graph else ("AuditLogs", audit)
        record: events.Event = {"time": events.iso(time), "operationName": name, "category": name}
        record |= {"tenantId": TENANT, "properties": properties}
        recorder.add(time, RECORDS, name, record)


def _null_items(recorder: Recorder) -> None:
    for day, hour, envelope in ((2, 9, ROWS), (3, 10, RECORDS), (3, 15, ROWS), (5, 8, ROWS)):
        recorder.add(_at(day, hour), envelope, INTERACTIVE, None)


def all_stories(recorder: Recorder) -> None:
    """Tell all of it."""
    for tell in (
        _spray,
        _phish,
        _stopped,
        _night_guesses,
        _adfs_brute_force,
        _single_stories,
        _shared_addresses,
        _noise,
        _decoys,
        _odd_addresses,
        _tables_that_are_off,
        _null_items,
    ):
        tell(recorder)
