"""The indicators of all feeds, in one SQLite file: by id for what comes, by address for a match.

A file serves one process at a time; others may look into it. Where instances share a ledger, each
has a file of its own, filled from the journal that they share.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from consumers.ledger.sqlite.schema import edge, locked, transaction
from consumers.sources.feeds.indicator_schema import FEEDS_FILE, FEEDS_LOCK_FILE, looked_at, opened
from schemas.errors import StateRefused
from schemas.intel.indicators import Indicator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence, Set
    from contextlib import AbstractContextManager
    from pathlib import Path

KEEP_ENDED_SECONDS = 45 * 86_400.0
"""Seconds for which an indicator is kept that has ended: late events, and recordings, need it; and
one that was withdrawn must not come back with an older version of itself."""
WRITE_BATCH = 400
STORE_NAME = "the feeds' file"
_REMEDY = "the service brings its feeds up to date by itself"

_encode = msgspec.msgpack.Encoder().encode
_indicator = msgspec.msgpack.Decoder(Indicator)


class FeedState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of a feed besides its indicators. Times are wall time."""

    identity: str = ""
    """Of its URL and collection: another one begins anew."""
    cursor: dict[str, Any] = {}
    """Where to go on, as the TAXII client wrote it."""
    synced: float | None = None
    """When it was last read to its end."""
    changed: float | None = None
    """When something new was last in it."""
    steps: int = 0
    """Pages that were ever taken in; each indicator keeps the number of its page."""
    place: tuple[int, int] = (0, 0)
    """How far the shared journal was read."""
    skipped: dict[str, int] = {}
    """Objects that are no indicators of addresses, by reason."""
    appended: int = 0
    """Indicators in the present generation of the journal."""
    renewed: int = 0
    """Entries with which it began."""


_state = msgspec.msgpack.Decoder(FeedState)


@dataclass(slots=True)
class ApplyResult:
    """What a page changed."""

    now: float = 0.0
    """When it was read."""
    longest: float = math.inf
    """How long an indicator without an end is believed."""
    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    stale: int = 0
    """Versions that were known already, or older than those known."""
    keys: set[str] = field(default_factory=set)
    """Keys by which sign-ins match now that may not have matched before."""
    gone: set[str] = field(default_factory=set)
    """Keys that nothing names any more."""


