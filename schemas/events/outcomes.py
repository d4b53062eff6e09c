"""Outcomes of sign-ins: success, intermediate outcomes and failure."""

from __future__ import annotations

from enum import StrEnum

from schemas.values import number_of


class Outcome(StrEnum):
    """How far a sign-in got."""

    SUCCESS = "Success"
    PASSWORD_ACCEPTED = "PasswordAccepted"  # noqa: S105 - a word, not a password
    """Valid first factor, blocked later, e.g. by MFA: an early sign of stolen credentials."""
    INTERRUPTED = "Interrupted"
    """The service requires another step. No secret was tried, or that is not recorded."""
    FAILURE = "Failure"
    UNKNOWN = "Unknown"
    """The record has no result. Never treated as success."""

    @property
    def rank(self) -> int:
        """How near to success the sign-in got: 1 for a failure, up to 5 for success."""
        return _RANKS[self]

    @property
    def succeeded(self) -> bool | None:
        """True or False, or None if the record does not say."""
        return None if self is Outcome.UNKNOWN else self is Outcome.SUCCESS


_RANKS = {
    Outcome.FAILURE: 1,
    Outcome.UNKNOWN: 2,
    Outcome.INTERRUPTED: 3,
    Outcome.PASSWORD_ACCEPTED: 4,
    Outcome.SUCCESS: 5,
}

ENTRA_CODES: dict[int, tuple[Outcome, str]] = {
    0: (Outcome.SUCCESS, "signed in"),
    # The password (or another first factor) was valid; the sign-in was blocked later.
    50005: (Outcome.PASSWORD_ACCEPTED, "platform of the device not supported by policy"),
    50055: (Outcome.PASSWORD_ACCEPTED, "password expired"),
    50072: (Outcome.PASSWORD_ACCEPTED, "must enrol for multifactor authentication"),
    50074: (Outcome.PASSWORD_ACCEPTED, "strong authentication required"),
    50076: (Outcome.PASSWORD_ACCEPTED, "multifactor authentication required by policy or place"),
    50078: (Outcome.PASSWORD_ACCEPTED, "multifactor authentication expired by policy"),
    50079: (Outcome.PASSWORD_ACCEPTED, "must enrol for multifactor authentication"),
    50097: (Outcome.PASSWORD_ACCEPTED, "device authentication required"),
    50105: (Outcome.PASSWORD_ACCEPTED, "not assigned to the application"),
    50127: (Outcome.PASSWORD_ACCEPTED, "broker application not installed"),
    50129: (Outcome.PASSWORD_ACCEPTED, "device is not workplace joined"),
    50131: (Outcome.PASSWORD_ACCEPTED, "blocked by Conditional Access for device, place or risk"),
    50135: (Outcome.PASSWORD_ACCEPTED, "password change required for account risk"),
    50144: (Outcome.PASSWORD_ACCEPTED, "Active Directory password expired"),
    50158: (Outcome.PASSWORD_ACCEPTED, "external challenge not satisfied"),
    53000: (Outcome.PASSWORD_ACCEPTED, "device is not compliant"),
    53001: (Outcome.PASSWORD_ACCEPTED, "device is not domain joined"),
    53002: (Outcome.PASSWORD_ACCEPTED, "application is not approved"),
    53003: (Outcome.PASSWORD_ACCEPTED, "blocked by Conditional Access"),
    53004: (Outcome.PASSWORD_ACCEPTED, "enrolment blocked for suspicious activity"),
    53010: (Outcome.PASSWORD_ACCEPTED, "registration of security information blocked by policy"),
    53011: (Outcome.PASSWORD_ACCEPTED, "blocked for risk in the home tenant"),
    65001: (Outcome.PASSWORD_ACCEPTED, "consent missing"),
    90094: (Outcome.PASSWORD_ACCEPTED, "an administrator's consent missing"),
    500121: (Outcome.PASSWORD_ACCEPTED, "multifactor authentication not passed"),
    530032: (Outcome.PASSWORD_ACCEPTED, "blocked by a security policy"),
    530033: (Outcome.PASSWORD_ACCEPTED, "blocked by a security policy"),
    530034: (Outcome.PASSWORD_ACCEPTED, "delegated administrator blocked for account risk"),
    530035: (Outcome.PASSWORD_ACCEPTED, "blocked by security defaults"),
    # Their texts do not say it, but Microsoft's password spray rule counts them as valid passwords.
    50057: (Outcome.PASSWORD_ACCEPTED, "account disabled; counted as Microsoft's spray rule does"),
    50133: (
        Outcome.PASSWORD_ACCEPTED,
        "session ended by a password change; counted as Microsoft's spray rule does",
    ),
    50155: (
        Outcome.PASSWORD_ACCEPTED,
        "device authentication failed; counted as Microsoft's spray rule does",
    ),
    50173: (
        Outcome.PASSWORD_ACCEPTED,
        "grant revoked, fresh sign-in needed; counted as Microsoft's spray rule does",
    ),
    # The service interrupted for another step; no secret was tried, or that is not recorded.
    16000: (Outcome.INTERRUPTED, "account selection"),
    16001: (Outcome.INTERRUPTED, "account selection"),
    50058: (Outcome.INTERRUPTED, "no session to use silently"),
    50089: (Outcome.INTERRUPTED, "flow token expired"),
    50125: (Outcome.INTERRUPTED, "password reset or registration"),
    50132: (Outcome.INTERRUPTED, "session revoked, or password changed"),
    50140: (Outcome.INTERRUPTED, "keep me signed in"),
    50199: (Outcome.INTERRUPTED, "confirmation by the user required"),
    65004: (Outcome.INTERRUPTED, "consent declined"),
    70008: (Outcome.INTERRUPTED, "authorization code or refresh token expired"),
    70016: (Outcome.INTERRUPTED, "device code not confirmed yet"),
    70043: (Outcome.INTERRUPTED, "sign-in frequency reached"),
    70044: (Outcome.INTERRUPTED, "session expired"),
    700082: (Outcome.INTERRUPTED, "refresh token expired by inactivity"),
    # The most common failures. Any number that is not in this table is a failure too.
    50034: (Outcome.FAILURE, "account does not exist"),
    50053: (Outcome.FAILURE, "account locked or address blocked"),
    50056: (Outcome.FAILURE, "no password or a wrong one"),
    50126: (Outcome.FAILURE, "wrong user name or password"),
}
"""Entra ID result codes (AADSTS numbers), from Microsoft's page "Microsoft Entra authentication
and authorization error codes", and its rule "Password spray attack against Microsoft Entra ID
application" (SigninPasswordSpray). 0 is the only success."""

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
