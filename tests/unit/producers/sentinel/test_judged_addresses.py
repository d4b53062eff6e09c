"""What is uploaded of judged addresses, renewed and withdrawn, and what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumers.settings import SentinelSettings
from producers.sentinel.judged_addresses import REMEMBERED_LIVE_SECONDS, REMEMBERED_SECONDS
from schemas.errors import LedgerFailed, SinkHeldBack
from schemas.health import Problem
from schemas.intel.verdicts import AddressClass, Intel, Reputation
from tests.contracts.support_ledger import A, B, C
from tests.support.indicator_upload import DAY, FULL, HELD_BACK, NOW, World, pattern, seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HARMLESS: list[Any] = [
    pytest.param({"said": Reputation.BENIGN}, id="benign"),
    pytest.param({"said": Reputation.UNKNOWN}, id="unknown"),
    pytest.param({"said": Reputation.SUSPICIOUS}, id="suspicious"),
    pytest.param({"address_class": AddressClass.RELAY}, id="shared egress"),
    pytest.param({"false_positive": True}, id="false positive"),
    pytest.param({"intel": Intel(indicator={"tlp": "red"})}, id="TLP red"),
    pytest.param({"tlps": ("green", "amber+strict")}, id="TLP of another word"),
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Return a world."""
    one = World(tmp_path)
    yield one
    await one.store.close()


async def test_a_malicious_address_is_uploaded_once(world: World) -> None:
    """However often it is judged, and in whatever state it is asked."""
    world.judge()
    await world.judged(A, B)
    await world.judged(A, B)
    world.go_on(60)
    await world.judged(A)
    assert world.active == {pattern(A), pattern(B)}
    assert world.taker.objects == 2
    assert world.sharing.counts == {"uploaded": 2}
    assert len(world.sharing) == 0


@pytest.mark.parametrize("why", HARMLESS)
async def test_nothing_else_is_uploaded(world: World, why: dict[str, Any]) -> None:
    """And what was uploaded before is withdrawn, under its id, never revoked."""
    await world.judged(B, **why)
    assert world.taker.objects == 0
    await world.judged(A)
    (uploaded,) = world.taker.sent[-1]
    world.go_on(60)
    await world.judged(A, **why)
    assert world.active == set()
    (withdrawn,) = world.taker.sent[-1]
    assert (withdrawn["id"], withdrawn["created"]) == (uploaded["id"], uploaded["created"])
    assert "revoked" not in withdrawn
    await world.judged(A, **why)
    assert world.taker.objects == 2
    assert world.sharing.counts["withdrawn"] == 1


async def test_what_was_withdrawn_may_come_again(world: World) -> None:
    """With the same id and beginning; also within the same second."""
    await world.judged(A)
    await world.judged(A, said=Reputation.BENIGN)
    assert world.active == set()
    await world.judged(A)
    assert world.active == {pattern(A)}
    assert len(world.taker.kept) == 1
    assert len({one["created"] for sent in world.taker.sent for one in sent}) == 1


async def test_it_is_valid_no_longer_than_the_verdict_or_the_setting(world: World) -> None:
    """Whichever ends first; a verdict may have no end."""
    ends = {A: NOW + DAY, B: NOW + 30 * DAY, C: float("inf")}
    for address, expires in ends.items():
        world.judge(address, expires=expires)
    await world.sharing.flush()
    until = [seconds(one["valid_until"]) for one in world.taker.sent[0]]
    assert until == [NOW + DAY, NOW + FULL, NOW + FULL]
    await world.judged("81.2.69.1", expires=NOW)
    assert world.taker.objects == 3


async def test_it_is_renewed_when_half_is_over(world: World) -> None:
    """Not before."""
    await world.judged(A)
    world.go_on(FULL / 2 - 60)
    await world.judged(A)
    assert world.taker.objects == 1
    world.go_on(120)
    await world.judged(A)
    assert world.sharing.counts == {"uploaded": 1, "renewed": 1}
    (renewed,) = world.taker.sent[-1]
    assert seconds(renewed["valid_until"]) == world.clock.time + FULL
    assert seconds(renewed["created"]) == NOW


