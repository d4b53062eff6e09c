"""Findings by address and by account: what an analyst reads first. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from schemas.events.outcomes import Outcome
from schemas.rows.policy import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.rows.findings import FindingRow

MAX_VALUES = 1_000
"""Different values of a kind that are counted for a group."""
OUTCOME_LABELS = {
    Outcome.SUCCESS.value: "success",
    Outcome.PASSWORD_ACCEPTED.value: "valid password",
    Outcome.INTERRUPTED.value: "interrupted",
    Outcome.UNKNOWN.value: "unknown",
    Outcome.FAILURE.value: "failure",
}
"""Outcomes, nearest to success first, as they are shown."""


@dataclass(slots=True)
class Group:
    """The findings of an address or an account."""

    name: str
    findings: int = 0
    severity: str = "Informational"
    outcomes: Counter[str] = field(default_factory=Counter)
    first: str | None = None
    last: str | None = None
    others: Counter[str] = field(default_factory=Counter)
    """The accounts of an address, or the addresses of an account."""
    countries: Counter[str] = field(default_factory=Counter)
    networks: Counter[str] = field(default_factory=Counter)
    applications: Counter[str] = field(default_factory=Counter)
    mfa: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    stories: Counter[str] = field(default_factory=Counter)
    link: str | None = None

    def add(self, row: FindingRow, other: str) -> None:
        """Count a finding."""
        self.findings += 1
        if Severity(row["Severity"]).rank > Severity(self.severity).rank:
            self.severity = row["Severity"]
        self.outcomes[row["Outcome"]] += 1
        time = row["EventTime"]
        if time is not None:
            self.first = min(self.first or time, time)
            self.last = max(self.last or time, time)
        for counts, value in (
            (self.others, other),
            (self.countries, row["SignInCountry"] or row["IntelCountry"]),
            (self.networks, network_of(row)),
            (self.applications, row["Application"]),
            (self.mfa, mfa_of(row)),
            (self.reasons, reason_of(row)),
            *((self.stories, story) for story in row["Stories"] or ()),
        ):
            if value and (value in counts or len(counts) < MAX_VALUES):
                counts[value] += Severity(row["Severity"]).rank if counts is self.reasons else 1
        self.link = self.link or row["ReportUrl"]

    def as_row(self, kind: str, others: str) -> dict[str, Any]:
        """Return the group as a row, with the columns of the findings where they mean the same."""
        return {
            kind: self.name,
            "Severity": self.severity,
            "Findings": self.findings,
            "Outcomes": {
                name: self.outcomes[name] for name in OUTCOME_LABELS if self.outcomes[name]
            },
            "FirstEventTime": self.first,
            "LastEventTime": self.last,
            others: _names(self.others),
            "Countries": _names(self.countries),
            "Networks": _names(self.networks),
            "Applications": _names(self.applications),
            "Mfa": _names(self.mfa),
            "Stories": _names(self.stories),
            "Reasons": _names(self.reasons),
            "ReportUrl": self.link,
        }


@dataclass(slots=True)
class Answer:
    """Findings by address and by account, the worst first."""

    addresses: list[Group]
    accounts: list[Group]


def grouped(rows: Iterable[FindingRow]) -> Answer:
    """Return findings by address and by account."""
    addresses: dict[str, Group] = {}
    accounts: dict[str, Group] = {}
    for row in rows:
        address, account = str(row["IPAddress"]), str(row["Account"] or "unknown")
        addresses.setdefault(address, Group(address)).add(row, account)
        accounts.setdefault(account, Group(account)).add(row, address)
    return Answer(_ordered(addresses.values()), _ordered(accounts.values()))


def _ordered(groups: Iterable[Group]) -> list[Group]:
    return sorted(
        groups,
        key=lambda group: (
            -Severity(group.severity).rank,
            *(-group.outcomes[outcome] for outcome in OUTCOME_LABELS),
            group.first or "",
            group.name,
        ),
    )


def _names(counts: Counter[str]) -> list[str]:
    return [name for name, _ in counts.most_common()]


def network_of(row: FindingRow) -> str | None:
    """Return the network of an address, by number and name as far as known."""
    number, name = row["SignInAsNumber"] or row["IntelAsNumber"], row["IntelAsName"]
    return " ".join(part for part in (f"AS{number}" if number else "", name or "") if part) or None


def mfa_of(row: FindingRow) -> str | None:
    """Return whether multifactor authentication was required, in a word."""
    required = str(row["AuthenticationRequirement"] or "").lower()
    return {"multifactorauthentication": "yes", "singlefactorauthentication": "no"}.get(required)


def reason_of(row: FindingRow) -> str:
    """Return why there is a finding, without the name of the policy line."""
    reason = str(row["MatchReason"])
    return reason.partition(": ")[2] or reason
