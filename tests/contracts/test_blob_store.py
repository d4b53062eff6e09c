"""Blobs that instances share: the service's container, and the memory that tests use instead."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob.aio import ContainerClient

from schemas.errors import LedgerFailed
from schemas.feed_ports import Absent, Blob
from tests.support.feeds import MemoryBlobs
from tests.support.snapshots import containers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from schemas.feed_ports import BlobStore
    from tests.servers.azurite import Azurite


@asynccontextmanager
async def opened(kind: str, azurite: Azurite) -> AsyncIterator[BlobStore]:
    """Open an empty store."""
    if kind == "memory":
        yield MemoryBlobs()
        return
    async with containers(azurite, 1) as (one,):
        yield one


@pytest.mark.parametrize("kind", ["memory", "container"])
async def test_a_blob_is_written_once_and_replaced_by_who_knows_it(
    kind: str, azurite: Azurite
) -> None:
    """Of two writers the second is told; who has read a version is not given it again."""
    async with opened(kind, azurite) as blobs:
        assert await blobs.get("a/x") is Absent.MISSING
        assert await blobs.get("a/x", unless='"0x8D"') is Absent.MISSING
        first = await blobs.put("a/x", b"1", replaces=None)
        assert first is not None
        assert await blobs.put("a/x", b"2", replaces=None) is None
        assert await blobs.get("a/x") == Blob(b"1", first)
        assert await blobs.get("a/x", unless=first) is Absent.UNCHANGED
        second = await blobs.put("a/x", b"", replaces=first)
        assert second not in (None, first)
        assert await blobs.put("a/x", b"3", replaces=first) is None
        assert await blobs.get("a/x", unless=first) == Blob(b"", second or "")
        assert await blobs.put("a/y", b"3", replaces=first) is None


@pytest.mark.parametrize("kind", ["memory", "container"])
async def test_blobs_are_listed_and_deleted(kind: str, azurite: Azurite) -> None:
    """By prefix; what is gone already is no trouble."""
    async with opened(kind, azurite) as blobs:
        for name in ("a/x", "a/y", "b/x"):
            await blobs.put(name, b"1", replaces=None)
        assert sorted(await blobs.names("a/")) == ["a/x", "a/y"]
        await blobs.delete(["a/x", "a/z"])
        assert await blobs.names("a/") == ["a/y"]


async def test_a_container_that_is_missing_is_told(azurite: Azurite) -> None:
    """A missing blob is an answer, a missing container is trouble that names its setting."""
    async with containers(azurite, 1) as (blobs,):
        name = blobs._container.container_name
        client = ContainerClient.from_connection_string(azurite.connection_string, name)
        async with client:
            await client.delete_container()
        for call in (
            blobs.get("a"),
            blobs.put("a", b"", replaces=None),
            blobs.names(""),
        ):
            with pytest.raises(LedgerFailed, match="CHECKPOINT__CONTAINER: container"):
                await call
