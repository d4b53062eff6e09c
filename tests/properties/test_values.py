"""What holds for every address, time, number, text and table choice."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from schemas.events.addresses import AddressesMemo, AddressMemo, Networks, Unusable, usable_address
from schemas.events.lenient_json import (
    MAX_DEPTH,
    load_json,
    parse_container,
    too_deep,
    truncate_depth,
)
from schemas.events.outcomes import Outcome, outcome_of_code, outcome_of_status, outcome_of_word
from schemas.events.record_reader import fold_names
from schemas.events.times import iso, parse_time
from schemas.values import MAX_VALUE_LENGTH, clean_bool, clean_text, number_of
from tests.properties.strategies import ADDRESSES, THOROUGH, VALUES

TEXTS = st.text() | st.text("0123456789abcdefABCDEF:.[]%/ ", max_size=60) | ADDRESSES
PUBLIC = st.ip_addresses().map(str)
TIMES = st.text("0123456789-/:. TZ+APM,", max_size=40) | st.text(max_size=60)


@THOROUGH
@given(TEXTS | VALUES)
def test_an_answer_is_final(value: Any) -> None:
    """A canonical address is its own canonical form; nothing raises."""
    answer = usable_address(value)
    if isinstance(answer, str):
        assert usable_address(answer) == answer
        assert str(ipaddress.ip_address(answer)) == answer
    else:
        assert answer in Unusable


@THOROUGH
@given(PUBLIC, st.integers(0, 65535))
def test_spelling_does_not_matter(text: str, port: int) -> None:
    """Brackets, port, zone, case and zeros written out give the same answer."""
    address = ipaddress.ip_address(text)
    spelled = [text.upper(), f" {text} "]
    if address.version == 6:
        spelled += [address.exploded, f"[{text}]:{port}", f"{text}%eth0", f"[{address.exploded}]"]
    else:
        spelled += [f"{text}:{port}", f"::ffff:{text}", f"[::ffff:{text}]:{port}"]
    assert {usable_address(one) for one in spelled} == {usable_address(text)}


@THOROUGH
@given(PUBLIC)
def test_no_address_that_python_calls_private_is_usable(text: str) -> None:
    """The project's list is at least as strict as the standard library's."""
    answer = usable_address(text)
    if isinstance(answer, str):
        address = ipaddress.ip_address(answer)
        assert address.is_global
        assert not address.is_multicast


@THOROUGH
@given(st.lists(st.lists(TEXTS | st.integers() | st.none(), max_size=4), max_size=12))
def test_memory_changes_no_answer(asked: list[list[Any]]) -> None:
    """A small memory, emptied often, answers like none."""
    memo = AddressesMemo(AddressMemo(most=3), most=2)
    for values in asked:
        answers = [usable_address(value) for value in values]
        expected = tuple(dict.fromkeys(one for one in answers if isinstance(one, str)))
        assert memo[tuple(values)] == expected


@THOROUGH
@given(st.lists(st.ip_addresses().map(str), max_size=4), PUBLIC)
def test_networks_agree_with_the_standard_library(networks: list[str], address: str) -> None:
    """Of both families together."""
    wide = [f"{one}/{9 if '.' in one else 20}" for one in networks]
    parsed = [ipaddress.ip_network(one, strict=False) for one in wide]
    expected = any(ipaddress.ip_address(address) in network for network in parsed)
    assert (address in Networks(wide)) is expected


@THOROUGH
@given(TIMES | VALUES)
def test_any_text_is_a_time_in_utc_or_none(value: Any) -> None:
    """Nothing raises, and what is read can be written and read again."""
    moment = parse_time(value)
    if moment is not None:
        assert moment.utcoffset() == timedelta(0)
        assert parse_time(iso(moment)) == moment


@THOROUGH
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(0, 9),
)
def test_every_form_of_a_time_tells_the_same(moment: datetime, digits: int) -> None:
    """ISO with any number of digits, and the US form."""
    whole = moment.replace(microsecond=0)
    fraction = f"{moment.microsecond:06d}000"[:digits]
    cut = timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    dotted = f".{fraction}" if fraction else ""
    half = "AM" if moment.hour < 12 else "PM"
    forms = [
        whole.strftime("%Y-%m-%dT%H:%M:%S") + dotted + "Z",
        whole.strftime("%Y-%m-%d %H:%M:%S") + dotted,
        f"{moment.year}-{moment.month:02d}-{moment.day:02d}T{moment.hour}:{moment:%M:%S}{dotted}Z",
        f"{moment.month}/{moment.day}/{moment.year} {(moment.hour + 11) % 12 + 1}"
        f":{moment:%M:%S}{dotted} {half}",
    ]
    assert [parse_time(one) for one in forms] == [whole + cut] * 4


@THOROUGH
@given(VALUES | st.text("-05 ", max_size=6))
def test_any_result_has_an_outcome(value: Any) -> None:
    """Nothing raises; only zero and a few words are a success."""
    outcomes = {outcome_of_code(value), outcome_of_word(value), outcome_of_status(value)}
    assert outcomes <= set(Outcome)
    number = number_of(value)
    assert number is None or isinstance(number, int)
    assert clean_bool(value) in (True, False, None)
    if number is not None:
        assert (outcome_of_code(value) is Outcome.SUCCESS) == (number == 0)


@THOROUGH
@given(VALUES)
def test_any_value_cleans_to_bounded_text(value: Any) -> None:
    """And cleaning twice changes nothing."""
    text = clean_text(value)
    if text is not None:
        assert 0 < len(text) <= MAX_VALUE_LENGTH
        assert text.isprintable() or all(ord(one) >= 32 for one in text)
        assert clean_text(text) == text
        assert text.encode()


@THOROUGH
@given(st.text() | st.text('{}[]":,0123456789\\ ', max_size=40))
def test_any_text_is_json_or_a_value_error(text: str) -> None:
    """Nothing else is raised, however broken."""
    with suppress(ValueError):
        load_json(text)
    assert parse_container(text) is None or isinstance(parse_container(text), dict | list)
    assert too_deep(text) is False


@THOROUGH
@given(st.text('"\\\\[]{}a'), st.integers(MAX_DEPTH - 5, MAX_DEPTH + 5))
def test_what_is_too_deep_becomes_null(value: str, depth: int) -> None:
    """And nothing else is changed, brackets in texts included."""
    raw = orjson.dumps([value])
    assert truncate_depth(raw) == raw
    nested = b'{"a":' * depth + raw + b"}" * depth
    found = orjson.loads(
        truncate_depth(orjson.dumps({value: value})[:-1] + b',"b":' + nested + b"}")
    )
    assert found[value] == value
    found = found["b"]
    for _ in range(min(depth, MAX_DEPTH - 1)):
        found = found["a"]
    assert found == (None if depth >= MAX_DEPTH - 1 else [value])


@THOROUGH
@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=6))
def test_folding_names_twice_changes_nothing(record: dict[str, Any]) -> None:
    """All outer names are lower case afterwards, and no input is changed."""
    before = repr(record)
    folded = fold_names(record)
    assert repr(fold_names(folded)) == repr(folded)
    assert repr(record) == before
