"""``signinwatch run`` as a process, with all its peers on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import aiohttp

from tests.support.command import crowdsec_at, fork_server, logs_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from tests.support.fork_server import ForkedProcess

PATIENCE = 100.0


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def until(
    condition: Callable[[], bool | Awaitable[bool]],
    what: str,
    seconds: float = PATIENCE,
    *,
    every: float = 0.05,
) -> float:
    """Wait until *condition* holds, and return how long it took; fail with *what*.

    *every* is the pause between two looks, in seconds: a look takes CPU from what is measured.
    """
    started = time.monotonic()
    while True:
        holds = condition()
        if not isinstance(holds, bool):
            holds = await holds
        waited = time.monotonic() - started
        if holds:
            return waited
        assert waited < seconds, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(every)


@dataclass
class Running:
    """One instance; use as an async context manager, which kills what still runs."""

    settings: Mapping[str, str]
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | ForkedProcess | None = None
    forked: ClassVar[bool] = False
    """Whether it is a copy of a process that has imported everything: right where the start-up is
    not the point, wrong where CPU or memory is measured."""
    said: bytearray = field(default_factory=bytearray)
    _reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        environment = dict(os.environ)
        own = {"HTTP__HOST": "127.0.0.1", "HTTP__PORT": str(self.port), **self.settings}
        environment |= {f"SIGNINWATCH_{name}": value for name, value in own.items()}
        environment |= self.environment
        if self.forked:
            self.process = await fork_server().start([*self.arguments, "run"], environment)
        else:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-W", "error", "-m", "consumers.cli", *self.arguments, "run"),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
            )
        self._reader = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        while part := await self.process.stderr.read(65_536):
            self.said += part

    async def __aexit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.kill()
        await self.process.wait()
        assert self._reader is not None
        await self._reader

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return self.said.decode()

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self.process is not None
        self.process.kill()

    def stop(self) -> None:
        """Stop it where it is, with SIGSTOP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on, with SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def terminate(self, seconds: float = 30.0) -> int:
        """Send SIGTERM; return the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), seconds)

    async def exited(self, seconds: float = 30.0) -> int:
        """Wait until it ends by itself; return the exit status."""
        assert self.process is not None
        status = await asyncio.wait_for(self.process.wait(), seconds)
        assert self._reader is not None
        await self._reader
        return status

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of one of its endpoints; 0 while nobody listens."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.port}{path}") as response,
            ):
                return response.status, await response.read()
        except aiohttp.ClientConnectionError:
            return 0, b""

    async def ready(self) -> bool:
        """Tell whether it is ready, and nothing keeps sign-ins from being judged."""
        import orjson

        status, body = await self.get("/readyz")
        return status == 200 and bool(orjson.loads(body)["healthy"])

    async def reasons(self) -> dict[str, dict[str, Any]]:
        """Return what is wrong, by code."""
        import orjson

        status, body = await self.get("/readyz")
        found = orjson.loads(body)["reasons"] if status else []
        return {one["code"]: one for one in found}

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a measurement's values that have these labels."""
        _, body = await self.get("/metrics")
        total = 0.0
        for line in body.decode().splitlines():
            if line.startswith(f"signinwatch_{name}"):
                head, _, value = line.rpartition(" ")
                bare = head.partition("{")[0].removeprefix("signinwatch_")
                if bare in (name, f"{name}_total") and all(
                    f'{label}="{text}"' in head for label, text in labels.items()
                ):
                    total += float(value)
        return total


def run_settings(
    *,
    hub: str,
    storage: str,
    crowdsec: str,
    ingestion: str,
    state: Path | None = None,
    **more: str,
) -> dict[str, str]:
    """Return settings for a service among loopback peers; a container and table of its own."""
    own = uuid.uuid4().hex[:12]
    settings = {
        "EVENTHUB__CONNECTION_STRING": hub,
        "EVENTHUB__NAME": "signins",
        "EVENTHUB__BALANCE_INTERVAL": "1",
        "EVENTHUB__OWNERSHIP_EXPIRY": "6",
        "CHECKPOINT__CONNECTION_STRING": storage,
        "CHECKPOINT__CONTAINER": f"c{own}",
        "CHECKPOINT__CREATE": "true",
        "SERVICE__CHECKPOINT_INTERVAL": "0.5",
        "CROWDSEC__MONTHLY_QUOTA": "100000",
        **crowdsec_at(crowdsec),
        **logs_at(ingestion),
    }
    if state is not None:
        settings["STATE__DIR"] = str(state)
    else:
        settings |= {"STATE__CONNECTION_STRING": storage, "STATE__TABLE": f"t{own}"}
    return settings | more
