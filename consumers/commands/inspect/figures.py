"""The figures of an export. Pure, and of bounded size whatever the export holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from schemas.events.times import iso
from schemas.values import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from schemas.events.ranking_signals import Signals
    from schemas.events.sign_in import SignIn

Entry = TypeVar("Entry")
MAX_DISTINCT = 500_000
"""Accounts or addresses that are counted; beyond, the figure says "over"."""
MAX_NAMES = 10_000
"""Distinct countries, networks, tables, reasons or files that are counted by name."""
MAX_TOP = 20
"""Countries and networks that are listed."""
MAX_TEXT = 300
UNKNOWN_TABLE_NAME = "unknown"
OTHERS = "others"


class DistinctCount:
    """Counts distinct texts up to a limit; keeps a hash of each."""

    def __init__(self, limit: int = MAX_DISTINCT) -> None:
        self.over = False
        """Whether there are more than the limit."""
        self._limit = limit
        self._seen: set[int] = set()

    def __len__(self) -> int:
        """Return the number of distinct texts, at most the limit."""
        return len(self._seen)

    def add(self, text: str) -> None:
        """Count a text."""
        key = hash(text)
        if key in self._seen:
            return
        if len(self._seen) < self._limit:
            self._seen.add(key)
        else:
            self.over = True


class NamedCounts:
    """Counts by name, for a limited number of names; what has another name counts as others."""

    def __init__(self, limit: int = MAX_NAMES) -> None:
        self.counts: Counter[str] = Counter()
        self.others = 0
        self._limit = limit

    def add(self, name: str) -> None:
        """Count a name."""
        if name in self.counts or len(self.counts) < self._limit:
            self.counts[name] += 1
        else:
            self.others += 1

    def top(self, most: int) -> list[tuple[str, int]]:
        """Return the most frequent names, and the sum of the others."""
        common = self.counts.most_common(most)
        left = self.counts.total() + self.others - sum(count for _, count in common)
        return [*common, (OTHERS, left)] if left else common


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Where a record is."""

    file: str
    position: str
    """The line or record, in words."""


@dataclass(slots=True)
class Occurrences:
    """How often a reason occurred, and where first."""

    first: RecordPlace
    detail: str
    """What else the first occurrence says."""
    records: int = 0


@dataclass(slots=True)
class TableFigures:
    """The records of a table."""

    records: int = 0
    signins: int = 0
    size: int = 0
    """Bytes of all records."""


@dataclass(slots=True)
class FileFigures:
    """A file, or a file in an archive."""

    name: str
    kinds: list[str] = field(default_factory=list)
    """What it is, the outermost first."""
    records: int = 0
    signins: int = 0
    problem: str = ""
    """Why it cannot be read, or not to its end."""


class ExportFigures:
    """The figures of all files."""

    def __init__(self) -> None:
        self.files: dict[str, FileFigures] = {}
        self.records = self.signins = self.without_time = 0
        self.began: datetime | None = None
        self.ended: datetime | None = None
        self.tables: dict[str, TableFigures] = {}
        self.accounts = DistinctCount()
        self.addresses = DistinctCount()
        self.countries = NamedCounts()
        self.networks = NamedCounts()
        self.outcomes: Counter[str] = Counter()
        self.skipped: dict[str, Occurrences] = {}
        self.unreadable: dict[str, Occurrences] = {}

    @property
    def nothing_recognised(self) -> bool:
        """Return True if there is something, and nothing of it could be recognised."""
        failed = sum(it.records for it in self.unreadable.values())
        return 0 < failed == self.records

    def file(self, name: str) -> FileFigures:
        """Return the figures of a file; beyond a number of files, those of the others."""
        return _entry(self.files, name, lambda key: FileFigures(printable(key, MAX_TEXT)))

    def take_signin(
        self,
        signin: SignIn,
        signals: Signals,
        time: datetime | None,
        size: int,
        place: RecordPlace,
    ) -> None:
        """Count a sign-in that happened at *time* and whose record has *size* bytes."""
        self.signins += 1
        self.file(place.file).signins += 1
        self._take_record(signin.table, size, place).signins += 1
        if time is None:
            self.without_time += 1
        else:
            self.began = time if self.began is None else min(self.began, time)
            self.ended = time if self.ended is None else max(self.ended, time)
        if account := signals.object_id or signals.account:
            self.accounts.add(account)
        for address in signin.addresses:
            self.addresses.add(address)
        if country := signals.country:
            self.countries.add(country.upper() if len(country) == 2 else country)
        if signals.as_number is not None:
            self.networks.add(f"AS{signals.as_number}")
        self.outcomes[signals.outcome.value] += 1

    def take_skip(self, reason: str, table: str | None, size: int, place: RecordPlace) -> None:
        """Count a record that is skipped."""
        self._take_record(table or UNKNOWN_TABLE_NAME, size, place)
        _count(self.skipped, reason, "", place)

    def take_unreadable(self, reason: str, place: RecordPlace) -> None:
        """Count an unreadable record. What follows a colon in *reason* is a detail of this one."""
        self.records += 1
        self.file(place.file).records += 1
        general, _, detail = reason.partition(": ")
        _count(self.unreadable, general, detail, place)

    def take_broken_file(self, problem: str, place: RecordPlace) -> None:
        """Count what cannot be read of a file as one unreadable record."""
        self.file(place.file).problem = printable(problem, MAX_TEXT)
        self.records += 1
        _count(self.unreadable, "the file", problem, place)

    def _take_record(self, table: str, size: int, place: RecordPlace) -> TableFigures:
        self.records += 1
        self.file(place.file).records += 1
        figures = _entry(self.tables, table, lambda _: TableFigures())
        figures.records += 1
        figures.size += size
        return figures


