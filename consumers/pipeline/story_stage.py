"""Reads what is unlike the sign-ins before, and has the stories told that it gives."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from consumers.pipeline.evidence import Evidence
from consumers.pipeline.row_times import row_time
from schemas.events.traits import account_of, traits_of

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
            (address, sighting, account_of(sighting[0]))
            for address, sightings in group.items()
            for sighting in sightings
            if not self._alike.is_known(address, sighting[0])
        ]
        if not new:
            return
        await self._memory.fetch_accounts(name for _, _, name in new if name is not None)
        read = list(self._read(new))
        await self._memory.fetch([(address, traits) for address, _, traits, _ in read])
        for address, (signin, enqueued, _), traits, details in read:
            with self._guard.around(signin):
                if self._learn(address, signin, traits):
                    fallback = row_time(self._clock.now(), datetime.now(UTC))
                    self._memory.keep(
                        address,
                        details or signin.details(enqueued=enqueued, fallback_time=fallback),
                    )
        await self._guard.flush()
        await self.tell([tracker])

    def _learn(self, address: str, signin: SignIn, traits: Traits) -> bool:
        """Learn from a sign-in; return True if it is in question."""
        in_question = self._memory.learn(address, traits)
        if not in_question:
            self._alike.remember(address, signin, self._memory.habit(address, traits))
        return in_question

    def _read(
        self, new: Iterable[tuple[str, Sighting, str | None]]
    ) -> Iterator[tuple[str, Sighting, Traits, Details | None]]:
        """Read sign-ins, but for the first success of an account of which nothing is known."""
        fallback = row_time(self._clock.now(), datetime.now(UTC))
        for address, sighting, name in new:
            signin, enqueued, _ = sighting
            if name is not None and _succeeded(signin) and self._memory.is_first_sight(name):
                continue
            with self._guard.around(signin):
                traits, details = traits_of(signin, enqueued, fallback)
                if traits.account or traits.object_id:
                    yield address, sighting, traits, details

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


class _AlikeSignIns:
    """Remembers sign-ins by what makes them alike: most repeat an earlier one.

    Right passwords that do not succeed are never alike, because they are counted.
    """

    def __init__(self, memory: StoryMemory) -> None:
        self._memory = memory
        self._young: dict[int, tuple[str, Habit]] = {}
        self._old: dict[int, tuple[str, Habit]] = {}

    def is_known(self, address: str, signin: SignIn) -> bool:
        """Return True if the like of a sign-in is remembered; once an hour note its time."""
        key = _key(address, signin)
        if key is None:
            return False
        known = self._young.get(key) or self._old.get(key)
        if known is None:
            return False
        hour, habit = known
        written = signin.late_columns[3] if signin.late_columns is not None else None
        if type(written) is str and written[:13] != hour:
            if not self._memory.repeat(habit, written):
                return False
            self._store(key, written[:13], habit)
        return True

    def remember(self, address: str, signin: SignIn, habit: Habit) -> None:
        """Remember a sign-in that is a *habit*."""
        key = _key(address, signin)
        if key is not None and signin.late_columns is not None:
            self._store(key, str(signin.late_columns[3])[:13], habit)

    def _store(self, key: int, hour: str, habit: Habit) -> None:
        self._young[key] = hour, habit
        if len(self._young) >= MAX_ALIKE // 2:
            self._old, self._young = self._young, {}


def _key(address: str, signin: SignIn) -> int | None:
    """Return a number for all that stories read from a sign-in but its time."""
    raw, late = signin.traits, signin.late_columns
    if raw is None or late is None or type(late[1]) is not str or not _has_result(signin):
        return None
    if late[2] not in _PLAIN_RESULTS:
        return None
    plain = raw[0]
    if late[2] in _SUCCESS and plain and type(plain[-1]) is int:
        address = ""  # the number of its network says all
    return hash((plain, *map(bytes, raw[1]), address, late[1], late[2]))


def _succeeded(signin: SignIn) -> bool:
    late = signin.late_columns
    return late is not None and _has_result(signin) and late[2] in _SUCCESS


def _has_result(signin: SignIn) -> bool:
    """Return True if the result is a text or number; in a custom table it may be an object."""
    late = signin.late_columns
    return late is not None and type(late[2]) in (str, int)


_SUCCESS = frozenset(("0", 0))
_PLAIN_RESULTS = frozenset(("0", 0, "50126", 50126, "50034", 50034, "50053", 50053))
"""Success and wrong passwords: more of the same says nothing new."""
