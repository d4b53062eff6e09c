"""Checkpoint container: probed before use, and created only if configured.

The SDK does not check that the container exists. A container created by mistake would make the
service read the hub from the beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError

from consumers.inputs.checkpoint_store import CheckpointStore
from consumers.ledger.blob_container import container_client, create_if_missing, problem_of
from schemas.health import Problem

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from consumers.settings import CheckpointSettings
    from schemas.health import HealthReporter

_NO_RETRY = {"retry_total": 0}  # the SDK's back-off is 15 seconds; the caller retries
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
        self._container = container_client(settings, credential, {**_NO_RETRY, **options})
        self.store = CheckpointStore(self._container, health)

    async def probe(self) -> bool:
        """Return True if the container exists and is accessible; create it if configured."""
        try:
            exists = await self._container.exists()
            if not exists and self._settings.create:
                await create_if_missing(self._container)
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

    def report(self, error: AzureError) -> None:
        """Report a failure of the store as a problem, with its fix."""
        self._health.report(*problem_of(error, self._container.container_name))

    def resolve(self) -> None:
        """Report that the store works."""
        for problem in _CONTAINER_PROBLEMS:
            self._health.resolve(problem)

    async def close(self) -> None:
        """Close the connection."""
        await self._container.close()
