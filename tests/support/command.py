"""Running ``signinwatch`` the way a user does: a process of its own."""

from __future__ import annotations

import asyncio
import atexit
import os
from dataclasses import dataclass
from functools import cache
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import orjson

from tests.servers.crowdsec import KEY
from tests.servers.ingestion import RULE
from tests.support.fork_server import ForkServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


PATIENCE = 100.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    status: int
    out: bytes
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        """The JSON object of ``--summary -``."""
        told: dict[str, Any] = orjson.loads(self.out.splitlines()[-1])
        return told


async def signinwatch(
    *arguments: str | Path, stdin: bytes = b"", settings: Mapping[str, str] | None = None
) -> Ran:
    """Run a command; *settings* are environment variables without their prefix."""
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    environment |= {f"SIGNINWATCH_{name}": value for name, value in (settings or {}).items()}
    return await asyncio.to_thread(
        _run, [str(argument) for argument in arguments], stdin, environment
    )


def _run(arguments: list[str], stdin: bytes, environment: Mapping[str, str]) -> Ran:
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        status = fork_server().run(arguments, environment, (given, out, err), PATIENCE)
        out.seek(0)
        err.seek(0)
        return Ran(status, out.read(), err.read().decode())


@cache
def fork_server() -> ForkServer:
    """Start the process from which commands are forked, once."""
    server = ForkServer()
    atexit.register(server.close)
    return server


async def replay(recording: Path, *arguments: str | Path, **settings: str) -> Ran:
    """Replay with ``--summary -`` and a quota to spare, unless told otherwise."""
    if "--force" not in arguments:
        arguments = (*arguments, "--force")
    if "--quota" not in arguments:
        arguments = (*arguments, "--quota", "100000")
    return await signinwatch("replay", recording, "--summary", "-", *arguments, settings=settings)


def crowdsec_at(url: str, key: str = KEY, **more: str) -> dict[str, str]:
    """Return the settings for a loopback CrowdSec."""
    return {"CROWDSEC__URL": f"{url}/v2", "CROWDSEC__API_KEY": key, **more}


def logs_at(url: str) -> dict[str, str]:
    """Return the settings for a loopback ingestion service."""
    return {"LOGS__ENDPOINT": url, "LOGS__RULE_ID": RULE}


def findings_in(path: Path) -> list[dict[str, Any]]:
    """Read a file of findings."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]
