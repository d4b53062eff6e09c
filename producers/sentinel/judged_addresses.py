"""What goes to Sentinel's threat intelligence: addresses judged malicious, and chosen feeds.

What was uploaded of an address is kept in the ledger's history, so that a restart, and other
instances, upload nothing twice and withdraw what somebody else uploaded. Nothing waits for it, and
what cannot be delivered now is tried again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from schemas.errors import LedgerFailed, SinkHeldBack
from schemas.health import Problem
from schemas.intel.indicators import reputation_of
from schemas.intel.stix_export import feed_indicators, for_readers_only, malicious_indicator
from schemas.intel.verdicts import AddressClass, Intel, Reputation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from schemas.health import HealthReporter
    from schemas.intel.indicators import Indicator
    from schemas.intel.stix_export import StixObject
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock

log = structlog.get_logger()

UPLOADED_KEY_PREFIX = "ti|"
"""Before an address, the key of what was uploaded of it."""
MAX_QUEUED_UPLOADS = 50_000
MAX_REMEMBERED_UPLOADS = 100_000
"""Addresses of which we remember whether they were uploaded."""
REMEMBERED_SECONDS = 3_600.0
"""Seconds after which the ledger is asked again: another instance may have uploaded meanwhile."""
REMEMBERED_LIVE_SECONDS = 300.0
"""The same where an upload is valid, of which there are few: it may have been withdrawn."""
UPLOAD_BATCH = 100
"""Objects, as many as one request takes, after which it is noted what was uploaded."""
READ_BATCH = 500
HELD_BACK_PAUSE_SECONDS = 30.0
"""Seconds for which the service is left alone that took nothing."""
RENEW_RECORD_SECONDS = 30 * 86_400.0
"""Age at which an entry of the ledger is written again, before its history forgets it."""


class Uploader(Protocol):
    """Takes STIX objects; the last one of an id counts."""

    async def send(self, objects: Sequence[StixObject]) -> list[tuple[StixObject, str]]:
        """Upload; return those refused for good. SinkHeldBack when it gives up waiting."""


class UploadedIndicator(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was uploaded last of an address. Times are seconds since the epoch, by our clock."""

    time: float
    """When that was decided."""
    until: float
    """To when it is valid; 0 for what was withdrawn."""
    first: float
    """When the address was first uploaded."""


NEVER_UPLOADED = UploadedIndicator(0.0, 0.0, math.inf)


def merged(key: str, mine: bytes, theirs: bytes) -> bytes:
    """Join what two instances uploaded: the later decision counts, of two at once the longer one.

    The same whichever comes first, and however often.
    """
    one, other = _decoded(key, mine), _decoded(key, theirs)
    last = max(one, other, key=lambda shared: (shared.time, shared.until))
    joined = msgspec.structs.replace(last, first=min(one.first, other.first))
    return msgspec.msgpack.encode(joined)


def _decoded(key: str, body: bytes) -> UploadedIndicator:
    try:
        return msgspec.msgpack.decode(body, type=UploadedIndicator)
    except msgspec.MsgspecError as error:
        raise LedgerFailed(f"the ledger's {key[:3]}… is unreadable: {error}") from None


@dataclass(frozen=True, slots=True)
class _PendingUpload:
    """What was decided last of an address. Without an end it is not to be told of."""

    intel: Intel
    time: float
    until: float | None


@dataclass(frozen=True, slots=True)
class _Change:
    """An upload on its way: what is to be kept when it has arrived."""

    address: str
    wanted: _PendingUpload
    what: str
    told: StixObject
    shared: UploadedIndicator


class ExportSettings(Protocol):
    """What is shared, and how."""

    @property
    def upload_malicious(self) -> bool:
        """Whether malicious addresses are uploaded at all."""

    @property
    def valid_for(self) -> float:
        """Seconds for which an indicator without an end is valid."""

    @property
    def source(self) -> str:
        """The name of the source, as Sentinel shows it."""


