"""The networks that addresses come from: who runs them, where, and how they hand addresses out.

AS numbers are real, so that what a program knows of them holds; which blocks they have is drawn
from the seed. Good and bad people use the same networks: residential proxies sit in the ISPs of
employees, attackers and a company's own jobs in the same hosting, both leave by the same VPN exits.
"""

from __future__ import annotations

import math
import random
from socket import AF_INET6, inet_ntop
from typing import NamedTuple
from zlib import crc32

DAY = 86_400.0


class Place(NamedTuple):
    """An address, and what a sign-in log tells of it."""

    address: str
    asn: int
    country: str
    city: str
    kind: str
    """home, mobile, office, hosting, vpn, relay, tor, sse, travel: for the truth, never written."""


class Country(NamedTuple):
    """A country: its clock, cities, and the AS numbers of its providers."""

    utc: float
    cities: tuple[str, ...]
    homes: tuple[int, ...]
    mobiles: tuple[int, ...]


def _country(utc: float, cities: str, homes: str, mobiles: str) -> Country:
    return Country(
        utc,
        tuple(one.replace("_", " ") for one in cities.split()),
        tuple(map(int, homes.split())),
        tuple(map(int, mobiles.split())),
    )


COUNTRIES = {
    "GB": _country(0, "London Manchester Leeds Bristol Glasgow", "2856 5089 5607 13285",
                   "12576 25135 35228 60339"),
    "DE": _country(1, "Stuttgart Leipzig Berlin Frankfurt Cologne", "3320 3209 6805 8881",
                   "3320 3209 6805"),
    "FR": _country(1, "Paris Lyon Lille Nantes", "3215 12322 15557 5410", "51207 3215 15557"),
    "NL": _country(1, "Amsterdam Utrecht Eindhoven", "1136 33915 50266", "1136 31615 50266"),
    "PL": _country(1, "Warsaw Krakow Wroclaw", "5617 29314 12912", "8374 5617 12912"),
    "ES": _country(1, "Madrid Barcelona Sevilla", "3352 12479 12430", "3352 12479 16299"),
    "IT": _country(1, "Milan Rome Turin", "3269 30722 12874", "16232 30722 24608"),
    "US": _country(-6, "Columbus Austin Chicago Denver Boston", "7922 20115 701 7018 22773",
                   "21928 22394 6167 20057"),
    "CA": _country(-5, "Toronto Montreal Calgary", "812 577 852", "812 36522 852"),
    "MX": _country(-6, "Puebla Mexico_City", "8151 13999 28548", "28403 8151"),
    "BR": _country(-3, "Sao_Paulo Recife Curitiba", "28573 27699 8167", "26599 26615 22085"),
    "IN": _country(5.5, "Bengaluru Pune Delhi", "9829 24309 24560 17488", "55836 45609 38266"),
    "SG": _country(8, "Singapore", "9506 4773 55430", "45143 9506"),
    "JP": _country(9, "Tokyo Osaka", "4713 17676 2516", "9605 2516 17676"),
    "AU": _country(10, "Sydney Melbourne", "1221 7545 4804", "1221 4804 133612"),
    "TR": _country(3, "Istanbul Ankara", "9121 34984 47331", "16135 20978"),
    "CN": _country(8, "Shanghai Beijing Guangzhou", "4134 4837", "9808 56040"),
    "NG": _country(1, "Lagos Abuja", "37148 36873", "29465 37148"),
    "VN": _country(7, "Hanoi", "45899 7552 18403", "7552 45899"),
    "ID": _country(7, "Jakarta", "7713 17451", "23693 24203"),
    "RU": _country(3, "Moscow Samara", "12389 8402 12714", "25159 8359"),
    "ZA": _country(2, "Johannesburg Durban", "3741 37457", "16637 29975"),
}  # fmt: skip
STRANGE = ("BR", "IN", "ID", "VN", "NG", "TR", "RU", "CN", "MX", "ZA", "US", "PL", "IT", "ES")
"""Where most residential proxies are."""

