"""What stories read from each sign-in: who, from where, with what, and how it ended.

Read for every sign-in that looks unlike those before, so the fast path's values are used if they
need no cleaning. :func:`traits_of` gives the same for both ways of reading.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from schemas.events.fast_decoder import TRAIT_COLUMNS
from schemas.events.outcomes import Outcome, outcome_of_code
from schemas.events.record_reader import RecordReader
from schemas.events.sign_in import as_number, coordinates, known_object_id
from schemas.events.times import is_plausible, parse_time
from schemas.values import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from schemas.events.fast_decoder import FieldPath, Scalar
    from schemas.events.sign_in import Details, SignIn
    from schemas.events.tables import RecordFormat

_LEGACY = (
    "imap", "pop", "smtp", "other clients", "exchange activesync", "mapi", "autodiscover",
    "exchange web services", "reporting web services", "exchange online powershell", "offline",
)  # fmt: skip
"""Clients that sign in with a password alone, in lower case."""
_PROTOCOLS = {"devicecode": "device code", "ropc": "password grant (ROPC)"}
PROGRAMS = ("serviceprincipal", "managedidentity", "application", "system")
"""Account types that are no people, in lower case."""
_TRAITS = frozenset(TRAIT_COLUMNS)
_MAX_PLAIN = 2_048
_MAX_NAME = 200
_MAX_OBJECT_BYTES = 2_048


class Traits(msgspec.Struct, frozen=True, gc=False):
    """What stories read from a sign-in. Texts are empty if they are not recorded."""

    account: str
    """In lower case."""
    object_id: str
    person: bool
    outcome: Outcome
    time: float
    as_number: int
    """0 if it is not recorded."""
    country: str
    device: str
    agent: str
    """The user agent as it is recorded."""
    way: str
    """The protocol, if it is one that needs no second factor or no browser."""
    session: str
    event: str
    """The id of the event, if it has one."""
    position: tuple[float, float] | None = None
    """Latitude and longitude in degrees."""


def traits_of_details(details: Details) -> Traits:
    """Return the traits of a sign-in that has been read in full."""
    return Traits(
        account=details.account,
        object_id=(details.account_object_id or "").lower(),
        person=(details.account_type or "").lower() not in PROGRAMS,
        outcome=details.outcome,
        time=details.event_time.timestamp(),
        as_number=details.sign_in_as_number or 0,
        country=details.sign_in_country or "",
        device=details.device_id or "",
        agent=details.user_agent or "",
        way=way_of(details.authentication_protocol or "", details.client_app_used or ""),
        session=details.session_id or "",
        event=details.event_id,
        position=details.coordinates,
    )


def traits_of(
    signin: SignIn, enqueued: datetime | None, fallback: datetime
) -> tuple[Traits, Details | None]:
    """Return the traits of a sign-in, and its details if they had to be read."""
    quick = _quick_traits(signin)
    if quick is not None:
        return quick, None
    details = signin.details(enqueued=enqueued, fallback_time=fallback)
    return traits_of_details(details), details


@lru_cache(maxsize=1_000)
def way_of(protocol: str, client: str) -> str:
    """Return the protocol, if it is one that needs no second factor or no browser."""
    known = _PROTOCOLS.get(protocol.lower())
    if known is not None:
        return known
    low = client.lower()
    return f"legacy ({client[:40]})" if any(name in low for name in _LEGACY) else ""


def account_of(signin: SignIn) -> str | None:
    """Return the name by which an account is known, its object id before all.

    None if it takes more than the fast path's values to say.
    """
    raw, late = signin.traits, signin.late_columns
    if raw is None or late is None or not raw[0]:
        return None
    first = signin.form.typed.traits[0]
    name = raw[0][0] if first.column == "account_object_id" else late[1]
    if type(name) is not str or not name.isascii() or len(name) > _MAX_NAME:
        return None
    return known_object_id(name.strip().lower()) or None


def quick_outcome(signin: SignIn) -> Outcome | None:
    """Return the outcome by the fast path's result code; None if it takes more to say."""
    late = signin.late_columns
    if late is None or signin.traits is None or signin.form.outcome != "code":
        return None
    result = late[2]
    return _outcome_of(result) if type(result) in (str, int) else None


class _Plan(NamedTuple):
    """How the traits of a format are put together from the fast path's values."""

    columns: tuple[str, ...]
    """The columns of the plain values, then of the kept objects."""
    within: tuple[tuple[FieldPath, ...], ...]
    """The paths to read in each kept object."""
    doubtful: tuple[int, ...]
    """Columns that another path may have if the first has no value."""
    complete: bool


