"""How a recording moves its own clock: by what its messages tell, and never too far at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.clock import EventClock
from schemas.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from schemas.decode import Decoded
    from schemas.ports import Clock, Message
    from schemas.records import SignIn

GROUP_SECONDS = 300.0
"""By the event clock, the longest stretch of a recording that is handled at one moment."""


def leap(clock: Clock, decoded: Decoded, message: Message, started: float | None) -> float | None:
    """Move the event clock on, unless that would be too far at once; then return how far.

    Wall time never leaps.
    """
    if not isinstance(clock, EventClock):
        return None
    mark = clock.mark()
    advance(clock, decoded, message)
    moment = clock.now()
    if started is None or moment - started <= GROUP_SECONDS:
        return None
    clock.turn_back(mark)
    return moment


def advance(clock: Clock, decoded: Decoded, message: Message) -> None:
    """Move the event clock on. Wall time needs no telling."""
    if isinstance(clock, EventClock):
        latest = _latest_of_one_form(decoded.signins)
        if latest is None or not clock.advance_to_latest(latest):
            clock.advance(signin.record_time() for signin in decoded.signins)
        clock.advance([message.enqueued])


def _latest_of_one_form(signins: Sequence[SignIn]) -> datetime | None:
    """Return the latest time of a body's records, if their texts can be compared as they are."""
    texts = [text for signin in signins if type(text := signin.written) is str]
    if not texts or len(texts) < len(signins) or len(set(map(len, texts))) > 1:
        return None
    first, last = min(texts), max(texts)
    comparable = last.endswith("Z") and first[4:5] == last[4:5] == "-"
    return parse_time(last) if comparable else None
