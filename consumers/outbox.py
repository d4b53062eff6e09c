"""Findings on their way to the sink: gathered into uploads, accepted once, refused set aside."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from schemas.columns import wrong_with
from schemas.errors import SinkHeldBack
from schemas.ports import Quarantined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.findings import Row
    from schemas.ports import Quarantine, Sink

FULL = 1_000
"""Rows that make an upload worth its while."""


class Outbox:
    """Holds findings until the sink has accepted them."""

    def __init__(self, sink: Sink, quarantine: Quarantine) -> None:
        self.accepted: Counter[str] = Counter()
        """Accepted findings by severity."""
        self.refused = 0
        self._sink = sink
        self._quarantine = quarantine
        self._rows: list[Row] = []
        self._sending = asyncio.Lock()
        self._given_up: SinkHeldBack | None = None

    async def add(self, rows: Sequence[Row]) -> None:
        """Take findings; waits for the sink when many have gathered."""
        self._rows.extend(rows)
        await self.flush_if_due()

    async def flush_if_due(self) -> None:
        """Send when an upload is worth its while."""
        if len(self._rows) >= FULL:
            await self.flush()

    async def flush(self) -> None:
        """Return when all findings that were added before are accepted or set aside.

        SinkHeldBack when the sink gives up waiting; the findings stay here.
        """
        async with self._sending:
            while self._rows:
                if self._given_up is not None:
                    raise self._given_up
                rows = self._rows[:FULL]
                try:
                    await self._send(rows)
                except SinkHeldBack as error:
                    self._given_up = error
                    raise
                del self._rows[: len(rows)]

    async def _send(self, rows: Sequence[Row]) -> None:
        wrong = [(row, reason) for row in rows if (reason := wrong_with(row)) is not None]
        bad = {id(row) for row, _ in wrong}
        fit = [row for row in rows if id(row) not in bad]
        refused = (await self._sink.send(fit) if fit else []) + wrong
        if refused:
            await self._set_aside(refused)
        lost = {id(row) for row, _ in refused}
        self.accepted.update(row["Severity"] for row in fit if id(row) not in lost)
        self.refused += len(refused)

    async def _set_aside(self, refused: Sequence[tuple[Row, str]]) -> None:
        time = datetime.now(UTC)
        await self._quarantine.put(
            [
                Quarantined(
                    "finding",
                    reason,
                    str(row.get("FindingId")),
                    orjson.dumps(row, default=str),
                    time,
                )
                for row, reason in refused
            ]
        )