@cache
def _plan_of(form: RecordFormat) -> _Plan:
    traits = sorted(form.typed.traits, key=lambda trait: trait.kept)
    within = []
    for trait in traits:
        if trait.kept:
            paths = [trait.within]
            if trait.column == "sign_in_country":
                paths += _position_paths(trait.place, form)
            within.append(tuple(paths))
    return _Plan(
        tuple(trait.column for trait in traits),
        tuple(within),
        tuple(
            number
            for number, trait in enumerate(traits)
            if not trait.only and trait.column != "detections"
        ),
        len(traits) == len(form.columns.keys() & _TRAITS),
    )


def _position_paths(place: FieldPath, form: RecordFormat) -> list[FieldPath]:
    """Return the paths of the coordinates in the object that also holds the country."""
    paths = [form.columns.get(name, (((),),))[0][0] for name in ("latitude", "longitude")]
    alike = all(path[: len(place)] == place for path in paths)
    return [path[len(place) :] for path in paths] if alike else []


def _quick_traits(signin: SignIn) -> Traits | None:
    """Return the traits from the fast path's values; None if any needs more than that."""
    late, raw, form = signin.late_columns, signin.traits, signin.form
    outcome = quick_outcome(signin)
    if late is None or raw is None or outcome is None:
        return None
    event, account, _, written = late
    plan, time = _plan_of(form), parse_time(written)
    if not plan.complete or time is None or not is_plausible(time):
        return None
    values: list[Scalar] = list(raw[0])
    position = None
    for body, paths in zip(raw[1], plan.within, strict=True):
        found = _values_within(bytes(body), paths)
        if found is None:
            return None
        values.append(found[0] if found else None)
        if len(found) > 1:
            position = coordinates(*found[1:])
    read = dict(zip(plan.columns, values, strict=True))
    number = read.pop("sign_in_as_number", None)
    read.pop("detections", None)
    texts = [account, event, *read.values()]
    if not _are_plain(texts) or not account or not event:
        return None
    if any(values[index] in (None, "") for index in plan.doubtful):
        return None
    get = cast("dict[str, str | None]", read).get
    return Traits(
        account=str(account).lower(),
        object_id=(known_object_id(get("account_object_id") or None) or "").lower(),
        person=(form.account_type or "").lower() not in PROGRAMS,
        outcome=outcome,
        time=time.timestamp(),
        as_number=as_number(number) or 0,
        country=get("sign_in_country") or "",
        device=get("device_id") or "",
        agent=get("user_agent") or "",
        way=way_of(get("authentication_protocol") or "", get("client_app_used") or ""),
        session=get("session_id") or "",
        event=str(event),
        position=position,
    )


@lru_cache(maxsize=1_000)
def _outcome_of(result: Scalar) -> Outcome | None:
    """Return the outcome of a result code; None for anything that is no number."""
    return None if number_of(result) is None else outcome_of_code(result)


def _are_plain(texts: Iterable[Scalar]) -> bool:
    """Return True if all are texts that need no cleaning, or missing."""
    try:
        joined = "\x1f".join([text or "" for text in texts])  # type: ignore[misc]
    except TypeError:
        return False
    if len(joined) > _MAX_PLAIN or not joined.isascii() or "<null>" in joined:
        return False
    if not joined.replace("\x1f", "").isprintable():
        return False
    ends = f"\x1f{joined}\x1f"
    return "\x1f " not in ends and " \x1f" not in ends and "\x1f-\x1f" not in ends


@lru_cache(maxsize=20_000)
def _values_within(body: bytes, paths: tuple[FieldPath, ...]) -> tuple[Scalar, ...] | None:
    """Return the values in an object, which may stand in a text; None if it is too long."""
    if len(body) > _MAX_OBJECT_BYTES:
        return None
    try:
        read = msgspec.json.decode(body) if body else None
    except msgspec.MsgspecError:
        return None
    values = [_value_at(read, path) for path in paths if path]
    return tuple(value if isinstance(value, str | int | float) else None for value in values)


def _value_at(read: object, path: FieldPath) -> object:
    """Return the value at *path*, by its exact names if they are there."""
    value = read
    for part in path:
        value = value.get(part) if type(value) is dict else None
    return RecordReader({"it": read}).at(("it", *path)) if value is None else value
