"""A shutdown that does not end by itself."""

from __future__ import annotations

import subprocess
import sys
import time

BUSY = """
import time
from consumers.service.deadline import DrainDeadline

deadline = DrainDeadline(0.3)
deadline.begin()
{then}
until = time.monotonic() + 20
while time.monotonic() < until and {busy}:
    pass  # the event loop of a service whose processor others use
"""


def ended(then: str, busy: str) -> tuple[int, float, str]:
    """Run a process that is busy; return its exit status, how long it took, and what it said."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", BUSY.format(then=then, busy=busy)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, time.monotonic() - began, done.stdout + done.stderr


def test_a_busy_process_ends_at_its_deadline() -> None:
    """Even though its event loop gets no turn; it says that something is left."""
    status, seconds, text = ended("", "True")
    assert status == 1
    assert seconds < 10
    assert "drain deadline" in text


def test_who_is_done_in_time_ends_by_itself() -> None:
    """Then the deadline means nothing."""
    status, _, text = ended("deadline.cancel()", "time.monotonic() < until - 19")
    assert (status, text) == (0, "")
