"""The objects that are uploaded: their ids, patterns, ends and bounds."""

from __future__ import annotations

import re
from typing import Any

import pytest
from stix2matcher.matcher import match
from stix2patterns.validator import run_validator

from schemas.events.times import parse_time
from schemas.intel.indicators import Indicator
from schemas.intel.stix_export import (
    MAX_LABELS,
    MAX_OBJECT_KEYS,
    feed_indicators,
    for_readers_only,
    malicious_indicator,
    part_id,
)
from schemas.intel.verdicts import REPORT_PAGES, Intel

NOW = 1_772_000_000.0
DAY = 86_400.0
V4, V6 = "81.2.69.160", "2a02:8108::5"
TEXTS = ("type", "spec_version", "id", "created", "modified", "pattern", "pattern_type")


def judged(address: str = V4, intel: Intel | None = None, **more: Any) -> dict[str, Any]:
    """Return the object of an address."""
    told: dict[str, Any] = {
        "source": "signinwatch",
        "now": NOW,
        "valid_until": NOW + DAY,
        "first": NOW - DAY,
    }
    return malicious_indicator(address, intel or Intel(), **(told | more))


def indicator(**more: Any) -> Indicator:
    """Return a feed's indicator."""
    told: dict[str, Any] = {
        "id": "indicator--1",
        "modified": NOW - 2 * DAY,
        "keys": (V4,),
        "valid_from": NOW - 3 * DAY,
        "valid_until": NOW + DAY,
        "confidence": 70,
    }
    return Indicator(**(told | more))


def fed(one: Indicator, feed: str = "sekoia", **more: Any) -> list[dict[str, Any]]:
    """Return the objects of a feed's indicator."""
    return feed_indicators(feed, one, **({"now": NOW, "valid": 7 * DAY} | more))


def moment(text: str) -> float:
    """Return a time of an object as seconds."""
    parsed = parse_time(text)
    assert parsed is not None
    return parsed.timestamp()


def sound(told: dict[str, Any]) -> bool:
    """Tell whether an object keeps to the API's and STIX's rules."""
    assert all(isinstance(told[name], str) and told[name] for name in TEXTS)
    assert told["type"] == "indicator"
    assert re.fullmatch(r"indicator--[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-.{17}", told["id"])
    assert run_validator(told["pattern"], stix_version="2.1") == []
    assert moment(told["valid_until"]) > moment(told["valid_from"])
    assert moment(told["modified"]) >= moment(told["created"])
    return "revoked" not in told


def fits(told: dict[str, Any], address: str, *, destination: bool = False) -> bool:
    """Tell whether the independent matcher finds an address by the object's pattern."""
    kind = "ipv6-addr" if ":" in address else "ipv4-addr"
    objects: dict[str, Any] = {"0": {"type": kind, "value": address}}
    if destination:
        objects["1"] = {"type": "network-traffic", "dst_ref": "0", "protocols": ["tcp"]}
    observed = {
        "type": "observed-data",
        "first_observed": "2026-01-01T00:00:00Z",
        "last_observed": "2026-01-01T00:00:00Z",
        "number_observed": 1,
        "objects": objects,
    }
    return bool(match(told["pattern"], [observed], stix_version="2.0"))


@pytest.mark.parametrize("address", [V4, V6])
def test_a_judged_address_is_named_by_a_sound_object(address: str) -> None:
    """With what is known of it, and found by its pattern alone."""
    intel = Intel(
        confidence="high",
        score=5,
        classifications=("proxy:tor", "x" * 500),
        behaviors=("http:scan", "proxy:tor"),
    )
    told = judged(address, intel, page=REPORT_PAGES["crowdsec-replica"])
    assert sound(told)
    assert fits(told, address)
    assert not fits(told, "81.2.69.161")
    assert told["indicator_types"] == ["malicious-activity"]
    assert told["confidence"] == 90
    assert told["labels"] == ["proxy:tor", "x" * 100, "http:scan"]
    page = f"https://app.crowdsec.net/cti/{address}"
    assert told["external_references"] == [{"source_name": "CrowdSec", "url": page}]
    assert moment(told["created"]) == NOW - DAY
    assert moment(told["modified"]) == NOW
    assert moment(told["valid_until"]) == NOW + DAY


