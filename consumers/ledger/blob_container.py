"""The blob container of checkpoints, quarantine and feed snapshots: opening it, and its errors.

Responses of the service: Microsoft's "Specifying conditional headers for Blob service operations"
(304 and 412 ConditionNotMet, 409 BlobAlreadyExists) and "Status and error codes of the Blob
service".
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
)
from azure.storage.blob import StorageErrorCode
from azure.storage.blob.aio import ContainerClient, ExponentialRetry
from typing_extensions import override

from schemas.errors import ConfigurationError, LedgerFailed
from schemas.feed_ports import Absent, Blob, BlobStore
from schemas.health import Problem
from schemas.network_errors import why_no_token, why_unreached

if TYPE_CHECKING:
    from collections.abc import Iterable

    from azure.core.credentials_async import AsyncTokenCredential

    from consumers.settings import CheckpointSettings

CLIENT_OPTIONS: dict[str, Any] = {
    "api_version": "2019-07-07",  # as the SDK's checkpoint store uses; every emulator supports it
    "connection_timeout": 5,
    "read_timeout": 20,
}


def container_client(
    settings: CheckpointSettings, credential: AsyncTokenCredential | None, options: dict[str, Any]
) -> ContainerClient:
    """Return the client of the configured container. Raises ConfigurationError."""
    name = settings.container
    if not name:
        raise ConfigurationError("SIGNINWATCH_CHECKPOINT__CONTAINER: not set; name the container")
    options = {**CLIENT_OPTIONS, **options}
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
    if settings.account_url.startswith("http://"):  # the SDK sends no token over it
        raise ConfigurationError(
            "SIGNINWATCH_CHECKPOINT__ACCOUNT_URL: must be an https:// URL; set "
            "CHECKPOINT__CONNECTION_STRING to use an emulator"
        )
    return ContainerClient(settings.account_url, name, credential=credential, **options)


async def create_if_missing(container: ContainerClient) -> None:
    """Create the container, unless there is one. Raises AzureError."""
    with suppress(ResourceExistsError):
        await container.create_container()


def problem_of(error: AzureError, container: str) -> tuple[Problem, str]:
    """Return a failure of the container as a problem, with its fix."""
    if (why := why_no_token(error)) is not None:
        return Problem.CHECKPOINT_REFUSED, f"CHECKPOINT__ACCOUNT_URL: no token could be had: {why}"
    status = _status_of(error)
    if status in (401, 403) or isinstance(error, ClientAuthenticationError):
        return Problem.CHECKPOINT_REFUSED, (
            "CHECKPOINT__CONNECTION_STRING or CHECKPOINT__ACCOUNT_URL: the storage account denies "
            "access; check the key, or give the identity the role Storage Blob Data Contributor on "
            "the container"
        )
    if status == 404:
        return (
            Problem.CHECKPOINT_MISSING,
            f"CHECKPOINT__CONTAINER: container {container} does not exist",
        )
    return Problem.CHECKPOINT_UNREACHABLE, (
        f"the checkpoint store is unreachable ({status or why_unreached(error)}); check "
        "CHECKPOINT__ACCOUNT_URL or CHECKPOINT__CONNECTION_STRING, and the network"
    )


def _status_of(error: AzureError) -> int | None:
    return error.status_code if isinstance(error, HttpResponseError) else None


class BlobContainer(BlobStore):
    """Blobs in the container. A request is repeated three times before it fails.

    The container is created by the first request, if that is configured.
    """

    def __init__(
        self,
        settings: CheckpointSettings,
        credential: AsyncTokenCredential | None,
        **options: Any,
    ) -> None:
        """Open the container of the settings. Raises ConfigurationError."""
        retries = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=3)
        self._container = container_client(
            settings, credential, {"retry_policy": retries, **options}
        )
        self._to_create = settings.create

    @override
    async def get(self, name: str, *, unless: str | None = None) -> Blob | Absent:
        condition: dict[str, Any] = {}
        if unless is not None:
            condition = {"etag": unless, "match_condition": MatchConditions.IfModified}
        try:
            await self._create_if_configured()
            stream = await self._container.download_blob(name, **condition)
            return Blob(await stream.readall(), stream.properties.etag)
        except AzureError as error:
            if _status_of(error) == 304:
                return Absent.UNCHANGED
            if getattr(error, "error_code", None) == StorageErrorCode.BLOB_NOT_FOUND:
                return Absent.MISSING
            raise self._failed(error) from None

    @override
    async def put(self, name: str, body: bytes, *, replaces: str | None) -> str | None:
        condition: dict[str, Any] = {"overwrite": False}
        if replaces is not None:
            condition = {
                "overwrite": True,
                "etag": replaces,
                "match_condition": MatchConditions.IfNotModified,
            }
        try:
            await self._create_if_configured()
            blob = self._container.get_blob_client(name)
            written = await blob.upload_blob(body, **condition)
        except AzureError as error:
            if _status_of(error) in (409, 412):
                return None
            raise self._failed(error) from None
        return str(written["etag"])

    @override
    async def names(self, prefix: str) -> list[str]:
        try:
            return [name async for name in self._container.list_blob_names(name_starts_with=prefix)]
        except AzureError as error:
            raise self._failed(error) from None

    @override
    async def delete(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                await self._container.delete_blob(name)
            except AzureError as error:
                if _status_of(error) != 404:
                    raise self._failed(error) from None

    @override
    async def close(self) -> None:
        await self._container.close()

    async def _create_if_configured(self) -> None:
        if self._to_create:
            await create_if_missing(self._container)
            self._to_create = False

    def _failed(self, error: AzureError) -> LedgerFailed:
        return LedgerFailed(problem_of(error, self._container.container_name)[1])
