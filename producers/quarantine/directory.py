"""The quarantine in a directory: a file of JSON lines for each day."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from schemas.errors import LedgerFailed
from schemas.events.times import iso, parse_time
from schemas.ports import QuarantineItem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
    from pathlib import Path

FOLDER = "quarantine"
KEEP_DAYS = 14
MAX_ITEM_BYTES = 1024 * 1024
"""Maximum stored bytes of a body; the size of a message in the Standard tier."""
MAX_DIRECTORY_BYTES = 512 * 1024 * 1024
"""Maximum total bytes; beyond it the oldest days are deleted."""


class DirectoryQuarantine:
    """See :class:`schemas.ports.Quarantine`. Whole days are deleted, never the current day."""

    def __init__(
        self,
        folder: Path,
        *,
        largest: int = MAX_DIRECTORY_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder / FOLDER
        self._largest = largest
        self._now = now
        self._size: int | None = None
        self._today = ""

    async def put(self, items: Sequence[QuarantineItem]) -> None:
        """Append items to the file of the current day."""
        lines = b"".join(map(line_of, items))
        path = self._folder / f"{day_of(self._now())}.ndjson"
        with _edge("written"):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._make_room(len(lines), keep=path)
            with path.open("ab") as file:
                file.write(b"\n" + lines if _ends_half_way(path) else lines)

    def _make_room(self, wanted: int, keep: Path) -> None:
        """Delete expired days, then the oldest days while the total is too large."""
        if self._size is None or self._today != keep.stem:
            self._today = keep.stem
            oldest = oldest_day(self._now())
            for path in self._days():
                if path.stem < oldest:
                    path.unlink()
            self._size = sum(path.stat().st_size for path in self._days())
        self._size += wanted
        for path in self._days():
            if self._size <= self._largest or path == keep:
                break
            self._size -= path.stat().st_size
            path.unlink()

    def _days(self) -> list[Path]:
        return sorted(self._folder.glob("*.ndjson")) if self._folder.is_dir() else []

    async def probe(self) -> None:
        """Append nothing."""
        await self.put([])

    async def items(self) -> AsyncIterator[QuarantineItem]:
        """Yield the items, oldest first, each once."""
        seen: set[str] = set()
        for path in self._days():
            for line in _lines(path):
                item = read_line(line)
                if item is not None and item.id not in seen:
                    seen.add(item.id)
                    yield item

    async def remove(self, ids: Collection[str] | None, before: datetime | None = None) -> int:
        """Remove items by id, or all; only those older than *before* if given. Return how many."""
        removed: set[str] = set()
        with _edge("written"):
            for path in self._days():
                removed |= _rewrite(path, lambda item: is_selected(item, ids, before))
        self._size = None
        return len(removed)

    async def close(self) -> None:
        """Do nothing; no file stays open."""


@contextmanager
def _edge(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerFailed(f"the quarantine cannot be {doing}: {error.strerror}") from error


def _ends_half_way(path: Path) -> bool:
    """Return True if the last line is incomplete: the next must not be appended to it."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _lines(path: Path) -> Iterator[bytes]:
    with _edge("read"), suppress(FileNotFoundError), path.open("rb") as file:
        yield from file


def _rewrite(path: Path, leaves: Callable[[QuarantineItem], bool]) -> set[str]:
    """Remove the selected lines, and an empty file; return their ids."""
    removed: set[str] = set()
    rest = path.with_suffix(".rest")
    with path.open("rb") as file, rest.open("wb") as kept:
        for line in file:
            item = read_line(line)
            if item is not None and leaves(item):
                removed.add(item.id)
            else:
                kept.write(line)
    if rest.stat().st_size:
        rest.replace(path)
    else:
        rest.unlink()
        path.unlink()
    return removed


# --- shared by all quarantines ---


def day_of(timestamp: float) -> str:
    """Return the day under which items of *timestamp* are stored."""
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d}"


def oldest_day(now: float) -> str:
    """Return the oldest day that is kept."""
    return f"{datetime.fromtimestamp(now, UTC) - timedelta(days=KEEP_DAYS):%Y-%m-%d}"


def is_selected(item: QuarantineItem, ids: Collection[str] | None, before: datetime | None) -> bool:
    """Return True if ``remove(ids, before)`` selects *item*."""
    return (ids is None or item.id in ids) and (before is None or item.time < before)


def line_of(item: QuarantineItem) -> bytes:
    """Return *item* as a JSON line, its body cut to :data:`MAX_ITEM_BYTES`.

    The id depends on kind, position and the whole body: the same item has the same id.
    """
    body = item.body[:MAX_ITEM_BYTES]
    written: dict[str, Any] = {
        "id": _identity(item),
        "time": iso(item.time),
        "kind": item.kind,
        "reason": _encodable(item.reason),
        "position": _encodable(item.position),
        "bytes": len(item.body),
    }
    try:
        written["body"] = body.decode("utf-8")
    except UnicodeDecodeError:
        written["base64"] = base64.b64encode(body).decode("ascii")
    return orjson.dumps(written) + b"\n"


def bodies_of(items: Sequence[QuarantineItem], full: int) -> Iterator[bytes]:
    """Yield the lines of *items* in parts of at most *full* bytes; a longer line is alone."""
    lines: list[bytes] = []
    size = 0
    for line in map(line_of, items):
        if lines and size + len(line) > full:
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield b"".join(lines)


def _identity(item: QuarantineItem) -> str:
    place = f"{item.kind}\0{_encodable(item.position)}\0"
    return hashlib.sha256(place.encode() + item.body).hexdigest()[:12]


def _encodable(text: str) -> str:
    """Replace characters without a UTF-8 form, as in file names."""
    return text.encode("utf-8", "replace").decode("utf-8")


def read_line(line: bytes) -> QuarantineItem | None:
    """Return the item of a line; None for a truncated or foreign line."""
    try:
        result = orjson.loads(line)
        encoded = result.get("base64")
        body = base64.b64decode(encoded) if encoded else result["body"].encode()
        texts = [result[name] for name in ("kind", "reason", "position", "id")]
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    if not all(isinstance(text, str) for text in texts):
        return None
    kind, reason, position, id_ = texts
    timestamp = parse_time(result.get("time")) or datetime.now(UTC)
    return QuarantineItem(kind, reason, position, body, timestamp, id_)
