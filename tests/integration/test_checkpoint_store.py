"""Positions in blobs: unreadable ones cost themselves alone, and none ever goes back."""

from __future__ import annotations

import time
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob.aio import ContainerClient

from consumers.inputs.checkpoint_store import CheckpointLost, CheckpointStore
from consumers.service.health import Health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.azurite import Azurite

NAMES = ("space.servicebus.windows.net", "signins", "$Default")
PREFIX = "/".join(NAMES).lower()


@asynccontextmanager
async def stores(azurite: Azurite, count: int = 1) -> AsyncIterator[list[CheckpointStore]]:
    """Open the stores of several instances on a container of their own."""
    name = f"c{uuid.uuid4().hex[:12]}"
    containers = [
        ContainerClient.from_connection_string(azurite.connection_string, name)
        for _ in range(count)
    ]
    await containers[0].create_container()
    try:
        yield [CheckpointStore(one, Health()) for one in containers]
    finally:
        for one in containers:
            await one.close()


def position(number: int, partition: str = "0") -> dict[str, Any]:
    """Return a checkpoint as the SDK hands it over."""
    keys = ("fully_qualified_namespace", "eventhub_name", "consumer_group")
    return {
        **dict(zip(keys, NAMES, strict=True)),
        "partition_id": partition,
        "offset": str(number * 100),
        "sequence_number": number,
    }


async def claim(store: CheckpointStore, owner: str, partition: str = "0") -> None:
    """Claim a partition as the SDK does."""
    listed = [one for one in await store.list_ownership(*NAMES) if one["partition_id"] == partition]
    wanted = dict(listed[0]) if listed else position(0, partition)
    await store.claim_ownership([{**wanted, "owner_id": owner}])


async def numbers(store: CheckpointStore) -> dict[str, int]:
    """Return the positions that can be read."""
    found = await store.list_checkpoints(*NAMES)
    return {one["partition_id"]: one["sequence_number"] for one in found}


def codes(store: CheckpointStore) -> list[tuple[str, str | None]]:
    """Return the troubles that were told."""
    health = store._health
    assert isinstance(health, Health)
    return [(one["code"], one["part"]) for one in health.reasons()]


@pytest.mark.parametrize(
    "metadata",
    [
        *(None, {}, {"offset": "7"}, {"offset": "7", "sequencenumber": "many"}),
        *({"offset": "", "sequencenumber": "7"}, {"offset": "7", "sequencenumber": "-3"}),
    ],
)
async def test_an_unreadable_checkpoint_costs_its_own_partition_alone(
    azurite: Azurite, metadata: dict[str, str] | None
) -> None:
    """The others keep theirs; it is told, and over with the next checkpoint."""
    async with stores(azurite) as (store,):
        for number in (0, 1, 2):
            await store.update_checkpoint(position(100 + number, str(number)))
        container = store._container_client
        await container.upload_blob(
            f"{PREFIX}/checkpoint/1", b"", overwrite=True, metadata=metadata
        )
        assert await numbers(store) == {"0": 100, "2": 102}
        assert codes(store) == [("checkpoint-unreadable", "signins/1")]
        await claim(store, "me", "1")
        await store.update_checkpoint(position(5, "1"))
        assert await numbers(store) == {"0": 100, "1": 5, "2": 102}
        assert codes(store) == []


async def test_a_blob_without_an_owner_is_claimed_anew(azurite: Azurite) -> None:
    """The SDK would divide no partition at all from then on."""
    async with stores(azurite) as (store,):
        await claim(store, "me", "0")
        await store._container_client.upload_blob(f"{PREFIX}/ownership/1", b"")
        owners = {
            one["partition_id"]: one["owner_id"] for one in await store.list_ownership(*NAMES)
        }
        assert owners == {"0": "me", "1": ""}
        listing = store.listings["signins"]
        assert listing.unowned(["0", "1", "2"], time.time(), 60) == ["1", "2"]
        assert codes(store) == [("checkpoint-unreadable", "signins/1")]
        await claim(store, "me", "1")
        listing = store.listings["signins"]
        assert listing.unowned(["0", "1"], time.time(), 60) == []
        assert listing.unowned(["0", "1"], time.time() + 61, 60) == ["0", "1"]


async def test_a_process_that_wakes_moves_no_checkpoint_back(azurite: Azurite) -> None:
    """Stopped while it owned the partition, it writes after another instance has gone further."""
    async with stores(azurite, 2) as (stopped, other):
        await claim(stopped, "stopped")
        await stopped.update_checkpoint(position(4_000))
        await claim(other, "other")
        assert await numbers(other) == {"0": 4_000}
        await other.update_checkpoint(position(6_151))
        with pytest.raises(CheckpointLost):
            await stopped.update_checkpoint(position(4_203))
        with pytest.raises(CheckpointLost):
            await stopped.update_checkpoint(position(7_000))
        assert await numbers(stopped) == {"0": 6_151}, "it claims another partition, and lists all"
        with pytest.raises(CheckpointLost):
            await stopped.update_checkpoint(position(4_203))
        assert await numbers(other) == {"0": 6_151}
        await other.update_checkpoint(position(6_200))
        assert await numbers(other) == {"0": 6_200}


async def test_the_owner_goes_on_after_a_last_word_of_the_one_before(azurite: Azurite) -> None:
    """It was written after the new owner had read the position; and it never goes back."""
    async with stores(azurite, 2) as (before, owner):
        await claim(before, "before")
        await before.update_checkpoint(position(10))
        await claim(owner, "owner")
        assert await numbers(owner) == {"0": 10}
        await before.update_checkpoint(position(20))
        with pytest.raises(CheckpointLost):
            await owner.update_checkpoint(position(15))
        await owner.update_checkpoint(position(25))
        assert await numbers(owner) == {"0": 25}


async def test_a_write_whose_answer_was_lost_is_known_again(azurite: Azurite) -> None:
    """It is ours: what stands there is what was tried."""
    async with stores(azurite) as (store,):
        await store.update_checkpoint(position(1))
        etag = store._etags["signins", "0"]
        await store.update_checkpoint(position(2))
        store._etags["signins", "0"] = etag  # as if no answer had come
        store._unconfirmed["signins", "0"] = {2}
        await store.update_checkpoint(position(3))
        assert await numbers(store) == {"0": 3}


async def test_a_hub_made_anew_starts_its_numbers_again(azurite: Azurite) -> None:
    """Smaller numbers are right then."""
    async with stores(azurite) as (store,):
        await claim(store, "me")
        await store.update_checkpoint(position(9_000))
        store.invalidate("signins", "0")
        await store.update_checkpoint(position(3))
        assert await numbers(store) == {"0": 3}


async def test_a_container_that_was_emptied_is_written_again(azurite: Azurite) -> None:
    """Nobody's checkpoint is in the way of ours."""
    async with stores(azurite) as (store,):
        await claim(store, "me")
        await store.update_checkpoint(position(1))
        await store._container_client.delete_blob(f"{PREFIX}/checkpoint/0")
        await store.update_checkpoint(position(2))
        assert await numbers(store) == {"0": 2}
