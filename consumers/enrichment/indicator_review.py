"""What people decided about indicators, and which ones wait for a decision.

An indicator that names a familiar address (see :mod:`consumers.enrichment.familiar`) makes findings
of at most Low until a person says ``feeds release`` or ``feeds refuse``. Decisions and what waits
for one are notes of the ledger, so instances share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import structlog

from schemas.durations import MINUTE_SECONDS
from schemas.errors import LedgerFailed
from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.enrichment.familiar import FamiliarAddresses
    from schemas.health import HealthReporter
    from schemas.intel.verdicts import Verdict
    from schemas.ledger_ports import Notes
    from schemas.ports import Clock

log = structlog.get_logger()

DECISIONS_NOTE = "indicators decided"
CAPPED_NOTE = "indicators capped"
DECISIONS_SECONDS = MINUTE_SECONDS
"""How long decisions that were read are used."""
MAX_CAPPED = 200
_Note = TypeVar("_Note")
MAX_DECISIONS = 1_000


class Decision(msgspec.Struct, frozen=True):
    """A person's decision on an indicator."""

    release: bool
    """True: it is believed in full. False: it makes no finding."""
    until: float | None = None
    """When the decision ends, in seconds since the epoch; None for never."""


class Capped(msgspec.Struct, frozen=True):
    """An indicator whose findings are capped, and why."""

    feed: str
    names: str
    """The address or network that it names."""
    accounts: int
    days: int
    since: float


class ReviewLimits(NamedTuple):
    """From how many accounts' earlier successes on how many days on an address is familiar."""

    accounts: int
    days: int


async def read_decisions(notes: Notes) -> dict[str, Decision]:
    """Return the decisions by indicator id, ended ones included. Raises LedgerFailed."""
    return await _read(notes, DECISIONS_NOTE, dict[str, Decision])


async def decide(notes: Notes, indicator: str, decision: Decision) -> None:
    """Store a decision. Raises LedgerFailed."""
    decisions = await read_decisions(notes)
    decisions.pop(indicator, None)
    decisions[indicator] = decision
    latest = dict(list(decisions.items())[-MAX_DECISIONS:])
    await notes.put_value(DECISIONS_NOTE, msgspec.json.encode(latest).decode())


async def read_capped(notes: Notes) -> dict[str, Capped]:
    """Return what was capped, by indicator id. Raises LedgerFailed."""
    return await _read(notes, CAPPED_NOTE, dict[str, Capped])


async def _read(notes: Notes, name: str, kind: type[_Note]) -> _Note:
    text = await notes.get_value(name)
    try:
        return msgspec.json.decode(text or "{}", type=kind)
    except msgspec.MsgspecError:
        raise LedgerFailed(f"the ledger's note of {name} is unreadable") from None


class IndicatorReview:
    """Says which verdicts of feeds count, by what people decided and by what is familiar."""

    def __init__(
        self,
        familiar: FamiliarAddresses,
        notes: Notes,
        clock: Clock,
        health: HealthReporter,
        limits: ReviewLimits,
    ) -> None:
        self._familiar = familiar
        self._notes = notes
        self._clock = clock
        self._health = health
        self._limits = limits
        self._decisions: dict[str, Decision] = {}
        self._decisions_read = float("-inf")
        self._capped: dict[str, Capped] = {}
        self._new: dict[str, Capped] = {}

    async def prepare(self, verdicts: Sequence[Verdict]) -> None:
        """Read what is needed to judge with verdicts of feeds; store what was capped."""
        now = self._clock.now()
        if not 0 <= now - self._decisions_read < DECISIONS_SECONDS:
            self._decisions_read = now
            self._decisions = await read_decisions(self._notes)
            self._report_decided(now)
        keys = {names for verdict in verdicts if (names := _indicator(verdict)[1])}
        if keys:
            await self._familiar.fetch(keys)
        await self._store_new()

    async def _store_new(self) -> None:
        new, self._new = self._new, {}
        if new:
            stored = (await read_capped(self._notes)) | new
            latest = dict(sorted(stored.items(), key=lambda item: item[1].since)[-MAX_CAPPED:])
            await self._notes.put_value(CAPPED_NOTE, msgspec.json.encode(latest).decode())

    def _report_decided(self, now: float) -> None:
        for indicator in [name for name in self._capped if self._decided(name, now) is not None]:
            del self._capped[indicator]
            self._health.resolve(Problem.INDICATOR_CAPPED, part=indicator)

    def _decided(self, indicator: str, now: float) -> Decision | None:
        decision = self._decisions.get(indicator)
        if decision is None or (decision.until is not None and now >= decision.until):
            return None
        return decision

    def believed(self, verdicts: list[Verdict]) -> list[Verdict]:
        """Return the verdicts without those of refused indicators."""
        if not self._decisions:
            return verdicts
        now = self._clock.now()
        return [
            verdict
            for verdict in verdicts
            if (decision := self._decided(_indicator(verdict)[0], now)) is None or decision.release
        ]

    def doubt(self, verdicts: Sequence[Verdict], day: int) -> str | None:
        """Return why a finding of an event on a *day* is capped; None if it is not.

        It is not if any source that calls the address bad is no feed, was released by a person, or
        names what is not familiar.
        """
        bad = [verdict for verdict in verdicts if verdict.reputation.bad]
        whys = [self._doubt_of(verdict, day) for verdict in bad]
        return whys[0] if whys and None not in whys else None

    def _doubt_of(self, verdict: Verdict, day: int) -> str | None:
        indicator, names = _indicator(verdict)
        now = self._clock.now()
        if not indicator or not names or self._decided(indicator, now) is not None:
            return None
        known = self._familiar.familiarity(names, day)
        if known.accounts < self._limits.accounts or known.days < self._limits.days:
            return None
        why = (
            f"{known.accounts} accounts have succeeded from {names} on {known.days} other days; "
            f"findings are capped until signinwatch feeds release or refuse {indicator}"
        )
        if indicator not in self._capped:
            capped = Capped(verdict.source, names, known.accounts, known.days, now)
            self._capped[indicator] = self._new[indicator] = capped
            log.warning("indicator capped", feed=verdict.source, indicator=indicator, why=why)
            self._health.report(
                Problem.INDICATOR_CAPPED, f"{verdict.source}: {why}", part=indicator
            )
        return why


def _indicator(verdict: Verdict) -> tuple[str, str]:
    """Return the id of a verdict's indicator and what it names; empty if it is not of a feed."""
    indicator = verdict.intel.indicator
    return str(indicator.get("id") or ""), str(indicator.get("names") or "")
