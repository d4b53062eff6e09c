"""What could not be read or was refused for good, in a directory: a file of lines for each day."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from schemas.errors import LedgerFailed
from schemas.ports import Quarantined
from schemas.times import iso, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

FOLDER = "quarantine"
KEEP_DAYS = 14
LARGEST_ITEM = 1024 * 1024
"""Bytes of a body that are kept; an event hub message of the Standard tier is no larger."""
LARGEST_FOLDER = 512 * 1024 * 1024
"""Bytes in all; beyond that the oldest day gives way."""


class DirectoryQuarantine:
    """See :class:`schemas.ports.Quarantine`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._size: int | None = None

    async def put(self, items: Sequence[Quarantined]) -> None:
        """Append items to the file of today."""
        lines = b"".join(orjson.dumps(_written(item)) + b"\n" for item in items)
        path = self._folder / f"{datetime.now(UTC):%Y-%m-%d}.ndjson"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._make_room(len(lines), keep=path)
            with path.open("ab") as file:
                file.write(lines)
        except OSError as error:
            raise LedgerFailed(f"the quarantine cannot be written: {error.strerror}") from error

    def _make_room(self, wanted: int, keep: Path) -> None:
        """Remove days that are too old, and the oldest others while there is too much."""
        if self._size is None:
            oldest = f"{datetime.now(UTC) - timedelta(days=KEEP_DAYS):%Y-%m-%d}"
            for path in self._days():
                if path.stem < oldest:
                    path.unlink()
            self._size = sum(path.stat().st_size for path in self._days())
        self._size += wanted
        for path in self._days():
            if self._size <= LARGEST_FOLDER or path == keep:
                break
            self._size -= path.stat().st_size
            path.unlink()

    def _days(self) -> list[Path]:
        return sorted(self._folder.glob("*.ndjson")) if self._folder.is_dir() else []

    def items(self) -> Iterator[Quarantined]:
        """Yield what is kept, oldest first, each thing once."""
        seen: set[str] = set()
        for path in self._days():
            with path.open("rb") as file:
                for line in file:
                    item = _read(line)
                    if item is not None and item.id not in seen:
                        seen.add(item.id)
                        yield item

    def remove(self, ids: Collection[str] | None, before: datetime | None = None) -> int:
        """Remove items by id, or all, or those older than *before*; return how many lines went."""
        removed = 0
        for path in self._days():
            removed += _rewrite(path, lambda item: _goes(item, ids, before))
        self._size = None
        return removed

    async def close(self) -> None:
        """Nothing is held open."""


def _goes(item: Quarantined, ids: Collection[str] | None, before: datetime | None) -> bool:
    return (ids is None or item.id in ids) and (before is None or item.time < before)


def _rewrite(path: Path, goes: Callable[[Quarantined], bool]) -> int:
    removed = 0
    rest = path.with_suffix(".rest")
    with path.open("rb") as file, rest.open("wb") as kept:
        for line in file:
            item = _read(line)
            if item is not None and goes(item):
                removed += 1
            else:
                kept.write(line)
    if rest.stat().st_size:
        rest.replace(path)
    else:
        rest.unlink()
        path.unlink()
    return removed


def _identity(item: Quarantined) -> str:
    digest = hashlib.sha256(item.kind.encode() + b"\0" + item.position.encode() + b"\0" + item.body)
    return digest.hexdigest()[:12]


def _written(item: Quarantined) -> dict[str, Any]:
    body = item.body[:LARGEST_ITEM]
    written: dict[str, Any] = {
        "id": _identity(item),
        "time": iso(item.time),
        "kind": item.kind,
        "reason": item.reason,
        "position": item.position,
        "bytes": len(item.body),
    }
    try:
        written["body"] = body.decode("utf-8")
    except UnicodeDecodeError:
        written["base64"] = base64.b64encode(body).decode("ascii")
    return written


def _read(line: bytes) -> Quarantined | None:
    """Read a line; None for one that a full disk or a crash cut off."""
    try:
        told = orjson.loads(line)
        encoded = told.get("base64")
        body = base64.b64decode(encoded) if encoded else told["body"].encode()
        time = parse_time(told["time"]) or datetime.now(UTC)
        return Quarantined(told["kind"], told["reason"], told["position"], body, time, told["id"])
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