class IndicatorExport:
    """Decides what is uploaded, renewed and withdrawn, and sees to it.

    ``counts`` tells ``uploaded``, ``renewed``, ``withdrawn``, ``refused`` (by the service, for
    good), ``dropped`` (no room in the queue) and ``marked`` (TLP forbids to pass it on) objects
    of addresses, and of feeds ``fed``, ``feed withdrawn``, ``marked``, ``benign``, ``expired`` and
    ``nameless`` (withdrawn without saying what it was) indicators.
    """

    def __init__(
        self,
        uploader: Uploader,
        ledger: Ledger,
        clock: Clock,
        settings: ExportSettings,
        *,
        health: HealthReporter | None = None,
        most_queued: int = MAX_QUEUED_UPLOADS,
        most_remembered: int = MAX_REMEMBERED_UPLOADS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._uploader = uploader
        self._ledger = ledger
        self._clock = clock
        self._settings = settings
        self._health = health
        self._most_queued = most_queued
        self._most_remembered = most_remembered
        self._monotonic = monotonic
        self._queue: dict[str, _PendingUpload] = {}
        self._known: OrderedDict[str, tuple[float, UploadedIndicator]] = OrderedDict()
        self._doubtful: set[str] = set()
        """Addresses of uploads on their way, and of those of which nobody knows if they arrived."""
        self._one_flush = asyncio.Lock()
        self._held_back: tuple[float, SinkHeldBack] | None = None
        self._unwell = False

    def __len__(self) -> int:
        """Return how many addresses wait for the next flush."""
        return len(self._queue)

    # --- addresses ---

    def record_verdict(
        self,
        address: str,
        reputation: Reputation,
        address_class: AddressClass,
        false_positive: bool,
        intel: Intel,
        expires: float,
        time: float,
        *,
        tlps: Collection[str] = (),
    ) -> None:
        """Take note of what was decided of an address; cheap, may be called again and again.

        *expires* is when the verdict ends, *time* when it was decided, by the ledger's clock.
        *tlps* are markings of what it rests on, besides the one of *intel*'s own indicator.
        """
        if not self._settings.upload_malicious:
            return
        bad = reputation is Reputation.MALICIOUS and not false_positive
        told = bad and address_class is not AddressClass.RELAY
        if told and any(map(for_readers_only, (intel.indicator.get("tlp"), *tlps))):
            self.counts["marked"] += 1
            told = False
        until = min(expires, self._clock.now() + self._settings.valid_for) if told else None
        self._note(address, _PendingUpload(intel, time, until))

    def _note(self, address: str, wanted: _PendingUpload) -> None:
        known = self._remembered(address)
        if known is not None and self._kind(address, wanted, known) is None:
            self._let_go(address)
            return
        if address not in self._queue and len(self._queue) >= self._most_queued:
            self.counts["dropped"] += 1
            return
        self._queue[address] = wanted

    def _kind(self, address: str, wanted: _PendingUpload, known: UploadedIndicator) -> str | None:
        """Tell what is to be done: nothing where Sentinel says already what it should."""
        now = self._clock.now()
        doubtful = address in self._doubtful
        live = known.until > now
        if wanted.until is None:
            return "withdrawn" if live or doubtful else None
        left, wished = known.until - now, wanted.until - now
        if wished <= 0:
            return None
        if not live or doubtful:
            return "uploaded"
        old = now - known.time > RENEW_RECORD_SECONDS and wished > left
        return "renewed" if old or left < wished / 2 else None

    def _let_go(self, address: str) -> None:
        self._queue.pop(address, None)
        self._doubtful.discard(address)

    async def flush(self) -> None:
        """Upload what changed since the last time. To be called every few seconds.

        When the service takes nothing it is left alone for a while; the queue stays, and so it
        does when LedgerFailed is raised.
        """
        async with self._one_flush:
            await self._look_up()
            if self._resting() is not None:
                return
            changes = self._changes()
            if not changes and self._unwell:
                self._well()
            try:
                for start in range(0, len(changes), UPLOAD_BATCH):
                    await self._apply(changes[start : start + UPLOAD_BATCH])
            except SinkHeldBack as error:
                self._rest(error)
                self._unwell = True

    async def _look_up(self) -> None:
        """Make known what the ledger has on queued addresses; let those go that need nothing."""
        unknown = [one for one in self._queue if self._remembered(one) is None]
        for start in range(0, len(unknown), READ_BATCH):
            part = unknown[start : start + READ_BATCH]
            found = await self._ledger.get_history([UPLOADED_KEY_PREFIX + one for one in part])
            for address in part:
                key = UPLOADED_KEY_PREFIX + address
                shared = _decoded(key, found[key]) if key in found else NEVER_UPLOADED
                self._remember(address, shared)
                wanted = self._queue.get(address)
                if wanted is not None and self._kind(address, wanted, shared) is None:
                    self._let_go(address)

    def _changes(self) -> list[_Change]:
        changes = []
        for address, wanted in list(self._queue.items()):
            known = self._remembered(address)
            if known is None:
                continue  # too many for our memory: the next flush looks it up again
            what = self._kind(address, wanted, known)
            if what is None:
                self._let_go(address)
            else:
                changes.append(self._change(address, wanted, what, known))
        return changes

    def _change(
        self, address: str, wanted: _PendingUpload, what: str, known: UploadedIndicator
    ) -> _Change:
        now = self._clock.now()
        until = now if wanted.until is None else wanted.until
        first = min(known.first, now)
        told = malicious_indicator(
            address,
            wanted.intel,
            source=self._settings.source,
            now=now,
            valid_until=until,
            first=first,
        )
        decided = max(wanted.time, math.nextafter(known.time, math.inf))
        return _Change(
            address, wanted, what, told, UploadedIndicator(decided, wanted.until or 0.0, first)
        )

    async def _apply(self, changes: Sequence[_Change]) -> None:
        """Upload changes, and note those that arrived."""
        self._doubtful.update(one.address for one in changes)
        refused = await self._send([one.told for one in changes])
        arrived = [one for one in changes if one.told["id"] not in refused]
        entries = {
            UPLOADED_KEY_PREFIX + one.address: msgspec.msgpack.encode(one.shared) for one in arrived
        }
        if entries:
            await self._ledger.put_history(entries, merged)
        for one in arrived:
            self._remember(one.address, one.shared)
            self.counts[one.what] += 1
        for one in changes:
            self._doubtful.discard(one.address)
            if self._queue.get(one.address) is one.wanted:  # else it was judged anew meanwhile
                del self._queue[one.address]

    # --- feeds ---

    async def feed_changes(
        self, feed: str, changed: Sequence[Indicator], before: Mapping[str, Indicator] | None = None
    ) -> None:
        """Pass on what changed in a feed, in order; when this returns, Sentinel has it.

        SinkHeldBack when it has not: then all of *changed* may be handed over again. *before* has,
        by id, the versions that were handed over last, as far as they are known. By them what was
        revoked without saying what it was is withdrawn too, and so are surplus parts of one that
        has shrunk, and what ended early or was marked as not to be passed on.

        What has no end is valid for the time of the settings, and has to be handed over again
        before half of it is over.
        """
        resting = self._resting()
        if resting is not None:
            raise resting
        last: dict[str, Indicator] = {}
        by_id: dict[str, StixObject] = {}
        for one in changed:
            known = last.get(one.id) or (before or {}).get(one.id)
            by_id |= {told["id"]: told for told in self._fed(feed, one, known)}
            last[one.id] = one
        objects = list(by_id.values())
        try:
            for start in range(0, len(objects), UPLOAD_BATCH):
                await self._send(objects[start : start + UPLOAD_BATCH])
        except SinkHeldBack as error:
            self._rest(error)
            raise

    def _fed(self, feed: str, one: Indicator, before: Indicator | None) -> Iterable[StixObject]:
        """Return the objects by which Sentinel comes to know of one change."""
        now, valid = self._clock.now(), self._settings.valid_for
        why = "feed withdrawn" if one.withdrawn else self._why_not(one)
        told: list[StixObject] = []
        if why is None:
            told = feed_indicators(feed, one, now=now, valid=valid)
        elif one.withdrawn and one.keys:
            told = feed_indicators(feed, one, now=now, valid=valid, withdrawn=True)
        elif one.withdrawn and before is None:
            why = "nameless"
        self.counts[why or "fed"] += 1
        if before is None or before.withdrawn or self._why_not(before) is not None:
            return told
        ended = feed_indicators(feed, before, now=now, valid=valid, withdrawn=True)
        return [*told, *ended[len(told) :]]

    def _why_not(self, one: Indicator) -> str | None:
        """Tell why an indicator is not passed on: rules match on whatever lies in Sentinel."""
        if for_readers_only(one.tlp):
            return "marked"
        if one.valid_until is not None and one.valid_until <= self._clock.now():
            return "expired"
        return "benign" if reputation_of(one) is Reputation.BENIGN else None

    # --- both ---

    async def _send(self, objects: Sequence[StixObject]) -> set[str]:
        """Upload; return the ids of what was refused for good, which is counted and let go."""
        refused = await self._uploader.send(objects)
        self._well()
        if refused:
            self.counts["refused"] += len(refused)
            log.warning("indicators refused by Sentinel", indicators=len(refused))
            log.debug("first refused indicator", id=refused[0][0]["id"], why=refused[0][1])
        return {one["id"] for one, _ in refused}

    def _rest(self, error: SinkHeldBack) -> None:
        pause = (
            HELD_BACK_PAUSE_SECONDS
            if error.retry_after is None
            else max(HELD_BACK_PAUSE_SECONDS, error.retry_after)
        )
        self._held_back = self._monotonic() + pause, error
        if self._health is not None:
            self._health.report(Problem.INDICATORS_HELD_BACK, f"{error}; {error.remedy}")

    def _well(self) -> None:
        self._held_back, self._unwell = None, False
        if self._health is not None:
            self._health.resolve(Problem.INDICATORS_HELD_BACK)

    def _resting(self) -> SinkHeldBack | None:
        """Return why nothing is tried now, and for how long."""
        if self._held_back is None:
            return None
        until, error = self._held_back
        left = until - self._monotonic()
        return SinkHeldBack(str(error), remedy=error.remedy, retry_after=left) if left > 0 else None

    def _remembered(self, address: str) -> UploadedIndicator | None:
        """Return what is known of an address, None if the ledger has to be asked."""
        read, shared = self._known.get(address, (-math.inf, NEVER_UPLOADED))
        limit = REMEMBERED_LIVE_SECONDS if shared.until > self._clock.now() else REMEMBERED_SECONDS
        return shared if self._monotonic() - read < limit else None

    def _remember(self, address: str, shared: UploadedIndicator) -> None:
        self._known[address] = self._monotonic(), shared
        self._known.move_to_end(address)
        if len(self._known) > self._most_remembered:
            self._known.popitem(last=False)
