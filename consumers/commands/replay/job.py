"""Runs files through the pipeline, as ``replay`` and ``demo`` do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consumers.commands.replay.notes import advice
from schemas.errors import ConfigurationError, RecordingRefused, RecordingUnreadable
from schemas.ports import Message, Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.settings import Settings
    from consumers.wiring.replay import ReplayPipeline, StateFolder
    from schemas.ports import Sink

Progress = Callable[[int, "ReplayPipeline | None"], None]
"""Gets the number of bytes whose sign-ins were judged, and the pipeline."""
MAX_BATCH_MESSAGES = 256
MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Limits of a batch that the pipeline processes at once."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay, and by which clock and quota."""

    files: Sequence[str]
    clock: str = "event"
    quota: int | None = None
    spend: bool = False
    origin: str = "replay"
    table: str | None = None
    """The table of records that do not name theirs."""
    late_origin: str = "late"
    """Origin of findings on sign-ins that waited: "replay" where rules would alert on "late"."""


@dataclass(slots=True)
class ReplayResult:
    """Summary and notes of a replay."""

    summary: dict[str, Any]
    severities: dict[str, int]
    notes: list[str]


async def replay(
    settings: Settings,
    options: ReplayOptions,
    folder: StateFolder,
    new_sink: Callable[[], Sink],
    progress: Progress,
) -> ReplayResult:
    """Run files through the pipeline and return the summary and notes.

    *progress* gets the number of bytes judged. Raise ConfigurationError for invalid settings or
    files that cannot be opened.
    """
    from consumers.inputs.recording import require_recording
    from consumers.wiring.replay import open_chain

    quota = settings.crowdsec.monthly_quota if options.quota is None else options.quota
    refuse_to_spend_unasked(settings, options.clock, quota, spend=options.spend)
    for name in options.files:
        require_recording(name)
    started = time.monotonic()
    async with open_chain(
        settings,
        folder,
        new_sink,
        clock_kind=options.clock,
        quota=quota,
        origin=options.origin,
        late_origin=options.late_origin,
    ) as running:
        notes = running.notes
        refused = []
        for name in options.files:
            try:
                await _replay_file(name, options.table, running, progress, notes)
            except RecordingRefused as error:
                refused.append(error)
        if refused and not running.pipeline.counts.messages:
            raise refused[0]
        notes += [f"{error}." for error in refused]
        await running.pipeline.drain(spend_remaining=await _nothing_follows(running, folder))
        size = await running.ledger.size()
        notes += advice(running, size.waiting, quota)
        summary = summarise(running, time.monotonic() - started)
        return ReplayResult(summary, dict(running.outbox.accepted), notes)


async def _nothing_follows(running: ReplayPipeline, folder: StateFolder) -> bool:
    """Return True if the remaining budget may be spent at the end of the input.

    True only if the budget covers half a day or less, which is too short to estimate demand, and
    either the state is temporary or the remaining lookups cover all waiting IP addresses.
    """
    if running.lookups is None or not await running.lookups.paid_lookup.budget.is_new():
        return False
    waiting = (await running.ledger.size()).waiting_addresses
    return folder.temporary or waiting <= await running.lookups.paid_lookup.budget.remaining()


def refuse_to_spend_unasked(settings: Settings, clock: str, quota: int, *, spend: bool) -> None:
    """Raise ConfigurationError if the event clock would spend real lookups without *spend*."""
    from consumers.settings.urls import is_loopback

    crowdsec = settings.crowdsec
    would_look_up = crowdsec.api_key is not None and quota > 0 and not is_loopback(crowdsec.url)
    if clock == "event" and would_look_up and not spend:
        raise ConfigurationError(
            "--spend: with the event clock this would spend real lookups of CROWDSEC__API_KEY; "
            "use --spend to allow it, or --quota 0 for no lookups"
        )


class _BytesRead:
    """Counts the bytes that were read and not yet judged."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, count: int) -> None:
        """Count bytes that were read."""
        self._count += count

    def take(self) -> int:
        """Return the count, and begin anew."""
        count, self._count = self._count, 0
        return count


async def _replay_file(
    name: str, table: str | None, running: ReplayPipeline, progress: Progress, notes: list[str]
) -> None:
    from consumers.inputs.recording import read_recording
    from schemas.events.decode import Reject

    batch: list[Message] = []
    size = last = 0
    read = _BytesRead()
    try:
        for message in read_recording(name, read.add, table):
            batch.append(message)
            size += len(message.body)
            last = message.position.number
            if len(batch) >= MAX_BATCH_MESSAGES or size >= MAX_BATCH_BYTES:
                await running.pipeline.process(batch)
                progress(read.take(), running)
                batch, size = [], 0
    except RecordingUnreadable as error:
        await running.pipeline.process(batch)
        batch = []
        await running.pipeline.reject(Position(name, last + 1), Reject(str(error), b""))
        notes.append(f"{error}; messages before it were replayed.")
    await running.pipeline.process(batch)
    progress(read.take(), running)
    if not last:
        notes.append(f"{name} is empty.")


def real_lookups(running: ReplayPipeline) -> tuple[int, int]:
    """Return the lookups and requests that were really made, without what was paid for before."""
    from consumers.sources.paid_answers import KeepingSource

    if running.lookups is None:
        return 0, 0
    counts, source = running.lookups.counts, running.lookups.paid_lookup.source
    kept = (source.answered, source.unasked) if isinstance(source, KeepingSource) else (0, 0)
    return counts.lookups - kept[0], counts.requests - kept[1]


def summarise(running: ReplayPipeline, seconds: float) -> dict[str, Any]:
    """Return the summary: the counts that the contract names, and further counts."""
    counts = running.pipeline.counts
    lookups, requests = real_lookups(running)
    return {
        "messages": counts.messages,
        "records": counts.records,
        "rejected": counts.rejected,
        "skipped": counts.skipped.total(),
        "signins": counts.signins,
        "distinct_ips": len(counts.addresses),
        "cache_hits": counts.cache_hits,
        "lookups": lookups,
        "requests": requests,
        "findings": running.outbox.accepted.total(),
        "unanswered": counts.unanswered,
        "seconds": round(seconds, 3),
        "own_network": counts.own_network,
        "without_time": counts.without_time,
        "findings_refused": running.outbox.refused,
        "skipped_by_reason": dict(counts.skipped.most_common()),
        "findings_by_severity": dict(running.outbox.accepted),
    }
