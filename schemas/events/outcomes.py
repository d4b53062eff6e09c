"""Outcomes of sign-ins: success, intermediate outcomes and failure."""

from __future__ import annotations

import re
from enum import StrEnum


class Outcome(StrEnum):
    """How far a sign-in got."""

    SUCCESS = "Success"
    PASSWORD_ACCEPTED = "PasswordAccepted"  # noqa: S105 - a word, not a password
    """Valid first factor, blocked later, e.g. by MFA: an early sign of stolen credentials."""
    INTERRUPTED = "Interrupted"
    """The service requires another step; whether the secret was valid is not recorded."""
    FAILURE = "Failure"
    UNKNOWN = "Unknown"
    """The record has no result. Never treated as success."""

    @property
    def succeeded(self) -> bool | None:
        """True or False, or None if the record does not say."""
        return None if self is Outcome.UNKNOWN else self is Outcome.SUCCESS


ENTRA_CODES: dict[int, tuple[Outcome, str]] = {
    0: (Outcome.SUCCESS, "signed in"),
    # The password (or another first factor) was valid; the sign-in was blocked later.
    50055: (Outcome.PASSWORD_ACCEPTED, "password expired"),
    50072: (Outcome.PASSWORD_ACCEPTED, "must enrol for multifactor authentication"),
    50074: (Outcome.PASSWORD_ACCEPTED, "strong authentication required"),
    50076: (Outcome.PASSWORD_ACCEPTED, "multifactor authentication required by policy or place"),
    50079: (Outcome.PASSWORD_ACCEPTED, "must enrol for multifactor authentication"),
    50097: (Outcome.PASSWORD_ACCEPTED, "device authentication required"),
    50144: (Outcome.PASSWORD_ACCEPTED, "Active Directory password expired"),
    50158: (Outcome.PASSWORD_ACCEPTED, "external challenge not satisfied"),
    53000: (Outcome.PASSWORD_ACCEPTED, "device is not compliant"),
    53001: (Outcome.PASSWORD_ACCEPTED, "device is not domain joined"),
    53002: (Outcome.PASSWORD_ACCEPTED, "application is not approved"),
    53003: (Outcome.PASSWORD_ACCEPTED, "blocked by Conditional Access"),
    53004: (Outcome.PASSWORD_ACCEPTED, "enrolment blocked for suspicious activity"),
    65001: (Outcome.PASSWORD_ACCEPTED, "consent missing"),
    500121: (Outcome.PASSWORD_ACCEPTED, "multifactor authentication not passed"),
    530032: (Outcome.PASSWORD_ACCEPTED, "blocked by a security policy"),
    # The service interrupted for another step; no secret was tried, or that is not recorded.
    16000: (Outcome.INTERRUPTED, "account selection"),
    16001: (Outcome.INTERRUPTED, "account selection"),
    50058: (Outcome.INTERRUPTED, "no session to use silently"),
    50125: (Outcome.INTERRUPTED, "password reset or registration"),
    50140: (Outcome.INTERRUPTED, "keep me signed in"),
    50173: (Outcome.INTERRUPTED, "fresh sign-in needed"),
    70043: (Outcome.INTERRUPTED, "sign-in frequency reached"),
    70044: (Outcome.INTERRUPTED, "session expired"),
    # The most common failures. Any number that is not in this table is a failure too.
    50034: (Outcome.FAILURE, "account does not exist"),
    50053: (Outcome.FAILURE, "account locked or address blocked"),
    50056: (Outcome.FAILURE, "no password or a wrong one"),
    50057: (Outcome.FAILURE, "account disabled"),
    50126: (Outcome.FAILURE, "wrong user name or password"),
}
"""Entra ID result codes (AADSTS numbers), from Microsoft's page "Microsoft Entra authentication
and authorization error codes". 0 is the only success."""

_WORDS = {
    Outcome.SUCCESS: "success succeeded successful true allow allowed permitted logonsuccess ok",
    Outcome.INTERRUPTED: "challenge interrupted",
    Outcome.FAILURE: "failure failed fail false deny denied reject rejected blocked block drop "
    "logonfailed error",
}
RESULT_WORDS: dict[str, Outcome] = {
    word: outcome for outcome, words in _WORDS.items() for word in words.split()
}
"""Result words of tables without result codes, in lower case. Any other word is Unknown."""


_WHOLE = re.compile(r"\s*-?[0-9]{1,19}\s*")


def number_of(value: object) -> int | None:
    """Return *value* as an integer, also parsed from a text, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    return None


def outcome_of_word(value: object) -> Outcome:
    """Return the outcome of a result word; Unknown for a word that is not in the table."""
    if isinstance(value, bool):
        return Outcome.SUCCESS if value else Outcome.FAILURE
    if not isinstance(value, str):
        return Outcome.UNKNOWN
    return RESULT_WORDS.get(value.strip().lower(), Outcome.UNKNOWN)


def outcome_of_code(*values: object) -> Outcome:
    """Return the outcome of Entra's result, from the first number in *values*.

    Numbers take precedence over words, because recorded words may contradict the number. Without
    a number the first known word decides; without a known word the outcome is Unknown.
    """
    for value in values:
        number = number_of(value)
        if number is not None:
            known = ENTRA_CODES.get(number)
            return known[0] if known else Outcome.FAILURE
    return next(
        (word for word in map(outcome_of_word, values) if word is not Outcome.UNKNOWN),
        Outcome.UNKNOWN,
    )


def outcome_of_status(value: object) -> Outcome:
    """Return the outcome of an HTTP status: 2xx is success, any other number failure."""
    number = number_of(value)
    if number is None:
        return Outcome.UNKNOWN
    return Outcome.SUCCESS if 200 <= number < 300 else Outcome.FAILURE
