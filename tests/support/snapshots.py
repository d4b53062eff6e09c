"""Blob containers of Azurite, opened as the service opens them."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from azure.storage.blob.aio import ContainerClient
from pydantic import SecretStr

from consumers.ledger.blob_container import BlobContainer
from consumers.settings import CheckpointSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.azurite import Azurite


@asynccontextmanager
async def containers(azurite: Azurite, number: int) -> AsyncIterator[list[BlobContainer]]:
    """Open a new container so many times."""
    name = f"c{uuid4().hex}"
    settings = CheckpointSettings(
        connection_string=SecretStr(azurite.connection_string), container=name
    )
    async with AsyncExitStack() as stack:
        client = ContainerClient.from_connection_string(azurite.connection_string, name)
        await stack.enter_async_context(client)
        await client.create_container()
        opened = [BlobContainer(settings, None) for _ in range(number)]
        for one in opened:
            stack.push_async_callback(one.close)
        yield opened
