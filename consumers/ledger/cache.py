"""A bounded in-memory cache of verdicts in front of the durable ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.intel.verdicts import Answer
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock


class VerdictCache:
    """Return recently used verdicts from memory and the others from the ledger.

    The cache has two generations of *max_addresses* / 2 addresses. An address that is read moves
    to the young generation. When that is full, the old generation is discarded. This approximates
    least-recently-used eviction at the cost of one dictionary access per address.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        max_addresses: int = 200_000,
        leases_return_verdicts: bool = False,
    ) -> None:
        """With *leases_return_verdicts*, an address that is not in memory counts as unknown.

        Use it for a remote ledger. Every lookup starts with a lease, and the lease returns the
        verdicts that exist already. Each new address thus costs one request instead of two.
        """
        self._ledger = ledger
        self._clock = clock
        self._leases_return_verdicts = leases_return_verdicts
        self._half = max(1, max_addresses // 2)
        self._young: dict[str, Answer] = {}
        self._old: dict[str, Answer] = {}

    def cached(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Return the verdicts of the young generation that are valid and need no recheck."""
        now, young = self._clock.now(), self._young
        return {
            address: answer
            for address in addresses
            if (answer := young.get(address)) is not None and answer.stands(now)
        }

    async def get_verdicts(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Return the verdicts that have not expired, from memory where possible."""
        now = self._clock.now()
        young = self._young
        found: dict[str, Answer] = {}
        missing: list[str] = []
        for address in addresses:
            answer = young.get(address)
            if answer is not None and answer.expires > now:
                found[address] = answer
            else:
                missing.append(address)
        if missing:
            found.update(await self._get_missing(missing, now))
        return found

    async def _get_missing(self, addresses: Sequence[str], now: float) -> dict[str, Answer]:
        old = self._old
        found = {
            address: old[address]
            for address in addresses
            if address in old and old[address].expires > now
        }
        absent = [address for address in addresses if address not in found]
        if absent and not self._leases_return_verdicts:
            found.update(await self._ledger.get_verdicts(absent))
        self.remember(found)
        return found

    def remember(self, answers: Mapping[str, Answer]) -> None:
        """Store answers in memory only. The ledger holds them already."""
        for address, answer in answers.items():
            self._young[address] = answer
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}

    async def put_unexpired(self, answers: Mapping[str, Answer]) -> None:
        """Store the answers that last beyond this moment; a reason to look up again does not."""
        now = self._clock.now()
        unexpired = {address: answer for address, answer in answers.items() if answer.expires > now}
        if unexpired:
            await self.put_verdicts(unexpired)

    async def put_verdicts(self, answers: Mapping[str, Answer]) -> None:
        """Store answers in the ledger, then in memory."""
        await self._ledger.put_verdicts(answers)
        self.remember(answers)
