"""How work is timed: live, or in the event time of a recording."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.durations import DAY_SECONDS, HOUR_SECONDS


@dataclass(frozen=True, slots=True)
class RunMode:
    """Intervals in seconds of the run's clock, and what differs between the two kinds of runs."""

    clock: str
    """``wall`` or ``event``. A ledger is used with one of them only."""
    by_events: bool
    """Time advances with the events. So work that is due must end before the next event: lookups
    in flight are awaited, and maintenance is part of the stream."""
    enqueue_linger: float
    """For which sign-ins that must wait are gathered. A write to a shared ledger costs nearly the
    same for one sign-in as for fifty. Less than the interval between checkpoints."""
    lookup_linger: float
    """For which an address may wait for a full batch. In a recording, as long as a sign-in may
    wait; live, too short for a person to notice."""
    repeat_failed_after: float
    """Before an address is looked up again if its failed lookup may have counted: live once the
    source has recovered, in a recording not within the same replay. The delay grows fourfold with
    each failure of a request for one address while other lookups succeed, because the address is
    the cause."""
    dispatch_interval: float
    """Between two dispatches of pending addresses."""
    history_interval: float
    """Between two writes of the history. Instances that see the same accounts learn from each other
    this late, for the ranking and for the number of accounts in a finding. They meet in
    every entry, so that writing more often costs much."""
    group_messages: int | None
    """Messages that are matched together. More would keep more sign-ins in memory and block the
    event loop for longer. None: event time decides."""


LIVE = RunMode(
    clock="wall",
    by_events=False,
    enqueue_linger=1.0,
    lookup_linger=0.25,
    repeat_failed_after=10.0,
    dispatch_interval=15.0,
    history_interval=60.0,
    group_messages=25,
)
RECORDED = RunMode(
    clock="event",
    by_events=True,
    enqueue_linger=0.0,
    lookup_linger=DAY_SECONDS,
    repeat_failed_after=6 * HOUR_SECONDS,
    dispatch_interval=600.0,
    history_interval=600.0,
    group_messages=None,
)
