"""The invented company of the demonstration: its people, devices, networks and applications.

Nobody in it exists. IPv4 addresses are from old blocks that hardly show in public traffic, IPv6
addresses from 2d00::/8, which IANA has given to nobody. Most AS numbers are for private use
(RFC 6996); the few real ones are those of one cloud and two carriers, of whom nothing bad is told.
Everything follows from one seed.
"""

from __future__ import annotations

import ipaddress
import random
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

DOMAIN = "northwind-instruments.example"
TENANT = "6f1d0c52-8a4e-4d37-9b60-2f7a51c3e8d4"
WORKSPACE = "b2a7e9f0-13c5-4e86-a7d9-5c08f64b1e23"
_TAILS = 8


class Dice(random.Random):
    """Seeded randomness that also makes GUIDs."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._tails = [self._tail() for _ in range(_TAILS)]

    def _tail(self) -> str:
        digits = f"{self.getrandbits(112):028x}"
        return f"{digits[:2]}-{digits[2:6]}-4{digits[6:9]}-a{digits[9:12]}-{digits[12:24]}"

    def guid(self) -> str:
        """Return a GUID. All but its first six digits repeat, so that the recording compresses."""
        return f"{self.getrandbits(24):06x}{self.choice(self._tails)}"

    def happens(self, probability: float) -> bool:
        """Return True that often."""
        return self.random() < probability


class Network(NamedTuple):
    """A network as a sign-in log tells of it: AS number and where its users are."""

    asn: int
    country: str
    state: str
    city: str
    latitude: float
    longitude: float


class Place(NamedTuple):
    """An address and the network it belongs to."""

    address: str
    network: Network


class Device(NamedTuple):
    """A device, and the browser or program on it."""

    id: str
    name: str
    system: str
    browser: str
    agent: str
    managed: bool


class App(NamedTuple):
    """An application, and the resource that it asks a token for."""

    name: str
    id: str
    resource: str
    client: str = "Mobile Apps and Desktop clients"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account."""

    name: str
    upn: str
    object_id: str
    office: Place
    home: Place
    laptop: Device
    phone: Device | None
    phone_network: Network
    phone_prefix: int | None
    """The upper half of the addresses of a phone with IPv6."""
    hours_from_utc: int


@dataclass(frozen=True, slots=True)
class Principal:
    """A service principal, or a managed identity, that has no place."""

    name: str
    object_id: str
    app_id: str
    place: Place | None
    resource: str
    every_minutes: int


LEEDS = Network(64620, "GB", "England", "Leeds", 53.79648, -1.54785)
EINDHOVEN = Network(64633, "NL", "Noord-Brabant", "Eindhoven", 51.44083, 5.47778)
BOSTON = Network(64671, "US", "Massachusetts", "Boston", 42.35843, -71.05977)
CLOUD = Network(8075, "NL", "Noord-Holland", "Middenmeer", 52.8, 4.99)
PRIVATE = Network(0, "", "", "", 0.0, 0.0)

