"""What only some people and programs do: part of the background."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.bench.stories.actors import (
    AAD_POWERSHELL,
    AZURE_CLI,
    EXCHANGE,
    HOME_PAGE,
    MY_SIGN_INS,
    OFFICE_APPS,
    OUTLOOK_MOBILE,
    OUTLOOK_WEB,
    PORTAL,
    TEAMS,
    Person,
)
from tests.bench.stories.company import (
    AZURE,
    BERLIN_HOTEL,
    CLOUD_VM,
    COPIER,
    DUBLIN_HOTEL,
    FLOWLINE,
    IDENTITIES,
    INVOICE_EXPORT,
    PIPELINE,
    PLANBOARD,
    PRINCIPALS,
    RELAY_GB,
    RELAY_NL,
    ROOM_LEEDS,
    ROOM_UTRECHT,
    SHARED_MAILBOX,
    SYNC,
    UTRECHT,
    VPN_US,
    WORKSPACES,
    ZSCALER,
    home_on,
    mobile_line,
    on_the_move,
    who,
)
from tests.bench.stories.model import App, Client, Place, Record, at, later, made

if TYPE_CHECKING:
    from datetime import datetime

PLANBOARD_APP = App("Planboard", "a4f0b1de-52c7-4f1b-9b64-7f3f4a1c2d10")
FLOWLINE_APP = App("Flowline Connect", "0d9a37c8-6b1e-4c8f-8e55-2b7cf9d1e6a4")
SERVER = Client("Apache-HttpClient/5.4.1 (Java/21.0.6)", used="Mobile Apps and Desktop clients")
FLOWLINE_BOT = Client("axios/1.8.4", used="Mobile Apps and Desktop clients")
PYTHON = Client(
    "azsdk-python-identity/1.21.0 Python/3.12.3 (Linux-6.8.0-57-generic-x86_64-with-glibc2.39)",
    "Linux",
    used="Mobile Apps and Desktop clients",
)
IMAP = Client("", used="IMAP4")
ACTIVE_SYNC = Client("Apple-iPhone17C1/2304.71", "iOS", used="Exchange ActiveSync")
SINGAPORE_HOTEL = Place("203.116.92.14", 4657, "Singapore", "SG", 1.2897, 103.8501)
WORKDAYS = (4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 18)
DESKTOP_USERS = ("hendriks", "kuipers", "malik", "bairstow")
SYNC_USERS = ("bos", "meijer", "bakker")
PILOTS = ("peters", "dekker", "postma")


def habits() -> list[Record]:
    """Return the records of all habits, in no order."""
    records = [*_virtual_desktops(), *_developer(), *_pilots(), *_backends(), *_relay()]
    records += [*_journeys(), *_singapore(), *_mail_programs(), *_devices(), *_workloads()]
    return [*records, *_gateway(), *_passwords(), *_new_phone(), *_noise()]


def virtual_desktop(person: Person) -> Client:
    """Return the browser of somebody's virtual desktop at Amazon."""
    own = made("workspace", person.name)
    return replace(who("visser").laptop, device=own, system="Windows10")


def _virtual_desktops() -> list[Record]:
    records: list[Record] = []
    for surname in DESKTOP_USERS:
        person, draw = who(surname), random.Random(f"desktop {surname}")
        for day in WORKDAYS[:-1]:
            place = WORKSPACES.at(draw.choice(["52.208.13.77", "54.77.5.30"]))
            when = later(at(day, 8), draw.random() * 200)
            client = virtual_desktop(person)
            records += person.prompted(when, place, client=client, app=HOME_PAGE)
            after = later(when, 40 + draw.random() * 100)
            records.append(person.refresh(after, place, client=client, app=TEAMS))
    return records


def _developer() -> list[Record]:
    person, draw = who("mulder"), random.Random("developer")
    records = []
    for day in WORKDAYS:
        script = person.sign_in(
            later(at(day, 8), draw.random() * 90), UTRECHT, client=PYTHON, app=PORTAL
        )
        records.append(script)
        for hour in (9, 12, 15):
            when = later(at(day, hour), draw.random() * 50)
            records.append(person.refresh(when, CLOUD_VM, client=PYTHON, app=AZURE_CLI))
    for day in (6, 13):
        records += device_code(person, at(day, 7, 30), UTRECHT, CLOUD_VM, PYTHON)
    return records


