"""Writes ``docs/reference.md`` from the code, so that the two cannot differ.

Run ``python -m tests.reference`` after a change of settings, tables, columns, codes or policy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from consumers.enrichment.ranking import AGAIN, WEIGHTS
from consumers.settings import PREFIX, Settings
from schemas.events.addresses import Unusable
from schemas.events.outcomes import ENTRA_CODES, RESULT_WORDS, Outcome
from schemas.events.tables import load_tables, table_names
from schemas.intel.verdicts import WhyUnanswered
from schemas.metrics import METRICS
from schemas.metrics import PREFIX as METRIC_PREFIX
from schemas.rows.columns import FINDING_COLUMNS, HEALTH_COLUMNS, VERDICT_COLUMNS
from schemas.rows.policy import shipped_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic.fields import FieldInfo

    from schemas.rows.columns import Column

POLICY_HEAD = ("line", "class", "outcome", "reputation", "severity", "why")
COLUMN_HEAD = ("column", "type", "origin", "null means")
FILE = Path(__file__).parent.parent / "docs" / "reference.md"


def build() -> str:
    """Return the whole page."""
    sections = [
        "# Reference\n\nWritten from the code by `python -m tests.reference`; do not edit.",
        _section("Settings", ("variable", "default"), _settings()),
        _section("Tables", ("table", "on by default", "address columns"), _tables()),
        _section("Result codes of Entra ID", ("code", "outcome", "meaning"), _codes()),
        "Any other number is a `Failure`; no number and no known word is `Unknown`.",
        _section("Result words of other tables", ("outcome", "words"), _words()),
        _section(
            "Policy", ("line", "class", "outcome", "reputation", "severity", "why"), _policy()
        ),
        "The first line that fits decides; an empty cell fits anything.",
        _section("Ranking", ("reason", "points", "why"), _weights()),
        "The score of an address is the most that one of its waiting sign-ins says, with what is "
        "known last of its place. Ten points are about one nat of evidence. An address of which "
        "nothing was known is asked about again "
        + ", ".join(f"{after / 3_600:g} hours" for after, _ in AGAIN)
        + " after it was first asked, if it scores as much as others plus "
        + ", ".join(f"{points:g}" for _, points in AGAIN)
        + " points.",
        _section("Findings table", COLUMN_HEAD, _columns(FINDING_COLUMNS)),
        _section("Verdicts table", COLUMN_HEAD, _columns(VERDICT_COLUMNS)),
        _section("Health table", COLUMN_HEAD, _columns(HEALTH_COLUMNS)),
        _section("Measurements", ("metric", "kind", "labels", "meaning"), _metrics()),
        f"Under `/metrics` a name starts with `{METRIC_PREFIX}`, and that of a counter ends in "
        "`_total`. The health table has the bare names, and `last_error` for each trouble; the "
        "histogram is under `/metrics` alone.",
        _section("Reasons", ("kind", "reason"), _reasons()),
    ]
    return "\n\n".join(sections) + "\n"


def _section(title: str, head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    table = "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
    return f"## {title}\n\n{table}"


def _settings() -> Iterator[tuple[str, str]]:
    for name, info in Settings.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for inner, field in kind.model_fields.items():
                yield f"`{PREFIX}{name.upper()}__{inner.upper()}`", _default(field)
        else:
            yield f"`{PREFIX}{name.upper()}`", _default(info)


def _default(info: FieldInfo) -> str:
    value: Any = info.default
    if value is PydanticUndefined or value is None or value in ([], {}):
        return ""
    return f"`{value}`"


def _tables() -> Iterator[tuple[str, str, str]]:
    forms = load_tables(["all"]).by_type
    for name, on in table_names().items():
        places = (".".join(place) for (place,) in forms[name.lower()].columns["address"])
        yield f"`{name}`", "yes" if on else "no", ", ".join(f"`{place}`" for place in places)


def _codes() -> Iterator[tuple[str, str, str]]:
    for code, (outcome, meaning) in ENTRA_CODES.items():
        yield f"`{code}`", f"`{outcome}`", meaning


def _words() -> Iterator[tuple[str, str]]:
    for outcome in Outcome:
        words = sorted(word for word, told in RESULT_WORDS.items() if told is outcome)
        if words:
            yield f"`{outcome}`", ", ".join(words)


def _policy() -> Iterator[tuple[str, ...]]:
    for line in shipped_lines():
        conditions = (line.classes, line.outcome, line.reputation)
        cells = (", ".join(sorted(one.value for one in words)) for words in conditions)
        yield f"`{line.name}`", *cells, line.severity.value, line.why


def _weights() -> Iterator[tuple[str, str, str]]:
    for name, weight in WEIGHTS.items():
        yield name, f"{weight.points:+g}", weight.why


def _columns(columns: Iterable[Column]) -> Iterator[tuple[str, str, str, str]]:
    for column in columns:
        yield f"`{column.name}`", column.kind, column.origin, column.null or "never null"


def _metrics() -> Iterator[tuple[str, ...]]:
    for metric in METRICS:
        yield f"`{metric.name}`", metric.kind, ", ".join(metric.labels), metric.meaning


def _reasons() -> Iterator[tuple[str, str]]:
    for reason in ("null item", "unknown table", "table not chosen"):
        yield "skipped", reason
    for unusable in Unusable:
        yield "skipped", unusable.value
    for why in WhyUnanswered:
        yield "unanswered", why.value


if __name__ == "__main__":
    FILE.write_text(build(), "utf-8")
