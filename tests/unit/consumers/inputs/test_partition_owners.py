"""Partitions that nobody reads, streams that stand, and a client that is wedged, are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import SecretStr

from consumers.inputs.checkpoint_container import CheckpointContainer
from consumers.inputs.checkpoint_store import OwnershipListing
from consumers.inputs.eventhub_client import EventHub
from consumers.inputs.partition import OwnedPartition, StreamOffset
from consumers.inputs.partition_owners import STALLED_SECONDS, PartitionOwners
from consumers.inputs.receiver import WEDGED_SECONDS, Receiver
from consumers.inputs.unreadable_guard import UnreadableGuard
from consumers.service.health import Health
from consumers.settings import CheckpointSettings, EventHubSettings
from schemas.health import Problem

if TYPE_CHECKING:
    from consumers.pipeline.pipeline import Pipeline

STORAGE = (
    "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==;BlobEndpoint=http://127.0.0.1:1/a"
)
HUB = "Endpoint=sb://127.0.0.1;SharedAccessKeyName=k;SharedAccessKey=YQ==;EntityPath=signins"


class Setup:
    """A receiver that never runs, and the clocks around it."""

    def __init__(self) -> None:
        self.time = 10_000.0
        self.health = Health()
        settings = EventHubSettings(
            connection_string=SecretStr(HUB), balance_interval=10, ownership_expiry=60
        )
        hub = EventHub("signins", settings, None, None)
        container = CheckpointSettings(connection_string=SecretStr(STORAGE), container="ccc")
        self.checkpoints = CheckpointContainer(container, None, self.health)
        self.store = self.checkpoints.store
        self.receiver = Receiver(
            hub,
            self.checkpoints,
            cast("Pipeline", None),
            UnreadableGuard(cast("Any", None), self.health, share=0.9),
            self.health,
            failed=lambda _: None,
            monotonic=lambda: self.time,
        )
        self.owners = PartitionOwners(
            hub, self.store, self.health, monotonic=lambda: self.time, now=lambda: self.time
        )
        self.owners.partitions = ["0", "1"]

    def listed(self, **owners: float) -> None:
        """Let the balancing list who claimed what, so many seconds ago."""
        claimed = {name[1:]: ("me", self.time - age) for name, age in owners.items()}
        self.store.listings["signins"] = OwnershipListing(self.time, claimed)

    def look(self) -> list[tuple[str, str]]:
        """Look, and return what is told."""
        self.owners.check()
        return [(one["code"], one["detail"]) for one in self.health.reasons()]


@pytest.fixture
def setup() -> Setup:
    """Return a receiver."""
    return Setup()


def test_a_partition_without_an_owner_is_told_in_time(setup: Setup) -> None:
    """Not at once: an instance that ends, or one that starts, needs a moment."""
    setup.listed(p0=5)
    assert setup.look() == []
    for _ in range(9):
        setup.time += 10
        setup.listed(p0=5, p1=61)
        assert setup.look() == []
    setup.time += 10
    setup.listed(p0=5)
    ((code, detail),) = setup.look()
    assert code == "partitions-unowned"
    assert "no instance reads partition 1 of event hub signins" in detail
    setup.listed(p0=5, p1=1)
    assert setup.look() == []
    assert setup.owners.unowned == []


def test_a_balancing_that_lists_nothing_any_more_leaves_nobody(setup: Setup) -> None:
    """Whatever stops it: what it listed long ago says nothing of now."""
    setup.listed(p0=0, p1=0)
    setup.look()
    for _ in range(20):
        setup.time += 10
        told = setup.look()
    assert [code for code, _ in told] == ["partitions-unowned"]
    assert setup.owners.unowned == ["0", "1"]


async def test_every_error_of_the_balancing_is_told(setup: Setup) -> None:
    """Of whatever type, until it has passed."""
    await setup.receiver._on_error(None, TypeError("'NoneType' object is not subscriptable"))
    (reason,) = setup.health.reasons()
    assert reason["code"] == "balancing-fails"
    assert "TypeError" in reason["detail"]
    setup.time += 31
    setup.receiver.owners.check()
    assert setup.health.reasons() == []


def test_a_stream_that_stands_while_more_comes_is_told(setup: Setup) -> None:
    """By how long and how much; one that gets on, however far behind, is none."""
    setup.owners.partitions = ()
    claim = OwnedPartition("signins/0", setup.time)
    for number in range(10):
        claim.received = StreamOffset(number, str(number), None)
        setup.time += STALLED_SECONDS
        setup.owners.check_partition(claim, 1_000)
    assert setup.look() == []
    setup.time += STALLED_SECONDS + 1
    setup.owners.check_partition(claim, 1_234)
    ((code, detail),) = setup.look()
    assert code == "stream-stands"
    assert "3 minutes, and 1,234 are waiting" in detail
    setup.owners.check_partition(claim, 0)
    assert setup.look() == []


def test_a_wedged_receiver_is_not_alive(setup: Setup) -> None:
    """Unless something outside holds it up: then a restart would not help."""
    receiver = setup.receiver
    claim = receiver.claims["0"] = OwnedPartition("signins/0", setup.time)
    receiver.connected.set()
    setup.store.listing_tried["signins"] = setup.time
    assert receiver.is_stalled(held_up=False) is None
    claim.handler_active, claim.handler_started = True, setup.time
    setup.time += WEDGED_SECONDS + 1
    setup.store.listing_tried["signins"] = setup.time
    assert receiver.is_stalled(held_up=True) is None
    assert "signins/0" in str(receiver.is_stalled(held_up=False))
    claim.handler_active = False
    assert receiver.is_stalled(held_up=False) is None, "there is nothing to be taken"
    receiver.lags["0"] = 7
    assert "signins/0" in str(receiver.is_stalled(held_up=False))
    claim.stalled_since = setup.time
    assert receiver.is_stalled(held_up=False) is None


async def test_a_client_that_does_nothing_any_more_is_not_alive(setup: Setup) -> None:
    """An outage is none: the SDK tries on, and fails, and says so."""
    receiver = setup.receiver
    receiver.connected.set()
    receiver._last_activity = setup.time
    setup.time += WEDGED_SECONDS + 1
    assert "inactive" in str(receiver.is_stalled(held_up=True))
    await receiver._on_error(None, OSError("no route"))
    assert receiver.is_stalled(held_up=False) is None
    setup.time += WEDGED_SECONDS + 1
    receiver.stop_receiving()
    assert receiver.is_stalled(held_up=False) is None


def test_what_holds_work_up_from_outside(setup: Setup) -> None:
    """Not what follows from work that stands."""
    for what in (Problem.STREAM_STANDS, Problem.PARTITIONS_UNOWNED, Problem.QUOTA_SPENT):
        setup.health.report(what, "x")
    assert not setup.health.is_blocked
    setup.health.report(Problem.LEDGER_UNREACHABLE, "x")
    assert setup.health.is_blocked
