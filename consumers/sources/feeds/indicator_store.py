"""The indicators of all feeds in one SQLite file: by id for updates, by address for matching.

One process at a time owns a file; other processes may open it read-only. Instances that share a
ledger each have their own file, filled from the feed's snapshot.
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
from consumers.sources.feeds.indicator_versions import extending_keys, live_keys, order, succeeding
from schemas.errors import StateRefused
from schemas.intel.indicators import Indicator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

KEEP_ENDED_SECONDS = 45 * 86_400.0
"""How long an ended indicator is kept, for late events, log exports, and older versions of it."""
WRITE_BATCH = 400
NO_STEP = 2**62
"""The step of an indicator whose page is not published and will be read again."""
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
    generation: str = ""
    """Names the sequence of steps. An instance that begins without the others' has its own."""
    published: int = 0
    """The last step that all instances agree on: steps after it may be read again by another."""
    skipped: dict[str, int] = {}
    """Skipped objects, by reason."""
    samples: dict[str, str] = {}
    """One skipped object for each reason."""
    notes: list[str] = []
    """What is wrong with the server's paging, by the last page."""


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
    """Keys without any indicator."""


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
            older, newer = sorted((known or indicator, indicator), key=order)
            latest[indicator.id] = succeeding(older if known else None, newer)
        ids = list(latest)
        with edge("reading indicators", STORE_NAME):
            for start in range(0, len(ids), WRITE_BATCH):
                batch = ids[start : start + WRITE_BATCH]
                marks = ",".join("?" * len(batch))
                for id_, modified, withdrawn in self._database.execute(
                    "SELECT id, modified, withdrawn FROM indicators "  # noqa: S608
                    f"WHERE feed = ? AND step < ? AND id IN ({marks})",
                    (feed, NO_STEP, *batch),
                ):
                    if (modified, bool(withdrawn)) >= order(latest[id_]):
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
            "SELECT number, modified, withdrawn, body, step FROM indicators "
            "WHERE feed = ? AND id = ?",
            (feed, indicator.id),
        ).fetchone()
        old = None if before is None else _indicator.decode(before[3])
        if before is not None:
            known = before[1], bool(before[2])
            if known > order(indicator) or (known == order(indicator) and before[4] < NO_STEP):
                applied.stale += 1
                return
        indicator = succeeding(old, indicator)
        if old is not None and indicator.withdrawn and not indicator.keys:
            indicator = replace(indicator, keys=old.keys)  # keys to retract
        extending = extending_keys(old, indicator, now=applied.now, longest=applied.longest)
        if before is None:
            number = self._insert(feed, indicator, step)
            applied.new += 1
        else:
            number = before[0]
            self._update(number, indicator, step, extended=bool(extending))
            applied.changed += 1
        self._index_keys(number, indicator)
        applied.keys |= extending
        applied.gone |= live_keys(old) - live_keys(indicator)
        applied.withdrawn += indicator.withdrawn

    def _insert(self, feed: str, indicator: Indicator, step: int) -> int:
        inserted = self._database.execute(
            "INSERT INTO indicators (feed, id, modified, ends, withdrawn, step, body, extended) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (feed, indicator.id, *_values(indicator, step), step),
        )
        return inserted.lastrowid or 0

    def _update(self, number: int, indicator: Indicator, step: int, *, extended: bool) -> None:
        self._database.execute(
            "UPDATE indicators SET modified = ?, ends = ?, withdrawn = ?, step = ?, body = ?, "
            "extended = iif(? OR extended = ?, ?, extended) WHERE number = ?",
            (*_values(indicator, step), extended, NO_STEP, step, number),
        )
        self._database.execute("DELETE FROM keys WHERE number = ?", (number,))

    def _index_keys(self, number: int, indicator: Indicator) -> None:
        self._database.executemany(
            "INSERT OR IGNORE INTO keys VALUES (?, ?)",
            [(key, number) for key in live_keys(indicator)],
        )

    def _delete(self, number: int) -> set[str]:
        """Delete an indicator; return its keys."""
        run = self._database.execute
        keys = {key for (key,) in run("SELECT key FROM keys WHERE number = ?", (number,))}
        run("DELETE FROM keys WHERE number = ?", (number,))
        run("DELETE FROM indicators WHERE number = ?", (number,))
        return keys

    def unpublish(self, feed: str, published: int) -> None:
        """Take the steps after *published* back: another instance reads the feed from there.

        Their indicators stay in use. They get another step when they come again; see
        :meth:`delete_unpublished` for those that do not.
        """
        with self._transaction("storing a feed") as database:
            for column in ("step", "extended"):
                database.execute(
                    f"UPDATE indicators SET {column} = ? "  # noqa: S608
                    f"WHERE feed = ? AND {column} > ?",
                    (NO_STEP, feed, published),
                )

    def delete_unpublished(self, feed: str) -> set[str]:
        """Delete what was taken back and has not come again; return keys that nothing has now."""
        gone: set[str] = set()
        with self._transaction("deleting indicators") as database:
            query = "SELECT number FROM indicators WHERE feed = ? AND step = ?"
            for (number,) in database.execute(query, (feed, NO_STEP)).fetchall():
                gone |= self._delete(number)
        return {key for key in gone if not self._has_key(key)}

    def forget_feed(self, feed: str) -> None:
        """Delete a feed and its indicators."""
        with self._transaction("deleting a feed") as database:
            database.execute(
                "DELETE FROM keys WHERE number IN (SELECT number FROM indicators WHERE feed = ?)",
                (feed,),
            )
            database.execute("DELETE FROM indicators WHERE feed = ?", (feed,))
            database.execute("DELETE FROM feeds WHERE name = ?", (feed,))

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

        Steps are never split; a step ends the result once it has *most* indicators. Steps that
        are not published yet are left out.
        """
        return self._since("step", feed, step, most)

    def extended_since(self, feed: str, step: int, most: int) -> tuple[int, list[Indicator]]:
        """Return as :meth:`since` the indicators that have matched more sign-ins since then."""
        return self._since("extended", feed, step, most)

    def _since(self, column: str, feed: str, step: int, most: int) -> tuple[int, list[Indicator]]:
        found: list[Indicator] = []
        last = step
        published = self.state(feed).published
        with edge("reading indicators", STORE_NAME):
            for number, body in self._database.execute(
                f"SELECT {column}, body FROM indicators "  # noqa: S608
                f"WHERE feed = ? AND {column} > ? AND {column} <= ? ORDER BY {column}",
                (feed, step, published),
            ):
                if len(found) >= most and number != last:
                    break
                last = number
                found.append(_indicator.decode(body))
            else:
                last = max(step, published)
        return last, found

    def all_of(self, feed: str, after: int = 0) -> Iterator[tuple[int, Indicator]]:
        """Yield step and indicator for the indicators of the steps after a step, in order."""
        with edge("reading indicators", STORE_NAME):
            for step, body in self._database.execute(
                "SELECT step, body FROM indicators "
                "WHERE feed = ? AND step > ? AND step < ? ORDER BY step",
                (feed, after, NO_STEP),
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


def _values(indicator: Indicator, step: int) -> tuple[Any, ...]:
    ends = indicator.modified if indicator.withdrawn else indicator.valid_until
    return indicator.modified, ends, indicator.withdrawn, step, _encode(indicator)
