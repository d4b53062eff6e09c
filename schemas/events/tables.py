"""The tables, how their records are recognised, and which fields hold what.

The data is ``tables.toml``; this module turns it into :class:`RecordFormat` objects. A format is
one way in which the records of a table arrive: the table, its layout with absolute field paths, and
the fast decoder for the few columns that every sign-in needs.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from schemas.errors import ConfigurationError
from schemas.events.fast_decoder import EVERY_SIGN_IN, FastDecoder
from schemas.events.outcomes import Outcome
from schemas.spelling import closest
from schemas.values import is_no_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.events.fast_decoder import Columns, FieldPath, JoinedPaths

COLUMNS = [
    "address",
    "event_id",
    "event_time",
    "emitted",
    "account",
    "account_object_id",
    "account_type",
    "aad_tenant_id",
    "application",
    "app_id",
    "resource_name",
    "operation",
    "result",
    "result_description",
    "correlation_id",
    "session_id",
    "unique_token_identifier",
    "client_app_used",
    "user_agent",
    "is_interactive",
    "authentication_requirement",
    "conditional_access_status",
    "device_id",
    "device_compliant",
    "risk_level",
    "risk_state",
    "sign_in_country",
    "sign_in_city",
    "sign_in_as_number",
    "authentication_protocol",
    "authentication_methods",
    "incoming_token_type",
    "resource_id",
    "detections",
    "risk_detail",
    "request_id",
    "latitude",
    "longitude",
]
"""The columns that a layout may define."""

OWN_OUTCOMES = ("code", "word", "status", "none")
"""The ways in which a custom table may record the outcome."""

WORD_LISTS = {
    "success": Outcome.SUCCESS,
    "password_accepted": Outcome.PASSWORD_ACCEPTED,
    "interrupted": Outcome.INTERRUPTED,
    "failure": Outcome.FAILURE,
}
"""The keys under which a table lists its own result words, beside the known ones."""


def joined(values: Iterable[object]) -> str | None:
    """Join values that identify an event together; None unless all are present."""
    texts = [
        str(value) if isinstance(value, str | int | float) and not is_no_number(value) else ""
        for value in values
    ]
    return ":".join(texts) if all(texts) else None


@dataclass(frozen=True, slots=True, eq=False)
class RecordFormat:
    """A way in which the records of a table arrive."""

    table: str
    """The Log Analytics table name; empty if the records name their table."""
    enabled: bool
    outcome: str
    account_type: str | None
    columns: Columns
    typed: FastDecoder
    row: bool
    """Whether this is a row of a workspace table, identified by its ``Type``."""
    under: str | None = None
    """The field of an envelope that holds the record of the service."""
    words: Mapping[str, Outcome] = field(default_factory=dict)
    """Result words of this table, in lower case, beside the known ones."""


class _AnyCase(dict[object, "RecordFormat | None"]):
    """Finds formats by name in any case; caches the spellings seen, up to a limit."""

    def __init__(self, forms: dict[str, RecordFormat]) -> None:
        super().__init__()
        self._forms = forms

    def __missing__(self, name: object) -> RecordFormat | None:
        form = self._forms.get(name.lower()) if isinstance(name, str) else None
        if len(self) < 1_000 and (name is None or (isinstance(name, str) and len(name) < 100)):
            self[name] = form
        return form


@dataclass(slots=True)
class Tables:
    """All formats, by what identifies them. Names are in lower case."""

    by_type: dict[str, RecordFormat] = field(default_factory=dict)
    by_category: dict[str, RecordFormat] = field(default_factory=dict)
    by_looks: dict[str, RecordFormat] = field(default_factory=dict)
    exact_types: _AnyCase = field(init=False)
    exact_categories: _AnyCase = field(init=False)

    def __post_init__(self) -> None:
        self.exact_types = _AnyCase(self.by_type)
        self.exact_categories = _AnyCase(self.by_category)

    def form_of_type(self, name: object) -> RecordFormat | None:
        """Return the format whose ``Type`` is *name*, in any case."""
        return self.by_type.get(name.lower()) if isinstance(name, str) else None

    def form_of_category(self, name: object) -> RecordFormat | None:
        """Return the format whose ``category`` is *name*, in any case."""
        return self.by_category.get(name.lower()) if isinstance(name, str) else None


@cache
def _shipped() -> dict[str, Any]:
    text = resources.files("schemas.events").joinpath("tables.toml").read_text("utf-8")
    return tomllib.loads(text)


def table_names() -> dict[str, bool]:
    """Return the shipped tables and whether each is enabled by default."""
    return {name: table["on"] for name, table in _shipped()["tables"].items()}


def load_tables(
    chosen: Iterable[str] | None = None,
    own: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    with_late_columns: bool = False,
    with_traits: bool = False,
) -> Tables:
    """Build the tables.

    *chosen* are the names of the enabled tables (``all``, ``default`` for those that are on by
    default, or shipped or custom names in any case); None means the shipped defaults. *own* are
    custom tables: columns as in a layout (a text or a list), with lists of result words; they are
    enabled unless *chosen* omits them. *with_late_columns* has ``LATE_COLUMNS`` decoded as well,
    *with_traits* ``TRAIT_COLUMNS`` beside them. ConfigurationError names what is wrong.
    """
    own = own or {}
    wanted = _wanted(chosen, own)
    shared: dict[str, FastDecoder] = {}
    tables = Tables()
    for name, table in _shipped()["tables"].items():
        on = table["on"] if wanted is None else name.lower() in wanted
        for spec in table["forms"]:
            columns = _columns(_layout(spec["layout"]), spec.get("under"))
            typed = shared.get(repr(columns)) or FastDecoder(
                columns,
                with_late_columns=with_late_columns,
                with_traits=with_traits,
                under=spec.get("under"),
            )
            shared[repr(columns)] = typed
            form = RecordFormat(
                name,
                on,
                table["outcome"],
                table.get("account_type"),
                columns,
                typed,
                row="type" in spec or spec.get("looks", "").startswith("row_"),
                under=spec.get("under"),
                words=_words_of({key: table.get(key, ()) for key in WORD_LISTS}),
            )
            for index, key in (
                (tables.by_type, "type"),
                (tables.by_category, "category"),
                (tables.by_looks, "looks"),
            ):
                if key in spec:
                    index[spec[key].lower()] = form
    for name, spec in own.items():
        on = wanted is None or name.lower() in wanted
        form = _own_form(name, spec, on, with_late_columns=with_late_columns)
        tables.by_type[name.lower()] = form
        if (category := spec.get("category")) is not None:
            if not isinstance(category, str) or not category.strip():
                raise _wrong(name, "category", "must be the name of a diagnostic category")
            # Such records do not name their table.
            named = replace(form, table=form.table or name, row=False)
            tables.by_category[category.strip().lower()] = named
    return tables


def _wanted(
    chosen: Iterable[str] | None, own: Mapping[str, Mapping[str, Any]]
) -> frozenset[str] | None:
    if chosen is None:
        return None
    known = {name.lower(): name for name in (*table_names(), *own)}
    wanted = {name.strip().lower(): name.strip() for name in chosen if name.strip()}
    if "all" in wanted:
        return frozenset(known)
    if wanted.pop("default", None) is not None:
        wanted |= {name.lower(): name for name, on in table_names().items() if on}
    unknown = sorted(wanted.keys() - known.keys())
    if unknown:
        name = wanted[unknown[0]]
        meant = closest(name, known.values())
        raise ConfigurationError(
            f"TABLES: no table is called {name!r}{f'; did you mean {meant}?' if meant else ';'} "
            f"known are {', '.join(known.values())}. Add a table of your own under [own_tables]."
        )
    return frozenset(wanted)


def _layout(name: str) -> dict[str, Any]:
    layout: dict[str, Any] = dict(_shipped()["layouts"][name])
    like = layout.pop("like", None)
    return {**_layout(like), **layout} if like else layout


def _columns(layout: Mapping[str, Any], under: str | None) -> Columns:
    return {
        name: tuple(
            _alternative(item, under) for item in ([places] if isinstance(places, str) else places)
        )
        for name, places in layout.items()
    }


def _alternative(spec: str | list[str], under: str | None) -> JoinedPaths:
    prefix = (under,) if under else ()
    if isinstance(spec, list):
        return ((*prefix, *spec),)
    return tuple(
        _path(part[1:]) if part.startswith("^") else (*prefix, *_path(part))
        for part in spec.split("+")
    )


def _path(text: str) -> FieldPath:
    return tuple(text.replace("[", ".[").split("."))


def _own_form(
    name: str, spec: Mapping[str, Any], on: bool, *, with_late_columns: bool
) -> RecordFormat:
    spec = {key: value for key, value in spec.items() if value is not None}
    words = _words_of({key: _own_words(name, key, spec) for key in WORD_LISTS})
    spec.pop("category", None)
    outcome = spec.pop("outcome", "word")
    if outcome not in OWN_OUTCOMES:
        raise _wrong(name, "outcome", f"{outcome!r} is not one of {', '.join(OWN_OUTCOMES)}")
    for column, places in spec.items():
        _require_places(name, column, places)
    if "address" not in spec:
        raise _wrong(name, "address", "must name the column that holds the client's address")
    spec.setdefault("event_time", ["TimeGenerated"])
    spec.setdefault("emitted", ["TimeGenerated"])
    columns = _columns(spec, None)
    for column in EVERY_SIGN_IN:
        if any(len(alternative) > 1 for alternative in columns.get(column, ())):
            raise _wrong(name, column, "cannot be joined from two columns")
    typed = FastDecoder(columns, with_late_columns=with_late_columns)
    spelled = "" if name == name.lower() else name  # an environment variable lost its case
    return RecordFormat(spelled, on, outcome, None, columns, typed, True, words=words)


def _wrong(table: str, key: str, text: str) -> ConfigurationError:
    return ConfigurationError(f"OWN_TABLES.{table}.{key}: {text}")


def _own_words(table: str, key: str, spec: dict[str, Any]) -> list[str]:
    words = spec.pop(key, [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _wrong(table, key, "must be a list of words")
    return words


def _words_of(lists: Mapping[str, Iterable[str]]) -> dict[str, Outcome]:
    return {word.strip().lower(): WORD_LISTS[key] for key, words in lists.items() for word in words}


def _require_places(table: str, column: str, places: object) -> None:
    if column not in COLUMNS:
        raise _wrong(table, column, f"is no column; known are {', '.join(COLUMNS)}")
    listed = [places] if isinstance(places, str) else places
    if not isinstance(listed, list) or not listed:
        raise _wrong(table, column, "must be the name of a column, or a list of names")
    for place in listed:
        parts = place if isinstance(place, list) else [place]
        if not parts or not all(isinstance(part, str) and part for part in parts):
            raise _wrong(table, column, "must be the name of a column, or a list of names")