_HOSTING = (
    (16509, "US"), (14618, "US"), (8075, "NL"), (396982, "US"), (14061, "US"), (16276, "FR"),
    (24940, "DE"), (63949, "US"), (20473, "NL"), (60781, "NL"), (51167, "DE"), (62240, "GB"),
    (36352, "US"), (53667, "US"), (44477, "GB"), (210644, "DE"), (47583, "US"), (8560, "DE"),
    (203020, "US"), (215540, "NL"), (200019, "RU"), (12876, "FR"), (45102, "SG"),
)  # fmt: skip
_CLOUDS = (16509, 14618, 8075, 396982)
_VPN = ((9009, "NL"), (212238, "US"), (60068, "GB"), (62240, "DE"), (136787, "SG"))
_RELAY = ((13335, "US"), (36183, "GB"), (54113, "US"))
_SSE = ((62044, "US"), (55256, "US"), (13335, "GB"), (396982, "NL"), (36692, "DE"))
_NEVER = frozenset({0, 10, 100, 127, 169, 172, 192, 198, 203}) | frozenset(range(224, 256))
_V6 = (0x2400, 0x2403, 0x2405, 0x2600, 0x2607, 0x2A00, 0x2A01, 0x2A02, 0x2A0A, 0x2804)


def poisson(dice: random.Random, mean: float) -> int:
    """Draw a count."""
    if mean > 30:
        return max(0, round(dice.gauss(mean, math.sqrt(mean))))
    left, count = math.exp(-mean), 0
    product = dice.random()
    while product > left:
        product *= dice.random()
        count += 1
    return count


class Block(NamedTuple):
    """Addresses of one network around one city."""

    v4: int
    v6: int
    asn: int
    country: str
    city: str


