"""The indicators of all feeds in one SQLite file: by id for updates, by address for matching.

One process at a time owns a file; other processes may open it read-only. Instances that share a
ledger each have their own file, filled from the shared journal.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from consumers.ledger.sqlite.schema import edge, locked, transaction
from consumers.sources.feeds.indicator_schema import (
    FEEDS_FILE,
    FEEDS_LOCK_FILE,
    opened,
    opened_read_only,
)
from schemas.errors import StateRefused
from schemas.intel.indicators import Indicator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence, Set
    from contextlib import AbstractContextManager
    from pathlib import Path

KEEP_ENDED_SECONDS = 45 * 86_400.0
"""How long an ended indicator is kept, for late events, log exports, and older versions of it."""
WRITE_BATCH = 400
STORE_NAME = "the feeds' file"
_REMEDY = "no sync is needed, the running service updates its feeds"

_encode = msgspec.msgpack.Encoder().encode
_indicator = msgspec.msgpack.Decoder(Indicator)


class FeedState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The state of a feed apart from its indicators. Times are wall time."""

    identity: str = ""
    """Identifies the URL and collection. If it changes, the feed is read from the start."""
    cursor: dict[str, Any] = {}
    """The TAXII client's cursor."""
    synced: float | None = None
    """When the feed was last read to its end."""
    changed: float | None = None
    """When the feed last had a new or changed indicator."""
    steps: int = 0
    """Number of pages ever applied. Each indicator stores the number of its page."""
    place: tuple[int, int] = (0, 0)
    """Position in the shared journal, as generation and number."""
    skipped: dict[str, int] = {}
    """Skipped objects, by reason."""
    appended: int = 0
    """Indicators in the current generation of the journal."""
    renewed: int = 0
    """Entries at the start of that generation, written by the renewal."""


_state = msgspec.msgpack.Decoder(FeedState)


@dataclass(slots=True)
class ApplyResult:
    """The changes made by a page."""

    now: float = 0.0
    """When the page was read."""
    longest: float = math.inf
    """Validity of an indicator without an end, in seconds."""
    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    stale: int = 0
    """Versions that are not newer than the stored ones."""
    keys: set[str] = field(default_factory=set)
    """Keys that may match sign-ins that did not match before."""
    gone: set[str] = field(default_factory=set)
    """Keys without any remaining indicator."""


