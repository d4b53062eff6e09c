"""What the machine itself gets wrong is told: its clock, its limit on open files."""

from __future__ import annotations

import resource
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from consumers.service.clock_check import OBSERVATION_INTERVAL_SECONDS, ClockCheck
from consumers.service.file_limit import MIN_OPEN_FILES, ensure_open_files
from consumers.service.health import Health

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_900_000_000.0


@pytest.mark.parametrize(
    ("off", "told"),
    [(0, None), (60, None), (-60, None), (600, "600 s ahead of"), (-600, "600 s behind")],
)
def test_a_clock_that_is_off_is_told(off: float, told: str | None) -> None:
    """By how much, and which way; and it is over when it is right."""
    health, moment = Health(), [0.0]
    check = ClockCheck(health, now=lambda: NOW + off, monotonic=lambda: moment[0])
    check.observe(formatdate(NOW, usegmt=True))
    details = {one["code"]: one["detail"] for one in health.reasons()}
    assert list(details) == ([] if told is None else ["clock-off"])
    assert told is None or told in details["clock-off"]
    moment[0] += OBSERVATION_INTERVAL_SECONDS
    check.observe(formatdate(NOW + off, usegmt=True))
    assert health.reasons() == []


@pytest.mark.parametrize("date", [None, "", "soon", "Thu, 99 Foo 2026 99:99:99 GMT"])
def test_an_answer_without_a_date_tells_nothing(date: str | None) -> None:
    """Not every emulator sends one."""
    health = Health()
    ClockCheck(health).observe(date)
    assert health.reasons() == []


@pytest.fixture
def limits() -> Iterator[None]:
    """Give the limit on open files back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("limits")
def test_a_low_limit_is_raised_where_that_is_allowed() -> None:
    """The soft limit is anybody's to raise."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MIN_OPEN_FILES:
        pytest.skip("the hard limit is too low here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    health = Health()
    ensure_open_files(health)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= MIN_OPEN_FILES
    assert health.reasons() == []


def test_a_limit_that_stays_low_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hard limit is low as well."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    health = Health()
    ensure_open_files(health)
    (reason,) = health.reasons()
    assert reason["code"] == "few-files"
    assert "RLIMIT_NOFILE ('ulimit -n') allows only 64" in reason["detail"]