def located(address: str, block: Block, kind: str) -> Place:
    """Return a place as a geographical database knows it, which is wrong for one in 150."""
    drawn = crc32(address.encode())
    if drawn % 150:
        return Place(address, *block[2:], kind)
    country = list(COUNTRIES)[drawn // 150 % len(COUNTRIES)]
    return Place(address, block.asn, country, COUNTRIES[country].cities[0], kind)


class World:
    """All networks, drawn from a seed."""

    def __init__(self, seed: str) -> None:
        self._dice = dice = random.Random(f"{seed} world")
        self._taken: set[int] = set()
        self._homes = {
            code: [self._block(asn, code, city) for asn in one.homes for city in one.cities]
            for code, one in COUNTRIES.items()
        }
        self._mobiles = {
            code: [self._block(asn, code, one.cities[0]) for asn in one.mobiles]
            for code, one in COUNTRIES.items()
        }
        self._pools: dict[int, list[str]] = {}
        self._hosting = [
            self._block(asn, code, COUNTRIES[code].cities[0]) for asn, code in _HOSTING
        ]
        self._vpn = self._exits(_VPN, "vpn", 400)
        self._relay = self._exits(_RELAY, "relay", 300)
        self._tor = [self.hosted(dice, "tor") for _ in range(150)]

    def _block(self, asn: int, country: str, city: str) -> Block:
        dice = self._dice
        while True:
            high = dice.randrange(1, 224)
            base = (high << 8 | dice.randrange(256)) << 16
            if high not in _NEVER and base not in self._taken:
                break
        self._taken.add(base)
        return Block(base, dice.choice(_V6) << 16 | dice.getrandbits(16), asn, country, city)

    def _exits(self, networks: tuple[tuple[int, str], ...], kind: str, count: int) -> list[Place]:
        blocks = [self._block(asn, code, COUNTRIES[code].cities[0]) for asn, code in networks]
        return [self.place(self._dice, self._dice.choice(blocks), kind) for _ in range(count)]

    @staticmethod
    def place(dice: random.Random, block: Block, kind: str) -> Place:
        """Return any IPv4 address of a block."""
        return located(v4(block.v4 | dice.randrange(1, 65_535)), block, kind)

    # --- where people are ---

    def home_block(self, dice: random.Random, country: str, city: str | None = None) -> Block:
        """Return a home's provider, near *city* where one is named."""
        blocks = self._homes[country]
        near = [one for one in blocks if one.city == city]
        return dice.choice(near if near and dice.random() < 0.8 else blocks)

    def carrier(self, dice: random.Random, country: str) -> Block:
        """Return a mobile carrier."""
        return dice.choice(self._mobiles[country])

    def mobile(self, dice: random.Random, block: Block, *, six: bool) -> Place:
        """Return what a phone has after it attached: its own /64, or an address of many."""
        if six:
            number = block.v6 << 96 | dice.getrandbits(24) << 64 | dice.getrandbits(64)
            return located(v6(number), block, "mobile")
        pool = self._pools.get(block.v4)
        if pool is None:
            base = block.v4 | self._dice.randrange(200) << 8
            pool = self._pools[block.v4] = [v4(base + one) for one in range(1, 600)]
        return located(dice.choice(pool), block, "mobile")

    def office(self, dice: random.Random, country: str, city: str, count: int) -> list[Place]:
        """Return the addresses of an office, neighbours of each other."""
        block = self.home_block(dice, country, city)
        base = block.v4 | dice.randrange(1, 65_000)
        return [Place(v4(base + one), block.asn, country, city, "office") for one in range(count)]

    def gateways(self, dice: random.Random, countries: list[str], count: int) -> list[Place]:
        """Return a company's exits from a cloud security service."""
        asn, _ = dice.choice(_SSE)
        blocks = [self._block(asn, code, COUNTRIES[code].cities[0]) for code in countries]
        return [self.place(dice, dice.choice(blocks), "sse") for _ in range(count)]

    def travel(self, dice: random.Random, country: str) -> Place:
        """Return a hotel, an airport or a client's guest network."""
        return self.place(dice, self.home_block(dice, country), "travel")

    # --- where machines are, and whoever hides ---

    def hosted(self, dice: random.Random, kind: str = "hosting", *, clouds: bool = False) -> Place:
        """Return a server's address, in one of the big clouds or anywhere."""
        blocks = self._hosting
        if clouds:
            blocks = [one for one in blocks if one.asn in _CLOUDS]
        return self.place(dice, dice.choice(blocks), kind)

    def rack(self, dice: random.Random) -> Block:
        """Return a provider's /16, for addresses that are neighbours."""
        return dice.choice(self._hosting)

    def exit(self, dice: random.Random, kind: str) -> Place:
        """Return one of the shared exits: vpn, relay or tor. Some are far busier than others."""
        exits = {"vpn": self._vpn, "relay": self._relay, "tor": self._tor}[kind]
        return exits[int(len(exits) * dice.random() ** 2)]

    def residential(self, dice: random.Random, country: str) -> Place:
        """Return somebody's home or phone that lends its address to a proxy network."""
        if dice.random() < 0.14:
            return self.mobile(dice, self.carrier(dice, country), six=dice.random() < 0.3)
        block = self.home_block(dice, country)
        if dice.random() < 0.08:
            number = block.v6 << 96 | dice.getrandbits(32) << 64 | dice.getrandbits(64)
            return located(v6(number), block, "home")
        return self.place(dice, block, "home")


class Line:
    """A home's line: addresses that change now and then, and, with IPv6, every day a new one."""

    def __init__(
        self, dice: random.Random, block: Block, *, six: bool, lease_days: float, kind: str = "home"
    ) -> None:
        self._dice = dice
        self._block = block
        self._six = six
        self._kind = kind
        self._lease = max(1.0, lease_days * math.exp(dice.gauss(0, 1.1)))
        self._until = dice.random() * self._lease
        self._renew()

    def _renew(self) -> None:
        self._four = World.place(self._dice, self._block, self._kind)
        self._prefix = self._block.v6 << 32 | self._dice.getrandbits(24) << 8

    def on(self, day: int) -> Place:
        """Return the address that a device of the house has that day: ask once a device."""
        while day >= self._until:
            self._until += max(1.0, self._dice.expovariate(1 / self._lease))
            self._renew()
        if self._six and self._dice.random() < 0.75:
            number = self._prefix << 64 | self._dice.getrandbits(64)
            return located(v6(number), self._block, self._kind)
        return self._four


def v4(number: int) -> str:
    """Write an IPv4 address."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def v6(number: int) -> str:
    """Write an IPv6 address the way RFC 5952 wants it."""
    return inet_ntop(AF_INET6, number.to_bytes(16))
