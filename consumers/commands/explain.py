"""``signinwatch explain``: why a finding was made, and what would change it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich import box
from rich.console import Console, Group
from rich.table import Table

from consumers.commands import console as screens
from consumers.commands.options import PATH
from schemas.errors import ConfigurationError, RecordingUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.text import Text

    from schemas.events.outcomes import Outcome
    from schemas.intel.verdicts import AddressClass, Reputation
    from schemas.rows.context import SignInContext
    from schemas.rows.policy import Line, Policy

MIN_PREFIX = 6
"""Characters of a FindingId that are enough to name it."""
MAX_VALUE_LENGTH = 300
_CONTEXT = (
    "AddressClass", "AccountsFromAddress", "Application", "ClientAppUsed", "UserAgent",
    "AuthenticationRequirement", "ConditionalAccessStatus", "RiskLevel", "SignInCountry",
    "IntelCountry", "IntelAsName", "DeviceCompliant", "ResultDescription", "Stories", "NewCountry",
    "NewNetwork", "NewDevice", "SessionFirstNetwork", "EntraDetections", "Context",
)  # fmt: skip
"""Columns that an analyst weighs, in this order; those without a value are left out."""
_OF_INDICATOR = ("id", "names", "confidence", "types", "labels", "modified", "validUntil")
_OF_RATING = (
    "Confidence", "Score", "Behaviors", "Classifications", "FalsePositives", "IntelFirstSeen",
    "IntelLastSeen", "ReportUrl",
)  # fmt: skip
_REMEDIES = {
    "own-egress": "another vendor that agrees, or FEEDS__<NAME>__TRUSTED_TOO, lifts the cap",
    "familiar-address": "signinwatch feeds release lifts the cap; feeds refuse ends the findings",
    "one-feed-alone": "the finding is written again when the lookup has ended",
}
"""What changes findings of lines that are not in the policy."""


@dataclass(frozen=True, slots=True)
class SeverityChange:
    """What would give the sign-in another severity."""

    condition: str
    severity: str
    line: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a finding was made."""

    finding: dict[str, Any]
    """The row, in its worst version."""
    versions: int
    """How often it was written."""
    line: str
    why: str
    sources: list[tuple[str, str]]
    """Each source, and what it said."""
    context: dict[str, Any]
    changes: list[SeverityChange]


@click.command("explain")
@click.argument("finding", metavar="FINDING_ID")
@click.option(
    "--findings",
    "path",
    type=PATH,
    required=True,
    help="File of findings, as replay --findings writes it.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
@click.pass_obj
def explain_command(config: Path | None, finding: str, path: Path, as_json: bool) -> None:
    """Explain a finding: policy line, what each source said, and what would change it.

    FINDING_ID may be shortened to its first six characters or more.
    """
    from consumers.settings import load_settings
    from schemas.rows.policy import Policy

    policy = Policy(load_settings(config).policy.lines)
    explanation = explain(read_versions(path, finding), policy)
    if as_json:
        click.echo(orjson.dumps(asdict(explanation)).decode())
    else:
        Console().print(_screen(explanation))


def read_versions(path: Path, finding: str) -> list[dict[str, Any]]:
    """Return all rows of a finding in a file.

    Raises RecordingUnreadable, and ConfigurationError unless exactly one finding is named.
    """
    if len(finding) < MIN_PREFIX:
        raise ConfigurationError(f"FINDING_ID {finding}: give at least {MIN_PREFIX} characters")
    rows = [row for row in _rows(path) if str(row["FindingId"]).startswith(finding.lower())]
    ids = {row["FindingId"] for row in rows}
    if len(ids) != 1:
        found = "no such finding" if not ids else f"{len(ids):,} findings begin like this"
        raise ConfigurationError(f"FINDING_ID {finding}: {found} in {path}")
    return rows


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                try:
                    row = orjson.loads(text)
                except orjson.JSONDecodeError:
                    row = None
                if not isinstance(row, dict) or "FindingId" not in row:
                    raise RecordingUnreadable(f"{path}: line {number} is not a finding")
                yield row
    except OSError as error:
        raise RecordingUnreadable(f"{path}: {error.strerror}") from None


def explain(versions: Sequence[dict[str, Any]], policy: Policy) -> Explanation:
    """Explain the worst version of a finding under a policy."""
    from schemas.events.outcomes import Outcome
    from schemas.rows.policy import Severity

    row = max(
        versions,
        key=lambda row: (Severity(row["Severity"]).rank, Outcome(row["Outcome"]).rank),
    )
    line, _, why = str(row["MatchReason"]).partition(": ")
    return Explanation(
        finding=row,
        versions=len(versions),
        line=line,
        why=why,
        sources=[
            (name, _said(details, row))
            for name, details in (row.get("Evidence") or {}).items()
            if isinstance(details, dict) and name != "folded"
        ],
        context={name: row[name] for name in _CONTEXT if row.get(name) not in (None, "", [])},
        changes=_changes(row, line, policy),
    )


def _said(details: dict[str, Any], row: dict[str, Any]) -> str:
    """Return what a source said, in one line: a feed by its indicators, others by the row."""
    if "stories" in details:
        return "; ".join(f"{name}: {saw}" for name, saw in details["stories"].items())
    parts = [str(details.get("reputation") or "no reputation")]
    indicators = details.get("indicators")
    for said, names in (
        *((indicator, _OF_INDICATOR) for indicator in indicators or ()),
        *([] if indicators else [(row, _OF_RATING)]),
    ):
        parts.append(", ".join(f"{name} {_flat(said[name])}" for name in names if said.get(name)))
    return "; ".join(part for part in parts if part)


def _flat(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_flat, value))
    if isinstance(value, dict) and "text" in value:
        return f"{value['text']} ({value.get('points')})"
    return str(value)


