"""Advances the event clock by the timestamps of messages, in bounded steps."""

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
"""Event time that one group of messages may cover."""
CONTRADICTION = 30 * DAY_SECONDS
"""Seconds by which the second timestamp of an export may follow the first. It must not precede
it."""


def leap(
    clock: Clock, decoded: Decoded, message: Message, started: float | None
) -> tuple[float | None, float | None]:
    """Advance the event clock, unless the message lies beyond the current group.

    Return the time that was out of reach, or None if the clock advanced, and the group's start. If
    an export's second timestamp contradicts the first, the group starts there. Wall time never
    leaps.
    """
    if not isinstance(clock, EventClock):
        return None, started
    before, unconfirmed = clock.mark(), not clock.confirmed
    advance(clock, decoded, message)
    timestamp = clock.now()
    if started is None:
        return None, started
    if unconfirmed and not 0 <= timestamp - started <= CONTRADICTION:
        return None, timestamp
    if timestamp - started <= GROUP_SECONDS:
        return None, started
    clock.reset_to(before)
    return timestamp, started


def advance(clock: Clock, decoded: Decoded, message: Message) -> None:
    """Advance the event clock. A wall clock needs no input."""
    if isinstance(clock, EventClock):
        latest = _latest_if_comparable(decoded.signins)
        if latest is None or not clock.advance_to_latest(latest):
            clock.advance(map(_time_of, decoded.signins))
        clock.advance([message.enqueued])


def _latest_if_comparable(signins: Sequence[SignIn]) -> datetime | None:
    """Return the latest record time of a body, if the texts of the times sort chronologically."""
    texts = [text for signin in signins if type(text := signin.written) is str]
    if not texts or len(texts) < len(signins) or len(set(map(len, texts))) > 1:
        return None
    first, last = min(texts), max(texts)
    comparable = last.endswith("Z") and first[4:5] == last[4:5] == "-"
    return parse_time(last) if comparable else None


def _time_of(signin: SignIn) -> datetime | None:
    try:
        return signin.record_time()
    except Exception:  # noqa: BLE001 - no time; the evaluator quarantines the record
        return None
