"""Reads recordings in a separate thread, so that waiting for a pipe blocks nothing else.

A read from a pipe may take forever and cannot be interrupted. The thread is a daemon, so that a
command can exit without waiting for it.
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
"""Maximum messages read ahead."""


class ReadAhead:
    """Reads recordings in sequence. Create it inside a running event loop."""

    def __init__(self, names: Sequence[str], progress: Callable[[int], None]) -> None:
        """*progress* receives the number of bytes read, in the reading thread."""
        self.unreadable: list[str] = []
        """Errors of recordings that became unreadable, one line each."""
        self._names = names
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._available = asyncio.Event()
        self._condition = threading.Condition()
        self._messages: list[Message] = []
        self._bytes = 0
        self._ended = False
        self._stopped = False
        self._error: SigninwatchError | None = None
        threading.Thread(target=self._run, name="read-ahead", daemon=True).start()

    async def next_batch(self, seconds: float | None) -> list[Message] | None:
        """Return the messages read; empty after *seconds* without any, None at the end.

        Raises ConfigurationError if a recording cannot be opened.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._available.wait()
        except TimeoutError:
            return []
        with self._condition:
            taken, self._messages, self._bytes = self._messages, [], 0
            if not self._ended:
                self._available.clear()
            self._condition.notify()
        if taken or not self._ended:
            return taken
        if self._error is not None:
            raise self._error
        return None

    def stop(self) -> None:
        """Make the thread exit after its current read."""
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def _run(self) -> None:
        try:
            for name in self._names:
                self._read_recording(name)
        except SigninwatchError as error:
            self._error = error
        except _Stopped:
            return
        with self._condition:
            self._ended = True
        self._notify()

    def _read_recording(self, name: str) -> None:
        try:
            for message in read_recording(name, self._progress):
                with self._condition:
                    while (
                        self._bytes > MAX_READ_AHEAD_BYTES
                        or len(self._messages) >= MAX_READ_AHEAD_MESSAGES
                    ):
                        if self._stopped:
                            raise _Stopped
                        self._condition.wait()
                    if self._stopped:
                        raise _Stopped
                    first = not self._messages
                    self._messages.append(message)
                    self._bytes += len(message.body)
                if first:
                    self._notify()
        except RecordingUnreadable as error:
            self.unreadable.append(str(error))

    def _notify(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._available.set)
        except RuntimeError:  # the loop is closed: there is no reader any more
            raise _Stopped from None


class _Stopped(Exception):
    """Stops the thread."""