def test_the_id_is_frozen() -> None:
    """Another id would leave the old objects without a master."""
    assert judged()["id"] == "indicator--23fe5041-7f81-5c69-8810-bb9c3af62ff5"
    assert part_id("sekoia", "indicator--1", 0) == "indicator--1254dd00-4bd8-5077-8258-19fd76bd1232"


def test_the_id_is_of_source_and_address_alone() -> None:
    """Nothing that changes changes it."""
    other = Intel(confidence="low", score=1)
    assert judged(intel=other, now=NOW + 5, first=0.0)["id"] == judged()["id"]
    assert len({judged()["id"], judged(V6)["id"], judged(source="other")["id"]}) == 3


def test_what_nobody_tells_is_left_out() -> None:
    """No confidence, no labels, no page where only a feed lists the address."""
    told = judged(intel=Intel(indicator={"id": "indicator--1"}))
    assert not {"confidence", "labels", "external_references", "object_marking_refs"} & set(told)
    assert (judged(intel=Intel(confidence="medium"))["confidence"]) == 60
    assert (judged(intel=Intel(confidence="low"))["confidence"]) == 30


def test_a_withdrawn_address_ends_now() -> None:
    """Under the same id and pattern; the beginning gives way where it would be later."""
    told = judged(valid_until=NOW, first=NOW)
    assert sound(told)
    assert moment(told["valid_until"]) == NOW
    assert (told["id"], told["pattern"]) == (judged()["id"], judged()["pattern"])
    assert told["description"].startswith("No longer")
    assert judged()["description"].startswith("Judged malicious")


def test_no_time_is_beyond_the_calendar() -> None:
    """A verdict may have no end, and an indicator may claim any."""
    assert sound(judged(valid_until=float("inf")))
    assert sound(fed(indicator(valid_until=1e18, valid_from=-1e18))[0])
    assert sound(fed(indicator(valid_until=1e18, valid_from=1e17))[0])


def test_an_indicator_of_a_feed_keeps_what_it_says() -> None:
    """Confidence, types, labels and validity; the id is ours, and its own is told."""
    one = indicator(types=("malicious-activity",), labels=("botnet", "bot\x1b[31mnet"))
    (told,) = fed(one)
    assert sound(told)
    assert fits(told, V4)
    assert told["id"] != one.id
    assert one.id in told["description"]
    assert told["confidence"] == 70
    assert told["indicator_types"] == ["malicious-activity"]
    assert told["labels"] == ["feed:sekoia", "botnet", "bot�[31mnet"]
    assert moment(told["valid_from"]) == NOW - 3 * DAY
    assert moment(told["valid_until"]) == NOW + DAY
    assert fed(one, "other")[0]["id"] != told["id"]
    assert fed(indicator(id="indicator--2"))[0]["id"] != told["id"]


def test_a_confidence_of_nothing_is_kept() -> None:
    """0 is a value (STIX 2.1 appendix A: not specified is another thing)."""
    assert fed(indicator(confidence=0))[0]["confidence"] == 0
    assert "confidence" not in fed(indicator(confidence=None))[0]


def test_each_key_becomes_a_pattern() -> None:
    """Of addresses and networks of both kinds, as the independent matcher reads it."""
    told = fed(indicator(keys=(V4, "93.184.216.0/24", V6)))
    assert all(sound(one) for one in told)
    for address, one in zip((V4, "93.184.216.7", V6), told, strict=True):
        assert [fits(other, address) for other in told] == [other is one for other in told]
    for address in ("93.184.217.7", "2a04::1", "81.2.69.161"):
        assert not any(fits(one, address) for one in told)
    (wide,) = fed(indicator(keys=("2a03::/32",)))
    assert sound(wide)  # the matcher knows no networks of IPv6
    assert wide["pattern"] == "[ipv6-addr:value ISSUBSET '2a03::/32']"


