"""A short record of each sign-in, for indicators that are published later."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from itertools import starmap
from typing import TYPE_CHECKING

import msgspec

from schemas.events.outcomes import Outcome, outcome_of_code
from schemas.events.sign_in import Details, TimeSource
from schemas.events.times import MAX_TIME_LENGTH, parse_time
from schemas.values import number_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from schemas.events.fast_decoder import Scalar
    from schemas.events.sign_in import SignIn

LAST_TIMESTAMP = datetime(9999, 12, 31, 23, 59, 59, 999_500, tzinfo=UTC).timestamp()
"""Latest accepted time. Services write the maximum date for "none"; a float rounds it up."""
_PLAIN = 200
"""Maximum length of a text that needs no cleaning."""
_BETWEEN = "\x1f"
"""Separator of texts that are checked together; not printable."""
_PRINTABLE = bytes(range(ord(" "), ord("~") + 1))


_CODES = {str, int}
"""Types of a result code; as a dictionary key 1 also equals True and 1.0."""


class RecentSignIn(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A sign-in from an address, with the fields that a late finding needs.

    ``time`` is the event time: seconds since the epoch, or a text for ``parse_time``.
    """

    address: str
    table: str
    event_id: str
    account: str
    outcome: Outcome
    time: float | str
    time_source: TimeSource = TimeSource.RECORD

    def details(self) -> Details:
        """Return the details for the judge; all other fields are unknown."""
        return Details(
            table=self.table,
            event_id=self.event_id,
            event_time=_timestamp(self.time),
            addresses=((self.address, self.address),),
            account=self.account,
            outcome=self.outcome,
            event_time_source=self.time_source,
        )


class RecentSegment(msgspec.Struct, array_like=True):
    """Recent sign-ins by column, in order: all are recorded, few are ever read again."""

    addresses: list[str] = []
    tables: list[str] = []
    event_ids: list[str] = []
    accounts: list[str] = []
    outcomes: list[Outcome] = []
    times: list[float | str] = []
    time_sources: list[TimeSource] = []

    def __post_init__(self) -> None:
        """ValueError if the columns have different lengths."""
        if len({len(column) for column in msgspec.structs.astuple(self)}) != 1:
            raise ValueError("columns of different lengths")

    @classmethod
    def of(cls, signins: Iterable[RecentSignIn]) -> RecentSegment:
        """Return sign-ins by column."""
        columns = zip(*map(msgspec.structs.astuple, signins), strict=True)
        return cls(*map(list, columns))

    def __len__(self) -> int:
        """Return the number of sign-ins."""
        return len(self.addresses)

    def __iter__(self) -> Iterator[RecentSignIn]:
        """Yield the sign-ins in order."""
        return starmap(RecentSignIn, zip(*msgspec.structs.astuple(self), strict=True))

    def part(self, start: int, end: int) -> RecentSegment:
        """Return the sign-ins from *start* to before *end*."""
        return RecentSegment(*(column[start:end] for column in msgspec.structs.astuple(self)))

    def add(
        self,
        addresses: Sequence[str],
        signins: Sequence[SignIn],
        enqueued: Sequence[datetime | None],
        fallback_time: datetime,
    ) -> int:
        """Record sign-ins, each with its address, record and arrival time.

        Sign-ins whose first fields certainly need no cleaning are added together. An unusual
        sign-in is isolated by halving and read in full. Return how many could not be read.
        """
        if not addresses or self._added_quickly(addresses, signins):
            return 0
        if len(addresses) == 1:
            try:
                details = signins[0].details(enqueued=enqueued[0], fallback_time=fallback_time)
            except Exception:  # noqa: BLE001 - quarantined with its reason when it is evaluated
                return 1
            self.addresses += addresses
            self.tables.append(details.table)
            self.event_ids.append(details.event_id)
            self.accounts.append(details.account)
            self.outcomes.append(details.outcome)
            self.times.append(details.event_time.timestamp())
            self.time_sources.append(details.event_time_source)
            return 0
        half = len(addresses) // 2
        return sum(
            self.add(addresses[part], signins[part], enqueued[part], fallback_time)
            for part in (slice(half), slice(half, None))
        )

    def _added_quickly(self, addresses: Sequence[str], signins: Sequence[SignIn]) -> bool:
        """Record plain sign-ins; return False and change nothing if any is not plain."""
        if {signin.form.outcome for signin in signins} != {"code"}:
            return False
        try:
            event_ids, accounts, results, times = zip(
                *[item.late_columns for item in signins], strict=True
            )
            if not set(map(type, results)) <= _CODES:
                return False
            outcomes = [_outcomes[result] for result in results]
            if not (_plain(event_ids) and _plain(accounts) and _are_times(times)):
                return False
        except (TypeError, ValueError, KeyError):  # not decoded, or not a text, time or number
            return False
        self.addresses += addresses
        self.tables += [signin.table for signin in signins]
        self.event_ids += event_ids
        self.accounts += map(str.lower, accounts)
        self.outcomes += outcomes
        self.times += times
        self.time_sources += [TimeSource.RECORD] * len(times)
        return True


def _plain(texts: Collection[str]) -> bool:
    """Return True if cleaning would not change the texts; TypeError if an item is not a text."""
    joined = _BETWEEN.join(texts)
    if not joined.isascii() or "<null>" in joined:
        return False
    odd = len(joined.encode().translate(None, _PRINTABLE))
    spaced = " " in joined and (
        " " in (joined[0], joined[-1]) or f"{_BETWEEN} " in joined or f" {_BETWEEN}" in joined
    )
    lengths = set(map(len, texts))
    return odd == len(texts) - 1 and not spaced and min(lengths) > 1 and max(lengths) < _PLAIN


def _are_times(texts: Collection[str]) -> bool:
    """Return True if all are plausible times; TypeError or ValueError if an item is not a time."""
    deque(map(datetime.fromisoformat, texts), maxlen=0)
    return max(map(len, texts)) <= MAX_TIME_LENGTH and min(texts) >= "2001" and max(texts) < "2099"


def _timestamp(time: float | str) -> datetime:
    if isinstance(time, str):
        return parse_time(time) or datetime.fromtimestamp(0, UTC)
    return datetime.fromtimestamp(min(time, LAST_TIMESTAMP), UTC)


class _Outcomes(dict["Scalar", Outcome]):
    """The outcomes of result codes. KeyError if another field has to be read as well."""

    def __missing__(self, result: Scalar) -> Outcome:
        if number_of(result) is None:
            raise KeyError
        outcome = outcome_of_code(result)
        if len(self) < 1_000:
            self[result] = outcome
        return outcome


_outcomes = _Outcomes()