class IndicatorStore:
    """The open indicator file."""

    def __init__(self, folder: Path, *, looking: bool = False) -> None:
        """Open or create the file. With *looking*, open it read-only, even if it has an owner.

        Raises StateRefused if another process owns it, or if it cannot be used.
        """
        self._lock = None if looking else locked(folder, FEEDS_LOCK_FILE, _REMEDY)
        path = folder / FEEDS_FILE
        try:
            self._database = opened_read_only(path) if looking else opened(path)
        except (sqlite3.Error, OSError) as error:
            self._unlock()
            raise StateRefused(f"STATE__DIR: {path} cannot be used: {error}") from None
        except StateRefused:
            self._unlock()
            raise

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    # --- updates ---

    def state(self, feed: str) -> FeedState:
        """Return the state of a feed; an empty state for a new feed."""
        with edge("reading a feed", STORE_NAME):
            row = self._database.execute(
                "SELECT state FROM feeds WHERE name = ?", (feed,)
            ).fetchone()
            return _state.decode(row[0]) if row else FeedState()

    def keep_state(self, feed: str, state: FeedState) -> None:
        """Store the state of a feed."""
        with self._transaction("storing a feed"):
            self._keep_state(feed, state)

    def fresh(self, feed: str, indicators: Sequence[Indicator]) -> list[Indicator]:
        """Return the indicators that are new, or newer than the stored versions."""
        latest: dict[str, Indicator] = {}
        for indicator in indicators:
            known = latest.get(indicator.id)
            if known is None or _order(known) < _order(indicator):
                latest[indicator.id] = indicator
        ids = list(latest)
        with edge("reading indicators", STORE_NAME):
            for start in range(0, len(ids), WRITE_BATCH):
                batch = ids[start : start + WRITE_BATCH]
                marks = ",".join("?" * len(batch))
                for id_, modified, withdrawn in self._database.execute(
                    "SELECT id, modified, withdrawn FROM indicators "  # noqa: S608
                    f"WHERE feed = ? AND id IN ({marks})",
                    (feed, *batch),
                ):
                    if (modified, bool(withdrawn)) >= _order(latest[id_]):
                        del latest[id_]
        return list(latest.values())

    def known(self, feed: str, ids: Sequence[str]) -> set[str]:
        """Return the ids of stored indicators, including withdrawn ones."""
        found: set[str] = set()
        with edge("reading indicators", STORE_NAME):
            for start in range(0, len(ids), WRITE_BATCH):
                batch = ids[start : start + WRITE_BATCH]
                marks = ",".join("?" * len(batch))
                query = (
                    "SELECT id FROM indicators "  # noqa: S608
                    f"WHERE feed = ? AND id IN ({marks})"
                )
                found.update(known for (known,) in self._database.execute(query, (feed, *batch)))
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
        """Apply numbered pages and the state after them, in one transaction.

        The most recently modified version of an indicator wins. A withdrawn indicator ends at once.
        An indicator without an end is valid for *longest* seconds.
        """
        applied = ApplyResult(now=now, longest=longest)
        with self._transaction("applying a page"):
            for step, indicators in steps:
                for indicator in indicators:
                    self._apply_version(feed, indicator, step, applied)
            for key in list(applied.gone):
                if self._database.execute("SELECT 1 FROM keys WHERE key = ?", (key,)).fetchone():
                    applied.gone.discard(key)
            self._keep_state(feed, state)
        return applied

    def _apply_version(
        self, feed: str, indicator: Indicator, step: int, applied: ApplyResult
    ) -> None:
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
                indicator = replace(indicator, keys=old.keys)  # keys to retract
            self._update(number, indicator, step)
            applied.changed += 1
        self._index_keys(number, old, indicator, applied)

    def _insert(self, feed: str, indicator: Indicator, step: int) -> int:
        inserted = self._database.execute(
            "INSERT INTO indicators (feed, id, modified, ends, withdrawn, step, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (feed, indicator.id, *_values(indicator, step)),
        )
        return inserted.lastrowid or 0

    def _update(self, number: int, indicator: Indicator, step: int) -> None:
        self._database.execute(
            "UPDATE indicators SET modified = ?, ends = ?, withdrawn = ?, step = ?, body = ? "
            "WHERE number = ?",
            (*_values(indicator, step), number),
        )
        self._database.execute("DELETE FROM keys WHERE number = ?", (number,))

    def _index_keys(
        self, number: int, old: Indicator | None, indicator: Indicator, applied: ApplyResult
    ) -> None:
        """Store the keys of a version, and add the changes to *applied*."""
        keys = set() if indicator.withdrawn else set(indicator.keys)
        old_keys = set() if old is None or old.withdrawn else set(old.keys)
        applied.gone |= old_keys - keys
        extended = old is None or _matches_more(old, indicator, applied.now, applied.longest)
        applied.keys |= keys if extended else keys - old_keys
        applied.withdrawn += indicator.withdrawn
        self._database.executemany(
            "INSERT OR IGNORE INTO keys VALUES (?, ?)", [(key, number) for key in keys]
        )

    def retain(self, feed: str, ids: Set[str]) -> set[str]:
        """Delete the indicators of a feed that are not in *ids*; return the removed keys."""
        gone: set[str] = set()
        with self._transaction("deleting indicators") as database:
            query = "SELECT number, id FROM indicators WHERE feed = ?"
            for number, known in database.execute(query, (feed,)).fetchall():
                if known not in ids:
                    gone |= self._delete(number)
        return {key for key in gone if not self._has_key(key)}

    def _delete(self, number: int) -> set[str]:
        """Delete an indicator; return its keys."""
        run = self._database.execute
        keys = {key for (key,) in run("SELECT key FROM keys WHERE number = ?", (number,))}
        run("DELETE FROM keys WHERE number = ?", (number,))
        run("DELETE FROM indicators WHERE number = ?", (number,))
        return keys

    def forget_feed(self, feed: str) -> None:
        """Delete a feed and its indicators."""
        with self._transaction("deleting a feed") as database:
            database.execute(
                "DELETE FROM keys WHERE number IN (SELECT number FROM indicators WHERE feed = ?)",
                (feed,),
            )
            database.execute("DELETE FROM indicators WHERE feed = ?", (feed,))
            database.execute("DELETE FROM feeds WHERE name = ?", (feed,))
            database.execute("DELETE FROM told WHERE feed = ?", (feed,))

    def purge_expired(self, now: float) -> set[str]:
        """Delete indicators that ended long ago; return keys without a remaining indicator."""
        gone: set[str] = set()
        while True:
            with self._transaction("purging expired indicators") as database:
                old = database.execute(
                    "SELECT number FROM indicators WHERE ends < ? LIMIT ?",
                    (now - KEEP_ENDED_SECONDS, WRITE_BATCH),
                ).fetchall()
                for (number,) in old:
                    gone |= {key for key in self._delete(number) if not self._has_key(key)}
            if len(old) < WRITE_BATCH:
                return gone

    def _has_key(self, key: str) -> bool:
        query = "SELECT 1 FROM keys WHERE key = ?"
        return self._database.execute(query, (key,)).fetchone() is not None

    def told(self, feed: str) -> int:
        """Return the last published step of a feed."""
        with edge("reading a feed", STORE_NAME):
            row = self._database.execute("SELECT step FROM told WHERE feed = ?", (feed,)).fetchone()
            return int(row[0]) if row else 0

    def keep_told(self, feed: str, step: int) -> None:
        """Store the last published step of a feed."""
        with self._transaction("storing a feed") as database:
            database.execute("INSERT OR REPLACE INTO told VALUES (?, ?)", (feed, step))

    # --- queries ---

    def all_keys(self) -> Iterator[str]:
        """Yield every key once."""
        with edge("reading keys", STORE_NAME):
            for (key,) in self._database.execute("SELECT DISTINCT key FROM keys"):
                yield key

    def naming(self, keys: Sequence[str]) -> list[tuple[str, str, Indicator]]:
        """Return feed, key and indicator for every indicator with one of *keys*."""
        marks = ",".join("?" * len(keys))
        with edge("reading indicators", STORE_NAME):
            found = self._database.execute(
                "SELECT feed, key, body FROM keys JOIN indicators USING (number) "  # noqa: S608
                f"WHERE key IN ({marks})",
                keys,
            )
            return [(feed, key, _indicator.decode(body)) for feed, key, body in found]

    def since(self, feed: str, step: int, most: int) -> tuple[int, list[Indicator]]:
        """Return the last included step, and the indicators of the steps after *step* up to it.

        Steps are never split; a step ends the result once it has *most* indicators. An incomplete
        step, according to the feed's state, is left out.
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
        """Yield step and indicator for all indicators of a feed, ordered by step."""
        with edge("reading indicators", STORE_NAME):
            for step, body in self._database.execute(
                "SELECT step, body FROM indicators WHERE feed = ? ORDER BY step", (feed,)
            ):
                yield step, _indicator.decode(body)

    def count(self, feed: str) -> int:
        """Return the number of indicators of a feed, including ended and withdrawn ones."""
        with edge("counting", STORE_NAME):
            row = self._database.execute(
                "SELECT count(*) FROM indicators WHERE feed = ?", (feed,)
            ).fetchone()
            return int(row[0])

    def count_valid(self, feed: str, now: float) -> int:
        """Return the number of indicators of a feed that have not ended."""
        with edge("counting", STORE_NAME):
            row = self._database.execute(
                "SELECT count(*) FROM indicators "
                "WHERE feed = ? AND withdrawn = 0 AND (ends IS NULL OR ends > ?)",
                (feed, now),
            ).fetchone()
            return int(row[0])

    def names(self) -> list[str]:
        """Return the names of all stored feeds."""
        with edge("reading feeds", STORE_NAME):
            return [name for (name,) in self._database.execute("SELECT name FROM feeds")]

    def close(self) -> None:
        """Close the file, then release the lock."""
        with edge("closing", STORE_NAME):
            self._database.close()
        self._unlock()

    # --- helpers ---

    def _keep_state(self, feed: str, state: FeedState) -> None:
        self._database.execute("INSERT OR REPLACE INTO feeds VALUES (?, ?)", (feed, _encode(state)))

    def _transaction(self, operation: str) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._database, operation, STORE_NAME)


def _order(indicator: Indicator) -> tuple[float, bool]:
    """Return the sort key of a version. At the same time, a withdrawal is the later version."""
    return indicator.modified, indicator.withdrawn


def _values(indicator: Indicator, step: int) -> tuple[Any, ...]:
    ends = indicator.modified if indicator.withdrawn else indicator.valid_until
    return indicator.modified, ends, indicator.withdrawn, step, _encode(indicator)


def _matches_more(old: Indicator, new: Indicator, now: float, longest: float) -> bool:
    """Return True if a version may match past sign-ins that the old version did not match.

    Feeds repeat an address while it remains malicious. Such a repetition matches nothing more.
    """
    ends = old.valid_until
    if ends is None:
        ends = max(old.modified, old.valid_from) + longest
    still_valid = ends >= now
    same = (old.types, old.labels, old.confidence) == (new.types, new.labels, new.confidence)
    return not (same and still_valid and old.valid_from <= new.valid_from)
