"""The offline replica: what is the address's own, what is around it, and files that are swapped."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from consumers.sources.crowdsec.replica import (
    FILE_NAME,
    METADATA_NAME,
    NOT_FOUND,
    UNREADABLE_LOOKUP,
    Replica,
)
from schemas.errors import FeedFailed
from schemas.intel.verdicts import AddressClass, Reputation
from tests.servers.replica import BUILT, mmdb

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

A, V6 = "81.2.69.160", "2a02:8108::5"
NOW = 1_800_000_000.0
RECORD: dict[str, Any] = {
    "reputation": "malicious",
    "confidence": "high",
    "background_noise_score": 6,
    "as_num": 64501,
    "as_name": "EXAMPLE-NET",
    "ip_range_24": "81.2.69.0/24",
    "ip_range_24_reputation": "suspicious",
    "behaviors": [{"name": "http:bruteforce", "label": "x", "description": "y"}],
    "classifications": {"false_positives": [], "classifications": [{"name": "proxy:tor"}]},
    "location": {"country": "NL", "latitude": 52.3},
    "target_countries": {"FR": 61, "DE": 22.5},
    "scores": {"overall": {"total": 4}},
}
RANGE: dict[str, Any] = {
    "ip_range_24": "81.2.69.0/24",
    "ip_range_24_reputation": "suspicious",
    "ip_range_24_score": 3,
}


def laid(folder: Path, content: bytes, name: str = "new") -> Path:
    """Put a file beside the replica, as a download does."""
    path = folder / name
    path.write_bytes(content)
    return path


def replica_of(folder: Path, records: Mapping[str, Any], version: int = 6) -> Replica:
    """Return a replica that holds these records."""
    replica = Replica(folder)
    replica.swap(laid(folder, mmdb(records, version=version)), now=NOW)
    return replica


@pytest.mark.parametrize("version", [4, 6])
def test_an_addresss_own_record_is_a_word_on_it(tmp_path: Path, version: int) -> None:
    """IPv4 in a tree of either version; ``ip`` is absent, and so is ``proxy_or_vpn`` when false."""
    looked = replica_of(tmp_path, {f"{A}/32": RECORD}, version).find(A)
    assert looked.network is None
    assert looked.exact is not None
    intel = looked.exact.intel
    assert (looked.exact.reputation, looked.exact.address_class) == (
        Reputation.MALICIOUS,
        AddressClass.TOR,
    )
    assert (intel.score, intel.background_noise, intel.as_number) == (4, 6, 64501)
    assert (intel.behaviors, intel.proxy_or_vpn) == (("http:bruteforce",), False)
    assert intel.target_countries == {"FR": 61.0, "DE": 22.5}
    assert intel.ip_range_24_reputation == "suspicious"


def test_an_address_of_ipv6_has_its_own_record(tmp_path: Path) -> None:
    """All 128 bits."""
    replica = replica_of(tmp_path, {f"{V6}/128": RECORD, "2a02:8109::/32": RECORD})
    own = replica.find(V6).exact
    assert own is not None
    assert own.reputation is Reputation.MALICIOUS
    assert replica.find("2a02:8108::6") == NOT_FOUND
    assert replica.find("2a02:8109::1").exact is None


def test_a_ranges_record_is_context_and_no_word_on_the_address(tmp_path: Path) -> None:
    """Whatever prefix is left of a /24 in which an address has a record of its own."""
    replica = replica_of(tmp_path, {"81.2.69.0/24": RANGE, f"{A}/32": RECORD})
    for address in ("81.2.69.161", "81.2.69.168", "81.2.69.1"):
        looked = replica.find(address)
        assert looked.exact is None
        assert looked.network is not None
        assert looked.network.reputation is Reputation.UNKNOWN
        assert looked.network.intel.ip_range_24_reputation == "suspicious"
        assert looked.network.intel.ip_range_24_score == 3
    assert replica.find(A).exact is not None
    assert replica.find("81.2.70.1") == NOT_FOUND


def test_a_ranges_reputation_is_not_read_as_the_addresss(tmp_path: Path) -> None:
    """A /24 with a whole record: only what is of the network is kept of it."""
    around = replica_of(tmp_path, {"81.2.69.0/24": RECORD | {"as_num": 16276}}).find(A).network
    assert around is not None
    assert (around.reputation, around.address_class) == (Reputation.UNKNOWN, AddressClass.HOSTING)
    intel = around.intel
    assert (intel.raw_reputation, intel.confidence, intel.score) == (None, None, None)
    assert (intel.behaviors, intel.classifications, intel.scores) == ((), (), {})
    assert (intel.as_number, intel.country) == (16276, "NL")


def test_an_addresss_record_without_a_reputation_is_context(tmp_path: Path) -> None:
    """Missing, empty, or not a text."""
    records = {
        "81.2.69.1/32": RANGE,
        "81.2.69.2/32": RANGE | {"reputation": ""},
        "81.2.69.3/32": RANGE | {"reputation": 7},
    }
    replica = replica_of(tmp_path, records)
    for address in ("81.2.69.1", "81.2.69.2", "81.2.69.3"):
        looked = replica.find(address)
        assert looked.exact is None
        assert looked.network is not None


@pytest.mark.parametrize(
    ("word", "reputation"),
    [
        ("suspicious", Reputation.SUSPICIOUS),
        ("safe", Reputation.BENIGN),
        ("known", Reputation.UNKNOWN),
    ],
)
def test_words_mean_what_they_mean_of_the_api(
    tmp_path: Path, word: str, reputation: Reputation
) -> None:
    """An address of which too little is known has a record too."""
    own = replica_of(tmp_path, {f"{A}/32": {"reputation": word}}).find(A).exact
    assert own is not None
    assert (own.reputation, own.intel.raw_reputation) == (reputation, word)


@pytest.mark.parametrize("odd", ["text", 7, [1, 2], True, {}, {"other": 1}])
def test_odd_records_are_nothing(tmp_path: Path, odd: object) -> None:
    """Records that are no map, and maps that say nothing."""
    replica = replica_of(tmp_path, {f"{A}/32": RECORD, "81.2.69.7/32": odd})
    assert replica.find("81.2.69.7") == NOT_FOUND
    assert replica.problem is None


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    "odd",
    ["::ffff:81.2.69.160", "fe80::1%eth0", "2a02::1%eth0", "", "x", "81.2.69.160:443", "::", V6],
)
def test_what_is_no_address_of_the_file_is_nothing(tmp_path: Path, version: int, odd: str) -> None:
    """Addresses are made canonical before; nothing that slips through raises."""
    replica = replica_of(tmp_path, {f"{A}/32": RECORD}, version)
    looked = replica.find(odd)
    assert (looked.exact, looked.network) == (None, None)
    assert replica.problem is None


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    """The folder need not even be there."""
    replica = Replica(tmp_path / "none")
    assert not replica.open()
    assert replica.find(A) == UNREADABLE_LOOKUP
    assert (replica.built, replica.fetched, replica.size) == (None, None, 0)
    assert (replica.verified, replica.dataset, replica.problem) == (False, None, None)


def test_the_next_run_finds_the_file_and_its_notes(tmp_path: Path) -> None:
    """What was verified stays so."""
    content = mmdb({f"{A}/32": RECORD})
    Replica(tmp_path).swap(laid(tmp_path, content), now=NOW, verified=True, dataset="smoke")
    replica = Replica(tmp_path)
    assert replica.open()
    assert replica.find(A).exact is not None
    assert (replica.built, replica.fetched) == (float(BUILT), NOW)
    assert (replica.verified, replica.dataset) == (True, "smoke")
    assert replica.size == len(content)
    replica.close()
    assert replica.find(A) == UNREADABLE_LOOKUP
    assert replica.built is None


@pytest.mark.parametrize("notes", [None, b"{", b"[]", b"{}", b'{"verified":true,"fetched":5}'])
def test_notes_of_another_file_are_not_believed(tmp_path: Path, notes: bytes | None) -> None:
    """A crash between the two writes must not call a file verified that is not."""
    Replica(tmp_path).swap(laid(tmp_path, mmdb({f"{A}/32": RECORD})), now=NOW, verified=True)
    if notes is None:
        (tmp_path / FILE_NAME).write_bytes(mmdb({f"{A}/32": RECORD}, built=BUILT + 1))
    else:
        (tmp_path / METADATA_NAME).write_bytes(notes)
    replica = Replica(tmp_path)
    assert replica.open()
    assert not replica.verified
    assert replica.fetched == (tmp_path / FILE_NAME).stat().st_mtime


def damaged_tree(content: bytes) -> bytes:
    """Return a database whose tree leads out of the file."""
    return b"\xff" * 6 + content[6:]


BROKEN = {
    "empty": b"",
    "text": b"<html>sorry</html>" * 40,
    "truncated": mmdb({f"{A}/32": RECORD})[:-40],
    "cut in the middle": mmdb({f"{A}/32": RECORD})[:400],
    "damaged tree": damaged_tree(mmdb({f"{A}/32": RECORD})),
    "damaged record": mmdb({f"{A}/32": RECORD}).replace(b"malicious", b"mal\xff\xfeious"),
    "other data": mmdb({f"{A}/32": {"country": {"iso_code": "NL"}}}),
    "no records": mmdb({}),
    "no maps": mmdb({f"{A}/32": "reputation"}),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_and_the_old_one_answers(tmp_path: Path, content: bytes) -> None:
    """Of the refused file nothing is left."""
    replica = replica_of(tmp_path, {f"{A}/32": RECORD})
    with pytest.raises(FeedFailed) as refused:
        replica.swap(laid(tmp_path, content), now=NOW + 1)
    assert refused.value.refused
    assert replica.find(A).exact is not None
    assert replica.fetched == NOW
    assert sorted(path.name for path in tmp_path.iterdir()) == [METADATA_NAME, FILE_NAME]


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_at_the_start_is_told(tmp_path: Path, content: bytes) -> None:
    """Opening never raises, and the next good file ends the trouble."""
    (tmp_path / FILE_NAME).write_bytes(content)
    replica = Replica(tmp_path)
    assert not replica.open()
    assert replica.problem
    assert replica.find(A) == UNREADABLE_LOOKUP
    replica.swap(laid(tmp_path, mmdb({f"{A}/32": RECORD}, built=1)), now=NOW)
    assert replica.problem is None
    assert replica.find(A).exact is not None


def test_a_file_that_cannot_be_opened_at_the_start_is_told(tmp_path: Path) -> None:
    """A folder in its place."""
    (tmp_path / FILE_NAME).mkdir()
    replica = Replica(tmp_path)
    assert not replica.open()
    assert replica.problem


def test_a_damaged_record_is_met_in_a_lookup(tmp_path: Path) -> None:
    """Beyond the first record nothing was read when the file was opened."""
    records = {f"{A}/32": RECORD, "200.1.1.1/32": RECORD | {"as_name": "DAMAGED-HERE"}}
    content = mmdb(records).replace(b"DAMAGED-HERE", b"DAMAGED-\xff\xfeRE")
    replica = Replica(tmp_path)
    replica.swap(laid(tmp_path, content), now=NOW)
    assert replica.find(A).exact is not None
    assert replica.problem is None
    assert replica.find("200.1.1.1") == UNREADABLE_LOOKUP
    assert replica.problem is not None
    assert "damaged" in replica.problem


def test_no_bytes_of_a_file_make_a_lookup_raise(tmp_path: Path) -> None:
    """Each stretch of a small file in turn is overwritten."""
    records = {f"81.{one}.69.1/32": RECORD | {"as_num": one} for one in range(1, 200, 20)}
    content = mmdb(records)
    opened = 0
    for start in range(0, len(content), 61):
        (tmp_path / FILE_NAME).write_bytes(content[:start] + b"\xf7" * 9 + content[start + 9 :])
        replica = Replica(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the C extension's own
            opened += replica.open()
            for one in range(1, 200, 20):
                replica.find(f"81.{one}.69.1")
        replica.close()
    assert opened > 10


def test_lookups_go_on_over_a_swap(tmp_path: Path) -> None:
    """The old file answers until the new one is in place, which then answers alone."""
    replica = replica_of(tmp_path, {f"{A}/32": RECORD})
    new = laid(tmp_path, mmdb({"81.2.69.7/32": RECORD}, built=BUILT + 60))
    assert replica.find(A).exact is not None
    assert replica.find("81.2.69.7") == NOT_FOUND
    before = replica._reader
    replica.swap(new, now=NOW + 60)
    assert before is not None
    assert before.closed
    assert replica.find(A) == NOT_FOUND
    assert replica.find("81.2.69.7").exact is not None
    assert (replica.built, replica.fetched) == (BUILT + 60.0, NOW + 60)
    assert not new.exists()


def test_an_older_file_is_refused_and_the_same_again_is_not(tmp_path: Path) -> None:
    """Nobody can bring back what CrowdSec said long ago."""
    replica = replica_of(tmp_path, {f"{A}/32": RECORD})
    old = mmdb({"81.2.69.7/32": RECORD}, built=BUILT - 1)
    with pytest.raises(FeedFailed, match="older") as refused:
        replica.swap(laid(tmp_path, old), now=NOW + 1)
    assert refused.value.refused
    assert replica.find(A).exact is not None
    assert Replica(tmp_path).open()
    replica.swap(laid(tmp_path, mmdb({f"{A}/32": RECORD})), now=NOW + 2, verified=True)
    assert (replica.fetched, replica.verified) == (NOW + 2, True)


def test_a_file_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path: Path) -> None:
    """A missing one, and a place that is taken by a folder; it may pass."""
    replica = Replica(tmp_path)
    with pytest.raises(FeedFailed) as failed:
        replica.swap(tmp_path / "missing", now=NOW)
    assert not failed.value.refused
    replica = replica_of(tmp_path, {f"{A}/32": RECORD})
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(FeedFailed) as failed:
        replica.swap(laid(tmp_path, mmdb({"81.2.69.7/32": RECORD})), now=NOW)
    assert not failed.value.refused
    assert replica.find(A).exact is not None
    assert not (tmp_path / "new").exists()


def test_notes_that_cannot_be_kept_do_not_stop_a_swap(tmp_path: Path) -> None:
    """They matter for the next run alone."""
    (tmp_path / METADATA_NAME).mkdir()
    replica = Replica(tmp_path)
    replica.swap(laid(tmp_path, mmdb({f"{A}/32": RECORD})), now=NOW, verified=True)
    assert (replica.verified, replica.fetched) == (True, NOW)
    assert replica.find(A).exact is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == [METADATA_NAME, FILE_NAME]


def test_a_file_of_ipv4_alone_says_nothing_of_ipv6(tmp_path: Path) -> None:
    """That is not the same as that nothing is known."""
    (tmp_path / FILE_NAME).write_bytes(mmdb({f"{A}/32": {"reputation": "malicious"}}, version=4))
    replica = Replica(tmp_path)
    assert replica.open()
    assert replica.find("2a02:8108::5") == UNREADABLE_LOOKUP
    assert replica.find("81.2.70.1") == NOT_FOUND
    replica.close()