_HOMES = {
    "GB": (
        ("28.114", Network(64640, "GB", "England", "Leeds", 53.79648, -1.54785)),
        ("30.77", Network(64641, "GB", "England", "Bradford", 53.79391, -1.75206)),
        ("28.119", Network(64640, "GB", "England", "York", 53.95763, -1.08271)),
    ),
    "NL": (
        ("30.201", Network(64650, "NL", "Noord-Brabant", "Eindhoven", 51.44083, 5.47778)),
        ("29.36", Network(64651, "NL", "Limburg", "Weert", 51.25167, 5.70694)),
    ),
    "US": (
        ("26.140", Network(64681, "US", "Massachusetts", "Cambridge", 42.3751, -71.10561)),
        ("26.152", Network(64682, "US", "New Hampshire", "Nashua", 42.76537, -71.46757)),
    ),
}
_CARRIERS = {
    "GB": (
        ("33.160", 0x2D01_04C8, Network(12576, "GB", "England", "London", 51.50853, -0.12574)),
        ("33.171", 0x2D01_5A20, Network(64661, "GB", "England", "Manchester", 53.48095, -2.23743)),
    ),
    "NL": (
        (
            "29.144",
            0x2D02_A440,
            Network(64660, "NL", "Zuid-Holland", "Rotterdam", 51.9225, 4.47917),
        ),
    ),
    "US": (
        ("55.118", 0x2D07_FB90, Network(21928, "US", "New York", "New York", 40.71427, -74.00597)),
    ),
}
_TRIPS = (
    ("29.201.14", Network(64702, "DE", "Hessen", "Frankfurt am Main", 50.11552, 8.68417)),
    ("55.40.88", Network(64705, "FR", "Ile-de-France", "Paris", 48.85341, 2.3488)),
    ("55.63.7", Network(64711, "JP", "Tokyo", "Tokyo", 35.6895, 139.69171)),
    ("29.87.190", Network(64715, "IE", "Leinster", "Dublin", 53.33306, -6.24889)),
)
OFFICES = (
    Place("22.48.16.10", LEEDS),
    Place("22.48.131.34", EINDHOVEN),
    Place("26.91.203.18", BOSTON),
)
_FIRST = (
    "Ada Aisha Alan Amelia Andrea Arjun Bart Beatriz Bram Callum Carla Cees Chloé Claire Daan "
    "David Deborah Dylan Edith Elena Emma Farah Femke Finn Gareth Greta Hanna Harriet Imran Ivo "
    "Jack Jürgen Kasia Keith Lars Leila Lotte Marcus Mei Mohan Nadia Niamh Olu Owen Petra Priya "
    "Quentin Rachel Rosa Ruben Sanne Siân Tariq Tess Tomasz Uma Victor Wanda Yusuf Zoë"
).split()
_LAST = (
    "Abbott Akhtar Bakker Barnes Bell Bos Brennan Carver Cohen Dekker Devi Dijkstra Eldridge "
    "Fletcher Garcia Hale Hendriks Hughes Iqbal Jansen Kaur Kelly Kowalski Lowe Maguire Mertens "
    "Moss Nolan Novak Okafor Patel Peters Quinn Ramsay Reyes Sharma Singh Smit Sutton Tanaka "
    "Turner Vance Visser Walsh Webb Whitaker Yates Zielinski"
).split()
_EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
_LAPTOPS = (
    ("Windows11", "Edge 145.0.0", _EDGE + "Chrome/145.0.0.0 Safari/537.36 Edg/145.0.0.0"),
    ("Windows11", "Chrome 145.0.0", _EDGE + "Chrome/145.0.0.0 Safari/537.36"),
    ("Windows10", "Edge 144.0.0", _EDGE + "Chrome/144.0.0.0 Safari/537.36 Edg/144.0.0.0"),
    ("MacOs", "Safari 19.2", _MAC + "Version/19.2 Safari/605.1.15"),
)
_PHONES = (
    ("Ios 19.3", "Mobile Safari", "Outlook-iOS/729.2608.0.prod.iphone (4.2608.0)"),
    ("Android 16", "Chrome Mobile", "Dalvik/2.1.0 (Linux; U; Android 16; Pixel 9 Build/BP2A)"),
)
_PRINCIPALS = (
    ("nwi-backup", "Microsoft Graph", 60),
    ("nwi-calibration-api", "Azure Key Vault", 75),
    ("nwi-crm-sync", "Microsoft Graph", 90),
    ("nwi-deploy", "Windows Azure Service Management API", 180),
    ("nwi-erp-bridge", "Azure SQL Database", 90),
    ("nwi-hr-import", "Microsoft Graph", 240),
    ("nwi-invoice-scan", "Office 365 SharePoint Online", 120),
    ("nwi-mail-archive", "Office 365 Exchange Online", 100),
    ("nwi-monitoring", "Azure Log Analytics", 60),
    ("nwi-telemetry", "Azure Event Hubs", 60),
)
_MANAGED = ("vm-lab-gateway", "func-orders", "aks-instruments", "logic-approvals")


