"""How a recording moves its own clock: by what its messages tell, and never too far at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.clock import EventClock
from schemas.durations import DAY_SECONDS
from schemas.events.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from schemas.events.decode import Decoded
    from schemas.events.sign_in import SignIn
    from schemas.ports import Clock, Message

GROUP_SECONDS = 300.0
"""By the event clock, the longest stretch of a recording that is handled at one moment."""
CONTRADICTION = 30 * DAY_SECONDS
"""Seconds by which the second time of a recording may be later than the first; and it is not to be
earlier."""


def leap(
    clock: Clock, decoded: Decoded, message: Message, started: float | None
) -> tuple[float | None, float | None]:
    """Move the event clock on, unless that would be too far at once.

    Return how far it would have been, else None; and when the stretch that is being gathered
    began. A first time that the next one contradicts never was: its stretch begins with the next.
    Wall time never leaps.
    """
    if not isinstance(clock, EventClock):
        return None, started
    before, unconfirmed = clock.mark(), not clock.confirmed
    advance(clock, decoded, message)
    moment = clock.now()
    if started is None:
        return None, started
    if unconfirmed and not 0 <= moment - started <= CONTRADICTION:
        return None, moment
    if moment - started <= GROUP_SECONDS:
        return None, started
    clock.reset_to(before)
    return moment, started


def advance(clock: Clock, decoded: Decoded, message: Message) -> None:
    """Move the event clock on. Wall time needs no telling."""
    if isinstance(clock, EventClock):
        latest = _latest_of_one_form(decoded.signins)
        if latest is None or not clock.advance_to_latest(latest):
            clock.advance(map(_time_of, decoded.signins))
        clock.advance([message.enqueued])


def _latest_of_one_form(signins: Sequence[SignIn]) -> datetime | None:
    """Return the latest time of a body's records, if their texts can be compared as they are."""
    texts = [text for signin in signins if type(text := signin.raw_address) is str]
    if not texts or len(texts) < len(signins) or len(set(map(len, texts))) > 1:
        return None
    first, last = min(texts), max(texts)
    comparable = last.endswith("Z") and first[4:5] == last[4:5] == "-"
    return parse_time(last) if comparable else None


def _time_of(signin: SignIn) -> datetime | None:
    try:
        return signin.record_time()
    except Exception:  # noqa: BLE001 - such a record tells no time; who judges it sets it aside
        return None