def device_code(
    person: Person, when: datetime, browser: Place, machine: Place, client: Client
) -> list[Record]:
    """Return a sign-in with a device code: entered in the browser, redeemed on a machine."""
    flow = {"AuthenticationProtocol": "deviceCode", "CorrelationId": made(person.upn, when)}
    session = person.session(f"code {when}")
    shared = {"app": AZURE_CLI, "session": session, **flow}
    return [
        person.sign_in(when, browser, result="50199", **shared),
        person.sign_in(later(when, 0.5), browser, second=True, **shared),
        person.refresh(
            later(when, 0.6),
            machine,
            client=client,
            OriginalTransferMethod="deviceCodeFlow",
            **shared,
        ),
    ]


def _pilots() -> list[Record]:
    records = []
    for surname in PILOTS:
        person, draw = who(surname), random.Random(f"pilot {surname}")
        for day in [day for day in WORKDAYS[3:] if day < 18]:
            for hour in (10, 13):
                when = later(at(day, hour), draw.random() * 60)
                place = ZSCALER.at(f"165.225.240.{draw.randrange(40, 60)}")
                records.append(person.refresh(when, place, app=OFFICE_APPS))
    return records


def redeemed(person: Person, start: datetime, place: Place, backend: Place) -> tuple[Record, ...]:
    """Return a sign-in to a web service whose servers redeem the code at once."""
    flow = made("redeemed", person.upn, start)
    shared = {"app": PLANBOARD_APP, "session": person.session(start.day), "CorrelationId": flow}
    after = person.refresh(later(start, 0.05), backend, client=SERVER, **shared)
    return person.sign_in(start, place, **shared), after


def _backends() -> list[Record]:
    records: list[Record] = []
    for surname, days in {
        "smit": (4, 12),
        "ackroyd": (5, 14),
        "postma": (7,),
        "malik": (8,),
    }.items():
        person = who(surname)
        for day in days:
            backend = PLANBOARD.at(f"18.194.61.{140 + day}")
            records += redeemed(person, at(day, 10, 5 + day), person.office, backend)
    for surname in ("hargreaves", "iqbal"):
        person = who(surname)
        for day in range(4, 19):
            when = at(day, 5, 2, len(surname))
            session = person.session("flowline")
            records.append(
                person.refresh(
                    when, FLOWLINE, client=FLOWLINE_BOT, app=FLOWLINE_APP, session=session
                )
            )
    return records


def _relay() -> list[Record]:
    records: list[Record] = []
    for surname, relay in {"booth": RELAY_GB, "nair": RELAY_GB, "vos": RELAY_NL}.items():
        person, draw = who(surname), random.Random(f"relay {surname}")
        for day in (5, 8, 11, 14, 16):
            prefix = relay.address.rsplit(".", 1)[0]
            place = relay.at(f"{prefix}.{draw.randrange(2, 60)}")
            when = later(at(day, 18), draw.random() * 120)
            records += person.prompted(when, place, client=person.mobile, app=OUTLOOK_WEB)
    return records


def stay(surname: str, day: int, hours: tuple[int, ...], place: Place) -> list[Record]:
    """Return a day in a hotel: the laptop on its Wi-Fi, the phone roaming."""
    person = who(surname)
    records = list(person.prompted(at(day, hours[0], 11), place, app=HOME_PAGE))
    for hour in hours[1:]:
        records.append(person.refresh(at(day, hour, 23), place, app=OUTLOOK_WEB))
        roaming = on_the_move(surname, f"{day} {hour}")
        mobile = person.mobile
        records.append(
            person.refresh(at(day, hour, 41), roaming, client=mobile, app=OUTLOOK_MOBILE)
        )
    return records


def _journeys() -> list[Record]:
    records = stay("thornton", 12, (17, 19), DUBLIN_HOTEL)
    records += stay("thornton", 13, (6, 8, 12), DUBLIN_HOTEL)
    records += stay("meijer", 6, (15, 18), BERLIN_HOTEL)
    return records + stay("meijer", 7, (6, 9), BERLIN_HOTEL)


def _singapore() -> list[Record]:
    """Return a week abroad; the phone roams and leaves through its carrier at home."""
    return [
        record
        for day in (11, 12, 13, 14)
        for record in stay("sutcliffe", day, (1, 4, 8), SINGAPORE_HOTEL)
    ]


