"""The figures of an export as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from consumers.commands.answer.fitted import FittedColumn, FittedTable
from consumers.commands.answer.groups import OUTCOME_LABELS
from consumers.commands.console import counted, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from consumers.commands.answer.times import Times

MAX_LISTED = 50
"""Lines of a table."""
_RIGHT = frozenset(("Records", "Sign-ins", "Average bytes"))
_FLEXIBLE = frozenset(("File", "Kind", "Reason", "Detail", "First in", "Problem"))


def screen_of(document: Mapping[str, Any], times: Times) -> list[RenderableType]:
    """Return a sentence and tables; a table without lines is left out."""
    outcomes = [
        {"outcome": OUTCOME_LABELS[name].capitalize(), "signins": count}
        for name, count in document["outcomes"].items()
    ]
    reason = {
        "reason": "Reason", "records": "Records", "file": "First in", "position": "At",
        "detail": "Detail",
    }  # fmt: skip
    parts = (
        ("Files", document["files"], {
            "file": "File", "kind": "Kind", "records": "Records", "signins": "Sign-ins",
            "problem": "Problem",
        }),
        ("Tables", document["tables"], {
            "table": "Table", "records": "Records", "signins": "Sign-ins",
            "average_bytes": "Average bytes",
        }),
        ("Countries", document["countries"], {"country": "Country", "signins": "Sign-ins"}),
        ("Networks", document["networks"], {"network": "Network", "signins": "Sign-ins"}),
        ("Outcomes", outcomes, {"outcome": "Outcome", "signins": "Sign-ins"}),
        ("Skipped", document["skipped"], reason),
        ("Unreadable", document["unreadable"], reason),
    )  # fmt: skip
    return [
        _sentence(document, times),
        *(_table(title, items, columns) for title, items, columns in parts if items),
        *(Text(f"! {note}", style="yellow") for note in notes_of(document)),
    ]


def notes_of(document: Mapping[str, Any]) -> list[str]:
    """Return what to do if no sign-ins were found, or sign-ins have no time."""
    notes = []
    if document["without_time"]:
        count = counted(document["without_time"], "sign-in")
        notes.append(f"No readable time: {count}; the period is that of the others.")
    if document["records"] and not document["signins"]:
        notes.append(
            "No sign-ins were found. If the rows have no column Type, --table NAME says whose "
            "they are; SIGNINWATCH_TABLES says which tables are read."
        )
    return notes


def _sentence(document: Mapping[str, Any], times: Times) -> Text:
    text = Text(counted(document["signins"], "sign-in"), style="bold")
    rest = f" in {counted(document['records'], 'record')}"
    if document["signins"]:
        rest += f", {_distinct(document['accounts'], 'account')}"
        rest += f", {_distinct(document['addresses'], 'IP address')}"
    if document["first"] is not None:
        rest += f"; {times.period(document['first'], document['last'])} ({times.name})"
    return text.append_text(Text(f"{rest}.", style="not bold"))


def _distinct(figure: Mapping[str, Any], what: str) -> str:
    return f"{'over ' if figure['over'] else ''}{counted(figure['count'], what)}"


def _table(
    title: str, items: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> FittedTable:
    shown = items[:MAX_LISTED]
    more = f": the first {len(shown)} of {len(items):,}" if len(shown) < len(items) else ""
    fitted = [
        FittedColumn(
            heading,
            [_cell(item[name]) for item in shown],
            flexible=16 if heading in _FLEXIBLE else 0,
            right=heading in _RIGHT,
        )
        for name, heading in columns.items()
        if any(item[name] is not None for item in shown)
    ]
    return FittedTable(f"{title}{more}", fitted, list(columns.values()))


def _cell(value: object) -> Text:
    if value == "-":
        value = "standard input"
    return plain(f"{value:,}" if isinstance(value, int) else value, 300)
