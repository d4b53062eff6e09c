"""Positions and owners of partitions, in blobs as the SDK keeps them.

The SDK names its blobs ``<namespace>/<hub>/<group>/checkpoint/<partition>``, and ``ownership`` in
place of ``checkpoint``; what they say stands in their metadata.
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
"""A hub and a partition of it."""
MAX_CHECKPOINT_ATTEMPTS = 3
"""Times that a checkpoint is written that another write came before."""


@dataclass(frozen=True, slots=True)
class OwnershipListing:
    """Who owns which partition of a hub, as last listed or claimed here."""

    time: float
    """When it was listed, by the monotonic clock."""
    owners: dict[str, tuple[str, float]]
    """Owner and time of the last claim (seconds since the epoch) by partition."""

    def unowned(self, partitions: Iterable[str], now: float, expiry: float) -> list[str]:
        """Return the partitions that nobody has claimed within *expiry* seconds."""
        nobody = ("", 0.0)
        return [
            partition
            for partition in partitions
            if not self.owners.get(partition, nobody)[0] or self.owners[partition][1] + expiry < now
        ]


class CheckpointLost(Exception):
    """Another instance owns the partition now, and has written its checkpoint."""


class CheckpointStore(BlobCheckpointStore):
    """The SDK's store, which survives unreadable blobs and never moves a checkpoint back.

    The SDK's own listing raises for one blob without metadata, and then no partition is read. Its
    checkpoints are written unconditionally; here each replaces the one that was read or written
    last (If-Match), so that a process that wakes after its partitions moved on changes nothing.
    """

    def __init__(self, container: ContainerClient, health: HealthReporter) -> None:
        super().__init__("", "", container_client=container)
        self._health = health
        self._void: set[Key] = set()
        self._starts: dict[Key, int] = {}
        self._made: dict[str, datetime] = {}
        self._etags: dict[Key, str] = {}
        self._reached: dict[Key, int] = {}
        """The sequence number that stands where the ETag is known."""
        self._owner_ids: dict[Key, str] = {}
        self._unconfirmed: dict[Key, set[int]] = {}
        self.listings: dict[str, OwnershipListing] = {}
        """The last listing of each hub."""
        self.listing_tried: dict[str, float] = {}
        """When the SDK last wanted one, by the monotonic clock, whatever came of it."""

    def start_of(self, hub: str, partition: str) -> int:
        """Return the sequence number of the last checkpoint that was listed, -1 for none."""
        return self._starts.get((hub, partition), -1)

    def hub_created(self, hub: str, moment: datetime) -> bool:
        """Record when a hub was made; return True if it is another one than before.

        Checkpoints that are older than their hub belong to one that is no more, however far the new
        one has come since.
        """
        before = self._made.get(hub)
        self._made[hub] = moment
        return before is not None and moment > before

    def invalidate(self, hub: str, partition: str) -> None:
        """Forget a position: the hub was made anew and starts its numbers again."""
        self._void.add((hub, partition))

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **more: Any
    ) -> Iterable[dict[str, Any]]:
        """Return who owns what. A blob that names no owner is free, so that it is claimed anew."""
        names = (fully_qualified_namespace, eventhub_name, consumer_group)
        self.listing_tried[eventhub_name] = time.monotonic()
        found = []
        async for blob in self._listed(names, "ownership", more):
            partition = blob.name.rpartition("/")[2]
            metadata = blob.metadata or {}
            if "ownerid" not in metadata:  # one that was given back is there, and empty
                self._tell_unreadable(eventhub_name, partition, "names no owner; claimed anew")
            found.append(
                {
                    **_named(names, partition),
                    "owner_id": metadata.get("ownerid") or "",
                    "etag": blob.etag,
                    "last_modified_time": blob.last_modified.timestamp(),
                }
            )
        self._note_owners(eventhub_name, found)
        return found

    async def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **more: Any
    ) -> Iterable[dict[str, Any]]:
        """Claim partitions, and remember for whom."""
        claimed = list(await super().claim_ownership(ownership_list, **more))
        for one in claimed:
            key = one["eventhub_name"], one["partition_id"]
            self._owner_ids[key] = one["owner_id"]
            listing = self.listings.get(one["eventhub_name"])
            if listing is not None:
                listing.owners[key[1]] = one["owner_id"], one.get("last_modified_time") or 0.0
        return claimed

    def _note_owners(self, hub: str, found: Iterable[dict[str, Any]]) -> None:
        owners = {
            one["partition_id"]: (one["owner_id"], one["last_modified_time"]) for one in found
        }
        self.listings[hub] = OwnershipListing(time.monotonic(), owners)

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **more: Any
    ) -> Iterable[dict[str, Any]]:
        """Return the checkpoints that mean something; told is of which nothing can be read."""
        names = (fully_qualified_namespace, eventhub_name, consumer_group)
        made = self._made.get(eventhub_name)
        found = []
        async for blob in self._listed(names, "checkpoint", more):
            partition = blob.name.rpartition("/")[2]
            key = eventhub_name, partition
            self._etags[key] = blob.etag
            position = _position_in(blob.metadata)
            self._reached[key] = -1 if position is None else position["sequence_number"]
            if made is not None and blob.last_modified < made:
                self.invalidate(*key)
            elif position is None:
                self._tell_unreadable(*key, "holds no position; read from the partition's begin")
            elif key not in self._void:
                found.append({**_named(names, partition), **position})
                self._starts[key] = position["sequence_number"]
        return found

    async def _listed(
        self, names: tuple[str, str, str], kind: str, more: dict[str, Any]
    ) -> AsyncIterator[BlobProperties]:
        prefix = f"{'/'.join(names)}/{kind}/".lower()
        async for blob in self._container_client.list_blobs(
            name_starts_with=prefix, include=["metadata"], **more
        ):
            yield blob

    def _tell_unreadable(self, hub: str, partition: str, what: str) -> None:
        self._health.report(
            Problem.CHECKPOINT_UNREADABLE,
            f"the blob of partition {partition} of event hub {hub} {what}; see what else writes "
            "into the checkpoint container",
            part=f"{hub}/{partition}",
        )

    async def update_checkpoint(self, checkpoint: dict[str, Any], **more: Any) -> None:
        """Write a position over the one before. CheckpointLost if the partition has moved on."""
        key: Key = checkpoint["eventhub_name"], checkpoint["partition_id"]
        number = int(checkpoint["sequence_number"])
        if number < self._reached.get(key, -1) and key not in self._void:
            raise CheckpointLost(key[1])
        metadata = {"offset": str(checkpoint["offset"]), "sequencenumber": str(number)}
        blob = self._get_blob_client(_blob_name(checkpoint, "checkpoint"))
        self._unconfirmed.setdefault(key, set()).add(number)
        for _ in range(MAX_CHECKPOINT_ATTEMPTS):
            try:
                self._etags[key] = await _put_metadata(blob, metadata, self._etags.get(key), more)
            except (ResourceModifiedError, ResourceExistsError, ResourceNotFoundError):
                if not await self._may_go_on(checkpoint, blob, number):
                    break
            else:
                self._reached[key] = number
                self._unconfirmed.pop(key, None)
                self._void.discard(key)
                self._health.resolve(Problem.CHECKPOINT_UNREADABLE, part="/".join(key))
                return
        raise CheckpointLost(key[1])

    async def _may_go_on(self, checkpoint: dict[str, Any], blob: Any, number: int) -> bool:
        """Read again what is there; return True if it may be replaced: by its owner, forwards."""
        key: Key = checkpoint["eventhub_name"], checkpoint["partition_id"]
        try:
            now = await blob.get_blob_properties()
        except ResourceNotFoundError:
            self._etags.pop(key, None)
            return True
        position = _position_in(now.metadata)
        there = -1 if position is None else position["sequence_number"]
        ours = there in self._unconfirmed.get(key, ())  # a write of ours whose answer was lost
        if not ours and await self._owns(checkpoint):
            ours = number >= there or key in self._void
        if ours:
            self._etags[key] = now.etag
        return ours

    async def _owns(self, checkpoint: dict[str, Any]) -> bool:
        """Return True if the partition is still claimed for us."""
        key: Key = checkpoint["eventhub_name"], checkpoint["partition_id"]
        blob = self._get_blob_client(_blob_name(checkpoint, "ownership"))
        try:
            owner = (await blob.get_blob_properties()).metadata.get("ownerid")
        except ResourceNotFoundError:
            return False
        return bool(owner) and owner == self._owner_ids.get(key)


def _named(names: tuple[str, str, str], partition: str) -> dict[str, Any]:
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


def _position_in(metadata: dict[str, str] | None) -> dict[str, Any] | None:
    """Return offset and sequence number, or None where they cannot be read."""
    told = metadata or {}
    try:
        number = int(told["sequencenumber"])
    except (KeyError, ValueError):
        return None
    offset = told.get("offset")
    if number < 0 or not offset or not offset.isascii():
        return None
    return {"offset": offset, "sequence_number": number}


async def _put_metadata(
    blob: Any, metadata: dict[str, str], etag: str | None, more: dict[str, Any]
) -> str:
    """Write a checkpoint over that of *etag*, or where there is none; return the new ETag."""
    if etag is None:
        written = await blob.upload_blob(b"", overwrite=False, metadata=metadata, **more)
    else:
        unchanged = MatchConditions.IfNotModified
        written = await blob.set_blob_metadata(
            metadata, etag=etag, match_condition=unchanged, **more
        )
    return str(written["etag"])
