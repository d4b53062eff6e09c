"""The event clock follows a recording and is not led astray by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consumers.clock import EventClock

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def _after(*offsets: timedelta | None) -> timedelta:
    clock = EventClock()
    clock.advance(None if offset is None else START + offset for offset in offsets)
    return datetime.fromtimestamp(clock.now(), UTC) - START


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        pytest.param([0 * HOUR], 0 * HOUR, id="one record"),
        pytest.param([0 * HOUR, HOUR], HOUR, id="goes on"),
        pytest.param([HOUR, 0 * HOUR], HOUR, id="never goes back"),
        pytest.param([0 * HOUR, None, HOUR], HOUR, id="a record without a time"),
        pytest.param([0 * HOUR, 400 * DAY, HOUR], HOUR, id="one far ahead is a mistake"),
        pytest.param([0 * HOUR, 3 * DAY, 3 * DAY + HOUR], 3 * DAY + HOUR, id="two agree: a gap"),
        pytest.param([0 * HOUR, 400 * DAY, 900 * DAY, HOUR], HOUR, id="two that disagree"),
        pytest.param([0 * HOUR, HOUR, 400 * DAY], HOUR, id="the last one is a mistake"),
        pytest.param([400 * DAY, 0 * HOUR, HOUR], HOUR, id="the first one is a mistake"),
        pytest.param([0 * HOUR, 400 * DAY, HOUR, 400 * DAY, HOUR], HOUR, id="mistakes apart"),
        pytest.param([-400 * DAY, 0 * HOUR, HOUR], HOUR, id="the first one is too early"),
        pytest.param([0 * HOUR, -400 * DAY, HOUR, HOUR], HOUR, id="the second one is too early"),
        pytest.param([-40_000 * DAY, 0 * HOUR, HOUR], HOUR, id="before computers"),
        pytest.param([0 * HOUR, HOUR, 40_000 * DAY, 40_000 * DAY], HOUR, id="two in 2135"),
    ],
)
def test_the_latest_confirmed_time_counts(
    offsets: list[timedelta | None], expected: timedelta
) -> None:
    """Whatever order the times come in."""
    assert _after(*offsets) == expected


def test_before_the_first_time_it_is_zero() -> None:
    """Nothing has been told yet."""
    assert EventClock().now() == 0


ENDS = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]


@pytest.mark.parametrize("end", ENDS)
def test_the_ends_of_the_calendar_are_no_times(end: datetime) -> None:
    """However many records bear them, alone or among others."""
    clock = EventClock()
    clock.advance([end, end, end])
    assert clock.now() == 0
    assert not clock.advance_to_latest(end)
    clock.advance([START, end, START, end])
    assert clock.confirmed
    assert clock.now() == START.timestamp()
    assert not clock.advance_to_latest(datetime(9999, 12, 31, tzinfo=UTC))
    assert clock.now() == START.timestamp()
