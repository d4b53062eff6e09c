"""Checkpoints and owners of partitions, stored as blobs in the SDK's format.

The SDK names its blobs ``<namespace>/<hub>/<group>/checkpoint/<partition>``, or ``ownership``
instead of ``checkpoint``. The values are in the blobs' metadata.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore

from schemas.health import HealthReporter, Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime

    from azure.storage.blob import BlobProperties
    from azure.storage.blob.aio import ContainerClient


Key = tuple[str, str]
"""A hub and one of its partitions."""
MAX_CHECKPOINT_ATTEMPTS = 3
"""Attempts to write a checkpoint if other writes come first."""


@dataclass(frozen=True, slots=True)
class OwnershipListing:
    """Owners of a hub's partitions, as last listed or claimed by this process."""

    time: float
    """Time of the listing, by the monotonic clock."""
    owners: dict[str, tuple[str, float]]
    """Owner, and time of the last claim (seconds since the epoch), by partition."""

    def unowned(self, partitions: Iterable[str], now: float, expiry: float) -> list[str]:
        """Return the partitions that no instance has claimed within *expiry* seconds."""
        nobody = ("", 0.0)
        return [
            partition
            for partition in partitions
            if not self.owners.get(partition, nobody)[0] or self.owners[partition][1] + expiry < now
        ]


class CheckpointLost(Exception):
    """Another instance owns the partition now and has written its checkpoint."""


class CheckpointStore(BlobCheckpointStore):
    """The SDK's store, which tolerates unreadable blobs and never moves a checkpoint backwards.

    The SDK's own listing raises for a blob without metadata, and then no partition is read. It
    writes checkpoints unconditionally. Here each write replaces only the checkpoint read or written
    last (If-Match), so that a process that resumes after losing its partitions changes nothing.
    """

    def __init__(self, container: ContainerClient, health: HealthReporter) -> None:
        super().__init__("", "", container_client=container)
        self._health = health
        self._invalidated: set[Key] = set()
        self._starts: dict[Key, int] = {}
        self._created: dict[str, datetime] = {}
        self._etags: dict[Key, str] = {}
        self._last_sequence: dict[Key, int] = {}
        """The sequence number stored under the known ETag."""
        self._owner_ids: dict[Key, str] = {}
        self._unconfirmed: dict[Key, set[int]] = {}
        self.listings: dict[str, OwnershipListing] = {}
        """The last ownership listing of each hub."""
        self.listing_tried: dict[str, float] = {}
        """Time of the SDK's last attempt to list, by the monotonic clock, successful or not."""

    def start_of(self, hub: str, partition: str) -> int:
        """Return the sequence number of the last listed checkpoint, -1 for none."""
        return self._starts.get((hub, partition), -1)

    def hub_created(self, hub: str, created: datetime) -> bool:
        """Record when a hub was created; return True if the hub was recreated since.

        Checkpoints older than their hub belong to a deleted hub, however far the new hub has
        progressed.
        """
        before = self._created.get(hub)
        self._created[hub] = created
        return before is not None and created > before

    def invalidate(self, hub: str, partition: str) -> None:
        """Ignore a checkpoint: the hub was recreated and restarts its numbers."""
        self._invalidated.add((hub, partition))

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **kwargs: Any
    ) -> Iterable[dict[str, Any]]:
        """Return the owners. A blob without an owner counts as unowned, so it is claimed again."""
        names = (fully_qualified_namespace, eventhub_name, consumer_group)
        self.listing_tried[eventhub_name] = time.monotonic()
        found = []
        async for blob in self._listed(names, "ownership", kwargs):
            partition = blob.name.rpartition("/")[2]
            metadata = blob.metadata or {}
            if "ownerid" not in metadata:  # a released partition's blob has an empty owner
                self._report_unreadable(eventhub_name, partition, "has no owner; claimed again")
            found.append(
                {
                    **_names_of(names, partition),
                    "owner_id": metadata.get("ownerid") or "",
                    "etag": blob.etag,
                    "last_modified_time": blob.last_modified.timestamp(),
                }
            )
        self._record_owners(eventhub_name, found)
        return found

    async def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **kwargs: Any
    ) -> Iterable[dict[str, Any]]:
        """Claim partitions, and record the owner IDs."""
        claimed = list(await super().claim_ownership(ownership_list, **kwargs))
        for claim in claimed:
            key = claim["eventhub_name"], claim["partition_id"]
            self._owner_ids[key] = claim["owner_id"]
            listing = self.listings.get(claim["eventhub_name"])
            if listing is not None:
                listing.owners[key[1]] = claim["owner_id"], claim.get("last_modified_time") or 0.0
        return claimed

    def _record_owners(self, hub: str, found: Iterable[dict[str, Any]]) -> None:
        owners = {
            claim["partition_id"]: (claim["owner_id"], claim["last_modified_time"])
            for claim in found
        }
        self.listings[hub] = OwnershipListing(time.monotonic(), owners)

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **kwargs: Any
    ) -> Iterable[dict[str, Any]]:
        """Return the valid checkpoints; report unreadable blobs."""
        names = (fully_qualified_namespace, eventhub_name, consumer_group)
        created = self._created.get(eventhub_name)
        found = []
        async for blob in self._listed(names, "checkpoint", kwargs):
            partition = blob.name.rpartition("/")[2]
            key = eventhub_name, partition
            self._etags[key] = blob.etag
            position = _position_of(blob.metadata)
            self._last_sequence[key] = -1 if position is None else position["sequence_number"]
            if created is not None and blob.last_modified < created:
                self.invalidate(*key)
            elif position is None:
                self._report_unreadable(*key, "has no position; reading from the start")
            elif key not in self._invalidated:
                found.append({**_names_of(names, partition), **position})
                self._starts[key] = position["sequence_number"]
        return found

    async def _listed(
        self, names: tuple[str, str, str], kind: str, kwargs: dict[str, Any]
    ) -> AsyncIterator[BlobProperties]:
        prefix = f"{'/'.join(names)}/{kind}/".lower()
        async for blob in self._container_client.list_blobs(
            name_starts_with=prefix, include=["metadata"], **kwargs
        ):
            yield blob

    def _report_unreadable(self, hub: str, partition: str, what: str) -> None:
        self._health.report(
            Problem.CHECKPOINT_UNREADABLE,
            f"the blob of partition {partition} of event hub {hub} {what}; check what else writes "
            "to the checkpoint container",
            part=f"{hub}/{partition}",
        )

    async def update_checkpoint(self, checkpoint: dict[str, Any], **kwargs: Any) -> None:
        """Replace the checkpoint. Raises CheckpointLost if the partition has moved on."""
        key: Key = checkpoint["eventhub_name"], checkpoint["partition_id"]
        number = int(checkpoint["sequence_number"])
        if number < self._last_sequence.get(key, -1) and key not in self._invalidated:
            raise CheckpointLost(key[1])
        metadata = {"offset": str(checkpoint["offset"]), "sequencenumber": str(number)}
        blob = self._get_blob_client(_blob_name(checkpoint, "checkpoint"))
        self._unconfirmed.setdefault(key, set()).add(number)
        for _ in range(MAX_CHECKPOINT_ATTEMPTS):
            try:
                self._etags[key] = await _put_metadata(blob, metadata, self._etags.get(key), kwargs)
            except (ResourceModifiedError, ResourceExistsError, ResourceNotFoundError):
                if not await self._may_overwrite(checkpoint, blob, number):
                    break
            else:
                self._last_sequence[key] = number
                self._unconfirmed.pop(key, None)
                self._invalidated.discard(key)
                self._health.resolve(Problem.CHECKPOINT_UNREADABLE, part="/".join(key))
                return
        raise CheckpointLost(key[1])

    async def _may_overwrite(self, checkpoint: dict[str, Any], blob: Any, number: int) -> bool:
        """Read the stored checkpoint; return True if its owner may advance it to *number*."""
        key: Key = checkpoint["eventhub_name"], checkpoint["partition_id"]
        try:
            current = await blob.get_blob_properties()
        except ResourceNotFoundError:
            self._etags.pop(key, None)
            return True
        position = _position_of(current.metadata)
        stored = -1 if position is None else position["sequence_number"]
        allowed = stored in self._unconfirmed.get(key, ())  # our write, whose response was lost
        if not allowed and await self._owns(checkpoint):
            allowed = number >= stored or key in self._invalidated
        if allowed:
            self._etags[key] = current.etag
        return allowed

    async def _owns(self, checkpoint: dict[str, Any]) -> bool:
        """Return True if this process still owns the partition."""
        key: Key = checkpoint["eventhub_name"], checkpoint["partition_id"]
        blob = self._get_blob_client(_blob_name(checkpoint, "ownership"))
        try:
            owner = (await blob.get_blob_properties()).metadata.get("ownerid")
        except ResourceNotFoundError:
            return False
        return bool(owner) and owner == self._owner_ids.get(key)


