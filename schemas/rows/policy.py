"""The policy: maps address class, outcome and reputation to a severity, or to no finding."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.errors import ConfigurationError
from schemas.events.outcomes import Outcome
from schemas.intel.verdicts import AddressClass, Reputation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Severity(StrEnum):
    """Severities of Microsoft Sentinel; ``none`` means no finding."""

    HIGH = "High"
    MEDIUM = "Medium"
    LOW = "Low"
    INFORMATIONAL = "Informational"
    NONE = "none"

    @property
    def rank(self) -> int:
        """0 for none, up to 4 for High."""
        return {"none": 0, "Informational": 1, "Low": 2, "Medium": 3, "High": 4}[self.value]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"classes": "class"}):
    """A line of the policy. An empty condition matches any value."""

    name: str
    severity: Severity
    why: str = ""
    classes: frozenset[AddressClass] = frozenset()
    outcome: frozenset[Outcome] = frozenset()
    reputation: frozenset[Reputation] = frozenset()
    false_positive: bool | None = None

    def fits(
        self,
        address_class: AddressClass,
        outcome: Outcome,
        reputation: Reputation,
        false_positive: bool,
    ) -> bool:
        """Return True if all conditions hold."""
        return (
            (not self.classes or address_class in self.classes)
            and (not self.outcome or outcome in self.outcome)
            and (not self.reputation or reputation in self.reputation)
            and self.false_positive in (None, false_positive)
        )


_ALLOWED = "a line needs a name and a severity, why is optional; allowed values are " + ", ".join(
    f"{key}: {' '.join(values)}"
    for key, values in {
        "severity": Severity,
        "class": AddressClass,
        "outcome": Outcome,
        "reputation": Reputation,
        "false_positive": ("true", "false"),
    }.items()
)


@cache
def shipped_lines() -> tuple[Line, ...]:
    """Return the lines of ``policy.toml``."""
    text = resources.files("schemas.rows").joinpath("policy.toml").read_text("utf-8")
    return tuple(msgspec.convert(tomllib.loads(text)["lines"], list[Line]))


class Policy:
    """The effective lines: the custom lines first, then the shipped lines."""

    def __init__(self, own: Iterable[Mapping[str, Any]] = ()) -> None:
        """Take custom lines as in ``policy.toml``. ConfigurationError names an invalid line."""
        lines = []
        for number, line in enumerate(own):
            try:
                lines.append(msgspec.convert(line, Line))
            except msgspec.ValidationError as error:
                raise ConfigurationError(f"POLICY.LINES[{number}]: {error}; {_ALLOWED}") from None
        self.lines = (*lines, *shipped_lines())
        self._harmless: dict[tuple[AddressClass, Reputation, bool], bool] = {}
        self._decided: dict[tuple[AddressClass, Outcome, Reputation, bool], Line] = {}

    def decide(
        self,
        address_class: AddressClass,
        outcome: Outcome,
        reputation: Reputation,
        false_positive: bool,
    ) -> Line:
        """Return the first line that matches. The shipped lines cover all combinations."""
        key = (address_class, outcome, reputation, false_positive)
        line = self._decided.get(key)
        if line is None:
            line = next(line for line in self.lines if line.fits(*key))
            self._decided[key] = line
        return line

    def harmless(self, address_class: AddressClass, reputation: Reputation, false: bool) -> bool:
        """Return True if no sign-in from such an address can become a finding, for any outcome.

        An unknown class counts as every class that the record of the sign-in may indicate.
        """
        key = (address_class, reputation, false)
        if key not in self._harmless:
            unknown = address_class is AddressClass.UNKNOWN
            classes = tuple(AddressClass) if unknown else (address_class,)
            self._harmless[key] = all(
                self.decide(candidate, outcome, reputation, false).severity is Severity.NONE
                for candidate in classes
                if not (unknown and candidate is AddressClass.TOR)
                for outcome in Outcome
            )
        return self._harmless[key]
