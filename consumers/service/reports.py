"""Verdict rows when verdicts change, and health rows every few minutes.

Delivery is best effort and blocks nothing: rows that cannot be delivered in time are dropped and
counted.
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
"""Verdict rows in the queue."""
MAX_REMEMBERED_ADDRESSES = 100_000
"""IP addresses whose last reported row is remembered."""


_Fingerprint = tuple[str, str, str, str]
"""Verdict, reason, score and class of network."""


def _unanswered_fingerprint(answer: Unanswered) -> _Fingerprint:
    return "unanswered", answer.why.value, "None", "unknown"


class Reports:
    """Builds and sends the rows of the verdicts and health tables."""

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
        """The last reported row by IP address, and when it expires."""
        self._queue: list[dict[str, Any]] = []

    def record_verdicts(
        self,
        answers: Mapping[str, Answer],
        local: Mapping[str, Sequence[Verdict]] | None = None,
    ) -> None:
        """Queue a row for each IP address whose verdict changed, or was renewed after it expired.

        *local* are the verdicts of local sources, on the same IP addresses or others.
        """
        stamp = iso(datetime.now(UTC))
        local = local or {}
        for address in dict.fromkeys((*answers, *local)):
            answer, verdicts = answers.get(address), local.get(address, ())
            before, until = self._last.get(address, (None, None))
            if (
                isinstance(answer, Unanswered)
                and not verdicts
                and before == _unanswered_fingerprint(answer)
            ):
                continue
            row = verdict_row(address, answer, local=verdicts)
            current = (row["Verdict"], row["Reason"], str(row["Score"]), row["AddressClass"])
            renewed = until is not None and until <= stamp and row["ExpiresTime"] != until
            if before == current and not renewed:
                continue
            self._last[address] = current, row["ExpiresTime"]
            self._last.move_to_end(address)
            if len(self._last) > MAX_REMEMBERED_ADDRESSES:
                self._last.popitem(last=False)
            self._queue.append({"TimeGenerated": stamp, **row})
        over = len(self._queue) - MAX_QUEUED_VERDICTS
        if over > 0:
            del self._queue[:over]
            self.dropped += over

    def filter_reported(self, keys: Collection[str]) -> list[str]:
        """Return the reported IP addresses that *keys* (IP addresses and networks) match."""
        index = AddressIndex()
        for key in keys:
            index.add(key)
        return index.matching(list(self._last))

    async def send_verdicts(self) -> None:
        """Send the queued verdict rows."""
        rows, self._queue = self._queue, []
        await self._send(self._verdicts, rows, VERDICTS_TABLE)

    async def send_health(self) -> None:
        """Send all metrics and open problems as health rows."""
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
        """Close the sinks."""
        await self._verdicts.close()
        await self._health_rows.close()
