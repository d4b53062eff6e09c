"""The deadline of a shutdown, which holds even if the event loop is busy."""

from __future__ import annotations

import os
from threading import Timer

import structlog

log = structlog.get_logger()


class DrainDeadline:
    """Ends the process a number of seconds after draining has begun.

    Whatever is not acknowledged by then is redelivered, as after a crash.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer = Timer(seconds, self._exit)
        self._timer.daemon = True

    def begin(self) -> None:
        """Start the time. Call it once."""
        self._timer.start()

    def cancel(self) -> None:
        """Let the process end by itself."""
        self._timer.cancel()

    def _exit(self) -> None:
        log.warning(
            "forced exit at the drain deadline; unacknowledged messages will be redelivered",
            seconds=self._seconds,
        )
        os._exit(1)
