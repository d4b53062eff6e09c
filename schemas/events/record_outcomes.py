"""The outcome of a record, which each table records differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.events.outcomes import (
    RESULT_WORDS,
    Outcome,
    outcome_of_code,
    outcome_of_status,
    outcome_of_word,
)
from schemas.values import number_of

if TYPE_CHECKING:
    from schemas.events.fast_decoder import Scalar
    from schemas.events.record_reader import RecordReader
    from schemas.events.tables import RecordFormat


def outcome_of(reader: RecordReader, form: RecordFormat) -> Outcome:
    """Return the outcome of the sign-in, which each table records differently."""
    places = form.columns.get("result", ())
    results = [reader.first((paths,)) for paths in places]
    match form.outcome:
        case "code":
            return outcome_of_code(*results)
        case "status":
            return next(
                (
                    found
                    for found in map(outcome_of_status, results)
                    if found is not Outcome.UNKNOWN
                ),
                Outcome.UNKNOWN,
            )
        case "audit":
            return _audit_outcome(reader, form, results)
        case "cloudtrail":
            return _cloudtrail_outcome(*results)
        case "word":
            return _word_outcome(results, form)
        case _:
            return Outcome.UNKNOWN


def _word_outcome(results: list[Scalar], form: RecordFormat) -> Outcome:
    for result in results:
        word = str(result).strip().lower() if result is not None else ""
        if word in form.words:
            return form.words[word]
        known = RESULT_WORDS.get(word) or outcome_of_word(result)
        if known is not Outcome.UNKNOWN:
            return known
    return Outcome.UNKNOWN


def _audit_outcome(reader: RecordReader, form: RecordFormat, results: list[Scalar]) -> Outcome:
    """Microsoft 365 audit records: for sign-ins the operation decides, never ``ResultStatus``.

    Recorded ``UserLoginFailed`` events mostly say ``ResultStatus`` "Success". *results* are the
    error number and that status.
    """
    number, status = results
    operation = str(reader.first(form.columns["operation"]) or "").lower()
    if operation == "userloggedin":
        return Outcome.SUCCESS
    if operation == "userloginfailed":
        given = outcome_of_code(number_of(number))
        known = (Outcome.PASSWORD_ACCEPTED, Outcome.INTERRUPTED)
        return given if given in known else Outcome.FAILURE
    return outcome_of_word(status)


def _cloudtrail_outcome(error: Scalar, console: Scalar) -> Outcome:
    """AWS: a console sign-in has a response; any other call succeeded if it has no error."""
    given = outcome_of_word(console)
    if given is not Outcome.UNKNOWN:
        return given
    return Outcome.SUCCESS if error is None else Outcome.FAILURE
