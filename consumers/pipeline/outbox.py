"""Findings on their way to the sink: gathered into uploads, accepted once, refused set aside."""

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
"""Seconds for which a finding refused for good is told as a trouble."""
UPLOAD_BATCH = 1_000
"""Rows that make an upload worth its while."""


class Outbox:
    """Holds findings until the sink has accepted them."""

    def __init__(
        self,
        sink: Sink,
        quarantine: Quarantine,
        *,
        delivered: Callable[[float], None] | None = None,
        health: HealthReporter | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """*delivered* is told the seconds from a message's arrival to its accepted finding.

        *health* is told of findings that are refused for good.
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
        self._tickets: deque[tuple[int, BatchTracker]] = deque()
        self._added = 0
        self._done = 0
        self._sending = asyncio.Lock()
        self._given_up: SinkHeldBack | None = None

    def __len__(self) -> int:
        """Return how many findings wait for the sink."""
        return len(self._rows)

    async def add(
        self,
        rows: Sequence[FindingRow],
        *,
        enqueued: Sequence[float | None] = (),
        tickets: Iterable[BatchTracker] = (),
    ) -> None:
        """Take findings; waits for the sink when many have gathered.

        *enqueued* tells when the message of each arrived. *tickets* are held until all rows that
        were added up to now are accepted or set aside; also without *rows*, for a sign-in that
        comes twice has its finding among those of before.
        """
        if rows:
            self._rows.extend(zip(rows, enqueued or [None] * len(rows), strict=True))
            self._added += len(rows)
        if self._done < self._added:
            for ticket in tickets:
                ticket.add()
                self._tickets.append((self._added, ticket))
        await self.flush_if_due()

    async def flush_if_due(self) -> None:
        """Send when an upload is worth its while."""
        if len(self._rows) >= UPLOAD_BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Return when all findings that were added before are accepted or set aside.

        SinkHeldBack when the sink gives up waiting; the findings stay here.
        """
        wanted = self._added
        async with self._sending:
            while self._done < wanted:
                if self._given_up is not None:
                    raise self._given_up
                rows = self._rows[:UPLOAD_BATCH]
                try:
                    await self._send([row for row, _ in rows])
                except SinkHeldBack as error:
                    self._given_up = error
                    raise
                self._settle(rows)

    def _settle(self, rows: Sequence[tuple[FindingRow, float | None]]) -> None:
        del self._rows[: len(rows)]
        self._done += len(rows)
        while self._tickets and self._tickets[0][0] <= self._done:
            self._tickets.popleft()[1].done()
        if self._delivered is not None:
            now = self._now()
            for _, enqueued in rows:
                if enqueued is not None:
                    self._delivered(max(0.0, now - enqueued))

    async def _send(self, rows: Sequence[FindingRow]) -> None:
        wrong = [(row, reason) for row in rows if (reason := _wrong_with(row)) is not None]
        bad = {id(row) for row, _ in wrong}
        fit = [row for row in rows if id(row) not in bad]
        refused = (await self._sink.send(fit) if fit else []) + wrong
        if refused:
            await self._set_aside(refused)
        lost = {id(row) for row, _ in refused}
        self.accepted.update(row["Severity"] for row in fit if id(row) not in lost)
        self.refused += len(refused)
        self._tell_refused(refused)

    def _tell_refused(self, refused: Sequence[tuple[FindingRow, str]]) -> None:
        if self._health is None:
            return
        if refused:
            self._refused_at = self._now()
            self._health.report(
                Problem.FINDINGS_REFUSED,
                f"{self.refused:,} findings were refused for good and are in quarantine, the last "
                f"as: {refused[-1][1]}; see 'signinwatch quarantine list'",
            )
        elif self._now() - self._refused_at > REFUSED_PROBLEM_SECONDS:
            self._health.resolve(Problem.FINDINGS_REFUSED)

    async def _set_aside(self, refused: Sequence[tuple[FindingRow, str]]) -> None:
        moment = datetime.now(UTC)
        await self._quarantine.put(
            [
                QuarantineItem(
                    "finding",
                    reason,
                    str(row.get("FindingId")),
                    _written(row),
                    moment,
                )
                for row, reason in refused
            ]
        )


def _wrong_with(row: FindingRow) -> str | None:
    """Return what makes a row unfit to be sent, or None; nothing that a row holds raises."""
    try:
        reason = row_error(row)
        orjson.dumps(row)
    except (TypeError, ValueError, AttributeError) as error:
        return f"cannot be written: {type(error).__name__}"
    return reason


def _written(row: FindingRow) -> bytes:
    try:
        return orjson.dumps(row, default=str)
    except TypeError:  # half a character, or a number beyond 64 bits
        return json.dumps(row, default=str).encode()
