"""Figures of the last minutes, the lines in the log, and who sees details; by a clock set here."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from consumers.enrichment.budget import QuotaStatus
from consumers.service.figures import (
    MIN_WINDOW_SECONDS,
    WINDOW_SECONDS,
    Activity,
    ActivityTotals,
    Figures,
    RecentActivity,
)
from consumers.service.health import Health
from consumers.service.http_endpoints import StatusPages, is_local, serve_endpoints
from consumers.service.log_lines import HourlyLine, ServiceFacts, log_started
from consumers.service.metrics import MetricsCollector
from consumers.service.status import StatusReporter
from consumers.service.status_page import PAGE_HEADERS
from schemas import metrics as m
from schemas.durations import HOUR_SECONDS
from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from schemas.ledger_ports import Ledger

FACTS = ServiceFacts("1.2.3", "box-1", ["zebra-hub"], ["crowdsec", "sekoia"], "file", 8_080)


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = 5_000.0

    def __call__(self) -> float:
        """Return what was set."""
        return self.time


class Idle:
    """The status of a service that runs and does nothing."""

    def __init__(self, health: Health) -> None:
        self.health = health
        self.ready = True

    def is_stalled(self) -> str | None:
        """Return None."""
        return None


def _collector(health: Health) -> MetricsCollector:
    ledger: Any = None
    never_asked: Ledger = ledger
    return MetricsCollector(health=health, ledger=never_asked)


def counted(signins: int, findings: int = 0, lookups: int = 0) -> Figures:
    """Return figures with these counts."""
    return Figures(
        [
            m.Sample(m.SIGNINS, signins),
            m.Sample(m.FINDINGS, findings, ("High",)),
            m.Sample(m.LOOKUPS, lookups),
            m.Sample(m.WAITING, 17),
            m.Sample(m.LAG, 3, ("a",)),
            m.Sample(m.LAG, 4, ("b",)),
        ]
    )


# --- the last minutes ---


def test_rates_are_those_of_the_last_minutes() -> None:
    """Not of all time; and memory is bounded however often it is called."""
    recent = RecentActivity()
    signins = 0
    for second in range(0, 4_000, 30):
        signins += 30 if second > 3_000 else 3_000
        recent.record(float(second), ActivityTotals(signins=signins))
    activity = recent.until(3_990.0, ActivityTotals(signins=signins))
    assert activity is not None
    assert WINDOW_SECONDS <= activity.seconds < WINDOW_SECONDS + 60
    assert activity.signins_per_second == pytest.approx(1.0, rel=0.05)
    for number in range(10_000):
        recent.record(4_000.0 + number / 1_000, ActivityTotals())
    assert len(recent._marks) < 100


def test_a_rate_needs_some_time() -> None:
    """The first seconds say nothing."""
    recent = RecentActivity()
    assert recent.until(10.0, ActivityTotals()) is None
    recent.record(10.0, ActivityTotals())
    assert recent.until(10.0 + MIN_WINDOW_SECONDS / 2, ActivityTotals(signins=5)) is None
    assert recent.until(10.0 + MIN_WINDOW_SECONDS, ActivityTotals(signins=5)) is not None


def test_latency_is_that_of_the_last_findings() -> None:
    """From the histogram of the metrics, by the difference to what it was."""
    metrics = _collector(Health())
    for _ in range(100):
        metrics.record_delay(200.0)  # long ago
    before = ActivityTotals.of(counted(0), metrics.delays())
    for seconds in (*[0.2] * 90, *[4.0] * 9, 1e6):
        metrics.record_delay(seconds)
    done = ActivityTotals.of(counted(0), metrics.delays()).since(before)
    activity = Activity(60.0, done)
    assert activity.latency(0.5) == 0.25
    assert activity.latency(0.95) == 5.0
    assert activity.latency(1.0) == math.inf
    assert Activity(60.0, done.since(done)).latency(0.5) is None


# --- lines in the log ---


def test_an_hour_is_a_line() -> None:
    """With what happened in it, and how things stand at its end."""
    line = HourlyLine(0.0)
    quota = QuotaStatus("2026-05-01", 100, 40, None, 0.0)
    with capture_logs() as logged:
        for minute in range(0, 121, 10):
            line.write_if_due(
                minute * 60.0, counted(minute * 10, minute, minute // 10), quota, ["feed-down"]
            )
    assert len(logged) == 2
    assert {entry["event"] for entry in logged} == {"last hour"}
    assert {entry["log_level"] for entry in logged} == {"info"}
    figures = [(entry["signins"], entry["findings"], entry["lookups"]) for entry in logged]
    assert figures == [(600, 60, 6), (600, 60, 6)]
    last = logged[-1]
    assert (last["waiting"], last["lag"], last["lookups_left"]) == (17, 7, 60)
    assert last["problems"] == ["feed-down"]


async def test_the_reporter_ticks_by_the_clock_it_is_given() -> None:
    """Every half minute; each code of a problem once."""
    clock, health = SetClock(), Health()
    for part in ("a", "b"):
        health.report(Problem.FEED_DOWN, "down", part=part)
    reporter = StatusReporter(FACTS, _collector(health), health, now=clock, monotonic=clock)
    with capture_logs() as logged:
        for _ in range(int(2 * HOUR_SECONDS / 30) + 1):
            await reporter.tick()
            clock.time += 30.0
    assert [entry["problems"] for entry in logged] == [["feed-down"]] * 2
    assert "over the last 10 min" in reporter.page(ready=True, details=False, refresh=False)


def test_the_first_line_says_what_runs() -> None:
    """Version, hubs with their partitions, sources, sink and port."""
    with capture_logs() as logged:
        log_started(FACTS, {"zebra-hub": 4})
    assert logged == [
        {
            "event": "started",
            "log_level": "info",
            "version": "1.2.3",
            "hubs": {"zebra-hub": 4},
            "sources": ["crowdsec", "sekoia"],
            "sink": "file",
            "port": 8_080,
        }
    ]


# --- who sees details ---


@pytest.mark.parametrize(
    ("remote", "host", "headers", "local"),
    [
        ("127.0.0.1", "localhost:8080", {}, True),
        ("127.0.0.1", "127.0.0.1:8080", {}, True),
        ("::1", "[::1]:8080", {}, True),
        ("::ffff:127.0.0.1", "localhost", {}, True),
        ("10.1.2.3", "localhost:8080", {}, False),
        ("2001:db8::1", "[::1]:8080", {}, False),
        (None, "localhost", {}, False),
        ("127.0.0.1", "rebound.example:8080", {}, False),
        ("127.0.0.1", "localhost.example", {}, False),
        ("127.0.0.1", "[::1", {}, False),
        ("127.0.0.1", "", {}, False),
        ("127.0.0.1", "localhost", {"X-Forwarded-For": "198.51.100.1"}, False),
        ("127.0.0.1", "localhost", {"Forwarded": "for=198.51.100.1"}, False),
    ],
)
def test_who_is_on_this_machine(
    remote: str | None, host: str, headers: dict[str, str], local: bool
) -> None:
    """Not who comes through a proxy here, and not a page of another name that leads here."""
    assert is_local(remote, host, headers) == local


@asynccontextmanager
async def _served(*, details: bool) -> AsyncIterator[str]:
    health = Health()
    health.report(Problem.KEY_REFUSED, "zebra detail", part="crowdsec")
    metrics = _collector(health)
    status = Idle(health)
    pages = StatusPages(StatusReporter(FACTS, metrics, health), status, details)
    async with serve_endpoints("127.0.0.1", 0, status, metrics, pages) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("details", [True, False])
async def test_details_are_for_this_machine_unless_settings_say_so(details: bool) -> None:
    """The same page with codes and figures for everybody else."""
    async with _served(details=details) as url, aiohttp.ClientSession() as session:
        for headers, here in (({}, True), ({"X-Forwarded-For": "198.51.100.1"}, False)):
            async with session.get(url, headers=headers) as response:
                assert response.status == 200
                assert response.content_type == "text/html"
                assert response.headers.items() >= PAGE_HEADERS.items()
                text = await response.text()
            assert 'href="runbook#key-refused"' in text
            assert ("zebra" in text) == (details or here)


async def test_the_runbook_is_served_and_nothing_is_taken() -> None:
    """Pages are read only."""
    async with _served(details=False) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/runbook") as response:
            assert response.headers.items() >= PAGE_HEADERS.items()
            assert 'id="key-refused"' in await response.text()
        async with session.get(f"{url}/?refresh") as response:
            assert 'http-equiv="refresh"' in await response.text()
        async with session.post(url) as response:
            assert response.status == 405
