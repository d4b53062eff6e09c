"""Rules shared by all ledger stores: eviction order, recheck state, history expiry."""

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
"""Age at which an unused history entry expires."""
_OUTCOME_PRIORITY = {Outcome.SUCCESS: 2_000.0, Outcome.PASSWORD_ACCEPTED: 1_000.0}
"""Higher than any score, so that successful sign-ins are evicted last."""


def weight_of(sign_in: PendingSignIn) -> float:
    """Return the eviction weight of a pending sign-in. The lowest weight is evicted first."""
    return weight(sign_in.details.outcome, sign_in.own)


def weight(outcome: Outcome, own: float) -> float:
    """Return the eviction weight for an outcome and the event score *own*."""
    return _OUTCOME_PRIORITY.get(outcome, 0.0) + own


def is_about(details: Details, address: str | None, account: str | None) -> bool:
    """Return True if a sign-in belongs to *account* or lists *address* among its addresses."""
    return details.account == account or any(known == address for known, _ in details.addresses)


def is_final(answer: Answer | None) -> Verdict | None:
    """Return *answer* if it is a verdict that needs no recheck, else None."""
    return answer if isinstance(answer, Verdict) and not answer.recheck_pending else None


def first_lookup(answer: Answer | None) -> float | None:
    """Return when an address that awaits a recheck was first looked up, else None."""
    return (
        answer.first_lookup or None
        if isinstance(answer, Verdict) and answer.recheck_pending
        else None
    )
