"""Trouble, readiness, and the guard against diverting a stream."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumers.inputs.unreadable_guard import TRICKLE_SECONDS, WINDOW_MESSAGES, UnreadableGuard
from consumers.pipeline.stats import PipelineCounts
from consumers.service.health import GRACE_SECONDS, MAX_DETAIL_LENGTH, Health
from schemas.health import DEGRADED_ONLY, Problem

RUNBOOK = (Path(__file__).parents[4] / "docs" / "runbook.md").read_text("utf-8")


class Moment:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def __call__(self) -> float:
        """Return what was set."""
        return self.time


@pytest.fixture
def moment() -> Moment:
    """Return a clock."""
    return Moment()


@pytest.fixture
def health(moment: Moment) -> Health:
    """Return health as a service has it."""
    return Health(grace=GRACE_SECONDS, now=moment, monotonic=moment)


def test_what_passes_by_itself_is_given_a_moment(health: Health, moment: Moment) -> None:
    """An outage that lasts is a reason; a hiccup is none."""
    health.report(Problem.LEDGER_UNREACHABLE, "busy")
    assert health.healthy
    assert health.reasons() == []
    moment.time += GRACE_SECONDS
    assert not health.healthy
    (reason,) = health.reasons()
    assert (reason["code"], reason["detail"]) == ("ledger-unreachable", "busy")
    assert reason["since"].startswith("1970-01-01T00:16:40"), "its beginning, not the last word"
    health.resolve(Problem.LEDGER_UNREACHABLE)
    assert health.healthy


@pytest.mark.parametrize("what", [Problem.HUB_MISSING, Problem.KEY_REFUSED, Problem.DRAINING])
def test_what_needs_a_person_is_told_at_once(health: Health, what: Problem) -> None:
    """There is nothing to wait for."""
    health.report(what, "mend it", part="a")
    health.report(what, "mend it", part="b")
    assert not health.healthy
    assert [one["part"] for one in health.reasons()] == ["a", "b"]
    health.resolve(what, part="a")
    assert not health.healthy


@pytest.mark.parametrize("what", sorted(DEGRADED_ONLY))
def test_doing_all_that_can_be_done_is_ready(health: Health, what: Problem) -> None:
    """It is told, and blocks nothing."""
    health.report(what, "detail")
    assert health.healthy
    assert [one["blocking"] for one in health.reasons()] == [False]


def test_details_are_bounded_and_warned_of_once(health: Health, moment: Moment) -> None:
    """However often it is told; and again while it lasts."""
    with capture_logs() as logged:
        for _ in range(50):
            health.report(Problem.HUB_REFUSED, "x" * 10_000)
        assert len(health.reasons()[0]["detail"]) == MAX_DETAIL_LENGTH
        moment.time += 301
        health.report(Problem.HUB_REFUSED, "still")
    assert [(one["log_level"], len(one["detail"])) for one in logged] == [
        ("warning", MAX_DETAIL_LENGTH),
        ("warning", 5),
    ]


@pytest.mark.parametrize("what", list(Problem))
def test_the_runbook_explains_every_code(what: Problem) -> None:
    """Meaning, risk of loss, first action."""
    parts = RUNBOOK.split(f"\n## {what.value}\n")
    assert len(parts) == 2, what
    paragraph = parts[1].split("\n## ")[0]
    for word in ("**Meaning:**", "**Data loss:**", "**First step:**"):
        assert word in paragraph


def test_the_runbook_explains_nothing_else() -> None:
    """A code that is gone is gone from there as well."""
    told = {line.removeprefix("## ") for line in RUNBOOK.splitlines() if line.startswith("## ")}
    assert told == {what.value for what in Problem}


def test_a_stream_that_cannot_be_read_trickles(health: Health, moment: Moment) -> None:
    """A batch a minute, and everything again once it can be read."""
    counts = PipelineCounts(exact=False)
    guard = UnreadableGuard(counts, health, share=0.9, monotonic=moment)
    counts.messages = counts.unreadable = WINDOW_MESSAGES - 1
    assert guard.allows(), "too early to tell"
    counts.messages = counts.unreadable = WINDOW_MESSAGES
    assert guard.allows()
    assert not health.healthy
    assert not guard.allows()
    moment.time += TRICKLE_SECONDS
    counts.messages += 300
    counts.unreadable += 300
    assert guard.allows()
    assert not guard.allows()
    counts.messages += 300  # and these could be read
    assert guard.allows()
    assert guard.allows()
    assert health.healthy


def test_some_that_cannot_be_read_hold_nothing_up(health: Health, moment: Moment) -> None:
    """They go to quarantine, and the stream goes on."""
    counts = PipelineCounts(exact=False)
    guard = UnreadableGuard(counts, health, share=0.9, monotonic=moment)
    for _ in range(10):
        counts.messages += WINDOW_MESSAGES
        counts.unreadable += WINDOW_MESSAGES // 2
        assert guard.allows()
    assert health.healthy
