"""Starts commands as copies of a process that has imported everything already.

An import takes most of the CPU time of a short command. Each command still is a process of its own,
with its own environment and files. ``python -m tests.support.fork_server SOCKET`` serves until
standard input ends.
"""

from __future__ import annotations

import asyncio
import os
import pkgutil
import signal
import socket
import sys
import tempfile
import threading
import time
from importlib import import_module
from pathlib import Path
from select import select
from subprocess import PIPE, Popen
from typing import IO, TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACKAGES = ("consumers", "producers", "schemas")
MAX_REQUEST_BYTES = 10_000_000


class ForkServer:
    """The server's process, and commands run by it. It ends with this process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fork-")
        self._path = f"{self._folder.name}/socket"
        self._process = Popen(
            [sys.executable, "-W", "error", "-m", __name__, self._path], stdin=PIPE, stdout=PIPE
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        files: tuple[IO[bytes], IO[bytes], IO[bytes]],
        seconds: float,
    ) -> int:
        """Run a command with these standard files; return its exit status."""
        with self._asked(arguments, environment, [file.fileno() for file in files]) as connection:
            connection.settimeout(seconds)
            with connection.makefile("rb") as lines:
                process = int(lines.readline())
                try:
                    return int(lines.readline())
                except TimeoutError:
                    os.kill(process, signal.SIGKILL)
                    raise

    def _asked(
        self, arguments: Sequence[str], environment: Mapping[str, str], files: Sequence[int]
    ) -> socket.socket:
        request = orjson.dumps(
            {"arguments": arguments, "environment": environment, "folder": str(Path.cwd())}
        )
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._path)
        socket.send_fds(connection, [len(request).to_bytes(4, "big")], files)
        connection.sendall(request)
        return connection

    async def start(
        self, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> ForkedProcess:
        """Start a command without standard input; its standard error can be read."""
        end, write = os.pipe()
        nothing = os.open(os.devnull, os.O_RDWR)
        connection = self._asked(arguments, environment, [nothing, nothing, write])
        os.close(nothing)
        os.close(write)
        status, writer = await asyncio.open_connection(sock=connection)
        stderr = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stderr), os.fdopen(end, "rb")
        )
        return ForkedProcess(int(await status.readline()), stderr, status, writer)

    def close(self) -> None:
        """End the server."""
        self._process.communicate()
        self._folder.cleanup()


class ForkedProcess:
    """A command that was started; what tests use of ``asyncio.subprocess.Process``."""

    def __init__(
        self,
        pid: int,
        stderr: asyncio.StreamReader,
        status: asyncio.StreamReader,
        connection: asyncio.StreamWriter,
    ) -> None:
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None
        self._connection = connection
        self._ended = asyncio.create_task(self._status(status))

    async def _status(self, status: asyncio.StreamReader) -> int:
        self.returncode = int(await status.readline())
        self._connection.close()
        return self.returncode

    async def wait(self) -> int:
        """Return the exit status when it has ended; minus the number of the signal that did it."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _import_everything() -> None:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)


def _received(connection: socket.socket) -> tuple[list[int], dict[str, object]]:
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    wanted, request = int.from_bytes(size, "big"), b""
    while len(request) < wanted:
        request += connection.recv(min(MAX_REQUEST_BYTES, wanted - len(request)))
    return files, orjson.loads(request)


def _serve(path: str) -> None:
    """Return in the processes of commands, ready to run them; never in the server."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        print("ready", flush=True)
        while True:
            if sys.stdin.fileno() in select([server, sys.stdin.fileno()], [], [])[0]:
                os._exit(0)  # who started this is gone
            connection, _ = server.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    files, request = _received(connection)
    command = os.fork()
    if command:  # tells the status of the command
        connection.sendall(b"%d\n" % command)
        _, status = os.waitpid(command, 0)
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(str(request["folder"]))
    os.environ.clear()
    environment, arguments = request["environment"], request["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["signinwatch", *arguments]


if __name__ == "__main__":
    _import_everything()
    assert threading.active_count() == 1, "a copy would lack the other threads"
    from consumers.cli import main

    _serve(sys.argv[1])
    main()