class IndicatorStore:
    """The file, opened."""

    def __init__(self, folder: Path, *, looking: bool = False) -> None:
        """Open or make the file; *looking* opens it to read alone, beside its owner.

        StateRefused when another process has it, or it cannot be used.
        """
        self._lock = None if looking else locked(folder, FEEDS_LOCK_FILE, _REMEDY)
        path = folder / FEEDS_FILE
        try:
            self._database = looked_at(path) if looking else opened(path)
        except (sqlite3.Error, OSError) as error:
            self._let_go()
            raise StateRefused(f"STATE__DIR: {path} cannot be used: {error}") from None
        except StateRefused:
            self._let_go()
            raise

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.close()

    # --- what comes ---

    def state(self, feed: str) -> FeedState:
        """Return what is known of a feed; a new state for a new one."""
        with edge("reading a feed", STORE_NAME):
            row = self._database.execute(
                "SELECT state FROM feeds WHERE name = ?", (feed,)
            ).fetchone()
            return _state.decode(row[0]) if row else FeedState()

    def keep_state(self, feed: str, state: FeedState) -> None:
        """Keep a feed's state."""
        with self._transaction("keeping a feed"):
            self._keep_state(feed, state)

    def fresh(self, feed: str, indicators: Sequence[Indicator]) -> list[Indicator]:
        """Return those that are new, or of a later version than the one that is kept."""
        latest: dict[str, Indicator] = {}
        for one in indicators:
            if one.id not in latest or _order(latest[one.id]) < _order(one):
                latest[one.id] = one
        ids = list(latest)
        with edge("reading indicators", STORE_NAME):
            for start in range(0, len(ids), WRITE_BATCH):
                some = ids[start : start + WRITE_BATCH]
                marks = ",".join("?" * len(some))
                for known, modified, withdrawn in self._database.execute(
                    "SELECT id, modified, withdrawn FROM indicators "  # noqa: S608
                    f"WHERE feed = ? AND id IN ({marks})",
                    (feed, *some),
                ):
                    if (modified, bool(withdrawn)) >= _order(latest[known]):
                        del latest[known]
        return list(latest.values())

    def known(self, feed: str, ids: Sequence[str]) -> set[str]:
        """Return those ids of which there is an indicator, withdrawn or not."""
        found: set[str] = set()
        with edge("reading indicators", STORE_NAME):
            for start in range(0, len(ids), WRITE_BATCH):
                some = ids[start : start + WRITE_BATCH]
                marks = ",".join("?" * len(some))
                query = (
                    "SELECT id FROM indicators "  # noqa: S608
                    f"WHERE feed = ? AND id IN ({marks})"
                )
                found.update(known for (known,) in self._database.execute(query, (feed, *some)))
        return found

    def apply(
        self,
        feed: str,
        steps: Iterable[tuple[int, Iterable[Indicator]]],
        state: FeedState,
        *,
        now: float,
        longest: float = math.inf,
    ) -> ApplyResult:
        """Take in pages, each after its number, and the state after them, in one piece.

        Of an indicator the version counts that was modified last. A withdrawn one ends at once; one
        without an end is believed for *longest* seconds.
        """
        applied = ApplyResult(now=now, longest=longest)
        with self._transaction("taking in a page"):
            for step, indicators in steps:
                for indicator in indicators:
                    self._take(feed, indicator, step, applied)
            for key in list(applied.gone):
                if self._database.execute("SELECT 1 FROM keys WHERE key = ?", (key,)).fetchone():
                    applied.gone.discard(key)
            self._keep_state(feed, state)
        return applied

    def _take(self, feed: str, indicator: Indicator, step: int, applied: ApplyResult) -> None:
        before = self._database.execute(
            "SELECT number, modified, withdrawn, body FROM indicators WHERE feed = ? AND id = ?",
            (feed, indicator.id),
        ).fetchone()
        if before is None:
            number, old = self._insert(feed, indicator, step), None
            applied.new += 1
        elif (before[1], bool(before[2])) >= _order(indicator):
            applied.stale += 1
            return
        else:
            number, old = before[0], _indicator.decode(before[3])
            if indicator.withdrawn and not indicator.keys:
                indicator = replace(indicator, keys=old.keys)  # for who has to take them back
            self._update(number, indicator, step)
            applied.changed += 1
        self._name(number, old, indicator, applied)

    def _insert(self, feed: str, indicator: Indicator, step: int) -> int:
        made = self._database.execute(
            "INSERT INTO indicators (feed, id, modified, ends, withdrawn, step, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (feed, indicator.id, *_values(indicator, step)),
        )
        return made.lastrowid or 0

    def _update(self, number: int, indicator: Indicator, step: int) -> None:
        self._database.execute(
            "UPDATE indicators SET modified = ?, ends = ?, withdrawn = ?, step = ?, body = ? "
            "WHERE number = ?",
            (*_values(indicator, step), number),
        )
        self._database.execute("DELETE FROM keys WHERE number = ?", (number,))

    def _name(
        self, number: int, old: Indicator | None, indicator: Indicator, applied: ApplyResult
    ) -> None:
        """Note the keys of a version, and what that changes."""
        keys = set() if indicator.withdrawn else set(indicator.keys)
        old_keys = set() if old is None or old.withdrawn else set(old.keys)
        applied.gone |= old_keys - keys
        news = old is None or _says_more(old, indicator, applied.now, applied.longest)
        applied.keys |= keys if news else keys - old_keys
        applied.withdrawn += indicator.withdrawn
        self._database.executemany(
            "INSERT OR IGNORE INTO keys VALUES (?, ?)", [(key, number) for key in keys]
        )

    def retain(self, feed: str, ids: Set[str]) -> set[str]:
        """Delete the indicators of a feed that are not among *ids*; return the keys gone."""
        gone: set[str] = set()
        with self._transaction("forgetting indicators") as database:
            all_of = "SELECT number, id FROM indicators WHERE feed = ?"
            for number, known in database.execute(all_of, (feed,)).fetchall():
                if known not in ids:
                    gone |= self._delete(number)
        return {key for key in gone if not self._named(key)}

    def _delete(self, number: int) -> set[str]:
        """Delete an indicator; return the keys that it had."""
        run = self._database.execute
        keys = {key for (key,) in run("SELECT key FROM keys WHERE number = ?", (number,))}
        run("DELETE FROM keys WHERE number = ?", (number,))
        run("DELETE FROM indicators WHERE number = ?", (number,))
        return keys

    def forget_feed(self, feed: str) -> None:
        """Delete all of a feed."""
        with self._transaction("forgetting a feed") as database:
            database.execute(
                "DELETE FROM keys WHERE number IN (SELECT number FROM indicators WHERE feed = ?)",
                (feed,),
            )
            database.execute("DELETE FROM indicators WHERE feed = ?", (feed,))
            database.execute("DELETE FROM feeds WHERE name = ?", (feed,))
            database.execute("DELETE FROM told WHERE feed = ?", (feed,))

    def purge_expired(self, now: float) -> set[str]:
        """Delete what has ended long ago; return the keys that nothing names any more."""
        gone: set[str] = set()
        while True:
            with self._transaction("sweeping") as database:
                old = database.execute(
                    "SELECT number FROM indicators WHERE ends < ? LIMIT ?",
                    (now - KEEP_ENDED_SECONDS, WRITE_BATCH),
                ).fetchall()
                for (number,) in old:
                    gone |= {key for key in self._delete(number) if not self._named(key)}
            if len(old) < WRITE_BATCH:
                return gone

    def _named(self, key: str) -> bool:
        query = "SELECT 1 FROM keys WHERE key = ?"
        return self._database.execute(query, (key,)).fetchone() is not None

    def told(self, feed: str) -> int:
        """Return the step up to which late matches were looked for, by this process's like."""
        with edge("reading a feed", STORE_NAME):
            row = self._database.execute("SELECT step FROM told WHERE feed = ?", (feed,)).fetchone()
            return int(row[0]) if row else 0

    def keep_told(self, feed: str, step: int) -> None:
        """Note that late matches were looked for up to a step."""
        with self._transaction("keeping a feed") as database:
            database.execute("INSERT OR REPLACE INTO told VALUES (?, ?)", (feed, step))

    # --- what is asked ---

    def all_keys(self) -> Iterator[str]:
        """Yield every key once."""
        with edge("reading keys", STORE_NAME):
            for (key,) in self._database.execute("SELECT DISTINCT key FROM keys"):
                yield key

    def naming(self, keys: Sequence[str]) -> list[tuple[str, str, Indicator]]:
        """Return feed, key and indicator of all that name one of *keys*."""
        marks = ",".join("?" * len(keys))
        with edge("reading indicators", STORE_NAME):
            found = self._database.execute(
                "SELECT feed, key, body FROM keys JOIN indicators USING (number) "  # noqa: S608
                f"WHERE key IN ({marks})",
                keys,
            )
            return [(feed, key, _indicator.decode(body)) for feed, key, body in found]

    def since(self, feed: str, step: int, most: int) -> tuple[int, list[Indicator]]:
        """Return what came with steps after *step*, whole steps, about *most*; and the last one.

        A step that is not yet here as a whole, as its state tells, is left out.
        """
        found: list[Indicator] = []
        last = step
        whole = self.state(feed).steps
        with edge("reading indicators", STORE_NAME):
            for number, body in self._database.execute(
                "SELECT step, body FROM indicators "
                "WHERE feed = ? AND step > ? AND step <= ? ORDER BY step",
                (feed, step, whole),
            ):
                if len(found) >= most and number != last:
                    break
                last = number
                found.append(_indicator.decode(body))
        return last, found

    def all_of(self, feed: str) -> Iterator[tuple[int, Indicator]]:
        """Yield all indicators of a feed, each after the number of its step, in their order."""
        with edge("reading indicators", STORE_NAME):
            for step, body in self._database.execute(
                "SELECT step, body FROM indicators WHERE feed = ? ORDER BY step", (feed,)
            ):
                yield step, _indicator.decode(body)

    def count(self, feed: str) -> int:
        """Return how many indicators of a feed there are, ended and withdrawn ones too."""
        with edge("counting", STORE_NAME):
            row = self._database.execute(
                "SELECT count(*) FROM indicators WHERE feed = ?", (feed,)
            ).fetchone()
            return int(row[0])

    def count_valid(self, feed: str, now: float) -> int:
        """Return how many indicators of a feed have not ended."""
        with edge("counting", STORE_NAME):
            row = self._database.execute(
                "SELECT count(*) FROM indicators "
                "WHERE feed = ? AND withdrawn = 0 AND (ends IS NULL OR ends > ?)",
                (feed, now),
            ).fetchone()
            return int(row[0])

    def names(self) -> list[str]:
        """Return the feeds that anything is kept of."""
        with edge("reading feeds", STORE_NAME):
            return [name for (name,) in self._database.execute("SELECT name FROM feeds")]

    def close(self) -> None:
        """Close the file, then let the next process have it."""
        with edge("closing", STORE_NAME):
            self._database.close()
        self._let_go()

    # --- inside ---

    def _keep_state(self, feed: str, state: FeedState) -> None:
        self._database.execute("INSERT OR REPLACE INTO feeds VALUES (?, ?)", (feed, _encode(state)))

    def _transaction(self, doing: str) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._database, doing, STORE_NAME)


def _order(indicator: Indicator) -> tuple[float, bool]:
    """Return what makes one version later than another; of two at once a withdrawal counts."""
    return indicator.modified, indicator.withdrawn


def _values(indicator: Indicator, step: int) -> tuple[Any, ...]:
    ends = indicator.modified if indicator.withdrawn else indicator.valid_until
    return indicator.modified, ends, indicator.withdrawn, step, _encode(indicator)


def _says_more(old: Indicator, new: Indicator, now: float, longest: float) -> bool:
    """Tell whether a version may match what went by before it came, and the old one did not.

    Feeds tell an address again and again while it goes on being bad; that is no news.
    """
    ends = old.valid_until
    if ends is None:
        ends = max(old.modified, old.valid_from) + longest
    lasted = ends >= now
    same = (old.types, old.labels, old.confidence) == (new.types, new.labels, new.confidence)
    return not (same and lasted and old.valid_from <= new.valid_from)
