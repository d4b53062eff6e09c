"""Objects of TAXII feeds: what becomes of every property, present, missing or odd."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from consumers.sources.taxii.stix_objects import (
    MAX_ID_LENGTH,
    MAX_LISTED_NAMES,
    MAX_NAME_LENGTH,
    indicator_of,
)
from schemas.events.times import parse_time
from schemas.intel.indicators import Indicator, WhySkipped, reputation_of
from schemas.intel.verdicts import Reputation

if TYPE_CHECKING:
    from collections.abc import Sequence

A = "81.2.69.160"
TLP1 = {
    "white": "613f2e26-407d-48c7-9eca-b8e91df99dc9",
    "green": "34098fce-860f-48ae-8e50-ebd3cc5e41da",
    "amber": "f88d31f6-486f-44da-b317-01333bde0b82",
    "red": "5e57c739-391a-4eb3-b6be-7d15ca92d5ed",
}
TLP2 = {
    "clear": "94868c89-83c2-464b-929b-a1a8aa3c8487",
    "green": "bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    "amber": "55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    "amber+strict": "939a9414-2ddd-4d32-a0cd-375ea402b003",
    "red": "e828b379-4e03-4974-9ac4-e53a884c97c1",
}
CREATED, MODIFIED = "2026-05-06T15:03:58.000Z", "2026-05-07T16:00:00.123Z"
FROM, UNTIL = "2026-05-07T00:00:00Z", "2026-06-07T00:00:00Z"

FROM_CROWDSEC: dict[str, Any] = {
    "type": "indicator",
    "spec_version": "2.1",
    "id": "indicator--510245a0-0000-4000-8000-000000000000",
    "created_by_ref": "identity--11111111-2222-4333-8444-555555555555",
    "created": CREATED,
    "modified": MODIFIED,
    "name": f"Malicious IP {A}",
    "pattern": f"[ipv4-addr:value = '{A}']",
    "pattern_type": "stix",
    "valid_from": FROM,
    "valid_until": UNTIL,
    "confidence": 60,
    "indicator_types": ["malicious-activity"],
    "labels": ["malicious", "http:bruteforce", "range:data_center"],
}
FROM_SEKOIA: dict[str, Any] = {
    "type": "indicator",
    "spec_version": "2.1",
    "id": "indicator--0a1b2c3d-1111-4222-8333-444455556666",
    "created": CREATED,
    "modified": MODIFIED,
    "revoked": False,
    "lang": "en",
    "pattern": f"[network-traffic:dst_ref.value = '{A}' OR domain-name:value = 'bad.example']",
    "pattern_type": "stix",
    "valid_from": FROM,
    "confidence": 85,
    "indicator_types": ["malicious-activity"],
    "kill_chain_phases": [
        {"kill_chain_name": "mitre-attack", "phase_name": "command-and-control"},
        {"kill_chain_name": "lockheed-martin-cyber-kill-chain", "phase_name": "installation"},
    ],
    "object_marking_refs": [f"marking-definition--{TLP1['green']}"],
    "x_ic_deprecated": False,
    "x_ic_observable_types": ["network-traffic"],
}


def seconds(text: str) -> float:
    """Return a time in seconds since the epoch."""
    moment = parse_time(text)
    assert moment is not None
    return moment.timestamp()


def changed(*without: str, **properties: Any) -> dict[str, Any]:
    """Return CrowdSec's object without some properties and with others."""
    kept = {name: value for name, value in FROM_CROWDSEC.items() if name not in without}
    return {**kept, **properties}


def read(thing: object) -> Indicator:
    """Return the indicator that *thing* must be."""
    indicator = indicator_of(thing)
    assert isinstance(indicator, Indicator)
    return indicator


def test_an_object_of_crowdsec() -> None:
    """Every property that is kept."""
    indicator = read(FROM_CROWDSEC)
    assert indicator == Indicator(
        id="indicator--510245a0-0000-4000-8000-000000000000",
        modified=seconds(MODIFIED),
        keys=(A,),
        valid_from=seconds(FROM),
        valid_until=seconds(UNTIL),
        confidence=60,
        types=("malicious-activity",),
        labels=("malicious", "http:bruteforce", "range:data_center"),
    )
    assert reputation_of(indicator) is Reputation.MALICIOUS


