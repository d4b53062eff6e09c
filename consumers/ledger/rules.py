"""What all stores of the ledger agree on: what gives way, what counts as asked, how old is old."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.events.outcomes import Outcome
from schemas.intel.verdicts import Verdict

if TYPE_CHECKING:
    from schemas.events.sign_in import Details
    from schemas.intel.verdicts import Answer
    from schemas.ledger_ports import PendingSignIn

EXPIRED = "waited too long"
EVICTED = "crowded out"
HISTORY_SECONDS = 45 * 86_400.0
"""Age at which an entry of the history that nobody used is forgotten."""
_OUTCOME_PRIORITY = {Outcome.SUCCESS: 2_000.0, Outcome.PASSWORD_ACCEPTED: 1_000.0}
"""More than any score, so that successes give way last."""


def weight_of(one: PendingSignIn) -> float:
    """Return how much a sign-in matters when too many wait for one address."""
    return weight(one.details.outcome, one.own)


def weight(outcome: Outcome, own: float) -> float:
    """Return the same, by what a sign-in says itself for a question."""
    return _OUTCOME_PRIORITY.get(outcome, 0.0) + own


def is_about(details: Details, address: str | None, account: str | None) -> bool:
    """Tell whether a sign-in is of an account, or from an address (any of those it tells)."""
    return details.account == account or any(one == address for one, _ in details.addresses)


def is_final(answer: Answer | None) -> Verdict | None:
    """Return *answer* if it is a verdict for which nothing waits any more."""
    return answer if isinstance(answer, Verdict) and not answer.recheck_pending else None


def first_asked(answer: Answer | None) -> float | None:
    """Return since when an address is asked about whose answer is open."""
    return (
        answer.first_asked or None
        if isinstance(answer, Verdict) and answer.recheck_pending
        else None
    )
