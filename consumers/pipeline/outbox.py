"""Outbox: batches findings into uploads, delivers them once, quarantines rejected findings."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from schemas.errors import SinkHeldBack
from schemas.health import Problem
from schemas.ports import QuarantineItem
from schemas.rows.columns import row_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from consumers.pipeline.batch import BatchTracker
    from schemas.health import HealthReporter
    from schemas.ports import Quarantine, Sink
    from schemas.rows.findings import FindingRow

REFUSED_PROBLEM_SECONDS = 3_600.0
"""Seconds for which a permanently rejected finding is reported as a problem."""
UPLOAD_BATCH = 1_000
"""Rows that justify an upload."""
OUTBOX_LINGER_SECONDS = 0.25
"""Seconds for which findings are gathered before an upload."""


class Outbox:
    """Keeps findings until the sink has accepted them."""

    def __init__(
        self,
        sink: Sink,
        quarantine: Quarantine,
        *,
        delivered: Callable[[float], None] | None = None,
        health: HealthReporter | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """*delivered* receives the seconds from a message's arrival to its accepted finding.

        *health* receives a problem if findings are permanently rejected.
        """
        self.accepted: Counter[str] = Counter()
        """Accepted findings by severity."""
        self.refused = 0
        self._sink = sink
        self._quarantine = quarantine
        self._delivered = delivered
        self._health = health
        self._refused_at = 0.0
        self._now = now
        self._rows: list[tuple[FindingRow, float | None]] = []
        self._trackers: deque[tuple[int, BatchTracker]] = deque()
        self._added = 0
        self._completed = 0
        self._sending = asyncio.Lock()
        self._failure: SinkHeldBack | None = None
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        """Return the number of findings that wait for the sink."""
        return len(self._rows)

    async def add(
        self,
        rows: Sequence[FindingRow],
        *,
        enqueued: Sequence[float | None] = (),
        trackers: Iterable[BatchTracker] = (),
    ) -> None:
        """Add findings; wait for the sink if many are queued.

        *enqueued* is the arrival time of each message. *trackers* stay outstanding until all rows
        so far are accepted or quarantined, also without *rows*: a repeat's finding is among them.
        """
        if rows:
            self._rows.extend(zip(rows, enqueued or [None] * len(rows), strict=True))
            self._added += len(rows)
            self._filled.set()
        if self._completed < self._added:
            for tracker in trackers:
                tracker.add()
                self._trackers.append((self._added, tracker))
        await self.flush_if_due()

    async def send_lingering(self) -> None:
        """Send findings soon after they were added, until cancelled."""
        while True:
            await self._filled.wait()
            await asyncio.sleep(OUTBOX_LINGER_SECONDS)
            self._filled.clear()
            await self.flush()

    async def flush_if_due(self) -> None:
        """Send if the rows justify an upload."""
        if len(self._rows) >= UPLOAD_BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Send all findings added so far; return when they are accepted or quarantined.

        Raises SinkHeldBack if the sink stops retrying; the findings stay queued.
        """
        wanted = self._added
        async with self._sending:
            while self._completed < wanted:
                if self._failure is not None:
                    raise self._failure
                rows = self._rows[:UPLOAD_BATCH]
                try:
                    await self._send([row for row, _ in rows])
                except SinkHeldBack as error:
                    self._failure = error
                    raise
                self._complete(rows)

    def _complete(self, rows: Sequence[tuple[FindingRow, float | None]]) -> None:
        del self._rows[: len(rows)]
        self._completed += len(rows)
        while self._trackers and self._trackers[0][0] <= self._completed:
            self._trackers.popleft()[1].done()
        if self._delivered is not None:
            now = self._now()
            for _, enqueued in rows:
                if enqueued is not None:
                    self._delivered(max(0.0, now - enqueued))

    async def _send(self, rows: Sequence[FindingRow]) -> None:
        invalid = [(row, reason) for row in rows if (reason := _row_problem(row)) is not None]
        invalid_ids = {id(row) for row, _ in invalid}
        valid = [row for row in rows if id(row) not in invalid_ids]
        refused = (await self._sink.send(valid) if valid else []) + invalid
        if refused:
            await self._set_aside(refused)
        refused_ids = {id(row) for row, _ in refused}
        self.accepted.update(row["Severity"] for row in valid if id(row) not in refused_ids)
        self.refused += len(refused)
        self._report_refused(refused)

    def _report_refused(self, refused: Sequence[tuple[FindingRow, str]]) -> None:
        if self._health is None:
            return
        if refused:
            self._refused_at = self._now()
            self._health.report(
                Problem.FINDINGS_REFUSED,
                f"{self.refused:,} findings were permanently rejected and are in quarantine; the "
                f"last reason: {refused[-1][1]}. See 'signinwatch quarantine list'",
            )
        elif self._now() - self._refused_at > REFUSED_PROBLEM_SECONDS:
            self._health.resolve(Problem.FINDINGS_REFUSED)

    async def _set_aside(self, refused: Sequence[tuple[FindingRow, str]]) -> None:
        timestamp = datetime.now(UTC)
        await self._quarantine.put(
            [
                QuarantineItem(
                    "finding",
                    reason,
                    str(row.get("FindingId")),
                    _serialized(row),
                    timestamp,
                )
                for row, reason in refused
            ]
        )


def _row_problem(row: FindingRow) -> str | None:
    """Return why a row cannot be sent, or None. Never raises, whatever the row holds."""
    try:
        reason = row_error(row)
        orjson.dumps(row)
    except (TypeError, ValueError, AttributeError) as error:
        return f"cannot be serialized: {type(error).__name__}"
    return reason


def _serialized(row: FindingRow) -> bytes:
    try:
        return orjson.dumps(row, default=str)
    except TypeError:  # a lone surrogate, or an integer beyond 64 bits
        return json.dumps(row, default=str).encode()
