"""The company: its offices, its forty people, their homes, phones and computers."""

from __future__ import annotations

import random

from tests.bench.stories.actors import Person, Workload
from tests.bench.stories.model import DOMAIN, Client, Place, made

UTRECHT = Place("213.136.12.34", 12859, "Utrecht", "NL", 52.0907, 5.1214)
LEEDS = Place("88.215.20.114", 31655, "Leeds", "GB", 53.8008, -1.5491)
BACKUP_LINE = Place("62.140.137.88", 15480, "Utrecht", "NL", 52.0907, 5.1214)
VPN_NL = Place("85.17.44.20", 60781, "Haarlem", "NL", 52.3874, 4.6462)
VPN_US = Place("23.105.170.8", 30633, "Manassas", "US", 38.7509, -77.4753)
ZSCALER = Place("165.225.240.41", 62044, "Amsterdam", "NL", 52.3676, 4.9041)
WORKSPACES = Place("52.208.13.77", 16509, "Dublin", "IE", 53.3498, -6.2603)
CLOUD_VM = Place("159.69.44.201", 24940, "Falkenstein", "DE", 50.4779, 12.3713)
PLANBOARD = Place("18.194.61.140", 16509, "Frankfurt am Main", "DE", 50.1109, 8.6821)
FLOWLINE = Place("34.90.118.7", 396982, "Groningen", "NL", 53.2194, 6.5665)
AZURE = Place("20.86.114.9", 8075, "Amsterdam", "NL", 52.3676, 4.9041)
DUBLIN_HOTEL = Place("83.147.160.19", 31122, "Dublin", "IE", 53.3331, -6.2489)
BERLIN_HOTEL = Place("62.72.85.130", 20676, "Berlin", "DE", 52.52, 13.405)
RELAY_GB = Place("172.225.122.18", 36183, "Leeds", "GB", 53.8008, -1.5491)
RELAY_NL = Place("104.28.131.60", 13335, "Utrecht", "NL", 52.0907, 5.1214)
NOWHERE = Place("", 0, "", "", 0.0, 0.0)

TOWNS = {
    "utrecht": (52.0907, 5.1214),
    "amersfoort": (52.1561, 5.3878),
    "hilversum": (52.2292, 5.1669),
    "zeist": (52.0906, 5.2333),
    "nieuwegein": (52.0292, 5.0808),
    "amsterdam": (52.3676, 4.9041),
    "leeds": (53.8008, -1.5491),
    "bradford": (53.796, -1.7594),
    "york": (53.96, -1.0873),
    "harrogate": (53.9921, -1.5418),
    "wakefield": (53.6833, -1.4977),
    "huddersfield": (53.6458, -1.785),
    "london": (51.5074, -0.1278),
    "manchester": (53.4808, -2.2426),
}
PROVIDERS = {
    "kpn": (1136, "86.88"),
    "ziggo": (33915, "84.104"),
    "odido": (50266, "85.146"),
    "delta": (15435, "62.45"),
    "bt": (2856, "86.142"),
    "virgin": (5089, "82.36"),
    "sky": (5607, "90.204"),
    "talktalk": (13285, "92.17"),
    "plusnet": (6871, "80.229"),
}
CARRIERS = {
    "kpn-m": (1136, "188.207", "amsterdam"),
    "voda-m": (15480, "62.140", "amsterdam"),
    "odido-m": (31615, "178.226", "amsterdam"),
    "ee": (12576, "31.94", "london"),
    "o2": (35228, "82.132", "london"),
    "three": (206067, "188.29", "london"),
}
PROVIDERS_V6 = {33915: "2001:1c04", 1136: "2a02:a451", 2856: "2a00:23c8", 5607: "2a02:c7c"}
CARRIERS_V6 = {"ee": "2a01:4c8", "kpn-m": "2a02:a420", "odido-m": "2a02:4240"}
ROSTER = """
Anna Visser:utrecht:kpn:kpn-m:edge:iphone
Bram de Boer:amersfoort:ziggo:odido-m:chrome:android
Carlijn Smit:zeist:odido:odido-m:edge:iphone
Daan Mulder:utrecht:kpn:voda-m:firefox:android
Eva Bakker:hilversum:ziggo:voda-m:edge:iphone
Femke Jansen:nieuwegein:kpn:kpn-m:edge:iphone
Gijs van Dijk:amersfoort:odido:odido-m:chrome:iphone
Hanna Meijer:utrecht:ziggo:voda-m:edge:iphone
Ivo Peters:zeist:kpn:kpn-m:edge:android
Joris Hendriks:amsterdam:ziggo:odido-m:edge:iphone
Karin Dekker:hilversum:delta:kpn-m:edge:iphone
Lars Brouwer:utrecht:odido:voda-m:chrome:android
Maud Willems:nieuwegein:ziggo:kpn-m:edge:iphone
Niels Kok:amersfoort:kpn:odido-m:edge:android
Olga Kuipers:amsterdam:kpn:kpn-m:edge:iphone
Pieter Bos:utrecht:ziggo:voda-m:edge:iphone
Rosa Vos:zeist:ziggo:odido-m:mac:iphone
Sem van Leeuwen:hilversum:kpn:voda-m:edge:android
Tess Prins:utrecht:delta:odido-m:mac:iphone
Umar Yildiz:nieuwegein:odido:odido-m:edge:android
Vera Schouten:amersfoort:ziggo:kpn-m:edge:iphone
Wim Huisman:zeist:kpn:kpn-m:edge:iphone
Xander Postma:amsterdam:odido:voda-m:chrome:android
Yara Koster:utrecht:kpn:odido-m:edge:iphone
Alice Thornton:leeds:bt:ee:edge:iphone
Ben Hargreaves:york:virgin:o2:edge:iphone
Chloe Whitaker:harrogate:sky:ee:edge:iphone
David Okafor:leeds:virgin:three:chrome:android
Emma Sutcliffe:bradford:talktalk:o2:edge:iphone
Farah Iqbal:bradford:virgin:ee:edge:iphone
George Ackroyd:wakefield:bt:ee:edge:android
Hannah Booth:leeds:sky:three:mac:iphone
Imran Malik:bradford:bt:o2:edge:iphone
Jack Holroyd:huddersfield:plusnet:ee:edge:android
Kate Ellison:york:bt:o2:edge:iphone
Liam Crowther:leeds:sky:three:chrome:android
Megan Firth:harrogate:virgin:ee:edge:iphone
Nathan Bairstow:wakefield:talktalk:o2:edge:iphone
Oliver Haigh:huddersfield:bt:three:edge:android
Priya Nair:leeds:virgin:ee:mac:iphone
"""

