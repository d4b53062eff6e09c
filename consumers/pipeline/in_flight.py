"""Sign-ins held in memory while their addresses are being asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import KeysView, Sequence
    from datetime import datetime

    from consumers.pipeline.batch import BatchTracker
    from schemas.events.sign_in import SignIn

MAX_SIGN_INS_IN_FLIGHT = 100_000
"""Sign-ins."""
MAX_BYTES_IN_FLIGHT = 64 * 1024 * 1024
"""Bytes of message bodies that they keep alive."""

Sighting = tuple["SignIn", "datetime | None", bool]
"""A sign-in that is held, or being judged, for one of its addresses; when its message arrived; and
whether that is its address of first choice, by which sign-ins are counted."""


class InFlight:
    """Held sign-ins by address, and how much memory they cost."""

    def __init__(self) -> None:
        self._by_address: dict[str, list[Sighting]] = {}
        self._tickets: dict[str, list[BatchTracker]] = {}
        self._uses: dict[int, int] = {}
        self._count = 0
        self._bytes = 0

    @property
    def addresses(self) -> KeysView[str]:
        """Return the addresses for which sign-ins are held; a live view."""
        return self._by_address.keys()

    @property
    def too_many(self) -> bool:
        """Tell whether it is time to wait for answers."""
        return self._count > MAX_SIGN_INS_IN_FLIGHT or self._bytes > MAX_BYTES_IN_FLIGHT

    def __len__(self) -> int:
        """Return how many sign-ins are held."""
        return self._count

    def add(self, address: str, held: Sequence[Sighting], ticket: BatchTracker) -> None:
        """Hold sign-ins for *address*, and their batch's ticket with them."""
        self._by_address.setdefault(address, []).extend(held)
        self._tickets.setdefault(address, []).append(ticket)
        ticket.add()
        self._count += len(held)
        uses = self._uses
        for signin, _, _ in held:
            source = signin.source
            used = uses.get(id(source), 0)
            if not used:
                self._bytes += source.size
            uses[id(source)] = used + 1

    def of(self, address: str) -> Sequence[Sighting]:
        """Return the sign-ins held for *address*."""
        return self._by_address.get(address, ())

    def pop(self, address: str) -> tuple[list[Sighting], list[BatchTracker]]:
        """Return and let go of the sign-ins held for *address*.

        The tickets are still held: who settles the sign-ins releases them.
        """
        held = self._by_address.pop(address, [])
        self._count -= len(held)
        uses = self._uses
        for signin, _, _ in held:
            source = signin.source
            used = uses[id(source)] - 1
            if used:
                uses[id(source)] = used
            else:
                del uses[id(source)]
                self._bytes -= source.size
        return held, self._tickets.pop(address, [])