def _mail_programs() -> list[Record]:
    records = []
    for day in range(4, 19):
        person = who("huisman")
        for hour in (6, 17):
            when = at(day, hour, 12 + day)
            place = home_on(person, day)
            records.append(person.sign_in(when, place, client=IMAP, app=EXCHANGE, session=""))
        for surname in SYNC_USERS:
            person = who(surname)
            when = at(day, 7 + len(surname), 3 * day)
            pool = mobile_line("voda-m", f"{surname} sync {day}")
            used = {"client": ACTIVE_SYNC, "app": EXCHANGE, "session": ""}
            records.append(person.refresh(when, pool, **used))
    return records


def _devices() -> list[Record]:
    records = []
    for day in range(4, 19):
        for hour in (7, 11, 14):
            when = at(day, hour, 4 * hour % 60, day)
            records.append(COPIER.sign_in(when, UTRECHT, app=EXCHANGE, session=""))
        for hour in range(0, 24, 4):
            when = at(day, hour, 7)
            ropc = {"AuthenticationProtocol": "ropc", "session": "", "app": AAD_POWERSHELL}
            records.append(SYNC.refresh(when, UTRECHT, **ropc))
        for room in (ROOM_UTRECHT, ROOM_LEEDS):
            ropc = {"AuthenticationProtocol": "ropc", "app": TEAMS}
            records.append(room.sign_in(at(day, 3, 31), room.office, **ropc))
        if day in WORKDAYS:
            records.append(SHARED_MAILBOX.sign_in(at(day, 8, 55), SHARED_MAILBOX.office))
    return records


def _workloads() -> list[Record]:
    draw = random.Random("workloads")
    records = []
    for day in range(4, 19):
        for hour in (1, 7, 13, 19):
            for workload in PRINCIPALS:
                when = later(at(day, hour), draw.random() * 50)
                place = workload.place
                if workload in {INVOICE_EXPORT, PIPELINE}:
                    place = AZURE.at(f"20.86.{draw.randrange(110, 120)}.{draw.randrange(4, 250)}")
                records.append(workload.sign_in(when, place))
            records += [
                each.sign_in(later(at(day, hour), draw.random() * 50)) for each in IDENTITIES
            ]
    return records


def _gateway() -> list[Record]:
    """Return the use of the VPN's American gateway, for demonstrations to customers."""
    records: list[Record] = []
    for surname, day in (("dijk", 5), ("dijk", 12), ("ellison", 7), ("malik", 13), ("postma", 14)):
        person = who(surname)
        records += person.prompted(at(day, 14, 20), VPN_US, app=HOME_PAGE)
        records.append(person.refresh(at(day, 14, 45), VPN_US, app=TEAMS))
    return records


def _passwords() -> list[Record]:
    """Return passwords that expire in the office, and are changed there."""
    records = []
    for surname, day in (("peters", 5), ("firth", 6), ("okafor", 11), ("vos", 13)):
        person = who(surname)
        for minute, result in ((31, "50055"), (33, "50126"), (34, "0")):
            records.append(
                person.sign_in(at(day, 6, minute), person.office, app=HOME_PAGE, result=result)
            )
    return records


def _new_phone() -> list[Record]:
    """Return how somebody at home tells the account of a new telephone."""
    person = who("whitaker")
    place = home_on(person, 11)
    new = replace(person.mobile, device="", agent=person.mobile.agent.replace("26.4", "26.3"))
    records = [
        person.sign_in(at(11, 18, minute), place, client=new, app=OUTLOOK_MOBILE, result="500121")
        for minute in (2, 4)
    ]
    records += person.prompted(at(11, 18, 9), place, app=MY_SIGN_INS)
    return [*records, *person.prompted(at(11, 18, 15), place, client=new, app=OUTLOOK_MOBILE)]


def _noise() -> list[Record]:
    """Return what the internet tries at every tenant, in vain."""
    draw = random.Random("noise")
    knocking = Client("BAV2ROPC", used="Other clients")
    origins = (
        Place("45.148.10.87", 48090, "Amsterdam", "NL", 52.3676, 4.9041),
        Place("179.108.44.9", 28573, "Campinas", "BR", -22.9056, -47.0608),
        Place("113.176.82.30", 45899, "Hanoi", "VN", 21.0278, 105.8342),
        Place("176.65.148.20", 51396, "Frankfurt am Main", "DE", 50.1109, 8.6821),
    )
    records = []
    for day in range(4, 18):
        person = who(draw.choice(["visser", "thornton", "haigh", "leeuwen"]))
        when = later(at(day, draw.randrange(1, 22)), draw.random() * 60)
        place = draw.choice(origins)
        result = draw.choice(["50126", "50126", "50053"])
        records.append(person.sign_in(when, place, client=knocking, app=EXCHANGE, result=result))
    return records
