"""Looking into a storage emulator, and spoiling what lies there."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from azure.storage.blob.aio import ContainerClient
from pydantic import SecretStr

from consumers.ledger.blob_container import container_client
from consumers.settings.model import CheckpointSettings
from producers.quarantine.blob import CONTAINER_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence


async def make_container(connection_string: str, name: str | None = None) -> str:
    """Make a container and return its name."""
    name = name or f"test-{secrets.token_hex(6)}"
    async with ContainerClient.from_connection_string(connection_string, name) as container:
        await container.create_container()
    return name


def quarantine_container(connection_string: str, name: str) -> ContainerClient:
    """Return the client of a container that a quarantine writes to."""
    checkpoint = CheckpointSettings(
        connection_string=SecretStr(connection_string), container=name, create=False
    )
    return container_client(checkpoint, None, CONTAINER_OPTIONS)


async def blobs_in(connection_string: str, name: str) -> dict[str, bytes]:
    """Return every blob of a container."""
    async with ContainerClient.from_connection_string(connection_string, name) as container:
        names = [one async for one in container.list_blob_names()]
        return {one: await (await container.download_blob(one)).readall() for one in names}


async def write_blobs(connection_string: str, name: str, blobs: dict[str, bytes]) -> None:
    """Write blobs, over others of the same name."""
    async with ContainerClient.from_connection_string(connection_string, name) as container:
        for one, body in blobs.items():
            await container.upload_blob(one, body, overwrite=True)


async def containers_named(connection_string: str, names: Sequence[str]) -> list[str]:
    """Return those of *names* that exist."""
    found = []
    for name in names:
        async with ContainerClient.from_connection_string(connection_string, name) as container:
            if await container.exists():
                found.append(name)
    return found
