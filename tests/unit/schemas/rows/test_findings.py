"""Findings: their frozen id, and rows that fit the table."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest

from schemas.events.tables import COLUMNS
from schemas.intel.merge import merge_verdicts
from schemas.intel.verdicts import AddressClass, Intel, Reputation, Verdict
from schemas.rows.columns import FINDING_COLUMNS, MAX_TEXT_LENGTH, row_error
from schemas.rows.findings import FindingRow, finding_id, finding_row
from schemas.rows.policy import Policy
from schemas.values import clean_text
from tests.recorded import FALLBACK, V4, V6, Record, Recorded, at, decoded, details_of, only, read
from tests.recorded.entra import RECORDS as ENTRA
from tests.recorded.entra import diagnostic, row, user
from tests.recorded.others import RECORDS as OTHERS
from tests.recorded.providers import RECORDS as PROVIDERS

VERDICT = Verdict(
    reputation=Reputation.MALICIOUS,
    source="crowdsec",
    time=at(8, 0).timestamp(),
    expires=at(20, 0).timestamp(),
    intel=Intel(confidence="high", score=5, behaviors=("http:bruteforce",), first_seen="redacted"),
)


def finding(record: Record) -> FindingRow:
    """Return the row for a sign-in from a malicious address."""
    details = read(record)
    args = (AddressClass.UNKNOWN, details.outcome, Reputation.MALICIOUS)
    return finding_row(
        details=details,
        address=details.addresses[0][0],
        merged=merge_verdicts([VERDICT]),
        line=Policy().decide(*args, false_positive=False),
        origin="live",
        wall=FALLBACK,
        delay=12.34567,
    )


@pytest.mark.parametrize(
    ("table", "event_id", "address", "expected"),
    [
        (
            "SigninLogs",
            "11111111-2222-4333-8444-555566667777",
            "81.2.69.160",
            "162ba249b28102b587cb2aeb5b052cfd",
        ),
        ("OfficeActivity", "g-1", "2a02:8108::5", "6a07ff2d41a640c5e63aee1923105f0f"),
        ("MyVpn_CL", 'Sitzung „7“, \\ "a"/b', "93.184.216.34", "db178bb2d075848a970eec3e618285c3"),
    ],
)
def test_the_id_of_a_finding_is_frozen(
    table: str, event_id: str, address: str, expected: str
) -> None:
    """Users' exceptions refer to these values; they never change."""
    assert finding_id(table, event_id, address) == expected


def test_the_parts_of_an_id_do_not_run_together() -> None:
    """Shifting text from one part to the next gives another id."""
    parts = [("ab", "c", V4), ("a", "bc", V4), ("a", f"b{V4}", ""), ("a,b", "c", V4)]
    assert len({finding_id(*one) for one in parts}) == len(parts)


def _id(record: Record) -> str:
    details = read(record)
    return finding_id(details.table, details.event_id, details.addresses[0][0])


def _exported(event_id: str, **more: Any) -> Record:
    return row("SigninLogs", event_id, **more)


def test_the_same_sign_in_has_one_id_in_every_envelope() -> None:
    """Diagnostic settings, data export, Graph, repeats with other spellings."""
    inner = user("e1e1")
    variants: list[Record] = [
        diagnostic("SignInLogs", inner),
        {**inner, "signInEventTypes": ["interactiveUser"]},
        _exported("e1e1"),
        _exported("e1e1", _ItemId="other", AuthenticationRequirement=""),
        _exported(" e1e1 ", IPAddress=f"::ffff:{V4}"),
        diagnostic("SignInLogs", user("e1e1", ipAddress=f"{V4}:1"), callerIpAddress=""),
    ]
    assert len({_id(record) for record in variants}) == 1


@pytest.mark.parametrize(
    "change",
    [{"Id": "other"}, {"IPAddress": V6}, {"Type": "AADNonInteractiveUserSignInLogs"}],
)
def test_another_event_has_another_id(change: Record) -> None:
    """Each of the three parts counts."""
    assert _id({**_exported("e1e1"), **change}) != _id(_exported("e1e1"))


