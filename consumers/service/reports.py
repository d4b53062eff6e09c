"""Rows on the service itself: verdicts as they change, and its health every few minutes.

They are sent as well as can be, but nothing waits for them: what cannot be delivered in time is
counted and given up.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from schemas.errors import SinkHeldBack
from schemas.events.times import iso
from schemas.intel.address_index import AddressIndex
from schemas.intel.verdicts import Unanswered
from schemas.rows.columns import HEALTH_TABLE, VERDICTS_TABLE, row_error
from schemas.rows.verdicts import verdict_row

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from consumers.service.health import Health
    from consumers.service.metrics import MetricsCollector
    from schemas.intel.verdicts import Answer, Verdict
    from schemas.ports import Sink

MAX_QUEUED_VERDICTS = 20_000
"""Verdict rows that wait to be sent."""
MAX_REMEMBERED_ADDRESSES = 100_000
"""Addresses of which we remember what was told last."""


_Fingerprint = tuple[str, str, str, str]
"""Verdict, reason, score and class of network."""


def _unanswered_row(answer: Unanswered) -> _Fingerprint:
    return "unanswered", answer.why.value, "None", "unknown"


class Reports:
    """Makes the rows of two tables and sends them."""

    def __init__(
        self,
        verdicts: Sink,
        health_rows: Sink,
        metrics: MetricsCollector,
        health: Health,
        *,
        instance: str,
        version: str,
    ) -> None:
        self.dropped = 0
        self._verdicts = verdicts
        self._health_rows = health_rows
        self._metrics = metrics
        self._health = health
        self._instance = instance
        self._version = version
        self._last: OrderedDict[str, tuple[_Fingerprint, str | None]] = OrderedDict()
        """What was told last of addresses, and until when it is believed."""
        self._queue: list[dict[str, Any]] = []

    def record_verdicts(
        self,
        answers: Mapping[str, Answer],
        words: Mapping[str, Sequence[Verdict]] | None = None,
    ) -> None:
        """Queue a row for each address of which something else is told than the last time.

        Or the same, when what was told has ended. *words* are those of free sources, on the same
        addresses or others.
        """
        stamp = iso(datetime.now(UTC))
        words = words or {}
        for address in dict.fromkeys((*answers, *words)):
            answer, free = answers.get(address), words.get(address, ())
            before, until = self._last.get(address, (None, None))
            if isinstance(answer, Unanswered) and not free and before == _unanswered_row(answer):
                continue
            row = verdict_row(address, answer, words=free)
            news = (row["Verdict"], row["Reason"], str(row["Score"]), row["AddressClass"])
            renewed = until is not None and until <= stamp and row["ExpiresTime"] != until
            if before == news and not renewed:
                continue
            self._last[address] = news, row["ExpiresTime"]
            self._last.move_to_end(address)
            if len(self._last) > MAX_REMEMBERED_ADDRESSES:
                self._last.popitem(last=False)
            self._queue.append({"TimeGenerated": stamp, **row})
        over = len(self._queue) - MAX_QUEUED_VERDICTS
        if over > 0:
            del self._queue[:over]
            self.dropped += over

    def filter_reported(self, keys: Collection[str]) -> list[str]:
        """Return the addresses of which something was told, among those that *keys* name."""
        index = AddressIndex()
        for key in keys:
            index.add(key)
        return index.matching(list(self._last))

    async def send_verdicts(self) -> None:
        """Send what is queued."""
        rows, self._queue = self._queue, []
        await self._send(self._verdicts, rows, VERDICTS_TABLE)

    async def send_health(self) -> None:
        """Measure, and send the measurements."""
        stamp = iso(datetime.now(UTC))
        head = {"TimeGenerated": stamp, "Instance": self._instance, "Version": self._version}
        rows: list[dict[str, Any]] = []
        for sample in self._metrics.samples():
            detail = dict(zip(sample.metric.labels, sample.labels, strict=True)) or None
            rows.append({**head, "Metric": sample.metric.name, "Value": float(sample.value)})
            rows[-1]["Detail"] = detail
        rows.extend(
            {**head, "Metric": "last_error", "Value": 1.0, "Detail": reason}
            for reason in self._health.reasons()
        )
        await self._send(self._health_rows, rows, HEALTH_TABLE)

    async def _send(self, sink: Sink, rows: list[dict[str, Any]], table: str) -> None:
        fit = [row for row in rows if row_error(row, table) is None]
        self.dropped += len(rows) - len(fit)
        if not fit:
            return
        try:
            self.dropped += len(await sink.send(fit))
        except SinkHeldBack:
            self.dropped += len(fit)

    async def close(self) -> None:
        """Let go of the sinks."""
        await self._verdicts.close()
        await self._health_rows.close()
