"""Redacting one message: nothing of it tells who it was, and all of it is read as before."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.commands.redact.redactor import (
    MAX_REDACT_DEPTH,
    UNREADABLE,
    UNREADABLE_RECORD,
    Redactor,
)
from schemas.events.addresses import Unusable
from schemas.events.tables import load_tables
from tests.properties.strategies import EVERY, THOROUGH, bodies, damaged
from tests.recorded import V4, V6, decoded, details_of, encoded, every_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schemas.events.tables import Tables
    from tests.recorded import Recorded

KEY = bytes(range(64))
GUID = "a1b2c3d4-1111-4222-8333-9abcdef01234"

MARKERS = (
    "Zoltan Quux",
    "zoltan.quux@vorpalworks.test",
    "VORPALWORKS\\zquux",
    "zquux-laptop.vorpalworks.test",
    "Vorpalworks VPN gateway",
    "/users/zquux/photos",
    GUID,
    GUID.upper().replace("-", ""),
    "{" + GUID + "}",
    "+49 170 5559317",
    "5559317224",
    "A3F09C5D",
    "48.20849",
    "1985-07-23",
    "zquux;vorpalworks=1",
    f'{{"user":"zquux@vorpalworks.test","deep":[{{"guid":"{GUID}"}}]}}',
    '["zquux", "vorpalworks"]',
    "Zoltan Quux came from 77.181.43.219 and [2a02:a45f:91c3::77e1]:443, not 77.181.43.219:61234.",
    "Quuxbrowser/4.1 (zquux; vorpalworks)",
    "Mozilla/5.0 (Windows NT 10.0; VorpalDevice) Chrome/120.0.0.0",
    "77.181.43.219",
    "77.181.43.219:61234",
    "::ffff:77.181.43.219",
    "::ffff:4db5:2bdb",
    "2A02:A45F:91C3:0000::77E1",
    "[2a02:a45f:91c3::77e1]:443",
    "2a02:a45f:91c3::77e1%vorpal",
    "2a02:a45f:91c3::/48",
    "77.181.43.219, 10.45.187.201",
    "10.45.187.201",
)
LEAKS = re.compile(
    r"zoltan|quux|vorpal|a1b2c3d4|9abcdef01234|5559317|A3F09C5D|48\.20|1985-07|:61234"
    r"|77\.181\.43|181\.43\.219|4db5:2bdb|a45f:91c3|91c3:|::77e1|10\.45|45\.187\.201",
    re.IGNORECASE,
)
"""All that may tell something of a marker, as long as no hash is likely to hold it."""


def _redactor(key: bytes = KEY, tables: Tables | None = None) -> Redactor:
    return Redactor(key, tables or every_table())


def _redacted(value: Any, redactor: Redactor | None = None) -> Any:
    return orjson.loads((redactor or _redactor()).message(encoded(value)))


def _text(text: str, name: str = "anything") -> str:
    return str(_redacted({name: text})[name])


def _told(body: bytes) -> dict[str, Any]:
    """Return what must be the same before and after."""
    found = decoded(body)
    skips = Counter(found.skips)
    # Of a text that is neither, which of the two it is may change with its length.
    skips[Unusable.NOT_AN_ADDRESS.value] += skips.pop(Unusable.A_NETWORK.value, 0)
    details = [details_of(one) for one in found.signins]
    numbers: dict[str, int] = {}
    return {
        "records": found.records,
        "rejected": found.rejected,
        "skips": +skips,
        "signins": [
            (one.table, one.outcome, one.sign_in_as_number, one.is_interactive) for one in details
        ],
        "addresses": [
            [numbers.setdefault(address, len(numbers)) for address in one.addresses]
            for one in found.signins
        ],
    }


@given(bodies())
@THOROUGH
def test_any_body_is_read_as_before(body: bytes) -> None:
    """Records, rejects, reasons, tables, outcomes, and which addresses are the same."""
    new = _redactor().message(body)
    assert b"\n" not in new
    assert _told(new) == _told(body)


@pytest.mark.parametrize("case", EVERY, ids=lambda one: one.name)
def test_recorded_events_are_read_as_before(case: Recorded) -> None:
    """Of every table and form; times included."""
    body, redactor = encoded({"records": [case.record]}), _redactor()
    new = redactor.message(body)
    assert _told(new) == _told(body)
    assert details_of(decoded(new).signins[0]).event_time == case.expected.event_time
    assert _shape(orjson.loads(new)) == _shape(orjson.loads(body))


def _shape(value: Any) -> Any:
    """Return names, nesting and types; JSON in texts included."""
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shape(inner) for inner in value]
    if isinstance(value, str) and value.startswith(("{", "[{")):
        return "text", _shape(json.loads(value))
    return type(value)


def _planted(value: Any, marker: str) -> Iterator[Any]:
    """Yield *value* with a marker in the place of every text, one after the other, and of all."""
    for place in [*_places(value), None]:
        yield _with(value, marker, place, ())


def _places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _places(inner, (*here, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _places(inner, (*here, number))
    elif value is None or isinstance(value, str):
        yield here


def _with(value: Any, marker: str, place: tuple[Any, ...] | None, here: tuple[Any, ...]) -> Any:
    if isinstance(value, dict):
        return {name: _with(one, marker, place, (*here, name)) for name, one in value.items()}
    if isinstance(value, list):
        return [_with(one, marker, place, (*here, n)) for n, one in enumerate(value)]
    if isinstance(value, str) and value.startswith(("{", "[{")) and place is None:
        return json.dumps(_with(json.loads(value), marker, None, here))
    text = value is None or isinstance(value, str)
    return marker if text and place in (None, here) else value


@pytest.mark.parametrize("case", EVERY, ids=lambda one: one.name)
def test_no_marker_survives_in_any_place_of_any_table(case: Recorded) -> None:
    """Names, mails, ids, devices, coordinates, and addresses in several spellings."""
    redactor = _redactor()
    for marker in MARKERS:
        for record in _planted(case.record, marker):
            new = redactor.message(encoded({"records": [record]}))
            assert not LEAKS.search(new.decode()), (marker, record, new)


def _columns() -> list[str]:
    tables = every_table()
    forms = [*tables.by_type.values(), *tables.by_category.values(), *tables.by_looks.values()]
    places = (place for form in forms for found in form.columns.values() for (place, *_) in found)
    return sorted({part for place in places for part in place})


@given(
    st.sampled_from([*_columns(), "Type", "category", "operationName", "browser", "vpn_s"]),
    st.sampled_from(MARKERS),
    st.sampled_from(["{}", "Success {}", "{} Success", " {}\n", "0 {}", "x:{}", "{}x", '"{}"']),
)
@THOROUGH
def test_no_marker_survives_beside_what_is_kept(name: str, marker: str, around: str) -> None:
    """An allowed name keeps allowed values alone, and these only whole."""
    new = _redactor().message(encoded({name: {"value": around.format(marker), name: [marker]}}))
    assert not LEAKS.search(new.decode()), new


@pytest.mark.parametrize(
    "name",
    [
        "zoltan quux",
        "zquux@vorpalworks.test",
        "77.181.43.219",
        GUID,
        "/users/zquux",
        "5559317",
        "é",
    ],
)
def test_names_that_are_no_names_of_columns_are_replaced(name: str) -> None:
    """Such as those of an object that is a map by account."""
    (new,) = _redacted({name: 1})
    assert re.fullmatch(r"r-[0-9a-f]{16}", new)


@pytest.mark.parametrize(
    "body",
    [
        b"zoltan quux 77.181.43.219",
        b'{"records":[{"Type":"SigninLogs","UserPrincipalName":"zquux',
        b'"zquux',
        b"\xff\xfezquux",
        b"",
        b"vorpal\nworks",
    ],
)
def test_an_unreadable_message_is_replaced_whole_and_counted(body: bytes) -> None:
    """By one that is as unreadable."""
    redactor = _redactor()
    assert redactor.message(body) == UNREADABLE
    assert (redactor.records, redactor.unreadable_messages) == (1, 1)
    assert decoded(UNREADABLE).rejected == decoded(body).rejected == 1


def test_a_broken_line_is_replaced_and_its_neighbours_are_redacted() -> None:
    """A message of several lines becomes one line, of the same records."""
    good = encoded(EVERY[0].record)
    body = b"\n".join((good, b'{"UserPrincipalName":"zquux\\q"}', b"null", b"[1,2]", good))
    redactor = _redactor()
    new = redactor.message(body)
    assert _told(new) == _told(body)
    assert not LEAKS.search(new.decode())
    assert orjson.loads(new)["records"][1] == UNREADABLE_RECORD
    assert (redactor.records, redactor.unreadable_records) == (6, 1)


@given(damaged())
@THOROUGH
def test_a_damaged_body_is_read_as_before(body: bytes) -> None:
    """As far as it is read at all."""
    assert _told(_redactor().message(body)) == _told(body)


def test_what_lies_too_deep_is_emptied() -> None:
    """It is never read, and recursion must end."""
    deep: Any = "zquux"
    for _ in range(MAX_REDACT_DEPTH + 50):
        deep = {"a": [deep]}
    new = _redactor().message(encoded({"records": [EVERY[0].record | {"deep": deep}]}))
    assert not LEAKS.search(new.decode())
    assert len(decoded(new).signins) == 1
    texts: Any = "zquux"
    for _ in range(12):
        texts = json.dumps({"a": texts})
    assert not LEAKS.search(_text(texts))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (GUID, r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        (GUID.upper(), r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}"),
        ("ada@example.net", r"r-[0-9a-f]{16}@r-[0-9a-f]{16}\.example"),
        ("0a1b2c3d4e", r"[0-9a-f]{10}"),
        ("0a1b" * 16, r"[0-9a-f]{64}"),
        ("4711", r"[1-9][0-9]{3}"),
        ("-000471100", r"-000[1-9][0-9]{5}"),
        ("123456789012345678901234", r"[0-9]{24}"),
        ("52.52", r"0\.0"),
        ("CORP\\ada", r"r-[0-9a-f]{16}\\r-[0-9a-f]{16}"),
        (f"/tenants/{GUID}/x", r"/tenants/[0-9a-f-]{36}/r-[0-9a-f]{16}"),
        ("pc-1.example.net", r"r-[0-9a-f]{16}\.r-[0-9a-f]{16}\.example"),
        ("blocked: 81.2.69.160!", r"r-[0-9a-f]{16} [0-9.]+"),
        ("source:81.2.69.160.", r"r-[0-9a-f]{16} [0-9.]+"),
        ("81.2.69.160:443", r"[0-9.]+:[0-9]{1,3}"),
        (f"[{V6}]:54088", r"\[[0-9a-f:]+\]:[0-9]{1,5}"),
        ("Ada Example", r"r-[0-9a-f]{16}"),
    ],
)
def test_a_pseudonym_is_of_the_same_kind(text: str, kind: str) -> None:
    """And another than the text."""
    new = _text(text)
    assert re.fullmatch(kind, new)
    assert new != text


@pytest.mark.parametrize("text", ["", "-", "<null>", "true", "False", "0", "404"])
def test_nothing_and_small_numbers_stay(text: str) -> None:
    """They tell nobody, and they decide how a record is read."""
    assert _text(text) == text


def test_equal_values_stay_equal_wherever_they_stand() -> None:
    """Case aside; a domain is one, a GUID is one with and without hyphens, a number as text."""
    assert _text("Ada@Example.net") == _text("ada@example.net", "UserPrincipalName")
    name, _, domain = _text("ada@example.net").partition("@")
    assert _text("ada") == name
    assert _text("bob@EXAMPLE.net").endswith("@" + domain)
    assert _text("pc.example.net").endswith("." + domain)
    assert _text(GUID).replace("-", "") == _text(GUID.replace("-", ""))
    assert str(_redacted({"ReportId": 471100})["ReportId"]) == _text("471100")


def test_another_key_gives_other_pseudonyms() -> None:
    """And the same key the same."""
    body = encoded({"records": [case.record for case in EVERY]})
    assert _redactor().message(body) == _redactor().message(body)
    other = _redactor(bytes(64))
    assert other.message(body) != _redactor().message(body)


@pytest.mark.parametrize(("first", "last"), [(1_000, 10_000), (0xA0000000, 0xA0000800)])
def test_short_numbers_and_hexadecimal_never_collide(first: int, last: int) -> None:
    """So that no two events become one."""
    write: Callable[[int], str] = str if last == 10_000 else "{:x}".format
    texts = [one for one in map(write, range(first, last)) if any(map(str.isdigit, one))]
    found = _redacted({"a": texts})["a"]
    assert len(set(found)) == len(texts)
    assert {len(one) for one in found} == {len(texts[0])}


def test_numbers_that_no_other_json_reader_takes() -> None:
    """A number of 300 digits beside one that is none: what is written is plain JSON."""
    new = orjson.loads(_redactor().message(b'{"a":NaN,"b":[' + b"7" * 300 + b",-Infinity]}"))
    assert new["a"] == new["b"][1] == 0.5
    assert len(str(new["b"][0])) == 18


def test_numbers() -> None:
    """Small ones, codes and networks stay; coordinates go; others become others of their size."""
    old = {
        "errorCode": 7000222, "autonomousSystemNumber": 4200000001, "count": 999,
        "latitude": 48.20849, "Longitude": 16, "score": 0.75, "phone": 491705559317,
        "back": -5559317, "big": 2.0**70, "yes": True,
    }  # fmt: skip
    new = _redacted(old)
    kept = {"errorCode", "autonomousSystemNumber", "count", "yes"}
    assert {name for name in old if new[name] == old[name]} == kept
    assert (new["latitude"], new["Longitude"], new["score"]) == (0.0, 0, 0.5)
    assert {name: type(one) for name, one in new.items()} == {n: type(o) for n, o in old.items()}
    assert (len(str(new["phone"])), len(str(new["back"]))) == (12, 8)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("ResultType", "50126", "50126"),
        ("riskState", "atRisk", "atRisk"),
        ("UserPrincipalName", "success", None),
        ("AppDisplayName", "Microsoft Teams", "Microsoft Teams"),
        ("AppDisplayName", "Vorpal Payroll", None),
        ("appId", "00000003-0000-0000-c000-000000000000", "00000003-0000-0000-c000-000000000000"),
        ("userId", "00000003-0000-0000-c000-000000000000", None),
        ("countryOrRegion", "DE", "DE"),
        ("countryOrRegion", "Deutschland", None),
        ("city", "DE", None),
        ("createdDateTime", "5/6/2031 7:06:00 AM", "5/6/2031 7:06:00 AM"),
        ("birthDate", "1985-07-23", None),
        ("browser", "Chrome 120.0.0.0", "Chrome 120"),
        ("operatingSystem", "Windows 10", "Windows 10"),
        ("operatingSystem", "VorpalOS 10", None),
        ("Type", "VorpalVpn_CL", None),
    ],
)
def test_what_is_kept_is_kept_by_its_name_and_looks(
    name: str, text: str, expected: str | None
) -> None:
    """An expected None stands for any pseudonym."""
    new = _text(text, name)
    assert new == expected if expected else new != text


def test_of_a_user_agent_its_family_is_kept() -> None:
    """Versions do not pass for addresses."""
    agent = "Mozilla/5.0 (X11; VorpalOS) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36"
    assert re.fullmatch(r"Chrome r-[0-9a-f]{16}", _text(agent, "UserAgent"))


def test_tables_of_ones_own_keep_their_name_and_words() -> None:
    """As the replay of them needs; what stands in their columns is replaced."""
    own = {"Vpn_CL": {"address": "Ip", "result": "Action_s", "success": ["up"], "failure": []}}
    tables = load_tables(["all"], own)
    record = {"Type": "Vpn_CL", "Ip": V4, "Action_s": "up", "User_s": "zquux"}
    redactor = _redactor(tables=tables)
    new = _redacted({"records": [record]}, redactor)["records"][0]
    assert (new["Type"], new["Action_s"]) == ("Vpn_CL", "up")
    assert redactor.unknown_names == {"User_s"}