_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Safari/537.36"
EDGE_AGENT = f"{_WINDOWS} {_CHROME} Edg/147.0.0.0"
CHROME_AGENT = f"{_WINDOWS} {_CHROME}"
IPHONE_AGENT = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/26.4 Mobile/15E148 Safari/604.1"
)
_COMPUTERS = {
    "edge": (EDGE_AGENT, "Windows11", "Edge 147.0.0"),
    "chrome": (CHROME_AGENT, "Windows11", "Chrome 147.0.0"),
    "firefox": (
        "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0",
        "Linux",
        "Firefox 150.0",
    ),
    "mac": (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/26.4 Safari/605.1.15",
        "MacOs",
        "Safari 26.4",
    ),
}
_PHONES = {
    "iphone": (IPHONE_AGENT, "iOS 26.4", "Mobile Safari 26.4"),
    "android": (
        "Dalvik/2.1.0 (Linux; U; Android 16; SM-S931B Build/BP2A.250605.031); PKeyAuth/1.0",
        "Android 16",
        "",
    ),
}


def town(name: str) -> tuple[str, float, float]:
    """Return a town's name and where it lies."""
    return (name.title(), *TOWNS[name])


def fixed_line(provider: str, where: str, who: str) -> Place:
    """Return the address of somebody's home."""
    network, prefix = PROVIDERS[provider]
    draw = random.Random(f"home {who}")
    city, latitude, longitude = town(where)
    address = f"{prefix}.{draw.randrange(4, 250)}.{draw.randrange(4, 250)}"
    return Place(address, network, city, "GB" if latitude > 53 else "NL", latitude, longitude)


def mobile_line(carrier: str, who: object) -> Place:
    """Return an address out of the pool of a mobile carrier."""
    network, prefix, where = CARRIERS[carrier]
    draw = random.Random(f"pool {carrier} {who}")
    city, latitude, longitude = town(where)
    address = f"{prefix}.{draw.randrange(192, 216)}.{draw.randrange(2, 250)}"
    if carrier in CARRIERS_V6 and draw.random() < 0.5:
        address = _six(CARRIERS_V6[carrier], draw)
    country = "GB" if where == "london" else "NL"
    return Place(address, network, city, country, latitude, longitude)


def home_on(person: Person, day: int) -> Place:
    """Return somebody's home on a day; BT gave everybody a new address on the 11th."""
    if person.home.network != 2856 or day < 11:
        return person.home
    draw = random.Random(f"lease {person.name}")
    return person.home.at(f"86.143.{draw.randrange(4, 250)}.{draw.randrange(4, 250)}")


def home_six(person: Person) -> Place:
    """Return an IPv6 address at somebody's home, or the ordinary one."""
    prefix = PROVIDERS_V6.get(person.home.network)
    draw = random.Random(f"six {person.name}")
    return person.home.at(_six(prefix, draw)) if prefix else person.home


