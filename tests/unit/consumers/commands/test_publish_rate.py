"""An even rate, whatever the delays."""

from __future__ import annotations

import random

import pytest

from consumers.commands.publish_rate import SLACK, TICK, SendRate


def _run(rate: float, seconds: float, delay: float) -> list[tuple[float, int]]:
    """Return when how many messages go, if each sending starts up to *delay* late."""
    pace, now, sent, chance = SendRate(rate), 1_000.0, [], random.Random(1)
    while now < 1_000.0 + seconds:
        now += pace.delay(now) + chance.uniform(0, delay)
        pace.sent(pace.group_size, now)
        sent.append((now, pace.group_size))
    return sent


@pytest.mark.parametrize("rate", [0.5, 1, 9, 50, 1_234, 100_000])
@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_the_rate_is_kept_and_is_even(rate: float, delay: float) -> None:
    """Over all, and never more in a moment than the slack allows."""
    sent = _run(rate, 60, delay)
    total = sum(count for _, count in sent)
    assert total == pytest.approx(rate * 60, rel=0.03, abs=2)
    for index, (start, _) in enumerate(sent):
        window = sum(count for at, count in sent[index : index + 50] if at < start + 1)
        assert window <= rate * (1 + SLACK + 2 * TICK) + 1


def test_a_pause_is_not_made_up_for() -> None:
    """A hub that was away for a minute does not get a minute's messages at once."""
    pace = SendRate(100)
    pace.sent(10, 0.0)
    pace.sent(10, 60.0)
    now, burst = 60.0, 10
    while pace.delay(now) == 0:
        pace.sent(10, now)
        burst += 10
    assert burst <= 100 * SLACK + 10


def test_the_first_messages_go_at_once() -> None:
    """Nobody waits for nothing."""
    assert SendRate(0.001).delay(5.0) == 0
