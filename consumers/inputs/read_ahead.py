"""Recordings read in a thread of their own, so that waiting for a pipe stops nothing else.

A read from a pipe may take for ever and cannot be interrupted. The thread is a daemon: a command
that is told to end need not wait for it.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from consumers.inputs.recording import read_recording
from schemas.errors import RecordingUnreadable, SigninwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.ports import Message

MAX_READ_AHEAD_BYTES = 16 * 1024 * 1024
MAX_READ_AHEAD_MESSAGES = 10_000
"""What is read ahead."""


class ReadAhead:
    """Reads recordings one after the other. To be made inside a running event loop."""

    def __init__(self, names: Sequence[str], progress: Callable[[int], None]) -> None:
        """*progress* is told of bytes read, in another thread."""
        self.unreadable: list[str] = []
        """Recordings that stopped being readable: what is wrong, one line each."""
        self._names = names
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._there = asyncio.Event()
        self._room = threading.Condition()
        self._read: list[Message] = []
        self._bytes = 0
        self._ended = False
        self._stopped = False
        self._error: SigninwatchError | None = None
        threading.Thread(target=self._run, name="read-ahead", daemon=True).start()

    async def next_batch(self, seconds: float | None) -> list[Message] | None:
        """Return what was read; empty if nothing comes within *seconds*, None at the end.

        ConfigurationError when a recording cannot be opened.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._there.wait()
        except TimeoutError:
            return []
        with self._room:
            taken, self._read, self._bytes = self._read, [], 0
            if not self._ended:
                self._there.clear()
            self._room.notify()
        if taken or not self._ended:
            return taken
        if self._error is not None:
            raise self._error
        return None

    def stop(self) -> None:
        """Have the thread end as soon as its read does."""
        with self._room:
            self._stopped = True
            self._room.notify()

    def _run(self) -> None:
        try:
            for name in self._names:
                self._read_one(name)
        except SigninwatchError as error:
            self._error = error
        except _Stopped:
            return
        with self._room:
            self._ended = True
        self._tell()

    def _read_one(self, name: str) -> None:
        try:
            for message in read_recording(name, self._progress):
                with self._room:
                    while (
                        self._bytes > MAX_READ_AHEAD_BYTES
                        or len(self._read) >= MAX_READ_AHEAD_MESSAGES
                    ):
                        if self._stopped:
                            raise _Stopped
                        self._room.wait()
                    if self._stopped:
                        raise _Stopped
                    first = not self._read
                    self._read.append(message)
                    self._bytes += len(message.body)
                if first:
                    self._tell()
        except RecordingUnreadable as error:
            self.unreadable.append(str(error))

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._there.set)
        except RuntimeError:  # the loop is closed: nobody wants to know any more
            raise _Stopped from None


class _Stopped(Exception):
    """Nobody wants more."""
