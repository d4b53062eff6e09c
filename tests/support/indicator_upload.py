"""What the suites of sharing with Sentinel have in common: a world, its time, and uploads."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from consumers.ledger.sqlite.ledger import SqliteLedger
from consumers.settings import SentinelSettings
from consumers.wiring.azure import transports
from producers.sentinel.judged_addresses import IndicatorExport
from producers.sentinel.upload import IndicatorUpload, Timing
from schemas.errors import LedgerFailed, SinkHeldBack
from schemas.events.times import parse_time
from schemas.intel.indicators import Indicator
from schemas.intel.merge import merge_verdicts
from schemas.intel.verdicts import AddressClass, Intel, Reputation, Verdict
from tests.contracts.support_ledger import A, Clock, Told
from tests.servers.threat_intelligence import WORKSPACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from schemas.ledger_ports import EntrySpace
    from tests.servers.threat_intelligence import ThreatIntelligence

NOW = 1_772_000_000.0
DAY = 86_400.0
FULL = 7 * DAY
"""For how long the settings let an upload be valid."""


class Store(SqliteLedger):
    """A ledger that counts the keys that are read, and may fail to write."""

    reads: int = 0
    broken: bool = False

    async def get_entries(self, space: EntrySpace, keys: Sequence[str]) -> dict[str, bytes]:
        """Count and read."""
        self.reads += len(keys)
        return await super().get_entries(space, keys)

    async def put_entries(self, *args: Any) -> dict[str, bytes]:
        """Write, or fail."""
        if self.broken:
            raise LedgerFailed("broken")
        return await super().put_entries(*args)


class Taker:
    """Takes objects like Sentinel: the last of an id counts."""

    def __init__(self) -> None:
        self.sent: list[list[dict[str, Any]]] = []
        self.kept: dict[str, dict[str, Any]] = {}
        self.held_back: SinkHeldBack | None = None
        self.loses = False
        """Whether objects arrive all the same when it is held back."""
        self.refuses: set[str] = set()
        """Patterns."""
        self.meanwhile: Callable[[], None] = lambda: None
        """Done while an upload is on its way."""

    async def send(self, objects: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
        """Take objects, as the port says."""
        if self.held_back is None or self.loses:
            self.kept |= {one["id"]: one for one in objects if one["pattern"] not in self.refuses}
        if self.held_back is not None:
            raise self.held_back
        self.meanwhile()
        self.sent.append(list(objects))
        return [(one, "no") for one in objects if one["pattern"] in self.refuses]

    def active(self, now: float) -> set[str]:
        """Return the patterns of what is valid."""
        return {
            one["pattern"]
            for one in self.kept.values()
            if seconds(one["valid_from"]) <= now < seconds(one["valid_until"])
        }

    @property
    def objects(self) -> int:
        """Return how many objects were sent and taken, repetitions too."""
        return sum(map(len, self.sent))


def seconds(text: str) -> float:
    """Return a time of an object."""
    moment = parse_time(text)
    assert moment is not None
    return moment.timestamp()


class World:
    """A service with its ledger, and Sentinel."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.clock.time = NOW
        self.ticks = 0.0
        self.folder = folder
        self.taker = Taker()
        self.health = Told()
        self.store = Store(folder, self.clock, waiting_per_address=5)
        self.sharing = self.new_sharing()

    def new_sharing(self, **more: Any) -> IndicatorExport:
        """Begin without any memory."""
        settings = more.pop("settings", SentinelSettings())
        options: dict[str, Any] = {"health": self.health, "monotonic": lambda: self.ticks}
        return IndicatorExport(self.taker, self.store, self.clock, settings, **(options | more))

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.time += seconds
        self.ticks += seconds

    def judge(self, address: str = A, said: Reputation = Reputation.MALICIOUS, **more: Any) -> None:
        """Tell of a verdict."""
        now = self.clock.now()
        verdict = Verdict(
            reputation=said,
            source="crowdsec",
            time=now,
            expires=now + 30 * DAY,
            address_class=AddressClass.HOSTING,
            intel=Intel(score=5, confidence="high"),
        )
        time, tlps = more.pop("time", now), more.pop("tlps", ())
        merged = replace(merge_verdicts([verdict]), **more)
        self.sharing.record_verdict(address, merged, time, tlps=tlps)

    async def judged(self, *addresses: str, **more: Any) -> None:
        """Tell of verdicts, and flush."""
        for address in addresses:
            self.judge(address, **more)
        await self.sharing.flush()

    @property
    def active(self) -> set[str]:
        """Return the patterns of what Sentinel has and is valid."""
        return self.taker.active(self.clock.now())


def pattern(address: str) -> str:
    """Return the pattern of an address."""
    return f"[ipv{6 if ':' in address else 4}-addr:value = '{address}']"


def indicator(name: str = "1", **more: Any) -> Indicator:
    """Return an indicator of a feed."""
    told: dict[str, Any] = {
        "id": f"indicator--{name}",
        "modified": NOW - DAY,
        "keys": (A,),
        "valid_from": NOW - DAY,
        "valid_until": NOW + DAY,
    }
    return Indicator(**(told | more))


class Time:
    """A clock whose sleepers let it go on."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Return the time."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Go on."""
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


@asynccontextmanager
async def uploading(
    service: ThreatIntelligence, time: Time | None = None, **more: Any
) -> AsyncIterator[IndicatorUpload]:
    """Open an upload to a service; both live by the same clock."""
    clock = time or Time()
    service.monotonic = clock.monotonic
    options: dict[str, Any] = {
        "source": "test",
        "timing": Timing(clock.monotonic, clock.sleep),
        "new_transport": transports(None),
    }
    async with service.server() as server:
        upload = IndicatorUpload(server.url, WORKSPACE, None, **(options | more))
        yield upload
        await upload.close()


HELD_BACK = SinkHeldBack("no", remedy="mend it")
