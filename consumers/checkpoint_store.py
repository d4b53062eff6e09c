"""Where positions are kept: the SDK's blob checkpoint store, and a look at its container.

The SDK names its blobs ``<namespace>/<hub>/<group>/checkpoint/<partition>``. It does not look
whether the container exists, and a container made by mistake would make the service read the hub
from its beginning: so it is looked at here, and made only when that is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
)
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore
from azure.storage.blob.aio import ContainerClient

from schemas.errors import ConfigurationError
from schemas.health import Trouble, Watch
from schemas.reach import why_no_token, why_unreached

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from azure.core.credentials_async import AsyncTokenCredential

    from consumers.settings import CheckpointSettings

_OPTIONS: dict[str, Any] = {
    "api_version": "2019-07-07",  # as the SDK's store uses, and every emulator knows
    "retry_total": 0,  # its back-off is 15 seconds; who calls tries again
    "connection_timeout": 5,
    "read_timeout": 20,
}
_TROUBLES = (
    Trouble.CHECKPOINT_UNREACHABLE,
    Trouble.CHECKPOINT_REFUSED,
    Trouble.CHECKPOINT_MISSING,
)


class CheckpointStore(BlobCheckpointStore):
    """The SDK's store, which leaves out checkpoints that belong to a hub that is no more."""

    def __init__(self, container: ContainerClient) -> None:
        super().__init__("", "", container_client=container)
        self._void: set[tuple[str, str]] = set()
        self._starts: dict[tuple[str, str], int] = {}
        self._made: dict[str, datetime] = {}

    def start_of(self, hub: str, partition: str) -> int:
        """Return the sequence number of the last checkpoint that was listed, -1 for none."""
        return self._starts.get((hub, partition), -1)

    def hub_made(self, hub: str, moment: datetime) -> bool:
        """Take note of when a hub was made; tell whether it is another one than before.

        Checkpoints that are older than their hub belong to one that is no more, however far the new
        one has come since.
        """
        before = self._made.get(hub)
        self._made[hub] = moment
        return before is not None and moment > before

    async def _written_before(self, moment: datetime, prefix: str) -> set[str]:
        """Return the partitions whose checkpoint was written before *moment*."""
        blobs = self._container_client.list_blobs(name_starts_with=prefix)
        return {blob.name.rpartition("/")[2] async for blob in blobs if blob.last_modified < moment}

    def void(self, hub: str, partition: str) -> None:
        """Forget a position: the hub was made anew and starts its numbers again."""
        self._void.add((hub, partition))

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **more: Any
    ) -> Iterable[dict[str, Any]]:
        """Return the checkpoints that still mean something."""
        names = (fully_qualified_namespace, eventhub_name, consumer_group)
        found = await super().list_checkpoints(*names, **more)
        if (made := self._made.get(eventhub_name)) is not None:
            prefix = f"{'/'.join(names)}/checkpoint/".lower()
            for partition in await self._written_before(made, prefix):
                self.void(eventhub_name, partition)
        kept = {
            place: one
            for one in found
            if (place := (one["eventhub_name"], one["partition_id"])) not in self._void
        }
        self._starts = {place: int(one["sequence_number"]) for place, one in kept.items()}
        return list(kept.values())

    async def update_checkpoint(self, checkpoint: dict[str, Any], **more: Any) -> None:
        """Keep a position."""
        await super().update_checkpoint(checkpoint, **more)
        self._void.discard((checkpoint["eventhub_name"], checkpoint["partition_id"]))


class Checkpoints:
    """The container of the checkpoints."""

    def __init__(
        self, settings: CheckpointSettings, credential: AsyncTokenCredential | None, **options: Any
    ) -> None:
        """ConfigurationError for settings that cannot be right."""
        self._settings = settings
        self._container = _container(settings, credential, options)
        self.store = CheckpointStore(self._container)

    async def look(self, watch: Watch) -> bool:
        """Tell whether the container is there and may be used; make it where that is asked for."""
        try:
            there = await self._container.exists()
            if not there and self._settings.create:
                await self._create()
                there = True
        except AzureError as error:
            self.tell(error, watch)
            return False
        if not there:
            watch.trouble(
                Trouble.CHECKPOINT_MISSING,
                f"CHECKPOINT__CONTAINER: there is no container {self._settings.container}; "
                "correct the name, make it, or set CHECKPOINT__CREATE=true",
            )
            return False
        self.well(watch)
        return True

    async def try_writing(self, name: str, watch: Watch) -> bool:
        """Write a small blob under *name* and delete it again; tell whether that is allowed."""
        try:
            blob = await self._container.upload_blob(name, b"signinwatch check", overwrite=True)
            await blob.delete_blob()
        except AzureError as error:
            self.tell(error, watch)
            return False
        return True

    async def _create(self) -> None:
        try:
            await self._container.create_container()
        except ResourceExistsError:
            return  # another instance was quicker

    def tell(self, error: AzureError, watch: Watch) -> None:
        """Tell *watch* what a failure of the store means."""
        status = error.status_code if isinstance(error, HttpResponseError) else None
        if status in (401, 403) or isinstance(error, ClientAuthenticationError):
            what = "the storage account refuses" if status else why_no_token(error)
            watch.trouble(
                Trouble.CHECKPOINT_REFUSED,
                f"CHECKPOINT__CONNECTION_STRING or CHECKPOINT__ACCOUNT_URL: {what}; check the "
                "key, or give the identity the role Storage Blob Data Contributor on the container",
            )
        elif status == 404:
            watch.trouble(
                Trouble.CHECKPOINT_MISSING,
                f"CHECKPOINT__CONTAINER: there is no container {self._settings.container}",
            )
        else:
            watch.trouble(
                Trouble.CHECKPOINT_UNREACHABLE,
                f"the checkpoint store does not answer ({status or why_unreached(error)}); "
                "check CHECKPOINT__ACCOUNT_URL or CHECKPOINT__CONNECTION_STRING, and the network",
            )

    @staticmethod
    def well(watch: Watch) -> None:
        """Tell *watch* that the store works."""
        for trouble in _TROUBLES:
            watch.well(trouble)

    async def close(self) -> None:
        """Close the connection."""
        await self._container.close()


def _container(
    settings: CheckpointSettings,
    credential: AsyncTokenCredential | None,
    options: dict[str, Any],
) -> ContainerClient:
    name = settings.container
    if not name:
        raise ConfigurationError("SIGNINWATCH_CHECKPOINT__CONTAINER: say which container to use")
    options = {**_OPTIONS, **options}
    try:
        if settings.connection_string is not None:
            text = settings.connection_string.get_secret_value()
            return ContainerClient.from_connection_string(text, name, **options)
    except ValueError:
        raise ConfigurationError(
            "SIGNINWATCH_CHECKPOINT__CONNECTION_STRING: is no storage connection string"
        ) from None
    if settings.account_url is None:
        raise ConfigurationError(
            "SIGNINWATCH_CHECKPOINT__ACCOUNT_URL: say it, or CHECKPOINT__CONNECTION_STRING"
        )
    return ContainerClient(settings.account_url, name, credential=credential, **options)
