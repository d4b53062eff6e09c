"""The policy: maps address class, outcome and reputation to a severity, or to no finding."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from schemas.errors import ConfigurationError
from schemas.events.outcomes import Outcome
from schemas.intel.verdicts import AddressClass, Reputation
from schemas.rows.context import NO_CONTEXT, SignInContext

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


_StoryWord = Literal[
    "any",
    "session-moved",
    "spray-success",
    "new-protocol",
    "script-agent",
    "many-accounts",
    "impossible-travel",
    "workload-new-network",
    "mfa-fatigue",
]
_ContextWord = Literal["new country", "new network", "new device"]


def _context_words(context: SignInContext) -> frozenset[str]:
    facts = (context.new_country, context.new_network, context.new_device)
    return frozenset(word for word, fact in zip(get_args(_ContextWord), facts, strict=True) if fact)


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"classes": "class"}):
    """A line of the policy. An empty condition matches any value."""

    name: str
    severity: Severity
    why: str = ""
    classes: frozenset[AddressClass] = frozenset()
    outcome: frozenset[Outcome] = frozenset()
    reputation: frozenset[Reputation] = frozenset()
    false_positive: bool | None = None
    stories: frozenset[_StoryWord] = frozenset()
    """Stories of which one must speak; ``any`` stands for all of them."""
    signs: int = 0
    """How many stories must speak, with what supports them."""
    context: frozenset[_ContextWord] = frozenset()
    """What must all be new."""

    def fits(
        self,
        address_class: AddressClass,
        outcome: Outcome,
        reputation: Reputation,
        false_positive: bool,
        context: SignInContext,
    ) -> bool:
        """Return True if all conditions hold."""
        stories = context.names
        return (
            not (
                self.stories and not (self.stories & stories or (stories and "any" in self.stories))
            )
            and len(context.signs) >= self.signs
            and self.context <= _context_words(context)
            and self._fits_address(address_class, outcome, reputation, false_positive)
        )

    def _fits_stories(self, names: frozenset[str]) -> bool:
        wanted = names | {"any"} if names else names
        return not self.stories or not self.stories.isdisjoint(wanted)

    def _fits_address(
        self,
        address_class: AddressClass,
        outcome: Outcome,
        reputation: Reputation,
        false_positive: bool,
    ) -> bool:
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
        "stories": get_args(_StoryWord),
        "context": get_args(_ContextWord),
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
        self._decided: dict[tuple[object, ...], Line] = {}

    def decide(
        self,
        address_class: AddressClass,
        outcome: Outcome,
        reputation: Reputation,
        false_positive: bool,
        context: SignInContext = NO_CONTEXT,
    ) -> Line:
        """Return the first line that matches. The shipped lines cover all combinations."""
        given = (address_class, outcome, reputation, false_positive)
        key = (*given, context.names, len(context.signs), _context_words(context))
        line = self._decided.get(key)
        if line is None:
            line = next(line for line in self.lines if line.fits(*given, context))
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
