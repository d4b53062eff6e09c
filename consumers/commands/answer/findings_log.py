"""The findings of a run, kept in a file, each in its best version.

A finding is written again when more is known about it, so that the file holds several versions.
"""

from __future__ import annotations

import heapq
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from schemas.events.outcomes import Outcome
from schemas.rows.policy import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from schemas.ports import Sink
    from schemas.rows.findings import FindingRow


class _Kept(NamedTuple):
    """Where the best version of a finding is."""

    severity: int
    outcome: int
    time: str
    offset: int


class FindingsLog:
    """A sink that keeps what passes the filter, and hands all rows to another sink."""

    def __init__(self, accepts: Callable[[FindingRow], bool]) -> None:
        self._inner: Sink | None = None
        self._accepts = accepts
        self._file = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed by __exit__
        self._end = 0
        self._kept: dict[str, _Kept] = {}

    def before(self, inner: Sink | None) -> FindingsLog:
        """Hand the rows to another sink first; what it refuses is not kept. Return this log."""
        self._inner = inner
        return self

    async def send(self, rows: Sequence[FindingRow]) -> list[tuple[FindingRow, str]]:
        """Keep rows; see :class:`schemas.ports.Sink`."""
        accepted = [row for row in rows if self._accepts(row)]
        refused = await self._inner.send(accepted) if self._inner is not None and accepted else []
        gone = {id(row) for row, _ in refused}
        for row in accepted:
            if id(row) not in gone:
                self._keep(row)
        return refused

    def _keep(self, row: FindingRow) -> None:
        line = orjson.dumps(row) + b"\n"
        self._file.seek(self._end)
        self._file.write(line)
        kept = _Kept(*_rank(row), str(row["EventTime"] or row["TimeGenerated"]), self._end)
        self._end += len(line)
        known = self._kept.get(row["FindingId"])
        if known is None or kept[:2] >= known[:2]:
            self._kept[row["FindingId"]] = kept

    def __len__(self) -> int:
        """Return the number of findings."""
        return len(self._kept)

    def rows(self) -> Iterator[FindingRow]:
        """Yield the best version of each finding, in order of writing."""
        return self._read(sorted(self._kept.values(), key=lambda kept: kept.offset))

    def worst(self, most: int) -> list[FindingRow]:
        """Return the most severe findings, the worst first and the earliest of them first."""
        chosen = heapq.nsmallest(most, self._kept.values(), key=lambda it: (-it.severity, it.time))
        return list(self._read(chosen))

    def _read(self, kept: Sequence[_Kept]) -> Iterator[FindingRow]:
        for place in kept:
            self._file.seek(place.offset)
            row: dict[str, Any] = orjson.loads(self._file.readline())
            yield row

    async def close(self) -> None:
        """Close the other sink; what was kept stays readable."""
        if self._inner is not None:
            await self._inner.close()

    def __enter__(self) -> FindingsLog:
        """Keep findings until the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget what was kept."""
        self._file.close()


def _rank(row: FindingRow) -> tuple[int, int]:
    return Severity(row["Severity"]).rank, Outcome(row["Outcome"]).rank