def _changes(row: dict[str, Any], line: str, policy: Policy) -> list[SeverityChange]:
    from schemas.events.outcomes import Outcome
    from schemas.intel.verdicts import AddressClass, Reputation

    kind, outcome = AddressClass(row["AddressClass"]), Outcome(row["Outcome"])
    said, excused = Reputation(row["Reputation"]), bool(row.get("FalsePositives"))
    context = _context_of(row)
    alternatives: list[tuple[str, tuple[AddressClass, Outcome, Reputation, bool]]] = []
    alternatives += [(f"the outcome were {to.value}", (kind, to, said, excused)) for to in Outcome]
    alternatives += [
        (f"the sources said {to.value}", (kind, outcome, to, excused)) for to in Reputation
    ]
    alternatives += [
        (f"the address were of class {to.value}", (to, outcome, said, excused))
        for to in AddressClass
    ]
    alternatives.append(("its source called it a false positive", (kind, outcome, said, True)))
    changes = [SeverityChange(_REMEDIES[line], "", "")] if line in _REMEDIES else []
    for condition, key in alternatives:
        decided = policy.decide(*key, context)
        if decided.severity.value != row["Severity"]:
            changes.append(_change(condition, decided))
    if context.stories:
        decided = policy.decide(kind, outcome, said, excused)
        changes.append(_change("no story spoke of it", decided))
    return changes


def _context_of(row: dict[str, Any]) -> SignInContext:
    """Return what the policy was asked with, as far as the row has it."""
    from schemas.rows.context import SignInContext, Story

    own = (row.get("Evidence") or {}).get("signinwatch")
    details = own if isinstance(own, dict) else {}
    sentences = details.get("stories") or {}
    return SignInContext(
        stories=tuple(Story(str(name), str(saw)) for name, saw in sentences.items()),
        signs=frozenset((*sentences, *details.get("support", ()))),
        new_country=row.get("NewCountry"),
        new_network=row.get("NewNetwork"),
        new_device=row.get("NewDevice"),
    )


def _change(condition: str, decided: Line) -> SeverityChange:
    severity = decided.severity.value
    return SeverityChange(condition, "no finding" if severity == "none" else severity, decided.name)


def _screen(explanation: Explanation) -> Group:
    row = explanation.finding
    head = (
        f"{row['Severity']}: {row['Outcome']} of {row['Account']} from {row['IPAddress']} "
        f"({row['SourceTable']}, {row['EventTime'] or 'no time'})"
    )
    written = "" if explanation.versions == 1 else f"; written {explanation.versions:,} times"
    parts: list[Text | Table] = [
        screens.plain(head, 1_000),
        screens.plain(f"Policy line {explanation.line}: {explanation.why}{written}", 1_000),
        _table(("Source", "What it said"), explanation.sources),
        _table(("Context", ""), [(name, _flat(it)) for name, it in explanation.context.items()]),
        _table(
            ("What would change it", "Severity"),
            [(f"if {change.condition}" if change.severity else change.condition,
              f"{change.severity} ({change.line})" if change.severity else "")
             for change in explanation.changes],
        ),
    ]  # fmt: skip
    return Group(*parts)


def _table(heads: tuple[str, str], rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(heads[0], overflow="fold")
    table.add_column(heads[1], overflow="fold")
    for first, second in rows:
        table.add_row(
            screens.plain(first, MAX_VALUE_LENGTH), screens.plain(second, MAX_VALUE_LENGTH)
        )
    return table
