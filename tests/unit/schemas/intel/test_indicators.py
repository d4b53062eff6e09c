"""What an indicator says: its reputation, its confidence in words, its window, its evidence."""

from __future__ import annotations

from itertools import chain, combinations, product
from typing import Any

import pytest

from schemas.intel.indicators import Indicator, confidence_word, reputation_of, verdict_of
from schemas.intel.verdicts import AddressClass, Reputation

TYPES = ("malicious-activity", "anomalous-activity", "benign", "compromised")
LABELS = ("malicious", "benign", "safe", "botnet")
CONFIDENCES = (None, 0, 1, 29, 30, 49, 50, 51, 100)
LEAST = (0, 1, 30, 50, 51, 100)


def indicator(**more: Any) -> Indicator:
    """Return an indicator."""
    return Indicator(**{"id": "i", "modified": 5.0, "keys": ("81.2.69.160",), **more})


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return all choices of names."""
    return list(chain.from_iterable(combinations(names, n) for n in range(len(names) + 1)))


def expected(
    types: tuple[str, ...], labels: tuple[str, ...], confidence: int | None, least: int
) -> Reputation:
    """Return what is promised, written another way."""
    bad = "malicious-activity" in types or "malicious" in labels
    if not bad and ("benign" in types or "benign" in labels or "safe" in labels):
        return Reputation.BENIGN
    sure = 101 if confidence is None else confidence
    if sure < least:
        return Reputation.UNKNOWN
    if bad and sure >= 50:
        return Reputation.MALICIOUS
    return Reputation.SUSPICIOUS


@pytest.mark.parametrize("types", subsets(TYPES))
def test_reputation_by_types_labels_and_confidence(types: tuple[str, ...]) -> None:
    """All there is, in any case of letters."""
    for labels, confidence, least in product(subsets(LABELS), CONFIDENCES, LEAST):
        found = {
            reputation_of(
                indicator(
                    types=tuple(map(change, types)),
                    labels=tuple(map(change, labels)),
                    confidence=confidence,
                ),
                least,
            )
            for change in (str.lower, str.upper, str.title)
        }
        assert found == {expected(types, labels, confidence, least)}, (labels, confidence, least)


@pytest.mark.parametrize(
    ("confidence", "word"),
    [
        (None, None),
        (0, None),
        (1, "low"),
        (29, "low"),
        (30, "medium"),
        (69, "medium"),
        (70, "high"),
        (100, "high"),
    ],
)
def test_confidence_in_words(confidence: int | None, word: str | None) -> None:
    """By STIX's scale."""
    assert confidence_word(confidence) == word


@pytest.mark.parametrize(
    ("valid_until", "holds"), [(None, [0, 1, 1, 1, 1]), (20.0, [0, 1, 1, 0, 0])]
)
def test_the_window(valid_until: float | None, holds: list[int]) -> None:
    """From its beginning on, and before its end."""
    one = indicator(valid_from=10.0, valid_until=valid_until)
    assert [one.valid_at(moment) for moment in (9.9, 10.0, 19.9, 20.0, 1e12)] == list(
        map(bool, holds)
    )


def test_an_empty_window_never_holds() -> None:
    """An end before the beginning."""
    one = indicator(valid_from=10.0, valid_until=10.0)
    assert not any(map(one.valid_at, (9.0, 10.0, 11.0)))


def test_a_word_is_complete() -> None:
    """All that the indicator says is in its evidence."""
    one = indicator(
        valid_from=1.0,
        valid_until=9.0,
        confidence=75,
        types=("malicious-activity",),
        labels=("proxy:tor",),
        tlp="green",
        kill_chain=("a:b",),
        destination=True,
    )
    word = verdict_of("sekoia", "81.2.69.0/24", one)
    assert (word.reputation, word.source, word.time, word.expires) == (
        Reputation.MALICIOUS,
        "sekoia",
        5.0,
        9.0,
    )
    assert word.address_class is AddressClass.TOR
    assert (word.intel.raw_reputation, word.intel.confidence) == ("malicious", "high")
    assert (word.intel.classifications, word.intel.ip_range) == (("proxy:tor",), "81.2.69.0/24")
    assert word.intel.indicator == {
        "id": "i",
        "names": "81.2.69.0/24",
        "validFrom": "1970-01-01T00:00:01.000000Z",
        "validUntil": "1970-01-01T00:00:09.000000Z",
        "modified": "1970-01-01T00:00:05.000000Z",
        "confidence": 75,
        "types": ["malicious-activity"],
        "labels": ["proxy:tor"],
        "tlp": "green",
        "killChain": ["a:b"],
        "asDestination": True,
    }


def test_a_word_leaves_out_what_is_not_told() -> None:
    """And ends never, if no end is told, or one that no calendar has."""
    word = verdict_of("sekoia", "81.2.69.160", indicator(id="i\x1b[2J" + "x" * 300))
    told = word.intel.indicator
    assert set(told) == {"id", "names", "validFrom", "modified"}
    assert (len(told["id"]), "\x1b" in told["id"]) == (200, False)
    assert (word.expires, word.intel.ip_range) == (float("inf"), None)
    assert verdict_of("f", "k", indicator(confidence=0)).intel.indicator["confidence"] == 0
    assert "validUntil" not in verdict_of("f", "k", indicator(valid_until=1e15)).intel.indicator


def test_a_word_below_the_minimum() -> None:
    """It is unknown by the settings; what the feed itself says is told."""
    word = verdict_of("sekoia", "k", indicator(confidence=40, types=("malicious-activity",)), 41)
    assert (word.reputation, word.intel.raw_reputation) == (Reputation.UNKNOWN, "suspicious")


@pytest.mark.parametrize(
    ("types", "labels", "reputation"),
    [
        (("unknown",), ("known", "http:scan"), Reputation.UNKNOWN),
        (("anomalous-activity",), ("Unknown",), Reputation.UNKNOWN),
        (("anomalous-activity",), ("suspicious", "known"), Reputation.SUSPICIOUS),
        (("malicious-activity",), ("known",), Reputation.MALICIOUS),
        (("anomalous-activity",), ("scanner:legit:shodan",), Reputation.BENIGN),
        (("malicious-activity",), ("malicious", "scanner:legit:shodan"), Reputation.MALICIOUS),
        (("anomalous-activity",), (), Reputation.SUSPICIOUS),
    ],
)
def test_crowdsecs_words_mean_in_a_feed_what_they_mean_by_api(
    types: tuple[str, ...], labels: tuple[str, ...], reputation: Reputation
) -> None:
    """Nothing bad is said of an address that is merely known, or a well-known scanner."""
    assert reputation_of(indicator(types=types, labels=labels)) is reputation


def test_crowdsecs_false_positives_are_told_apart() -> None:
    """As its API does; other labels stay what they are."""
    labels = ("malicious", "http:scan", "cdn:cloudflare_exit_node", "proxy:icloud-private-relay")
    intel = verdict_of("crowdsec", "81.2.69.160", indicator(labels=labels)).intel
    assert intel.classifications == labels[:2]
    assert intel.false_positives == labels[2:]
