"""The policy table: address class x outcome x reputation gives a severity, or none."""

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
    """Severities of Microsoft Sentinel, and "none" for no finding."""

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
    """One line of the policy. An empty condition fits anything."""

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
        """Tell whether all conditions hold."""
        return (
            (not self.classes or address_class in self.classes)
            and (not self.outcome or outcome in self.outcome)
            and (not self.reputation or reputation in self.reputation)
            and self.false_positive in (None, false_positive)
        )


_ALLOWED = "a line has a name and a severity, and may have a why; allowed are " + ", ".join(
    f"{key}: {' '.join(words)}"
    for key, words in {
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
    """The lines in force: the user's first, then the shipped ones."""

    def __init__(self, own: Iterable[Mapping[str, Any]] = ()) -> None:
        """Take lines as in ``policy.toml``; ConfigurationError names the wrong one."""
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
        """Return the line that decides. The last shipped lines leave nothing undecided."""
        key = (address_class, outcome, reputation, false_positive)
        line = self._decided.get(key)
        if line is None:
            line = next(one for one in self.lines if one.fits(*key))
            self._decided[key] = line
        return line

    def harmless(self, address_class: AddressClass, reputation: Reputation, false: bool) -> bool:
        """Tell whether no sign-in from such an address can become a finding, whatever its outcome.

        An unknown class counts as any class that the sign-in's own record may hint at.
        """
        key = (address_class, reputation, false)
        if key not in self._harmless:
            unknown = address_class is AddressClass.UNKNOWN
            classes = tuple(AddressClass) if unknown else (address_class,)
            self._harmless[key] = all(
                self.decide(one, outcome, reputation, false).severity is Severity.NONE
                for one in classes
                if not (unknown and one is AddressClass.TOR)
                for outcome in Outcome
            )
        return self._harmless[key]
