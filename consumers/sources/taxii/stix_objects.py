"""Converts objects of a TAXII feed to indicators: STIX 2.1 sections 3.2 and 4.7.

Objects are parsed without a STIX library. Feeds add custom properties and deviate from the
specification, and an invalid object must not stop a page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from consumers.sources.taxii.stix_pattern import Pattern, read_pattern
from schemas.events.times import parse_time
from schemas.intel.indicators import Indicator, WhySkipped
from schemas.values import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ID_LENGTH = 200
MAX_LISTED_NAMES = 50
MAX_NAME_LENGTH = 120

_TLP = {
    "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9": "white",
    "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da": "green",
    "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82": "amber",
    "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed": "red",
    "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487": "clear",
    "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb": "green",
    "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421": "amber",
    "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003": "amber+strict",
    "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1": "red",
}
"""Markings of TLP 1 (STIX 2.1 section 7.2.1.4), then of TLP 2.0 (its OASIS extension)."""
_STRICTNESS = ("white", "clear", "green", "amber", "amber+strict", "red")
_NUMBER = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,9})?")
_NO_KEYS = Pattern((), destination=False)


def indicator_of(item: object, *, from_created: bool = False) -> Indicator | WhySkipped:
    """Convert an object of a feed to an indicator, or return the reason why it is skipped.

    *item* is any JSON value. An indicator that is revoked, or deprecated with Sekoia's property, is
    withdrawn even if it is otherwise invalid, as long as it has an id and a time. With
    *from_created* it begins when it was created, if that is earlier. Never raises.
    """
    if not isinstance(item, dict) or item.get("type") != "indicator":
        return WhySkipped.NOT_AN_INDICATOR
    created = _seconds(item.get("created"))
    modified = _first(_seconds(item.get("modified")), created)
    if not _is_id(item.get("id")) or modified is None:
        return WhySkipped.MALFORMED
    withdrawn = _is_true(item.get("revoked")) or _is_true(item.get("x_ic_deprecated"))
    pattern = _pattern_in(item)
    valid_until = _seconds(item.get("valid_until"))
    if isinstance(pattern, WhySkipped):
        if not withdrawn:
            return pattern
        pattern = _NO_KEYS
    if valid_until is None and not _is_empty(item.get("valid_until")) and not withdrawn:
        return WhySkipped.MALFORMED
    begin = _first(_seconds(item.get("valid_from")), created, modified) or 0.0
    if from_created and created is not None:
        begin = min(begin, created)
    return Indicator(
        id=item["id"],
        modified=modified,
        withdrawn=withdrawn,
        keys=pattern.keys,
        valid_from=begin,
        valid_until=valid_until,
        confidence=_confidence(item.get("confidence")),
        types=_names(item.get("indicator_types")),
        labels=_names(item.get("labels")),
        tlp=_tlp(item.get("object_marking_refs")),
        kill_chain=_bounded(_phases(item.get("kill_chain_phases"))),
        destination=pattern.destination,
    )


def _pattern_in(item: dict[str, Any]) -> Pattern | WhySkipped:
    kind = item.get("pattern_type")
    if kind is not None and (not isinstance(kind, str) or kind.lower() != "stix"):
        return WhySkipped.NOT_STIX
    pattern = item.get("pattern")
    return read_pattern(pattern) if isinstance(pattern, str) else WhySkipped.MALFORMED


def _is_id(value: object) -> bool:
    return isinstance(value, str) and clean_text(value, MAX_ID_LENGTH) == value


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_true(value: object) -> bool:
    """Return True if *value* is true, 1, or the text "true"."""
    return value is True or value == 1 or (isinstance(value, str) and value.lower() == "true")


def _seconds(value: object) -> float | None:
    time = parse_time(value) if isinstance(value, str) else None
    return None if time is None else time.timestamp()


def _first(*times: float | None) -> float | None:
    return next((time for time in times if time is not None), None)


def _confidence(value: object) -> int | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= 100 else None


def _names(value: object) -> tuple[str, ...]:
    return _bounded(iter(value)) if isinstance(value, list) else ()


def _bounded(names: Iterator[object]) -> tuple[str, ...]:
    """Return the distinct texts among *names*, cleaned, at most MAX_LISTED_NAMES."""
    kept: dict[str, None] = {}
    for name in names:
        text = clean_text(name, MAX_NAME_LENGTH) if isinstance(name, str) else None
        if text is not None:
            kept[text] = None
            if len(kept) == MAX_LISTED_NAMES:
                break
    return tuple(kept)


def _phases(value: object) -> Iterator[str]:
    for phase in value if isinstance(value, list) else ():
        if isinstance(phase, dict):
            chain, name = phase.get("kill_chain_name"), phase.get("phase_name")
            if isinstance(chain, str) and isinstance(name, str):
                yield f"{chain}:{name}"


def _tlp(value: object) -> str | None:
    """Return the strictest Traffic Light Protocol marking in *value*."""
    if not isinstance(value, list):
        return None
    markings = [_TLP[mark] for mark in value if isinstance(mark, str) and mark in _TLP]
    return max(markings, key=_STRICTNESS.index, default=None)