def _entry(entries: dict[str, Entry], name: str, new: Callable[[str], Entry]) -> Entry:
    if name not in entries and len(entries) >= MAX_NAMES:
        name = OTHERS
    if name not in entries:
        entries[name] = new(name)
    return entries[name]


def _count(reasons: dict[str, Occurrences], reason: str, detail: str, place: RecordPlace) -> None:
    shown = RecordPlace(printable(place.file, MAX_TEXT), place.position)
    occurrences = _entry(
        reasons,
        printable(reason, MAX_TEXT),
        lambda _: Occurrences(shown, printable(detail, MAX_TEXT)),
    )
    occurrences.records += 1


def document_of(figures: ExportFigures) -> dict[str, Any]:
    """Return the figures as one JSON object."""
    return {
        "files": [
            {
                "file": it.name,
                "kind": ", ".join(it.kinds) or None,
                "records": it.records,
                "signins": it.signins,
                "problem": it.problem or None,
            }
            for it in figures.files.values()
        ],
        "records": figures.records,
        "signins": figures.signins,
        "first": _iso(figures.began),
        "last": _iso(figures.ended),
        "without_time": figures.without_time,
        "accounts": {"count": len(figures.accounts), "over": figures.accounts.over},
        "addresses": {"count": len(figures.addresses), "over": figures.addresses.over},
        "tables": list(_tables(figures)),
        "countries": _named(figures.countries, "country"),
        "networks": _named(figures.networks, "network"),
        "outcomes": dict(figures.outcomes.most_common()),
        "skipped": list(_reasons(figures.skipped)),
        "unreadable": list(_reasons(figures.unreadable)),
    }


def rows_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the figures as rows of a table: what each is about, and its figures."""
    everything = {name: document[name] for name in ("records", "signins", "first", "last")}
    return [
        _row("all", "", **everything),
        *(
            _row(name, "over" if document[name]["over"] else "", count=document[name]["count"])
            for name in ("accounts", "addresses")
        ),
        *(_row("file", it["file"], **_without(it, "file")) for it in document["files"]),
        *(_row("table", it["table"], **_without(it, "table")) for it in document["tables"]),
        *(_row("country", it["country"], signins=it["signins"]) for it in document["countries"]),
        *(_row("network", it["network"], signins=it["signins"]) for it in document["networks"]),
        *(_row("outcome", name, signins=count) for name, count in document["outcomes"].items()),
        *(
            _row(part, it["reason"], **_without(it, "reason"))
            for part in ("skipped", "unreadable")
            for it in document[part]
        ),
    ]


_COLUMNS = (
    *("figure", "name", "kind", "records", "signins", "average_bytes", "count", "first", "last"),
    *("file", "position", "detail", "problem"),
)


def _row(figure: str, name: str, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(_COLUMNS) | {"figure": figure, "name": name} | values


def _without(item: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != name}


def _tables(figures: ExportFigures) -> Iterator[dict[str, Any]]:
    for name, table in sorted(figures.tables.items(), key=lambda item: -item[1].records):
        yield {
            "table": printable(name, MAX_TEXT),
            "records": table.records,
            "signins": table.signins,
            "average_bytes": round(table.size / table.records),
        }


def _named(counts: NamedCounts, what: str) -> list[dict[str, Any]]:
    return [
        {what: printable(name, MAX_TEXT), "signins": count} for name, count in counts.top(MAX_TOP)
    ]


def _reasons(reasons: dict[str, Occurrences]) -> Iterator[dict[str, Any]]:
    for reason, occurrences in sorted(reasons.items(), key=lambda item: -item[1].records):
        yield {
            "reason": reason,
            "records": occurrences.records,
            "file": occurrences.first.file,
            "position": occurrences.first.position,
            "detail": occurrences.detail or None,
        }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else iso(time)
