"""Fast decoders of message bodies: typed, and only of the few columns that every sign-in needs."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Scalar = str | int | float | bool | None
FieldPath = tuple[str, ...]
"""The names on the path from a record to a value. ``[name=value]`` stands for the first object of a
list whose field has that value."""
JoinedPaths = tuple[FieldPath, ...]
"""Paths whose values are joined; usually one."""
Columns = dict[str, tuple[JoinedPaths, ...]]

EVERY_SIGN_IN = ("address", "emitted", "risk_level")
"""The columns decoded for each sign-in. Each column costs time on millions of benign sign-ins; the
other columns are read from the record on demand."""

LATE_COLUMNS = ("event_id", "account", "result", "event_time")
"""The columns also decoded where sign-ins are recorded for retro-matching: the first path of each.
Other paths are read from the record."""

TRAIT_COLUMNS = (
    "account_object_id",
    "session_id",
    "user_agent",
    "client_app_used",
    "authentication_protocol",
    "sign_in_as_number",
    "device_id",
    "sign_in_country",
    "detections",
)
"""The columns also decoded where stories are told: the first path of each. Of a path into an object
the object is kept as it stands, because some exports write it as a text."""


class Trait(NamedTuple):
    """Where the fast path finds a column of :data:`TRAIT_COLUMNS`."""

    column: str
    place: FieldPath
    within: FieldPath
    """The path inside the object at *place*, which is kept as it stands; empty for a value."""
    only: bool
    """Whether the column has no other path."""
    kept: bool
    """Whether the value is kept as it stands."""


_Tree = dict[str, Any]
"""The fields to decode: below a name those of its object, or nothing for a value; None keeps a
value as it stands."""


def _plant(tree: _Tree, place: FieldPath) -> None:
    for part in place:
        tree = tree.setdefault(part, {})


def _plant_traits(tree: _Tree, columns: Columns, under: str | None) -> tuple[Trait, ...]:
    """Add the places of the traits to *tree*; leave out those that the fast path cannot read."""
    found: list[Trait] = []
    for name in TRAIT_COLUMNS:
        places = columns.get(name, ((),))[0]
        if len(places) != 1:
            continue
        outer = 2 if places[0][0] == under else 1
        place, within = places[0][:outer], places[0][outer:]
        parent = tree
        for part in place[:-1]:
            parent = parent.setdefault(part, {})
        kept = bool(within) or name == "detections"
        if kept and parent.setdefault(place[-1], None) is not None:
            continue  # read by another column as well
        if not kept and parent.setdefault(place[-1], {}) != {}:
            continue
        found.append(Trait(name, place, within, len(columns[name]) == 1, kept))
    return tuple(found)


class FastDecoder:
    """Decoders for a set of columns, shared by all formats with the same columns."""

    def __init__(
        self,
        columns: Columns,
        *,
        with_late_columns: bool = False,
        with_traits: bool = False,
        under: str | None = None,
    ) -> None:
        """*under* is the field of an envelope that holds the record of the service."""
        late_places = _first_places(columns) if with_late_columns or with_traits else ()
        tree: _Tree = {"Type": {}, "category": {}}
        for name in EVERY_SIGN_IN:
            for (place,) in columns.get(name, ()):
                _plant(tree, place)
        for place in late_places:
            _plant(tree, place)
        self._attributes: dict[FieldPath, str] = {}
        self.row: Any = self._struct(tree, (), "")
        self.traits = _plant_traits(tree, columns, under) if with_traits and late_places else ()
        row: Any = self._struct(tree, (), "") if self.traits else self.row
        rows: Any = list[row | None]
        self.bare = msgspec.json.Decoder(row)
        self.array = msgspec.json.Decoder(rows)
        wrapper: Any = msgspec.defstruct(
            "Wrapper", [("records", rows), ("Type", Any, None), ("category", Any, None)]
        )
        self.wrapper = msgspec.json.Decoder(wrapper)
        self.type_of = attrgetter(self._attributes[("Type",)])
        self.category_of = attrgetter(self._attributes[("category",)])
        self.addresses_of = self._tuple_getter(columns["address"])
        self.written_of = self._first_getter(columns["emitted"])
        self.risk_of = self._first_getter(columns.get("risk_level", ()))
        self.late_values_of = self._all_getter(late_places) if late_places else None
        self.plain_traits_of = self._tuple_of([it.place for it in self.traits if not it.kept])
        kept = [it for it in self.traits if it.kept]
        self.kept_traits_of = self._tuple_of([it.place for it in kept])
        self.detections_kept = bool(kept) and kept[-1].column == "detections"
        """Whether the last of the kept values are the detections of Entra ID."""

    def _struct(self, tree: _Tree, place: FieldPath, attribute: str) -> Any:
        fields: list[tuple[str, Any, Any]] = []
        names: dict[str, str] = {}
        for number, (part, below) in enumerate(tree.items()):
            own = f"f{number}"
            names[own] = part
            path = f"{attribute}.{own}" if attribute else own
            self._attributes[(*place, part)] = path
            if below is None:
                fields.append((own, msgspec.Raw, msgspec.Raw(b"")))
                continue
            kind = Scalar if not below else self._struct(below, (*place, part), path) | Scalar
            fields.append((own, kind, None))
        return msgspec.defstruct("Row", fields, rename=names, gc=False)

    def _tuple_of(self, places: Sequence[FieldPath]) -> Callable[[Any], tuple[Any, ...]]:
        """Return a getter of a tuple of values, however many they are."""
        if not places:
            return lambda _: ()
        attributes = [self._attributes[place] for place in places]
        if len(attributes) == 1:
            only = attrgetter(attributes[0])
            return lambda row: (only(row),)
        return attrgetter(*attributes)

    def _tuple_getter(self, alternatives: tuple[JoinedPaths, ...]) -> Callable[[Any], Any]:
        return self._tuple_of([place for (place,) in alternatives])

    def _all_getter(self, places: tuple[FieldPath, ...]) -> Callable[[Any], Any]:
        return attrgetter(*(self._attributes[place] for place in places))

    def _first_getter(self, alternatives: tuple[JoinedPaths, ...]) -> Callable[[Any], Any]:
        getters = [attrgetter(self._attributes[place]) for (place,) in alternatives]
        if not getters:
            return lambda _: None
        first, *others = getters
        if not others:
            return first
        second = others[0]
        return lambda row: first(row) or second(row)


def _first_places(columns: Columns) -> tuple[FieldPath, ...]:
    """Return the first path of each late column; empty if any first path is not simple."""
    firsts = [columns.get(name, ((),))[0] for name in LATE_COLUMNS]
    if any(len(places) != 1 for places in firsts):
        return ()
    return tuple(places[0] for places in firsts)