def test_a_destination_stays_one() -> None:
    """It says nothing of clients."""
    told, _ = fed(indicator(keys=(V4, "93.184.216.0/24"), destination=True))
    assert sound(told)
    assert fits(told, V4, destination=True)
    assert not fits(told, V4)


def test_many_keys_become_several_objects() -> None:
    """Each with an id of its own, always the same; all keys once."""
    keys = tuple(f"81.2.{n}.1" for n in range(2 * MAX_OBJECT_KEYS + 1))
    parts = fed(indicator(keys=keys))
    assert all(sound(one) for one in parts)
    found = [re.findall(r"= '([^']+)'", one["pattern"]) for one in parts]
    assert [len(one) for one in found] == [MAX_OBJECT_KEYS, MAX_OBJECT_KEYS, 1]
    assert tuple(key for one in found for key in one) == keys
    assert [one["id"] for one in parts] == [part_id("sekoia", "indicator--1", n) for n in range(3)]
    assert len({one["id"] for one in parts}) == 3
    assert fed(indicator(keys=())) == []


def test_one_without_an_end_gets_one() -> None:
    """From now, or from its beginning if that is to come."""
    (told,) = fed(indicator(valid_until=None))
    assert moment(told["valid_until"]) == NOW + 7 * DAY
    (later,) = fed(indicator(valid_until=None, valid_from=NOW + DAY))
    assert moment(later["valid_until"]) == NOW + 8 * DAY


@pytest.mark.parametrize("start", [NOW - DAY, NOW, NOW + DAY])
def test_a_withdrawn_indicator_ends_now(start: float) -> None:
    """Whatever it says itself, and with a beginning before that."""
    (told,) = fed(indicator(valid_from=start, valid_until=None), withdrawn=True)
    assert sound(told)
    assert moment(told["valid_until"]) == NOW
    assert told["confidence"] == 70
    assert told["id"] == fed(indicator())[0]["id"]


@pytest.mark.parametrize(
    ("tlp", "marking"),
    [
        ("clear", "94868c89-83c2-464b-929b-a1a8aa3c8487"),
        ("TLP:WHITE", "613f2e26-407d-48c7-9eca-b8e91df99dc9"),
        ("green", "34098fce-860f-48ae-8e50-ebd3cc5e41da"),
        ("Amber", "f88d31f6-486f-44da-b317-01333bde0b82"),
    ],
)
def test_a_marking_is_passed_on(tlp: str, marking: str) -> None:
    """By the id that all know."""
    expected = [f"marking-definition--{marking}"]
    assert fed(indicator(tlp=tlp))[0]["object_marking_refs"] == expected
    assert judged(intel=Intel(indicator={"tlp": tlp}))["object_marking_refs"] == expected
    assert not for_readers_only(tlp)


def test_some_markings_forbid_to_pass_on() -> None:
    """However they are written; no marking forbids nothing."""
    assert all(for_readers_only(tlp) for tlp in ("red", "TLP:RED", "amber+strict", "Amber-Strict"))
    assert not any(for_readers_only(tlp) for tlp in (None, "", "amber", "green"))
    assert "object_marking_refs" not in fed(indicator(tlp="other"))[0]


def test_texts_are_bounded() -> None:
    """A feed cannot make an object large."""
    many = tuple(f"{n}{'x' * 1_000}" for n in range(100))
    (told,) = fed(indicator(id="i" * 9_999, labels=many, types=many), "f" * 999)
    assert sound(told)
    assert len(told["labels"]) == len(told["indicator_types"]) == MAX_LABELS
    assert len(str(told)) < 10_000
