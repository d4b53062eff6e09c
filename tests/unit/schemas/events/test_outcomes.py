"""How far a sign-in got, by code, word and status."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.events.outcomes import (
    ENTRA_CODES,
    RESULT_WORDS,
    Outcome,
    outcome_of_code,
    outcome_of_status,
    outcome_of_word,
)
from schemas.values import clean_bool, number_of
from tests.recorded import V4, read
from tests.recorded.others import ACTIVITY, ROW

CODES = {
    Outcome.SUCCESS: [0],
    Outcome.PASSWORD_ACCEPTED: [
        *(50072, 50074, 50076, 50078, 50079, 50097, 50158, 65001, 500121),
        *(50005, 50105, 50127, 50129, 50131, 50135, 90094),
        *range(53000, 53005),
        *(53010, 53011),
        *range(530032, 530036),
        *(50057, 50133, 50155, 50173),
    ],
    Outcome.INTERRUPTED: [
        *(50058, 50125, 50140),
        *(700082, 70008, 50089, 50132, 70016, 50199, 65004, 70043, 70044),
    ],
    Outcome.FAILURE: [
        *(50011, 50034, 50053, 50056, 50126, 90072, 900941),
        *(1000000, 7000215, 7000222, -1, 1),
    ],
}


@pytest.mark.parametrize(
    ("code", "expected"), [(code, outcome) for outcome, codes in CODES.items() for code in codes]
)
def test_entra_codes(code: int, expected: Outcome) -> None:
    """The codes seen in recordings, as number and as text."""
    assert outcome_of_code(code) is expected
    assert outcome_of_code(str(code)) is expected


def test_outcomes_are_ranked() -> None:
    """By how near to success a sign-in got."""
    assert sorted(Outcome, key=lambda one: one.rank) == [
        Outcome.FAILURE,
        Outcome.UNKNOWN,
        Outcome.INTERRUPTED,
        Outcome.PASSWORD_ACCEPTED,
        Outcome.SUCCESS,
    ]


def test_a_code_that_microsoft_alone_counts_says_so() -> None:
    """An analyst reads it in the table."""
    for code in (50057, 50133, 50155, 50173):
        assert "as Microsoft's spray rule does" in ENTRA_CODES[code][1]


def test_zero_is_the_only_success() -> None:
    """No other code of the table counts as signed in."""
    assert [code for code, (one, _) in ENTRA_CODES.items() if one is Outcome.SUCCESS] == [0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), Outcome.UNKNOWN),
        ((None,), Outcome.UNKNOWN),
        (("", None), Outcome.UNKNOWN),
        (("None",), Outcome.UNKNOWN),
        (("Success",), Outcome.SUCCESS),
        (("Success", 50126), Outcome.FAILURE),
        (("Failure", "0"), Outcome.SUCCESS),
        ((None, "50140"), Outcome.INTERRUPTED),
        (("nonsense", "Failure"), Outcome.FAILURE),
        ((float("nan"),), Outcome.UNKNOWN),
        ((float("inf"),), Outcome.UNKNOWN),
        ((0.5,), Outcome.UNKNOWN),
        (([],), Outcome.UNKNOWN),
    ],
)
def test_numbers_win_and_nothing_is_unknown(values: tuple[Any, ...], expected: Outcome) -> None:
    """The first number decides, else the first known word, else nothing does."""
    assert outcome_of_code(*values) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        (" 50126 ", 50126),
        ("-1", -1),
        (7, 7),
        (7.0, 7),
        (7.5, None),
        (True, None),
        ("", None),
        ("-", None),
        ("--5", None),
        ("---", None),
        ("- 5", None),
        ("+5", None),
        ("5-", None),
        ("1_000", None),
        ("²", None),
        ("9" * 21, None),
        ("0x10", None),
        ("1e3", None),
        (None, None),
        ([], None),
        ("\ud800", None),
    ],
)
def test_numbers_are_told_from_texts(value: object, expected: int | None) -> None:
    """Whole numbers in either type; anything else is none, and nothing raises."""
    assert number_of(value) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Success", Outcome.SUCCESS),
        (" SUCCEEDED ", Outcome.SUCCESS),
        ("TRUE", Outcome.SUCCESS),
        (True, Outcome.SUCCESS),
        ("LogonSuccess", Outcome.SUCCESS),
        ("ALLOW", Outcome.SUCCESS),
        ("failed", Outcome.FAILURE),
        ("Failure", Outcome.FAILURE),
        (False, Outcome.FAILURE),
        ("DENY", Outcome.FAILURE),
        ("LogonFailed", Outcome.FAILURE),
        ("CHALLENGE", Outcome.INTERRUPTED),
        ("PartiallySucceeded", Outcome.UNKNOWN),
        ("Partial", Outcome.UNKNOWN),
        ("NA", Outcome.UNKNOWN),
        ("LogonAttempted", Outcome.UNKNOWN),
        ("unknownFutureValue", Outcome.UNKNOWN),
        ("SKIPPED", Outcome.UNKNOWN),
        (None, Outcome.UNKNOWN),
        (1, Outcome.UNKNOWN),
        ({}, Outcome.UNKNOWN),
    ],
)
def test_result_words(word: object, expected: Outcome) -> None:
    """Words in any case; a word that is not known tells nothing."""
    assert outcome_of_word(word) is expected


def test_result_words_are_lower_case() -> None:
    """A word of the table that is not lower case could never be found."""
    assert [word for word in RESULT_WORDS if word != word.lower()] == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Outcome.SUCCESS),
        ("204", Outcome.SUCCESS),
        (299.0, Outcome.SUCCESS),
        (199, Outcome.FAILURE),
        (302, Outcome.FAILURE),
        ("403", Outcome.FAILURE),
        (500, Outcome.FAILURE),
        ("SUCCESS", Outcome.UNKNOWN),
        (None, Outcome.UNKNOWN),
    ],
)
def test_http_statuses(status: object, expected: Outcome) -> None:
    """2xx is success, any other number failure, anything else unknown."""
    assert outcome_of_status(status) is expected


@pytest.mark.parametrize("word", ["Started", "Start", "Accepted", "Active", "Updated", "Resolved"])
def test_activity_that_goes_on_does_not_tell(word: str) -> None:
    """An activity that was accepted or started may still fail."""
    row = {**ROW, "CallerIpAddress": V4, "ActivityStatusValue": word, "Type": "AzureActivity"}
    record = {**ACTIVITY, "category": "Administrative", "resultType": word}
    assert read(row).outcome is Outcome.UNKNOWN
    assert read(record).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("word", ["timeout", "unknownFutureValue", "", None])
def test_audit_results_beside_the_two_words_do_not_tell(word: str | None) -> None:
    """Of audit logs only "success", "failure" and "failed" tell."""
    initiator = {"user": {"ipAddress": V4}}
    row = {**ROW, "InitiatedBy": initiator, "Result": word, "Type": "AuditLogs"}
    assert read(row).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.SUCCESS, True),
        (Outcome.PASSWORD_ACCEPTED, False),
        (Outcome.INTERRUPTED, False),
        (Outcome.FAILURE, False),
        (Outcome.UNKNOWN, None),
    ],
)
def test_only_success_succeeded(outcome: Outcome, expected: bool | None) -> None:
    """Null where the record does not tell."""
    assert outcome.succeeded is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (0, False),
        ("1", True),
        ("True", True),
        (" no ", False),
        ("", None),
        ("--1", None),
        (2, None),
        (None, None),
        ([], None),
    ],
)
def test_booleans_in_any_writing(value: object, expected: bool | None) -> None:
    """Booleans arrive as such, as 0 and 1, and as words."""
    assert clean_bool(value) is expected
