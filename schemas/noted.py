"""The little that is noted of every sign-in, for the case that its address turns out bad later."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeGuard

import msgspec

from schemas.outcomes import Outcome, number_of, outcome_of_code
from schemas.records import Details
from schemas.times import parse_time

if TYPE_CHECKING:
    from schemas.records import SignIn

LAST_MOMENT = datetime(9999, 12, 31, 23, 59, 59, 999_500, tzinfo=UTC).timestamp()
"""Services write the last moment there is for none, and a float rounds it up beyond."""
_PLAIN = 200
"""Characters of a text that needs no cleaning."""
_outcomes: dict[str, Outcome] = {}


class Noted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A sign-in from one address, as far as a late finding needs it.

    ``time`` is that of the event, in seconds since the epoch.
    """

    address: str
    table: str
    event_id: str
    account: str
    outcome: Outcome
    time: float

    def details(self) -> Details:
        """Return it the way the judge takes it; all else is unknown."""
        return Details(
            table=self.table,
            event_id=self.event_id,
            event_time=datetime.fromtimestamp(min(self.time, LAST_MOMENT), UTC),
            addresses=((self.address, self.address),),
            account=self.account,
            outcome=self.outcome,
        )


def noted_of(
    signin: SignIn, address: str, *, enqueued: datetime | None, fallback_time: datetime
) -> Noted:
    """Note a sign-in. The quick way is taken where it surely tells the same as the long one."""
    quick = signin.noted
    if quick is not None and signin.form.outcome == "code":
        event_id, account, result, time = quick
        outcome = _outcomes.get(result) if type(result) is str else None
        outcome = outcome or _outcome(result)
        moment = parse_time(time)
        if outcome is not None and moment is not None and _plain(event_id) and _plain(account):
            return Noted(
                address, signin.table, event_id, account.lower(), outcome, moment.timestamp()
            )
    details = signin.details(enqueued=enqueued, fallback_time=fallback_time)
    return Noted(
        address,
        details.table,
        details.event_id,
        details.account,
        details.outcome,
        details.event_time.timestamp(),
    )


def _plain(value: object) -> TypeGuard[str]:
    """Tell whether a text is as it would be after cleaning."""
    return (
        type(value) is str
        and 1 < len(value) < _PLAIN
        and value.isascii()
        and value.isprintable()
        and value[0] != " "
        and value[-1] != " "
        and value != "<null>"
    )


def _outcome(result: object) -> Outcome | None:
    """Return the outcome that a number tells; None where another place has to be read too."""
    if number_of(result) is None:
        return None
    outcome = outcome_of_code(result)
    if isinstance(result, str) and len(_outcomes) < 1_000:
        _outcomes[result] = outcome
    return outcome
