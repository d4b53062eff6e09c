"""What is true of a recording: who was bad, and what CrowdSec knows of each address from when on.

Being bad and being listed are two things: some bad addresses are never listed, some only after
their first use here; and a few addresses of ordinary people are listed as well, because others
share them or something in the house is infected.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.bench.company.signins import RIGHT_PASSWORD, START, TABLES, SignIn
from tests.servers.crowdsec import item

if TYPE_CHECKING:
    from tests.bench.company.personality import Personality
    from tests.bench.company.world import Place

HOUR = 3_600.0

_BAD = {
    "guessing": (0.69, 0.18),
    "takeover": (0.73, 0.22),
}
"""Shares of attackers' addresses that are listed malicious and suspicious at all."""
_ORDINARY = {
    "home": (0.002, 0.006),
    "mobile": (0.008, 0.03),
    "travel": (0.01, 0.03),
    "vpn": (0.07, 0.2),
    "relay": (0.0, 0.1),
    "tor": (0.85, 0.13),
    "hosting": (0.004, 0.01),
}
"""The same of addresses that nobody bad uses here; for IPv6, where addresses live a day, a
fiftieth."""
_CLASSES = {
    "tor": ("proxy:tor", 0.97),
    "vpn": ("proxy:vpn", 0.6),
    "relay": ("proxy:icloud-private-relay", 0.95),
    "mobile": ("connection-type:mobile", 0.3),
    "home": ("connection-type:residential", 0.3),
    "hosting": ("range:data_center", 0.5),
}
_BEHAVIORS = ("http:bruteforce", "http:scan", "imap:bruteforce", "http:spam", "ssh:bruteforce",
              "generic:exploit")  # fmt: skip


@dataclass(slots=True)
class Listing:
    """What CrowdSec says of an address, and from when on, in seconds since the start."""

    place: Place
    reputation: str
    since: float | None
    """None: never."""
    role: str


class Truth:
    """Gathers the truth while a recording is made."""

    def __init__(self, seed: str, personality: Personality) -> None:
        self._dice = random.Random(f"{seed} truth")
        self._is = personality
        self.listings: dict[str, Listing] = {}
        self.malicious: list[dict[str, Any]] = []
        self.addresses: set[str] = set()
        self.signins = 0

    def bad(self, place: Place, first: float, role: str) -> None:
        """Note an attacker's address: *first* is when it is used first; *role* is how."""
        dice = self._dice
        word = self._word(*_BAD[role])
        since: float | None = 0.0
        if dice.random() < self._is.late:
            since = first + self._is.late_hours * HOUR * math.exp(dice.gauss(0, 1.2))
        if place.kind == "tor":
            word, since = "malicious", 0.0
        if not word:
            since = None
        self.listings[place.address] = Listing(place, word or "unknown", since, role)

    def see(self, one: SignIn, event_id: str) -> None:
        """Note a sign-in that was written down."""
        self.signins += 1
        address = one.place.address
        if address not in self.addresses:
            self.addresses.add(address)
            self._ordinary(one.place)
        if one.evil:
            self.malicious.append(
                {
                    "id": event_id,
                    "address": address,
                    "time": _iso(one.time),
                    "success": one.code == 0,
                    "password_accepted": one.code in RIGHT_PASSWORD,
                    "kind": one.evil,
                    "table": TABLES[one.table],
                    "account": one.who.name,
                }
            )

    def _ordinary(self, place: Place) -> None:
        if place.address in self.listings or place.kind not in _ORDINARY:
            return
        malicious, suspicious = _ORDINARY[place.kind]
        if ":" in place.address:
            malicious, suspicious = malicious / 50, suspicious / 50
        word = self._word(malicious, suspicious)
        if word:
            self.listings[place.address] = Listing(place, word, 0.0, "ordinary")

    def _word(self, malicious: float, suspicious: float) -> str:
        drawn = self._dice.random()
        if drawn < malicious:
            return "malicious"
        return "suspicious" if drawn < malicious + suspicious else ""

    # --- files ---

    def told(self) -> dict[str, Any]:
        """Return the truth file."""
        return {
            "start": _iso(0),
            "signins": self.signins,
            "distinct_addresses": len(self.addresses),
            "malicious": self.malicious,
            "addresses": {
                address: {
                    "reputation": one.reputation,
                    "listed_from": None if one.since is None else _iso(one.since),
                    "role": one.role,
                }
                for address, one in self.listings.items()
                if address in self.addresses
            },
        }

    def items(self) -> dict[str, dict[str, Any]]:
        """Return what CrowdSec knows in the end."""
        return {
            address: self._item(one)
            for address, one in self.listings.items()
            if one.since is not None and address in self.addresses
        }

    def _item(self, one: Listing) -> dict[str, Any]:
        dice, place = self._dice, one.place
        name, share = _CLASSES.get(place.kind, ("", 0.0))
        classes = [{"name": name, "label": name}] if dice.random() < share else []
        names = dice.sample(_BEHAVIORS, dice.randrange(1, 4))
        return item(
            place.address,
            one.reputation,
            confidence=dice.choices(("high", "medium", "low"), (60, 25, 15))[0],
            background_noise_score=dice.randrange(11),
            as_num=place.asn,
            as_name=f"AS{place.asn}",
            behaviors=[{"name": behavior, "label": ""} for behavior in names],
            classifications={"false_positives": [], "classifications": classes},
            location={"country": place.country, "city": place.city},
        )


def _iso(seconds: float) -> str:
    moment = START + timedelta(seconds=seconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