async def test_nothing_is_renewed_that_ends_with_its_verdict(world: World) -> None:
    """However near the end is."""
    await world.judged(A, expires=NOW + DAY)
    world.go_on(DAY - 60)
    await world.judged(A, expires=NOW + DAY)
    assert world.taker.objects == 1


async def test_what_lapsed_is_uploaded_again(world: World) -> None:
    """And needs no withdrawal where it turned out harmless."""
    await world.judged(A, B)
    world.go_on(FULL + 1)
    await world.judged(A)
    await world.judged(B, said=Reputation.BENIGN)
    assert world.active == {pattern(A)}
    assert world.taker.objects == 3


async def test_a_long_validity_is_written_again_before_the_history_forgets(world: World) -> None:
    """The ledger forgets after 45 days what nobody wrote."""
    world.sharing = world.new_sharing(settings=SentinelSettings(valid_for=90 * DAY))
    await world.judged(A, expires=float("inf"))
    world.go_on(29 * DAY)
    await world.judged(A, expires=float("inf"))
    assert world.taker.objects == 1
    world.go_on(2 * DAY)
    await world.judged(A, expires=float("inf"))
    assert world.sharing.counts["renewed"] == 1


async def test_a_restart_uploads_nothing_twice(world: World) -> None:
    """And withdraws what was uploaded before."""
    await world.judged(A, B)
    world.sharing = world.new_sharing()
    await world.judged(A)
    assert world.taker.objects == 2
    await world.judged(B, said=Reputation.BENIGN)
    assert world.active == {pattern(A)}
    world.sharing = world.new_sharing()
    await world.judged(B, said=Reputation.BENIGN)
    assert world.taker.objects == 3


async def test_a_harmless_address_costs_one_look_an_hour(world: World) -> None:
    """Thousands of them are judged."""
    addresses = [f"81.2.{n // 250}.{n % 250}" for n in range(1_200)]
    for _ in range(5):
        await world.judged(*addresses, said=Reputation.BENIGN)
        world.go_on(60)
    world.judge(addresses[0], Reputation.BENIGN)
    assert (world.store.reads, len(world.sharing)) == (1_200, 0)
    world.go_on(REMEMBERED_SECONDS)
    await world.judged(*addresses, said=Reputation.BENIGN)
    assert world.store.reads == 2_400


async def test_what_another_instance_did_is_seen_soon(world: World) -> None:
    """A withdrawal within minutes, an upload within the hour."""
    await world.judged(A)
    await world.judged(B, said=Reputation.BENIGN)
    other, mine = world.new_sharing(), world.sharing
    world.go_on(1)
    world.sharing = other
    await world.judged(A, said=Reputation.BENIGN)
    await world.judged(B)
    world.sharing = mine
    world.go_on(REMEMBERED_LIVE_SECONDS)
    await world.judged(A)
    assert world.active == {pattern(A), pattern(B)}
    world.go_on(REMEMBERED_SECONDS)
    await world.judged(B, said=Reputation.BENIGN)
    assert world.active == {pattern(A)}


async def test_memory_and_queue_are_bounded(world: World) -> None:
    """What has no room is counted; what is forgotten is looked up again."""
    world.sharing = world.new_sharing(most_queued=3, most_remembered=3)
    addresses = [f"81.2.69.{n}" for n in range(5)]
    for address in addresses:
        world.judge(address)
    world.judge(addresses[0])
    assert (len(world.sharing), world.sharing.counts["dropped"]) == (3, 2)
    await world.sharing.flush()
    await world.judged(*addresses[2:])
    assert world.taker.objects == 5
    await world.judged(*addresses[:3])
    assert world.taker.objects == 5
    assert len(world.sharing._known) == 3


async def test_many_changes_are_noted_as_they_arrive(world: World) -> None:
    """So that trouble half-way repeats little."""
    addresses = [f"81.2.{n // 250}.{n % 250}" for n in range(250)]
    await world.judged(*addresses)
    assert [len(one) for one in world.taker.sent] == [100, 100, 50]


