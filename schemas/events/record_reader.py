"""Reads fields of a record by their paths, ignoring the case of names."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from schemas.events.lenient_json import parse_container
from schemas.events.tables import joined
from schemas.values import EMPTY_VALUES, MAX_VALUE_LENGTH, clean_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.events.fast_decoder import FieldPath, JoinedPaths, Scalar

_DEEPEST_NAMES = 8
"""Depth of :func:`fold_names`; the longest field path of a layout has four names."""


@cache
def lowered(place: FieldPath) -> FieldPath:
    """Return a field path in lower case."""
    return tuple(part.lower() for part in place)


_ZONE = " [utc]"
"""What the Logs portal adds to the names of times in its exports."""


class RecordReader:
    """Reads fields of a record, ignoring the case of names.

    An object in a text is read like an object. Of a list of objects the first is used. An empty
    value counts as missing.
    """

    __slots__ = ("_parsed", "record")

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = fold_names(record)
        if zoned := [name for name in self.record if name.endswith(_ZONE)]:
            bare = {name.removesuffix(_ZONE): self.record[name] for name in zoned}
            self.record = bare | self.record
        self._parsed: dict[str, Any] = {}

    def at(self, place: FieldPath) -> Any:
        """Return the value at *place*, or None."""
        value: Any = self.record
        for part in lowered(place):
            if type(value) is not dict:
                value = self._object_in(value, part)
                if value is None:
                    return None
                if part[:1] == "[":
                    continue
            value = value.get(part)
        return value

    def _object_in(self, value: Any, part: str) -> dict[str, Any] | None:
        """Return the object in a text, or the first of a list that *part* selects; else None."""
        value = self.parsed(value)
        if isinstance(value, dict):
            return value
        if not isinstance(value, list):
            return None
        if part[:1] != "[":
            value = value[:1]
        objects = (fold_names(item) for item in value if isinstance(item, dict))
        return next((item for item in objects if _selects(part, item)), None)

    def parsed(self, value: Any) -> Any:
        """Return *value*, or the object or list in it if it is a text."""
        if not isinstance(value, str):
            return value
        if value not in self._parsed:
            found = parse_container(value)
            self._parsed[value] = fold_names(found) if isinstance(found, dict) else found
        return self._parsed[value]

    def first(self, alternatives: Iterable[JoinedPaths]) -> Scalar:
        """Return the value of the first of *alternatives* that has one, or None."""
        for alternative in alternatives:
            if len(alternative) == 1:
                value = self.at(alternative[0])
                if value is None:
                    continue
            else:
                value = joined([self.at(place) for place in alternative])
            if type(value) is str:
                if value[:MAX_VALUE_LENGTH].strip() not in EMPTY_VALUES:
                    return value
            elif isinstance(value, str | int | float) and clean_text(value) is not None:
                return value
        return None


def _selects(part: str, item: dict[str, Any]) -> bool:
    if part[:1] != "[":
        return True
    name, _, wanted = part[1:-1].partition("=")
    return str(item.get(name)).lower() == wanted


def fold_names(record: dict[str, Any], depth: int = _DEEPEST_NAMES) -> dict[str, Any]:
    """Return *record* with names in lower case; of equal names the first with a value is used."""
    folded: dict[str, Any] = {}
    for name, value in record.items():
        low = name.lower()
        if folded.get(low) in (None, ""):
            inner = isinstance(value, dict) and depth > 0
            folded[low] = fold_names(value, depth - 1) if inner else value
    return folded
