"""Answers that were paid for, kept between commands by the time of this machine.

A replay that is repeated, or a lookup of the same address, asks nothing twice, whatever clock it
runs by; and all commands together never ask for more than the real period's quota. The service does
not need it: its ledger keeps both.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from schemas.errors import ConfigurationError, QuotaSpent, SourceFailed
from schemas.intel.verdicts import AddressClass, Intel, Reputation
from schemas.ports import Source, SourceVerdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (address TEXT PRIMARY KEY, until REAL, body BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (period INTEGER PRIMARY KEY, lookups INTEGER NOT NULL);
"""
_BUSY_SECONDS = 30.0
_AT_ONCE = 500


class _PaidAnswer(msgspec.Struct, array_like=True, frozen=True):
    """An answer as it is stored."""

    reputation: Reputation
    intel: Intel
    address_class: AddressClass


_decoder = msgspec.msgpack.Decoder(_PaidAnswer)


def _read(body: bytes) -> SourceVerdict:
    answer = _decoder.decode(body)
    return SourceVerdict(answer.reputation, answer.intel, answer.address_class)


def _written(answer: SourceVerdict) -> bytes:
    kept = _PaidAnswer(answer.reputation, answer.intel, answer.address_class)
    return msgspec.msgpack.encode(kept)


def file_of(folder: Path, url: str, key: str) -> Path:
    """Return the file for a source and a key, which its name does not tell."""
    return folder / f"{hashlib.sha256(f'{url} {key}'.encode()).hexdigest()[:24]}.sqlite"


class PaidAnswers:
    """The answers of one source and key, and the lookups of each period, in a file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. ConfigurationError if that is impossible."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._database.executescript(_SCHEMA)
            path.chmod(0o600)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"{path.parent}: what was paid for cannot be kept here: {error}; set "
                "SIGNINWATCH_STATE__DIR, or use --forget-paid"
            ) from None

    def find(self, addresses: Iterable[str], now: float) -> dict[str, SourceVerdict]:
        """Return the answers that are still valid."""
        wanted = list(addresses)
        found: dict[str, SourceVerdict] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            query = f"SELECT address, body FROM answers WHERE until > ? AND address IN ({marks})"  # noqa: S608
            rows = self._database.execute(query, (now, *part))
            found |= {address: _read(body) for address, body in rows}
        return found

    def keep(self, answers: Mapping[str, tuple[SourceVerdict, float]], now: float) -> None:
        """Keep answers, each until a time; drop those that have expired."""
        rows = [(address, until, _written(answer)) for address, (answer, until) in answers.items()]
        self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
        self._database.execute("DELETE FROM answers WHERE until <= ?", (now,))

    def reserve(self, period: float, count: int, quota: int) -> bool:
        """Count lookups of a period; return False, and count nothing, beyond the quota."""
        with closing(self._database.cursor()) as cursor:
            cursor.execute("INSERT OR IGNORE INTO spent VALUES (?, 0)", (int(period),))
            cursor.execute(
                "UPDATE spent SET lookups = lookups + ? WHERE period = ? AND lookups + ? <= ?",
                (count, int(period), count, quota),
            )
            return cursor.rowcount == 1

    def release(self, period: float, count: int) -> None:
        """Take back lookups that the source did not count."""
        self._database.execute(
            "UPDATE spent SET lookups = lookups - ? WHERE period = ?", (count, int(period))
        )

    def forget(self, addresses: Iterable[str]) -> int:
        """Delete the answers on addresses; return how many there were."""
        rows = [(address,) for address in addresses]
        return self._database.executemany("DELETE FROM answers WHERE address = ?", rows).rowcount

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class KeepingSource(Source):
    """A source that answers from what was paid for, and asks another one for the rest."""

    def __init__(
        self,
        source: Source,
        kept: PaidAnswers,
        *,
        quota: int,
        period_of: Callable[[float], float],
        lifetime_of: Callable[[SourceVerdict], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        """*quota* is that of the key, in the period that began at ``period_of(now)``."""
        self.name, self.settings, self.batch_size = source.name, source.settings, source.batch_size
        self.answered = 0
        """Addresses that cost nothing."""
        self.unasked = 0
        """Requests that were not made."""
        self._source = source
        self._kept = kept
        self._quota = quota
        self._period_of = period_of
        self._lifetime_of = lifetime_of
        self._now = now

    @override
    async def look_up(self, addresses: Sequence[str]) -> dict[str, SourceVerdict]:
        now = self._now()
        found = self._kept.find(addresses, now)
        missing = [address for address in addresses if address not in found]
        if not missing:
            self.answered += len(found)
            self.unasked += 1
            return found
        period = self._period_of(now)
        if not self._kept.reserve(period, len(missing), self._quota):
            raise QuotaSpent("the lookups of the period are spent", counted=False)
        try:
            answers = await self._source.look_up(missing)
        except SourceFailed as error:
            self.batch_size = self._source.batch_size
            if not error.counted:
                self._kept.release(period, len(missing))
            else:
                self.answered += len(found)
            raise
        self.answered += len(found)
        self._kept.keep(
            {it: (answers[it], now + self._lifetime_of(answers[it])) for it in answers}, now
        )
        return found | answers

    @override
    def use_key(self, key: str) -> None:
        self._source.use_key(key)

    @override
    async def close(self) -> None:
        self._kept.close()
        await self._source.close()
