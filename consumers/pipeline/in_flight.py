"""Sign-ins kept in memory while their addresses are looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, KeysView, Sequence
    from datetime import datetime

    from consumers.pipeline.batch import BatchTracker
    from schemas.events.sign_in import SignIn

MAX_SIGN_INS_IN_FLIGHT = 100_000
"""Maximum number of sign-ins in memory."""
MAX_BYTES_IN_FLIGHT = 64 * 1024 * 1024
"""Maximum bytes of message bodies that they keep in memory."""

Sighting = tuple["SignIn", "datetime | None", bool]
"""A sign-in under one of its addresses; when its message arrived; and whether that address is its
first choice. Sign-ins are counted by their first choice."""


class InFlight:
    """In-flight sign-ins by address, and the memory they use."""

    def __init__(self) -> None:
        self._by_address: dict[str, list[Sighting]] = {}
        self._trackers: dict[str, list[BatchTracker]] = {}
        self._uses: dict[int, int] = {}
        self._count = 0
        self._bytes = 0

    @property
    def addresses(self) -> KeysView[str]:
        """The addresses with in-flight sign-ins; a live view."""
        return self._by_address.keys()

    @property
    def too_many(self) -> bool:
        """Whether to wait for results before reading more messages."""
        return self._count > MAX_SIGN_INS_IN_FLIGHT or self._bytes > MAX_BYTES_IN_FLIGHT

    def __len__(self) -> int:
        """Return the number of in-flight sightings."""
        return self._count

    def add(self, address: str, sightings: Sequence[Sighting], tracker: BatchTracker) -> None:
        """Add sightings of *address*, and register them with the tracker of their batch."""
        self._by_address.setdefault(address, []).extend(sightings)
        self._trackers.setdefault(address, []).append(tracker)
        tracker.add()
        self._count += len(sightings)
        uses = self._uses
        for signin, _, _ in sightings:
            body = signin.source
            used = uses.get(id(body), 0)
            if not used:
                self._bytes += body.size
            uses[id(body)] = used + 1

    def of(self, address: str) -> Sequence[Sighting]:
        """Return the in-flight sightings of *address*."""
        return self._by_address.get(address, ())

    def pop(self, address: str) -> tuple[list[Sighting], list[BatchTracker]]:
        """Remove and return the sightings of *address* and the trackers of their batches.

        The trackers still count them: the caller must call :meth:`BatchTracker.done` on each.
        """
        sightings = self._by_address.pop(address, [])
        self._count -= len(sightings)
        uses = self._uses
        for signin, _, _ in sightings:
            body = signin.source
            used = uses[id(body)] - 1
            if used:
                uses[id(body)] = used
            else:
                del uses[id(body)]
                self._bytes -= body.size
        return sightings, self._trackers.pop(address, [])


def group_by_address(
    signins: Iterable[SignIn], enqueued: datetime | None, group: dict[str, list[Sighting]]
) -> None:
    """Add the sightings of a message's sign-ins to *group*, by address."""
    for signin in signins:
        first = True
        for address in signin.addresses:
            sightings = group.get(address)
            if sightings is None:
                group[address] = [(signin, enqueued, first)]
            else:
                sightings.append((signin, enqueued, first))
            first = False