def _names_of(names: tuple[str, str, str], partition: str) -> dict[str, Any]:
    namespace, hub, group = names
    return {
        "fully_qualified_namespace": namespace,
        "eventhub_name": hub,
        "consumer_group": group,
        "partition_id": partition,
    }


def _blob_name(names: dict[str, Any], kind: str) -> str:
    parts = (names["fully_qualified_namespace"], names["eventhub_name"], names["consumer_group"])
    return "/".join((*parts, kind, names["partition_id"])).lower()


def _position_of(metadata: dict[str, str] | None) -> dict[str, Any] | None:
    """Return offset and sequence number, or None if they are unreadable."""
    values = metadata or {}
    try:
        number = int(values["sequencenumber"])
    except (KeyError, ValueError):
        return None
    offset = values.get("offset")
    if number < 0 or not offset or not offset.isascii():
        return None
    return {"offset": offset, "sequence_number": number}


async def _put_metadata(
    blob: Any, metadata: dict[str, str], etag: str | None, kwargs: dict[str, Any]
) -> str:
    """Replace the checkpoint with *etag*, or create the first if None; return the new ETag."""
    if etag is None:
        written = await blob.upload_blob(b"", overwrite=False, metadata=metadata, **kwargs)
    else:
        unchanged = MatchConditions.IfNotModified
        written = await blob.set_blob_metadata(
            metadata, etag=etag, match_condition=unchanged, **kwargs
        )
    return str(written["etag"])