@pytest.mark.parametrize(
    "odd", ["\ud800", 2**70, float("nan")], ids=["half a character", "large number", "NaN"]
)
def test_events_without_id_differ_by_what_is_inside(odd: object) -> None:
    """The hash covers the whole record, also when a value in it is odd."""
    one, two = (
        diagnostic("SignInLogs", user("", userPrincipalName=name, odd=odd)) for name in "ab"
    )
    assert _escaped_id(one) != _escaped_id(two)
    assert _escaped_id(one) == _escaped_id(one)


def _escaped_id(record: Record) -> str:
    return details_of(only(decoded(json.dumps([record]).encode()))).event_id


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name) for case in (*ENTRA, *OTHERS, *PROVIDERS)]
)
def test_every_recorded_event_makes_a_row_that_fits(case: Recorded) -> None:
    """No column is missing, of the wrong type, or unknown."""
    made = finding(case.record)
    assert row_error(made) is None
    assert set(made) == {column.name for column in FINDING_COLUMNS}
    assert made["Account"] == case.expected.account
    assert made["IntelFirstSeen"] is None


def test_every_column_is_described_once() -> None:
    """Names are unique, letters only, and none is reserved by Log Analytics."""
    names = [column.name for column in FINDING_COLUMNS]
    assert len(set(names)) == len(names)
    assert all(name.isalnum() and len(name) <= 45 for name in names)
    assert not {name.lower() for name in names} & {"tenantid", "type", "id", "uniqueid", "title"}
    assert len(COLUMNS) == len(set(COLUMNS))


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("FindingId", None, "missing"),
        ("FindingId", 7, "string"),
        ("UserAgent", "x" * (MAX_TEXT_LENGTH + 1), "string"),
        ("EventTime", "yesterday", "datetime"),
        ("EventTime", 7, "datetime"),
        ("EventTime", FALLBACK, "datetime"),
        ("IsInteractive", "true", "boolean"),
        ("IsInteractive", 1, "boolean"),
        ("Score", "5", "int"),
        ("Score", True, "int"),
        ("Score", 1.0, "int"),
        ("SignInAsNumber", 2**31, "int"),
        ("DelaySeconds", "1", "real"),
        ("DelaySeconds", float("nan"), "real"),
        ("DelaySeconds", float("inf"), "real"),
        ("Sources", "crowdsec", "dynamic"),
        ("Evidence", 7, "dynamic"),
        ("Reputation", "benign", "not one of"),
        ("Severity", "none", "not one of"),
        ("Outcome", "success", "not one of"),
        ("Confidence", "100", "not one of"),
        ("Nonsense", None, "unknown column"),
        ("UserAgent", "\ud800", "string"),
    ],
)
def test_a_row_that_does_not_fit_is_noticed(column: str, value: object, told: str) -> None:
    """The service drops such rows without a word, so they are refused here."""
    made = {**finding(_exported("x")), column: value}
    assert told in (row_error(made) or "nothing")
    assert column in (row_error(made) or "nothing")


@pytest.mark.parametrize("column", [one.name for one in FINDING_COLUMNS if one.null is None])
def test_a_row_without_a_column_that_always_holds_is_noticed(column: str) -> None:
    """Whether null or left out."""
    made = finding(_exported("x"))
    del made[column]
    assert row_error(made) == f"{column} is missing"


@pytest.mark.parametrize("column", [one.name for one in FINDING_COLUMNS if one.null is not None])
def test_a_null_is_fine_elsewhere(column: str) -> None:
    """Every other column may be empty."""
    assert row_error({**finding(_exported("x")), column: None}) is None


TURNING = [
    chr(code)
    for code in range(0x110000)
    if unicodedata.bidirectional(chr(code)) in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI")
    or unicodedata.bidirectional(chr(code)) in ("FSI", "PDI")
    or code in (0x061C, 0x200E, 0x200F)
]


@pytest.mark.parametrize(
    "character",
    [
        *("\x00", "\x07", "\x08", "\x0a", "\x1b", "\x7f", "\x85", "\x9b", "\ud83d", "\udfff"),
        *("\u2028", "\u2029"),
        *TURNING,
    ],
    ids=lambda character: f"U+{ord(character):04X}",
)
def test_characters_that_could_fool_a_terminal_are_replaced(character: str) -> None:
    """Control characters, line ends, marks that turn the direction, halves of characters."""
    assert clean_text(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"
