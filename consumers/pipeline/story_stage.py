"""Reads what is unlike the sign-ins before, and has the stories told that it gives."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from consumers.pipeline.evidence import Evidence
from consumers.pipeline.row_times import row_time
from schemas.events.outcomes import Outcome
from schemas.events.traits import account_of, quick_outcome, traits_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from consumers.enrichment.stories.memory import Habit, StoryMemory
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.in_flight import Sighting
    from consumers.pipeline.record_guard import RecordGuard
    from schemas.events.sign_in import Details, SignIn
    from schemas.events.traits import Traits
    from schemas.ports import Clock

MAX_ALIKE = 100_000
"""Sign-ins that are remembered by what makes them alike."""
URGENT_SECONDS = 1.0
"""Before what other instances should see is written."""


class StoryStage:
    """Passes sign-ins to the memory of the stories, and those that stories tell of on."""

    def __init__(
        self,
        memory: StoryMemory,
        evaluator: Evaluator,
        guard: RecordGuard,
        clock: Clock,
        *,
        enabled: bool = True,
    ) -> None:
        """Unless *enabled*, nothing is read, and nothing is told."""
        self._enabled = enabled
        self._memory = memory
        self._evaluator = evaluator
        self._guard = guard
        self._clock = clock
        self._alike = _AlikeSignIns(memory)
        self._telling = asyncio.Lock()

    async def observe(self, group: Mapping[str, Sequence[Sighting]], tracker: BatchTracker) -> None:
        """Learn from sign-ins by address, and tell what they give."""
        if not self._enabled:
            return
        new = [
            _New(address, sighting, account_of(sighting[0]), key)
            for address, sightings in group.items()
            for sighting in sightings
            if (key := self._alike.unknown_key(address, sighting[0])) is not None
        ]
        if not new:
            return
        await self._memory.fetch_accounts(item.account for item in new if item.account is not None)
        read = list(self._read(new))
        await self._memory.fetch([(item.address, traits) for item, traits, _ in read])
        for item, traits, details in read:
            address, (signin, enqueued, _), _, key = item
            with self._guard.around(signin):
                if not self._memory.learn(address, traits):
                    self._alike.remember(key, signin, self._memory.habit(address, traits))
                else:
                    fallback = row_time(self._clock.now(), datetime.now(UTC))
                    self._memory.keep(
                        address,
                        details or signin.details(enqueued=enqueued, fallback_time=fallback),
                    )
        await self._guard.flush()
        await self.tell([tracker])

    def _read(self, new: Iterable[_New]) -> Iterator[tuple[_New, Traits, Details | None]]:
        """Read sign-ins, but for the first success of an account of which nothing is known."""
        fallback = row_time(self._clock.now(), datetime.now(UTC))
        for item in new:
            signin, enqueued, _ = item.sighting
            first = item.account is not None and quick_outcome(signin) is Outcome.SUCCESS
            if first and self._memory.is_first_sight(item.account or ""):
                continue
            with self._guard.around(signin):
                traits, details = traits_of(signin, enqueued, fallback)
                if traits.account or traits.object_id:
                    yield item, traits, details

    async def tell(self, trackers: Sequence[BatchTracker] = ()) -> None:
        """Tell what there is to tell; *trackers* complete when the findings are accepted.

        Another batch may have told it just now, so they wait for its findings as well.
        """
        async with self._telling:
            evidence = [
                Evidence(address, details, context=context)
                for address, details, context in await self._memory.tell()
            ]
            await self._evaluator.evaluate_evidence(evidence, trackers)

    async def run_if_due(self) -> None:
        """Write what was learned, by the clock of a recording."""
        await self._memory.flush_if_due()
        await self.tell()

    async def flush(self) -> None:
        """Write what was learned, and tell what others' sign-ins give."""
        await self._memory.flush()
        await self.tell()

    async def follow(self) -> None:
        """Write soon what others should see, and all from time to time, until cancelled."""
        waited = 0.0
        while True:
            await asyncio.sleep(URGENT_SECONDS)
            waited += URGENT_SECONDS
            if waited >= self._clock.mode.history_interval:
                waited = 0.0
                await self.flush()
            elif self._memory.urgent:
                await self._memory.flush(urgent_only=True)
                await self.tell()


class _New(NamedTuple):
    """A sign-in that is unlike those before."""

    address: str
    sighting: Sighting
    account: str | None
    key: int
    """What makes others alike; :data:`_NEVER_ALIKE` if nothing does."""


class _AlikeSignIns:
    """Remembers sign-ins by what makes them alike: most repeat an earlier one.

    Right passwords that do not succeed are never alike, because they are counted. Sign-ins that
    were interrupted say nothing, so that they are all known.
    """

    def __init__(self, memory: StoryMemory) -> None:
        self._memory = memory
        self._young: dict[int, tuple[str, Habit]] = {}
        self._old: dict[int, tuple[str, Habit]] = {}

    def unknown_key(self, address: str, signin: SignIn) -> int | None:
        """Return the key of a sign-in; None if the like of it is remembered.

        Once an hour the time of one is noted.
        """
        key = _key(address, signin)
        if key is None or key == _NEVER_ALIKE:
            return key
        known = self._young.get(key) or self._old.get(key)
        if known is None:
            return key
        hour, habit = known
        written = signin.late_columns[3] if signin.late_columns is not None else None
        if type(written) is str and written[:13] != hour:
            repeated = self._memory.repeat(habit, written)
            if repeated is None:
                return key
            self._store(key, written[:13], repeated)
        return None

    def remember(self, key: int, signin: SignIn, habit: Habit) -> None:
        """Remember a sign-in that is a *habit*."""
        if key != _NEVER_ALIKE and signin.late_columns is not None:
            self._store(key, str(signin.late_columns[3])[:13], habit)

    def _store(self, key: int, hour: str, habit: Habit) -> None:
        self._young[key] = hour, habit
        if len(self._young) >= MAX_ALIKE // 2:
            self._old, self._young = self._young, {}


def _key(address: str, signin: SignIn) -> int | None:
    """Return a number for all that stories read from a sign-in but its time.

    None if a sign-in says nothing, :data:`_NEVER_ALIKE` if each counts.
    """
    raw, late, outcome = signin.traits, signin.late_columns, quick_outcome(signin)
    if raw is None or late is None or outcome is None:
        return _NEVER_ALIKE
    if outcome in _SAYS_NOTHING:
        return None
    account, result = late[1], late[2]
    if type(account) is not str or result not in _PLAIN_RESULTS:
        return _NEVER_ALIKE
    plain = raw[0]
    if outcome is Outcome.SUCCESS and plain and type(plain[-1]) is int:
        address = ""  # the number of its network says all
    return hash((plain, *map(bytes, raw[1]), address, account, result))


_NEVER_ALIKE = 0
_SAYS_NOTHING = (Outcome.INTERRUPTED, Outcome.UNKNOWN)
_PLAIN_RESULTS = frozenset(("0", 0, "50126", 50126, "50034", 50034, "50053", 50053))
"""Success and wrong passwords: more of the same says nothing new."""