class Company:
    """Northwind Instruments, drawn from *dice*."""

    def __init__(self, dice: Dice, size: int = 180) -> None:
        self._dice = dice
        pairs = [(first, last) for first in _FIRST for last in _LAST]
        self.people = [self._person(first, last) for first, last in dice.sample(pairs, size)]
        self.principals = [self._principal(*one) for one in _PRINCIPALS]
        self.managed = [self._managed(name) for name in _MANAGED]

    def _person(self, first: str, last: str) -> Person:
        dice = self._dice
        office = dice.choices(OFFICES, (110, 40, 30))[0]
        country = office.network.country
        _, prefix, carrier = dice.choice(_CARRIERS[country])
        dual = (prefix << 32) | dice.getrandbits(24) << 8 | 1
        return Person(
            name=f"{first} {last}",
            upn=f"{_plain(first)}.{_plain(last)}@{DOMAIN}",
            object_id=dice.guid(),
            office=office,
            home=self.home(country),
            laptop=self._laptop(),
            phone=self._phone() if dice.happens(0.85) else None,
            phone_network=carrier,
            phone_prefix=dual if dice.happens(0.6) else None,
            hours_from_utc={"GB": 0, "NL": 1, "US": -5}[country],
        )

    def home(self, country: str) -> Place:
        """Return an address at home, as a provider hands it out."""
        block, network = self._dice.choice(_HOMES[country])
        return Place(f"{block}.{self._dice.randint(1, 254)}.{self._dice.randint(2, 253)}", network)

    def trip(self) -> Place:
        """Return an address of a hotel or an airport abroad."""
        block, network = self._dice.choice(_TRIPS)
        return Place(f"{block}.{self._dice.randint(2, 253)}", network)

    def on_the_road(self, person: Person) -> Place:
        """Return what a phone has now: an address of its own /64, or one that many share."""
        if person.phone_prefix is not None:
            number = (person.phone_prefix << 64) | self._dice.getrandbits(64)
            return Place(str(ipaddress.IPv6Address(number)), person.phone_network)
        blocks = {network: block for block, _, network in _CARRIERS[person.phone_network.country]}
        shared = f"{blocks[person.phone_network]}.8.{self._dice.randint(16, 31)}"
        return Place(shared, person.phone_network)

    def in_building(self) -> Place:
        """Return an address inside an office."""
        return Place(f"10.20.{self._dice.randint(1, 9)}.{self._dice.randint(10, 240)}", PRIVATE)

    def _laptop(self) -> Device:
        name = f"NWI-L{self._dice.randint(1000, 9999)}"
        return Device(self._dice.guid(), name, *self._dice.choice(_LAPTOPS), managed=True)

    def _phone(self) -> Device:
        system, browser, agent = self._dice.choice(_PHONES)
        return Device(self._dice.guid(), "", system, browser, agent, managed=False)

    def _principal(self, name: str, resource: str, every: int) -> Principal:
        dice = self._dice
        place = Place(f"21.72.{dice.randint(4, 9)}.{dice.randint(2, 250)}", CLOUD)
        return Principal(name, dice.guid(), dice.guid(), place, resource, every)

    def _managed(self, name: str) -> Principal:
        return Principal(name, self._dice.guid(), self._dice.guid(), None, "Azure Key Vault", 150)


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name.lower())
    return letters.encode("ascii", "ignore").decode("ascii")


PORTAL = App("Azure Portal", "c44b4083-3bb0-49c1-b47d-974e53cbdf3c", "Azure Resource Manager")
OFFICE = App("OfficeHome", "4765445b-32c6-49b0-83e6-1d93765276ca", "OfficeHome", "Browser")
OUTLOOK = App(
    "Microsoft Outlook", "27922004-5251-4030-b22d-91ecd9a37ea4", "Office 365 Exchange Online"
)
TEAMS = App("Microsoft Teams", "1fec8e78-bce4-4aaf-ab1b-5451cc387264", "Microsoft Teams Services")
DRIVE = App(
    "Microsoft OneDrive",
    "ab9b8c07-8f02-4f72-87fa-80105867a763",
    "Office 365 SharePoint Online",
)
IMAP = App(
    "Office 365 Exchange Online",
    "00000002-0000-0ff1-ce00-000000000000",
    "Office 365 Exchange Online",
    "IMAP4",
)
BROWSED = (OFFICE, PORTAL._replace(client="Browser"), TEAMS._replace(client="Browser"))
NOTES = App("OneNote", "fdd7719f-d61e-4592-b501-793734eb8a0e", "Office 365 SharePoint Online")
SUITE = App("Microsoft Office", "d3590ed6-52b3-4102-aeff-aad2292ab01c", "Microsoft Graph")
RENEWED = (OUTLOOK, TEAMS, DRIVE, NOTES, SUITE)
