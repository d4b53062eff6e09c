"""What holds for every body."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.events.outcomes import Outcome
from schemas.intel.merge import merge_verdicts
from schemas.intel.verdicts import AddressClass, Reputation, Verdict
from schemas.rows.columns import MAX_TEXT_LENGTH, row_error
from schemas.rows.findings import finding_id, finding_row
from schemas.rows.policy import Policy, Severity
from tests.properties.strategies import (
    EVERY,
    ITEMS,
    THOROUGH,
    VALUES,
    bodies,
    cased,
    damaged,
    encoded_ascii,
    records,
)
from tests.recorded import FALLBACK, Recorded, decoded, details_of, encoded

if TYPE_CHECKING:
    from schemas.events.decode import Decoded
    from schemas.events.sign_in import Details

VERDICT = Verdict(reputation=Reputation.MALICIOUS, source="test", time=1.9e9, expires=2e9)


def _read(body: bytes) -> tuple[Decoded, list[Details]]:
    """Decode *body* and read everything that it holds."""
    found = decoded(body)
    assert found.records == len(found.signins) + found.skips.total() + found.rejected
    for signin in found.signins:
        signin.record_time()
    return found, [details_of(signin) for signin in found.signins]


def _ids(details: list[Details]) -> Counter[str]:
    return Counter(
        finding_id(one.table, one.event_id, address)
        for one in details
        for address, _ in one.addresses
    )


@THOROUGH
@given(st.binary(max_size=400))
def test_any_bytes_are_survived(body: bytes) -> None:
    """Bytes that are no message are one record, or as many as they hold."""
    assert _read(body)[0].records >= (0 if body.strip()[:1] in (b"[", b"{") else 1)


@THOROUGH
@given(VALUES)
def test_any_json_value_is_survived(value: Any) -> None:
    """Whatever is written as JSON can be read; only empty lists hold nothing."""
    found, details = _read(encoded_ascii(value))
    assert len(details) == len(found.signins)


@THOROUGH
@given(bodies())
def test_any_body_of_nearly_real_records_is_survived(body: bytes) -> None:
    """Every record counts once, and every sign-in can be read."""
    found, details = _read(body)
    assert len(details) == len(found.signins)


@THOROUGH
@given(damaged())
def test_any_damage_to_a_real_body_is_survived(body: bytes) -> None:
    """Cut off or changed, it is read or rejected."""
    assert _read(body)[0].records >= 1


@THOROUGH
@given(st.lists(ITEMS, min_size=1, max_size=8))
def test_every_item_of_a_list_is_one_record(items: list[Any]) -> None:
    """None is lost, none is counted twice; a list of wrappers holds what the wrappers hold."""
    assert _read(encoded_ascii({"records": items}))[0].records == len(items)


@THOROUGH
@given(st.lists(ITEMS, max_size=6), st.randoms())
def test_the_order_of_records_does_not_matter(items: list[Any], random: Any) -> None:
    """The same records in another order give the same sign-ins, skips and rejects."""
    first, details = _read(encoded_ascii({"records": items}))
    shuffled = list(items)
    random.shuffle(shuffled)
    second, others = _read(encoded_ascii({"records": shuffled}))
    assert first.skips == second.skips
    assert Counter(map(repr, details)) == Counter(map(repr, others))
    assert Counter(first.rejects) == Counter(second.rejects)


@THOROUGH
@given(st.data())
def test_case_and_order_of_names_do_not_matter(data: st.DataObject) -> None:
    """The fast typed way and the slow one give the same details of the same record."""
    record = data.draw(st.sampled_from(EVERY)).record
    changed = data.draw(cased(record))
    assert _read(encoded({"records": [record]}))[1] == _read(encoded({"records": [changed]}))[1]


@THOROUGH
@given(records())
def test_a_mixed_body_reads_a_record_like_a_body_of_its_own(record: dict[str, Any]) -> None:
    """The neighbours decide whether the fast way is taken, never what is read."""
    text = encoded_ascii(record)
    alone, details = _read(b'{"records":[' + text + b"]}")
    mixed, others = _read(b'{"records":[{"note":NaN},' + text + b"]}")
    assert details == others
    assert mixed.skips - Counter({"unknown table": 1}) == alone.skips
    assert mixed.records == alone.records + 1


@THOROUGH
@given(records())
def test_the_finding_id_does_not_depend_on_the_envelope(record: dict[str, Any]) -> None:
    """Wrapper, list, bare, lines, pretty-printed: one event has one id."""
    text = encoded_ascii(record)
    pretty = json.dumps({"records": [record]}, indent=3).encode()
    several = (
        b'{"records":[' + text + b"]}",
        b"[" + text + b"]",
        text,
        b"\xef\xbb\xbf" + text + b"\n",
        b'[{"records":[' + text + b"]}]",
        pretty,
    )
    ids = [_ids(_read(body)[1]) for body in several]
    assert ids == [ids[0]] * len(ids)
    assert _ids(_read(text + b"\n" + text)[1]) == ids[0] + ids[0]


@THOROUGH
@given(st.sampled_from(EVERY), st.data())
def test_the_id_of_an_event_with_an_id_is_its_own(case: Recorded, data: st.DataObject) -> None:
    """Other fields may change between deliveries; the id stays."""
    added = data.draw(st.dictionaries(st.text("xyz", min_size=3), VALUES, max_size=3))
    details = _read(encoded_ascii({"records": [{**case.record, **added}]}))[1]
    assert [one.event_id for one in details] == [case.expected.event_id]


@THOROUGH
@given(records(), st.sampled_from(AddressClass))
def test_every_sign_in_makes_a_row_that_fits(
    record: dict[str, Any], address_class: AddressClass
) -> None:
    """Texts are bounded and free of control characters, and the row can be written."""
    for details in _read(encoded_ascii({"records": [record]}))[1]:
        for address, _ in details.addresses:
            line = Policy().decide(address_class, details.outcome, Reputation.MALICIOUS, False)
            assert line.severity is not Severity.NONE
            row = finding_row(
                details=details,
                address=address,
                merged=replace(merge_verdicts([VERDICT]), address_class=address_class),
                line=line,
                origin="test",
                wall=FALLBACK,
                delay=1.0,
            )
            assert row_error(row) is None
            assert orjson.loads(orjson.dumps(row)) == row
            for text in filter(lambda value: isinstance(value, str), row.values()):
                assert len(text) <= MAX_TEXT_LENGTH
                assert not [one for one in text if unicodedata.category(one) in ("Cc", "Cs")]


@THOROUGH
@given(records())
def test_a_missing_result_is_never_a_success(record: dict[str, Any]) -> None:
    """Without any result field a sign-in of Entra is Unknown."""
    told = ("resulttype", "status", "type")
    record = {name: value for name, value in record.items() if name.lower() not in told}
    record.update({"Type": "SigninLogs", "IPAddress": "81.2.69.160"})
    for details in _read(encoded_ascii([record]))[1]:
        assert details.outcome is Outcome.UNKNOWN