async def test_trouble_keeps_the_queue_and_is_told(world: World) -> None:
    """The service is left alone for a while; then all arrives, and that is told too."""
    world.taker.held_back = HELD_BACK
    await world.judged(A)
    assert world.health.troubles == {Problem.INDICATORS_HELD_BACK}
    assert "mend it" in world.health.details[-1]
    world.taker.held_back = None
    await world.judged(A, B)
    await world.judged(C, said=Reputation.BENIGN)
    assert (world.taker.objects, len(world.sharing)) == (0, 2)
    world.go_on(31)
    await world.sharing.flush()
    assert world.active == {pattern(A), pattern(B)}
    assert world.health.troubles == set()
    assert world.taker.objects == 2


async def test_the_service_says_for_how_long_to_leave_it_alone(world: World) -> None:
    """Where that is longer than we would."""
    world.taker.held_back = SinkHeldBack("no", remedy="wait", retry_after=100.0)
    await world.judged(A)
    world.taker.held_back = None
    world.go_on(60)
    await world.sharing.flush()
    assert world.taker.objects == 0
    world.go_on(41)
    await world.sharing.flush()
    assert world.taker.objects == 1


async def test_trouble_ends_when_nothing_is_left_to_send(world: World) -> None:
    """Else it would be told for ever."""
    world.taker.held_back = HELD_BACK
    await world.judged(A, expires=NOW + 20)
    world.go_on(31)
    await world.sharing.flush()
    assert (len(world.sharing), world.health.troubles) == (0, set())


async def test_what_may_have_arrived_is_withdrawn(world: World) -> None:
    """An upload without an answer, of an address that then is judged harmless."""
    world.taker.held_back, world.taker.loses = HELD_BACK, True
    await world.judged(A)
    assert world.active == {pattern(A)}
    world.taker.held_back = None
    world.go_on(31)
    await world.judged(A, said=Reputation.BENIGN)
    assert world.active == set()


async def test_a_withdrawal_that_may_have_arrived_is_made_good(world: World) -> None:
    """When its address turns bad before anybody knows."""
    await world.judged(A)
    world.taker.held_back, world.taker.loses = HELD_BACK, True
    await world.judged(A, said=Reputation.BENIGN)
    assert world.active == set()
    world.taker.held_back = None
    world.go_on(31)
    await world.judged(A)
    assert world.active == {pattern(A)}
    await world.judged(A)
    assert world.taker.objects == 2


async def test_what_is_judged_during_its_upload_counts(world: World) -> None:
    """The later verdict waits for the next flush."""

    def turned() -> None:
        world.taker.meanwhile = lambda: None
        world.judge(A, Reputation.BENIGN)

    world.taker.meanwhile = turned
    await world.judged(A)
    assert world.active == {pattern(A)}
    await world.sharing.flush()
    assert world.active == set()


async def test_a_broken_ledger_loses_nothing(world: World) -> None:
    """It is told to who called; the upload is repeated."""
    world.store.broken = True
    with pytest.raises(LedgerFailed):
        await world.judged(A)
    world.store.broken = False
    await world.sharing.flush()
    assert (world.taker.objects, len(world.taker.kept)) == (2, 1)
    world.sharing = world.new_sharing()
    await world.judged(A)
    assert world.taker.objects == 2


async def test_what_is_refused_is_not_noted_as_uploaded(world: World) -> None:
    """The others are; the refused one may be tried when it is judged again."""
    world.taker.refuses = {pattern(A)}
    await world.judged(A, B)
    assert world.sharing.counts == {"uploaded": 1, "refused": 1}
    await world.sharing.flush()
    assert world.taker.objects == 2
    await world.judged(A, said=Reputation.BENIGN)
    assert world.taker.objects == 2
    world.taker.refuses = set()
    await world.judged(A, B)
    assert world.active == {pattern(A), pattern(B)}


async def test_addresses_may_be_kept_out(world: World) -> None:
    """By a setting."""
    world.sharing = world.new_sharing(settings=SentinelSettings(upload_malicious=False))
    await world.judged(A)
    assert (len(world.sharing), world.taker.objects) == (0, 0)