def _six(prefix: str, draw: random.Random) -> str:
    return ":".join([prefix, *(f"{draw.randrange(4096, 65535):x}" for _ in range(6))])


def _person(line: str) -> Person:
    name, where, provider, carrier, computer, phone = line.split(":")
    home = fixed_line(provider, where, name)
    agent, system, browser = _COMPUTERS[computer]
    laptop = Client(agent, system, browser, made("laptop", name))
    agent, system, browser = _PHONES[phone]
    used = "Mobile Apps and Desktop clients"
    mobile = Client(agent, system, browser, made("phone", name), used)
    office = UTRECHT if home.country == "NL" else LEEDS
    return Person(name, home, office, mobile_line(carrier, name), laptop, mobile)


PEOPLE = {
    line.split(":")[0].split()[-1].lower(): _person(line) for line in ROSTER.split("\n")[1:-1]
}
CARRIER_OF = {
    line.split(":")[0].split()[-1].lower(): line.split(":")[3] for line in ROSTER.split("\n")[1:-1]
}


OFF_ON_THE_18TH = frozenset(
    "haigh prins nair booth crowther thornton dijk holroyd yildiz "
    "iqbal peters bairstow ellison kok sutcliffe okafor".split()
)
"""People of whom the background tells nothing on the last day: their story does."""
SPLIT_TUNNEL = frozenset({"brouwer", "smit", "ackroyd", "firth"})
"""People whose computers reach sign-in over the VPN, but mail and Graph directly."""
AWAY = {"thornton": {12, 13}, "meijer": {6, 7}, "sutcliffe": {10, 11, 12, 13, 14, 15}}
"""Days on which the background tells of journeys."""


def absent(surname: str, day: int) -> bool:
    """Return whether somebody's ordinary day does not take place."""
    return day in AWAY.get(surname, set()) or (day == 18 and surname in OFF_ON_THE_18TH)


def desk(surname: str, day: int) -> Place:
    """Return from where somebody's laptop signs in on a weekday."""
    person = who(surname)
    if random.Random(f"desk {surname} {day}").random() < 0.6:
        return person.office
    return VPN_NL if surname in SPLIT_TUNNEL else home_on(person, day)


def who(surname: str) -> Person:
    """Return the one with this surname, in small letters."""
    return PEOPLE[surname]


def on_the_move(surname: str, when: object) -> Place:
    """Return an address that the phone of somebody had at some time."""
    return mobile_line(CARRIER_OF[surname], when)


def _account(name: str, address: str, office: Place, client: Client) -> Person:
    return Person(name, office, office, office, client, client, address)


SMTP = Client("", used="Authenticated SMTP")
COPIER = _account("Copier Utrecht", f"copier-utrecht@{DOMAIN}", UTRECHT, SMTP)
SHARED_MAILBOX = _account("Invoices", f"invoices@{DOMAIN}", LEEDS, who("booth").laptop)
ROOM_CLIENT = Client(
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Teams-Room/5.4.217.0",
    "Windows11",
    used="Mobile Apps and Desktop clients",
)
ROOM_UTRECHT = _account("Room Utrecht 1", f"room-utrecht-1@{DOMAIN}", UTRECHT, ROOM_CLIENT)
ROOM_LEEDS = _account("Room Leeds 1", f"room-leeds-1@{DOMAIN}", LEEDS, ROOM_CLIENT)
SYNC = _account(
    "On-Premises Directory Synchronization Service Account",
    "Sync_UTR-SRV02_4f1c2b9a7d3e@noordpoort.onmicrosoft.com",
    UTRECHT,
    Client("", used="Mobile Apps and Desktop clients"),
)

INVOICE_EXPORT = Workload("invoice-export", AZURE)
BACKUP_AGENT = Workload("backup-agent", UTRECHT.at("213.136.12.40"), "Office 365 Exchange Online")
CRM_SYNC = Workload("crm-sync", WORKSPACES.at("54.77.5.21"))
PIPELINE = Workload("terraform-pipeline", AZURE.at("20.61.7.88"), "Azure Resource Manager")
METRICS = Workload("metrics-reader", CLOUD_VM.at("159.69.44.210"), "Azure Resource Manager")
HR_FEED = Workload("hr-feed", LEEDS.at("88.215.20.120"))
PRINCIPALS = (INVOICE_EXPORT, BACKUP_AGENT, CRM_SYNC, PIPELINE, METRICS, HR_FEED)
IDENTITIES = (
    Workload("func-orders", NOWHERE, "Azure Key Vault", managed=True),
    Workload("vm-reports", NOWHERE, "Azure Storage", managed=True),
)
