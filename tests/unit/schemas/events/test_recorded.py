"""Every shape and every table: what is read from a recorded-looking event."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from schemas.events.tables import table_names
from tests.recorded import (
    Recorded,
    decoded,
    details_of,
    encoded,
    every_table,
    lowered,
    only,
    summary,
)
from tests.recorded.entra import RECORDS as ENTRA
from tests.recorded.others import RECORDS as OTHERS
from tests.recorded.providers import RECORDS as PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY = [*ENTRA, *OTHERS, *PROVIDERS]
CASES = [pytest.param(case, id=case.name) for case in EVERY]


def _shuffled(value: Any) -> Any:
    """Put the names of every object into another order."""
    if isinstance(value, dict):
        names = list(value)
        random.Random(7).shuffle(names)
        return {name: _shuffled(value[name]) for name in names}
    return value


WAYS: dict[str, Callable[[Any], bytes]] = {
    "wrapper": lambda record: encoded({"records": [record]}),
    "array": lambda record: encoded([record]),
    "bare": encoded,
    "shuffled": lambda record: encoded({"records": [_shuffled(record)]}),
    "lower names": lambda record: encoded({"records": [lowered(record)]}),
    "slow": lambda record: encoded({"records": [record]}).replace(b":[", b":[NaN,null,", 1),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_a_recorded_event_reads_the_same_in_every_envelope(case: Recorded, way: str) -> None:
    """Table, addresses, account, outcome, id and time depend on the event alone."""
    found = decoded(WAYS[way](case.record))
    assert len(found.signins) == 1, found
    assert summary(details_of(found.signins[0])) == case.expected


@pytest.mark.parametrize("case", CASES)
def test_both_ways_of_decoding_agree_on_everything(case: Recorded) -> None:
    """The fast typed way and the slow one give the same details, column by column."""
    quick = only(decoded(encoded({"records": [case.record]})))
    slow = decoded(WAYS["slow"](case.record)).signins[0]
    assert type(slow.source).__name__ == "SingleRecord"
    assert slow.written == quick.written
    assert details_of(quick) == details_of(slow)
    assert quick.addresses == slow.addresses


@pytest.mark.parametrize("case", CASES)
def test_both_ways_of_decoding_tell_the_clock_the_same(case: Recorded) -> None:
    """The time of the record moves the event clock, whichever way it was decoded."""
    quick, slow = (decoded(WAYS[way](case.record)).signins[0] for way in ("wrapper", "slow"))
    assert quick.record_time() is not None
    assert quick.record_time() == slow.record_time()


def test_every_shape_has_a_recorded_event() -> None:
    """The letters of the reference are all there."""
    assert {case.shape for case in EVERY} == set("ABCDEFGHIJK")


def test_every_form_of_every_table_has_a_recorded_event() -> None:
    """No form that the tables name is left untried, and no other is claimed."""
    tables = every_table()
    signs = {
        f"{sign}:{name}"
        for sign, forms in (
            ("type", tables.by_type),
            ("category", tables.by_category),
            ("looks", tables.by_looks),
        )
        for name in forms
    }
    told = {case.form.lower() if not case.form.startswith("looks") else case.form for case in EVERY}
    assert told == signs
    assert {case.expected.table for case in EVERY} == set(table_names())


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name) for case in EVERY if case.shape != "K"]
)
def test_an_event_without_an_id_keeps_its_hash(case: Recorded) -> None:
    """Neither the order of names nor a collector that lowers the outer ones changes it."""
    own = ("_ItemId", "Id", "id", "OfficeId", "EventDataId", "eventDataId", "ReportId")
    bare = {name: value for name, value in case.record.items() if name not in own}
    lower = {name.lower(): value for name, value in bare.items()}
    ids = {
        details_of(only(decoded(encoded([one])))).event_id for one in (bare, lower, _shuffled(bare))
    }
    assert len(ids) == 1