def test_an_object_of_sekoia() -> None:
    """Destination, phases, marking, and no end of validity."""
    assert read(FROM_SEKOIA) == Indicator(
        id="indicator--0a1b2c3d-1111-4222-8333-444455556666",
        modified=seconds(MODIFIED),
        keys=(A,),
        valid_from=seconds(FROM),
        confidence=85,
        types=("malicious-activity",),
        tlp="green",
        kill_chain=(
            "mitre-attack:command-and-control",
            "lockheed-martin-cyber-kill-chain:installation",
        ),
        destination=True,
    )


@pytest.mark.parametrize(
    "thing",
    [None, True, 5, "indicator", [], ["indicator"], {}, changed("type"), changed(type="identity")],
)
def test_other_objects(thing: object) -> None:
    """Feeds send identities, markings and more beside indicators."""
    assert indicator_of(thing) is WhySkipped.NOT_AN_INDICATOR


@pytest.mark.parametrize(
    "thing",
    [
        changed("id"),
        changed(id=5),
        changed(id=""),
        changed(id="x" * (MAX_ID_LENGTH + 1)),
        changed(id="indicator\n--1"),
        changed("created", "modified"),
        changed(created="yesterday", modified=1_780_000_000),
        changed("pattern"),
        changed(pattern=["[ipv4-addr:value = '8.8.8.8']"]),
        changed(valid_until="never"),
        changed(valid_until=1_780_000_000),
    ],
)
def test_malformed_objects(thing: object) -> None:
    """Without an id or a time nothing can be kept; an odd end must not become no end."""
    assert indicator_of(thing) is WhySkipped.MALFORMED


@pytest.mark.parametrize("kind", ["sigma", "yara", "pcre", "", 5, ["stix"]])
def test_other_pattern_types(kind: object) -> None:
    """Whatever stands in the pattern."""
    assert indicator_of(changed(pattern_type=kind)) is WhySkipped.NOT_STIX


@pytest.mark.parametrize("kind", ["stix", "STIX", None])
def test_patterns_of_stix(kind: object) -> None:
    """The type is read in any case; without one it is STIX."""
    assert read(changed(pattern_type=kind)).keys == (A,)
    assert read(changed("pattern_type")).keys == (A,)


def test_the_reason_of_a_pattern_is_kept() -> None:
    """What the pattern lacks is why the object is skipped."""
    thing = changed(pattern=f"[ipv4-addr:value = '{A}' AND domain-name:value = 'x']")
    assert indicator_of(thing) is WhySkipped.NEEDS_MORE


@pytest.mark.parametrize(
    "how", [{"revoked": True}, {"x_ic_deprecated": True}, {"revoked": "true"}, {"revoked": "True"}]
)
@pytest.mark.parametrize(
    "also",
    [
        {},
        {"pattern": "nonsense"},
        {"pattern": None},
        {"pattern_type": "yara"},
        {"valid_until": "never"},
    ],
)
def test_withdrawn_objects(how: dict[str, Any], also: dict[str, Any]) -> None:
    """Revoked or deprecated ones withdraw what was known, even if the rest cannot be read."""
    indicator = read(changed(**how, **also))
    assert indicator.withdrawn
    assert indicator.modified == seconds(MODIFIED)
    readable = "pattern" not in also and "pattern_type" not in also
    assert indicator.keys == ((A,) if readable else ())


@pytest.mark.parametrize("value", [False, None, 0, "false", "no", [], {}])
def test_objects_that_are_not_withdrawn(value: object) -> None:
    """Sekoia sends both properties even when they are false."""
    assert not read(changed(revoked=value, x_ic_deprecated=value)).withdrawn


@pytest.mark.parametrize(
    ("thing", "modified", "valid_from"),
    [
        (changed(), MODIFIED, FROM),
        (changed("modified"), CREATED, FROM),
        (changed(modified="odd"), CREATED, FROM),
        (changed("created"), MODIFIED, FROM),
        (changed("valid_from"), MODIFIED, CREATED),
        (changed("valid_from", "created"), MODIFIED, MODIFIED),
        (changed("valid_from", "modified"), CREATED, CREATED),
        (changed(created="1970-01-01T00:00:00Z", valid_from=None), MODIFIED, "1970-01-01T00:00Z"),
    ],
)
def test_times_stand_in_for_one_another(
    thing: dict[str, Any], modified: str, valid_from: str
) -> None:
    """A version without a time of change is as old as the object; validity begins with it."""
    indicator = read(thing)
    assert (indicator.modified, indicator.valid_from) == (seconds(modified), seconds(valid_from))


