"""The ledger's memory front: a bounded cache of answers over the durable ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.intel.verdicts import Answer
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock


class VerdictCache:
    """Answers from memory what was asked for lately, and from the ledger the rest.

    The memory has two generations of *most* / 2 addresses: what is asked for moves to the young
    one, and when that is full the old one is forgotten. It costs one dictionary access an address
    and forgets what was not used for longest, near enough.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        most: int = 200_000,
        leases_return_verdicts: bool = False,
    ) -> None:
        """With *leases_return_verdicts*, what memory does not know counts as unknown.

        For a ledger that is far away: before anything is asked its addresses are claimed, and the
        claim tells what is answered; so every new address is looked up there once, not twice.
        """
        self._ledger = ledger
        self._clock = clock
        self._leases_return_verdicts = leases_return_verdicts
        self._half = max(1, most // 2)
        self._young: dict[str, Answer] = {}
        self._old: dict[str, Answer] = {}

    def cached(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Return what memory alone knows of lately, and need not be asked again."""
        now, young = self._clock.now(), self._young
        return {one: young[one] for one in addresses if one in young and young[one].stands(now)}

    async def get_verdicts(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Return what is known and has not expired, from memory where possible."""
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
            found.update(await self._from_below(missing, now))
        return found

    async def _from_below(self, addresses: Sequence[str], now: float) -> dict[str, Answer]:
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
        """Keep in memory what the ledger was found to know."""
        for address, answer in answers.items():
            self._young[address] = answer
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}

    async def put_verdicts(self, answers: Mapping[str, Answer]) -> None:
        """Keep answers durably, then in memory."""
        await self._ledger.put_verdicts(answers)
        self.remember(answers)
