"""The container of the checkpoints: looked at before it is used, and made only when asked for.

The SDK does not look whether it exists, and a container made by mistake would make the service
read the hub from its beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
)
from azure.storage.blob.aio import ContainerClient

from consumers.inputs.checkpoint_store import CheckpointStore
from schemas.errors import ConfigurationError
from schemas.health import Problem
from schemas.network_errors import why_no_token, why_unreached

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from consumers.settings import CheckpointSettings
    from schemas.health import HealthReporter

_OPTIONS: dict[str, Any] = {
    "api_version": "2019-07-07",  # as the SDK's store uses, and every emulator knows
    "retry_total": 0,  # its back-off is 15 seconds; who calls tries again
    "connection_timeout": 5,
    "read_timeout": 20,
}
_CONTAINER_PROBLEMS = (
    Problem.CHECKPOINT_UNREACHABLE,
    Problem.CHECKPOINT_REFUSED,
    Problem.CHECKPOINT_MISSING,
)


class CheckpointContainer:
    """The container of the checkpoints."""

    def __init__(
        self,
        settings: CheckpointSettings,
        credential: AsyncTokenCredential | None,
        health: HealthReporter,
        **options: Any,
    ) -> None:
        """*health* is told of troubles. ConfigurationError for settings that cannot be right."""
        self._settings = settings
        self._health = health
        self._container = _container(settings, credential, options)
        self.store = CheckpointStore(self._container, health)

    async def probe(self) -> bool:
        """Tell whether the container is there and may be used; make it where that is asked for."""
        try:
            there = await self._container.exists()
            if not there and self._settings.create:
                await self._create()
                there = True
        except AzureError as error:
            self.report(error)
            return False
        if not there:
            self._health.report(
                Problem.CHECKPOINT_MISSING,
                f"CHECKPOINT__CONTAINER: there is no container {self._settings.container}; "
                "correct the name, make it, or set CHECKPOINT__CREATE=true",
            )
            return False
        self.resolve()
        return True

    async def probe_write(self, name: str) -> bool:
        """Write a small blob under *name* and delete it again; tell whether that is allowed."""
        try:
            blob = await self._container.upload_blob(name, b"signinwatch check", overwrite=True)
            await blob.delete_blob()
        except AzureError as error:
            self.report(error)
            return False
        return True

    async def _create(self) -> None:
        try:
            await self._container.create_container()
        except ResourceExistsError:
            return  # another instance was quicker

    def report(self, error: AzureError) -> None:
        """Report what a failure of the store means."""
        status = error.status_code if isinstance(error, HttpResponseError) else None
        if status in (401, 403) or isinstance(error, ClientAuthenticationError):
            what = "the storage account refuses" if status else why_no_token(error)
            self._health.report(
                Problem.CHECKPOINT_REFUSED,
                f"CHECKPOINT__CONNECTION_STRING or CHECKPOINT__ACCOUNT_URL: {what}; check the "
                "key, or give the identity the role Storage Blob Data Contributor on the container",
            )
        elif status == 404:
            self._health.report(
                Problem.CHECKPOINT_MISSING,
                f"CHECKPOINT__CONTAINER: there is no container {self._settings.container}",
            )
        else:
            self._health.report(
                Problem.CHECKPOINT_UNREACHABLE,
                f"the checkpoint store does not answer ({status or why_unreached(error)}); "
                "check CHECKPOINT__ACCOUNT_URL or CHECKPOINT__CONNECTION_STRING, and the network",
            )

    def resolve(self) -> None:
        """Report that the store works."""
        for trouble in _CONTAINER_PROBLEMS:
            self._health.resolve(trouble)

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
