"""How far a partition is settled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from consumers.inputs.partition import OwnedPartition, StreamOffset

START = datetime(2026, 3, 2, tzinfo=UTC)


def _place(number: int, minutes: int | None = None) -> StreamOffset:
    moment = START + timedelta(minutes=number if minutes is None else minutes)
    return StreamOffset(number, f"offset {number}", moment)


@given(st.permutations(range(8)))
def test_places_settle_in_order(order: list[int]) -> None:
    """However batches settle, a checkpoint never passes one that is open, and never goes back."""
    claim = OwnedPartition("hub/0", 0.0)
    tickets = [claim.accept(_place(n * 10)) for n in range(8)]
    for ticket in tickets:
        ticket.add()
    settled: set[int] = set()
    last = -1
    for number in order:
        tickets[number].done()
        settled.add(number)
        reached = next((n for n in range(8) if n not in settled), 8) - 1
        due = claim.due()
        if due is not None:
            assert due.sequence_number == reached * 10 > last
            last = due.sequence_number
            claim.checkpointed = due
        else:
            assert reached * 10 <= max(last, 0)
    assert last == 70
    assert claim.unsettled == 0


def test_nothing_is_due_after_the_partition_was_lost() -> None:
    """Another instance writes its checkpoints now."""
    claim = OwnedPartition("hub/0", 0.0)
    claim.accept(_place(1))
    claim.closed = True
    assert claim.due() is None


def test_repeats_are_what_was_settled_not_what_came() -> None:
    """What came and was not settled may have been lost."""
    claim = OwnedPartition("hub/0", 0.0)
    first = claim.accept(_place(10))
    second = claim.accept(_place(20))
    first.add()
    second.add()
    assert not claim.is_duplicate(_place(5))
    first.done()
    claim.advance()
    assert claim.is_duplicate(_place(5))
    assert claim.is_duplicate(_place(10))
    assert not claim.is_duplicate(_place(11))


def test_a_hub_made_anew_brings_nothing_twice() -> None:
    """Small numbers with late times are new, and move the mark."""
    claim = OwnedPartition("hub/0", 0.0)
    claim.accept(_place(1_000))
    claim.advance()
    again = _place(3, minutes=2_000)
    assert not claim.is_duplicate(again)
    claim.accept(again)
    assert claim.due() == again
    assert claim.is_duplicate(_place(2, minutes=1_999))
    assert not claim.is_duplicate(_place(4, minutes=2_001))
