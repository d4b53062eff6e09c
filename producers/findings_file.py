"""A sink for JSON Lines in a file or on standard output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import orjson

from schemas.errors import ConfigurationError, SinkHeldBack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.rows.findings import FindingRow


def open_for_writing(name: str, *, append: bool) -> BinaryIO:
    """Open a file that outlives the current block."""
    return Path(name).open("ab" if append else "wb")


class FileSink:
    """See :class:`schemas.ports.Sink`. Overwrites the file, or appends to it.

    ``-`` is standard output.
    """

    def __init__(self, name: str, *, append: bool = False) -> None:
        """ConfigurationError when the file cannot be written."""
        self._name = name
        if name == "-" and sys.stdout is None:
            raise ConfigurationError("--findings -: standard output is closed")
        try:
            self._file: BinaryIO = (
                sys.stdout.buffer if name == "-" else open_for_writing(name, append=append)
            )
        except OSError as error:
            raise ConfigurationError(f"--findings {name}: {error.strerror}") from None

    async def send(self, rows: Sequence[FindingRow]) -> list[tuple[FindingRow, str]]:
        """Write *rows*; nothing is ever rejected."""
        try:
            self._file.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))
            self._file.flush()
        except OSError as error:
            raise SinkHeldBack(
                f"--findings {self._name}: {error.strerror}", remedy="make room and run again"
            ) from None
        return []

    async def close(self) -> None:
        """Close the file."""
        if self._name != "-":
            self._file.close()
