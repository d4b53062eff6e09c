"""Uploads malicious addresses and selected feeds to Sentinel's threat intelligence.

Uploads are recorded in the ledger's history. So no upload is repeated after a restart or by another
instance, and any instance can withdraw it. Nothing waits for an upload; a failed one is retried.
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

from producers.sentinel.uploaded_indicator import (
    NEVER_UPLOADED,
    UploadedIndicator,
    decoded_upload,
    merged,
)
from schemas.errors import SinkHeldBack
from schemas.health import Problem
from schemas.intel.indicators import reputation_of
from schemas.intel.stix_export import feed_indicators, for_readers_only, malicious_indicator
from schemas.intel.verdicts import AddressClass, Intel, Reputation
from schemas.ledger_ports import Entries, EntrySpace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from schemas.health import HealthReporter
    from schemas.intel.indicators import Indicator
    from schemas.intel.merge import MergedVerdict
    from schemas.intel.stix_export import StixObject
    from schemas.ports import Clock

log = structlog.get_logger()

MAX_QUEUED_UPLOADS = 50_000
MAX_REMEMBERED_UPLOADS = 100_000
"""Maximum addresses whose upload record is cached in memory."""
REMEMBERED_SECONDS = 3_600.0
"""Lifetime of a cached record: another instance may have uploaded since."""
REMEMBERED_LIVE_SECONDS = 300.0
"""The same for a record of a valid upload: it may have been withdrawn since."""
UPLOAD_BATCH = 100
"""Objects per request and per update of the ledger."""
READ_BATCH = 500
HELD_BACK_PAUSE_SECONDS = 30.0
"""Minimum pause after the service has accepted nothing."""
RENEW_RECORD_SECONDS = 30 * 86_400.0
"""Age of an upload that is renewed when a later end is known."""


class Uploader(Protocol):
    """Uploads STIX objects; the last object of an id wins."""

    async def send(self, objects: Sequence[StixObject]) -> list[tuple[StixObject, str]]:
        """Upload; return the permanently rejected objects. SinkHeldBack on timeout."""


@dataclass(frozen=True, slots=True)
class _PendingUpload:
    """The latest decision on an address. ``until`` None means that it must not be uploaded."""

    intel: Intel
    page: tuple[str, str] | None
    time: float
    until: float | None


@dataclass(frozen=True, slots=True)
class _Change:
    """An upload in flight, with the record to store on success."""

    address: str
    wanted: _PendingUpload
    what: str
    indicator: StixObject
    shared: UploadedIndicator


class ExportSettings(Protocol):
    """Settings of the export."""

    @property
    def upload_malicious(self) -> bool:
        """True if malicious addresses are uploaded."""

    @property
    def valid_for(self) -> float:
        """Validity in seconds of an indicator without an end."""

    @property
    def source(self) -> str:
        """Source name shown in Sentinel."""


class IndicatorExport:
    """Uploads, renews and withdraws indicators.

    ``counts`` has, for addresses, ``uploaded``, ``renewed``, ``withdrawn``, ``refused``
    (permanently rejected), ``dropped`` (queue full) and ``marked`` (TLP forbids sharing); for
    feeds, ``fed``, ``feed withdrawn``, ``marked``, ``benign``, ``expired`` and ``nameless``
    (withdrawn without a known pattern).
    """

    def __init__(
        self,
        uploader: Uploader,
        ledger: Entries,
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
        """Addresses of uploads that are in flight or have an unknown result."""
        self._flush_lock = asyncio.Lock()
        self._held_back: tuple[float, SinkHeldBack] | None = None
        self._unwell = False

    def __len__(self) -> int:
        """Return the number of addresses queued for the next flush."""
        return len(self._queue)

    # --- addresses ---

    def record_verdict(
        self, address: str, merged: MergedVerdict, time: float, *, tlps: Collection[str] = ()
    ) -> None:
        """Record the verdict on an address. Cheap enough to call repeatedly.

        *time* is the time of the decision, by the ledger's clock. *tlps* are markings of its
        indicators, in addition to that of the merged one.
        """
        if not self._settings.upload_malicious:
            return
        intel = merged.intel
        bad = merged.reputation is Reputation.MALICIOUS and not merged.false_positive
        shared = bad and merged.address_class is not AddressClass.RELAY
        if shared and any(map(for_readers_only, (intel.indicator.get("tlp"), *tlps))):
            self.counts["marked"] += 1
            shared = False
        end = min(merged.expires, self._clock.now() + self._settings.valid_for)
        self._note(
            address, _PendingUpload(intel, merged.report_page, time, end if shared else None)
        )

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
        """Return the kind of upload, or None if Sentinel is up to date."""
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
        """Upload the changes since the last flush. Call it every few seconds.

        Pauses after the service has accepted nothing. The queue is kept then, and also if
        LedgerFailed is raised.
        """
        async with self._flush_lock:
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
        """Load the ledger's records of queued addresses; drop those without a change."""
        unknown = [address for address in self._queue if self._remembered(address) is None]
        for start in range(0, len(unknown), READ_BATCH):
            batch = unknown[start : start + READ_BATCH]
            found = await self._ledger.get_entries(EntrySpace.UPLOADS, batch)
            for address in batch:
                shared = (
                    decoded_upload(address, found[address]) if address in found else NEVER_UPLOADED
                )
                self._remember(address, shared)
                wanted = self._queue.get(address)
                if wanted is not None and self._kind(address, wanted, shared) is None:
                    self._let_go(address)

    def _changes(self) -> list[_Change]:
        changes = []
        for address, wanted in list(self._queue.items()):
            known = self._remembered(address)
            if known is None:
                continue  # evicted from the cache: the next flush loads it again
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
        indicator = malicious_indicator(
            address,
            wanted.intel,
            wanted.page,
            source=self._settings.source,
            now=now,
            valid_until=until,
            first=first,
        )
        decided = max(wanted.time, math.nextafter(known.time, math.inf))
        return _Change(
            address, wanted, what, indicator, UploadedIndicator(decided, wanted.until or 0.0, first)
        )

    async def _apply(self, changes: Sequence[_Change]) -> None:
        """Upload changes, and record the accepted ones."""
        self._doubtful.update(change.address for change in changes)
        refused = await self._send([change.indicator for change in changes])
        accepted = [change for change in changes if change.indicator["id"] not in refused]
        entries = {change.address: msgspec.msgpack.encode(change.shared) for change in accepted}
        if entries:
            await self._ledger.put_entries(EntrySpace.UPLOADS, entries, merged)
        for change in accepted:
            self._remember(change.address, change.shared)
            self.counts[change.what] += 1
        for change in changes:
            self._doubtful.discard(change.address)
            if self._queue.get(change.address) is change.wanted:  # else there is a newer verdict
                del self._queue[change.address]

    # --- feeds ---

    async def feed_changes(
        self, feed: str, changed: Sequence[Indicator], before: Mapping[str, Indicator] | None = None
    ) -> None:
        """Upload the changes of a feed, in order. Sentinel has accepted them when this returns.

        Raises SinkHeldBack otherwise; then repeat the call with all of *changed*. *before* maps
        ids to the versions uploaded last, as far as known. They serve to withdraw indicators
        revoked without a pattern, surplus parts of an indicator that has shrunk, and indicators
        that expired early or that a new TLP marking forbids to share.

        An indicator without an end is valid for the time in the settings. Upload it again before
        half of that time has passed.
        """
        resting = self._resting()
        if resting is not None:
            raise resting
        last: dict[str, Indicator] = {}
        by_id: dict[str, StixObject] = {}
        for indicator in changed:
            known = last.get(indicator.id) or (before or {}).get(indicator.id)
            by_id |= {made["id"]: made for made in self._fed(feed, indicator, known)}
            last[indicator.id] = indicator
        objects = list(by_id.values())
        try:
            for start in range(0, len(objects), UPLOAD_BATCH):
                await self._send(objects[start : start + UPLOAD_BATCH])
        except SinkHeldBack as error:
            self._rest(error)
            raise

    def _fed(self, feed: str, entry: Indicator, before: Indicator | None) -> Iterable[StixObject]:
        """Return the STIX objects for a change of an indicator."""
        now, valid = self._clock.now(), self._settings.valid_for
        why = "feed withdrawn" if entry.withdrawn else self._why_not(entry)
        result: list[StixObject] = []
        if why is None:
            result = feed_indicators(feed, entry, now=now, valid=valid)
        elif entry.withdrawn and entry.keys:
            result = feed_indicators(feed, entry, now=now, valid=valid, withdrawn=True)
        elif entry.withdrawn and before is None:
            why = "nameless"
        self.counts[why or "fed"] += 1
        if before is None or before.withdrawn or self._why_not(before) is not None:
            return result
        ended = feed_indicators(feed, before, now=now, valid=valid, withdrawn=True)
        return [*result, *ended[len(result) :]]

    def _why_not(self, entry: Indicator) -> str | None:
        """Return why an indicator is not shared, or None: Sentinel's rules match on any upload."""
        if for_readers_only(entry.tlp):
            return "marked"
        if entry.valid_until is not None and entry.valid_until <= self._clock.now():
            return "expired"
        return "benign" if reputation_of(entry) is Reputation.BENIGN else None

    # --- both ---

    async def _send(self, objects: Sequence[StixObject]) -> set[str]:
        """Upload; count and return the ids of permanently rejected objects."""
        refused = await self._uploader.send(objects)
        self._well()
        if refused:
            self.counts["refused"] += len(refused)
            log.warning("indicators rejected by Sentinel", indicators=len(refused))
            log.debug("first rejected indicator", id=refused[0][0]["id"], why=refused[0][1])
        return {rejected["id"] for rejected, _ in refused}

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
        """Return the error that pauses uploads, with the remaining time; None if not paused."""
        if self._held_back is None:
            return None
        until, error = self._held_back
        left = until - self._monotonic()
        return SinkHeldBack(str(error), remedy=error.remedy, retry_after=left) if left > 0 else None

    def _remembered(self, address: str) -> UploadedIndicator | None:
        """Return the cached record of an address, or None if it must be loaded."""
        read, shared = self._known.get(address, (-math.inf, NEVER_UPLOADED))
        limit = REMEMBERED_LIVE_SECONDS if shared.until > self._clock.now() else REMEMBERED_SECONDS
        return shared if self._monotonic() - read < limit else None

    def _remember(self, address: str, shared: UploadedIndicator) -> None:
        self._known[address] = self._monotonic(), shared
        self._known.move_to_end(address)
        if len(self._known) > self._most_remembered:
            self._known.popitem(last=False)