def test_an_end_before_the_start_is_kept() -> None:
    """It matches at no time, and it still replaces an older version."""
    indicator = read(changed(valid_until=CREATED))
    assert indicator.valid_until == seconds(CREATED)
    moments = (seconds(CREATED), seconds(FROM), seconds(MODIFIED))
    assert not any(indicator.valid_at(moment) for moment in moments)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((0, 0), (100, 100), (60.0, 60), (60.7, 60), ("85", 85), ("85.0", 85), ("100", 100)),
        *((-1, None), (101, None), (100.5, None), ("101", None), ("-5", None), ("high", None)),
        *((True, None), (None, None), ([60], None), (math.nan, None), (math.inf, None)),
        *((10**400, None), ("nan", None), ("1e2", None), ("9" * 5_000, None)),
    ],
)
def test_confidence(value: object, expected: int | None) -> None:
    """0 to 100 in any way of writing it; else as if none were given."""
    assert read(changed(confidence=value)).confidence == expected


@pytest.mark.parametrize("name", ["indicator_types", "labels"])
def test_names_are_bounded(name: str) -> None:
    """Number, length and characters; other things in the list are left out."""

    def names(value: object) -> Sequence[str]:
        indicator = read(changed(**{name: value}))
        return indicator.labels if name == "labels" else indicator.types

    assert names(None) == names("malicious") == names({"a": 1}) == ()
    assert names(["a", None, 5, ["b"], "", "  ", "b", "a"]) == ("a", "b")
    assert names(["a\x00b\u202e"]) == ("a\ufffdb\ufffd",)
    assert names(["x" * 500]) == ("x" * MAX_NAME_LENGTH,)
    assert len(names([f"name{number}" for number in range(500)])) == MAX_LISTED_NAMES


def test_phases_are_bounded() -> None:
    """A phase needs the name of its chain and its own."""
    phase = {"kill_chain_name": "chain", "phase_name": "x" * 500}
    odd: list[Any] = [None, 5, {}, {"kill_chain_name": "chain"}, {**phase, "phase_name": 5}]
    indicator = read(changed(kill_chain_phases=[*odd, phase]))
    assert indicator.kill_chain == (f"chain:{'x' * (MAX_NAME_LENGTH - 6)}",)
    assert read(changed(kill_chain_phases=phase)).kill_chain == ()
    many = [{**phase, "phase_name": str(number)} for number in range(500)]
    assert len(read(changed(kill_chain_phases=many)).kill_chain) == MAX_LISTED_NAMES


@pytest.mark.parametrize(("word", "mark"), [*TLP1.items(), *TLP2.items()])
def test_markings(word: str, mark: str) -> None:
    """The markings of both versions of the Traffic Light Protocol, among others."""
    marks: list[Any] = ["marking-definition--00000000-0000-4000-8000-000000000000", None, 5, [], {}]
    found = read(changed(object_marking_refs=[*marks, f"marking-definition--{mark}"]))
    assert found.tlp == word
    assert read(changed(object_marking_refs=marks)).tlp is None
    assert read(changed(object_marking_refs=f"marking-definition--{mark}")).tlp is None


def test_the_strictest_marking_counts() -> None:
    """Objects that come through several hands may carry several."""
    order = [TLP2["clear"], TLP1["green"], TLP2["amber"], TLP2["amber+strict"], TLP1["red"]]
    marks = [f"marking-definition--{mark}" for mark in order]
    words = ["clear", "green", "amber", "amber+strict", "red"]
    for number, word in enumerate(words, start=1):
        assert read(changed(object_marking_refs=marks[:number])).tlp == word
        assert read(changed(object_marking_refs=marks[:number][::-1])).tlp == word


def test_an_indicator_may_begin_when_it_was_created() -> None:
    """Some feeds move the begin with each version; the creation stays."""
    item = {
        "type": "indicator",
        "id": "indicator--1",
        "created": "2026-02-27T17:45:00Z",
        "modified": "2026-11-20T10:45:00Z",
        "valid_from": "2026-11-20T10:45:00Z",
        "pattern": "[ipv4-addr:value = '81.2.69.160']",
    }
    moved, created = indicator_of(item), indicator_of(item, from_created=True)
    assert isinstance(moved, Indicator)
    assert isinstance(created, Indicator)
    assert moved.valid_from == moved.modified
    assert created.valid_from == parse_time(item["created"]).timestamp()  # type: ignore[union-attr]
