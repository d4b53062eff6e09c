"""Held sign-ins are counted in full and let go of in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.pipeline import in_flight as held
from consumers.pipeline.batch import BatchTracker
from consumers.pipeline.in_flight import InFlight
from schemas.events.decode import Decoder
from schemas.events.tables import load_tables
from tests.support.sign_ins import address, message, row

if TYPE_CHECKING:
    import pytest

    from consumers.pipeline.in_flight import Sighting


def _held(count: int) -> list[Sighting]:
    """Return sign-ins of one message body."""
    body = message(*(row(address(n)) for n in range(count)))
    return [(one, None, True) for one in Decoder(load_tables()).decode(body).signins]


def test_a_body_is_counted_once_and_until_its_last_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses wait for it."""
    one, other = _held(4), _held(2)
    size = one[0][0].source.size
    monkeypatch.setattr(held, "MAX_BYTES_IN_FLIGHT", size)
    signins = InFlight()
    ticket = BatchTracker()
    signins.add("a", one[:2], ticket)
    signins.add("b", one[2:], ticket)
    signins.add("a", one[:1], BatchTracker())
    assert not signins.too_many
    signins.add("c", other, ticket)
    assert signins.too_many
    assert set(signins.addresses) == {"a", "b", "c"}
    assert [signins.pop(name)[0] for name in ("c", "b", "c")] == [other, one[2:], []]
    assert not signins.too_many
    held_for_a, tickets = signins.pop("a")
    assert len(held_for_a) == 3
    assert len(tickets) == 2
    assert not ticket.completed
    assert (signins._bytes, signins._count, signins._uses) == (0, 0, {})


def test_many_small_sign_ins_are_too_many_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number has a limit of its own."""
    monkeypatch.setattr(held, "MAX_SIGN_INS_IN_FLIGHT", 3)
    signins = InFlight()
    signins.add("a", _held(4), BatchTracker())
    assert signins.too_many
