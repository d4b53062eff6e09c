"""Checkpoint container: probed before use, and created only if configured.

The SDK does not check that the container exists. A container created by mistake would make the
service read the hub from the beginning.
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
    "api_version": "2019-07-07",  # as the SDK's store uses; every emulator supports it
    "retry_total": 0,  # its back-off is 15 seconds; the caller retries
    "connection_timeout": 5,
    "read_timeout": 20,
}
_CONTAINER_PROBLEMS = (
    Problem.CHECKPOINT_UNREACHABLE,
    Problem.CHECKPOINT_REFUSED,
    Problem.CHECKPOINT_MISSING,
)


class CheckpointContainer:
    """The blob container that stores the checkpoints."""

    def __init__(
        self,
        settings: CheckpointSettings,
        credential: AsyncTokenCredential | None,
        health: HealthReporter,
        **options: Any,
    ) -> None:
        """*health* receives problems. Raises ConfigurationError for invalid settings."""
        self._settings = settings
        self._health = health
        self._container = _container(settings, credential, options)
        self.store = CheckpointStore(self._container, health)

    async def probe(self) -> bool:
        """Return True if the container exists and is accessible; create it if configured."""
        try:
            exists = await self._container.exists()
            if not exists and self._settings.create:
                await self._create()
                exists = True
        except AzureError as error:
            self.report(error)
            return False
        if not exists:
            self._health.report(
                Problem.CHECKPOINT_MISSING,
                f"CHECKPOINT__CONTAINER: container {self._settings.container} does not exist; "
                "correct the name, create it, or set CHECKPOINT__CREATE=true",
            )
            return False
        self.resolve()
        return True

    async def probe_write(self, name: str) -> bool:
        """Write and delete a small blob under *name*; return True if that is allowed."""
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
            return  # another instance was faster

    def report(self, error: AzureError) -> None:
        """Report a failure of the store as a problem, with its fix."""
        status = error.status_code if isinstance(error, HttpResponseError) else None
        if status in (401, 403) or isinstance(error, ClientAuthenticationError):
            what = "the storage account denies access" if status else why_no_token(error)
            self._health.report(
                Problem.CHECKPOINT_REFUSED,
                f"CHECKPOINT__CONNECTION_STRING or CHECKPOINT__ACCOUNT_URL: {what}; check the "
                "key, or give the identity the role Storage Blob Data Contributor on the container",
            )
        elif status == 404:
            self._health.report(
                Problem.CHECKPOINT_MISSING,
                f"CHECKPOINT__CONTAINER: container {self._settings.container} does not exist",
            )
        else:
            self._health.report(
                Problem.CHECKPOINT_UNREACHABLE,
                f"the checkpoint store is unreachable ({status or why_unreached(error)}); check "
                "CHECKPOINT__ACCOUNT_URL or CHECKPOINT__CONNECTION_STRING, and the network",
            )

    def resolve(self) -> None:
        """Report that the store works."""
        for problem in _CONTAINER_PROBLEMS:
            self._health.resolve(problem)

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
        raise ConfigurationError("SIGNINWATCH_CHECKPOINT__CONTAINER: not set; name the container")
    options = {**_OPTIONS, **options}
    try:
        if settings.connection_string is not None:
            text = settings.connection_string.get_secret_value()
            return ContainerClient.from_connection_string(text, name, **options)
    except ValueError:
        raise ConfigurationError(
            "SIGNINWATCH_CHECKPOINT__CONNECTION_STRING: not a storage connection string"
        ) from None
    if settings.account_url is None:
        raise ConfigurationError(
            "SIGNINWATCH_CHECKPOINT__ACCOUNT_URL: not set; set it or CHECKPOINT__CONNECTION_STRING"
        )
    return ContainerClient(settings.account_url, name, credential=credential, **options)
