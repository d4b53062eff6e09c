"""Feeds as the suites of commands use them: settings, recordings and what a command tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tests.servers.taxii import KEY, ROOT
from tests.support.command import Ran, findings_in, signinwatch
from tests.support.sign_ins import lines, message

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.loopback import Loopback

BAD, OTHER, CLEAN = "81.2.69.160", "81.2.69.161", "93.184.216.34"


def feed_at(server: Loopback, name: str = "sekoia", **more: str) -> dict[str, str]:
    """Return the settings of a feed."""
    settings = {
        "URL": server.url + ROOT,
        "COLLECTION": "365fed99-08fa-fdcd-a1b3-fb247eb41d01",
        "USERNAME": "anyone",
        "PASSWORD": KEY,
        **more,
    }
    return {f"FEEDS__{name.upper()}__{setting}": value for setting, value in settings.items()}


def recording(folder: Path, *rows: dict[str, Any], name: str = "events.ndjson") -> Path:
    """Write a recording, a row a message."""
    path = folder / name
    path.write_bytes(lines(*(message(one) for one in rows)))
    return path


def found(ran: Ran, path: Path) -> dict[str, dict[str, Any]]:
    """Return the findings of a replay by address."""
    assert ran.status == 0, ran.err
    return {one["IPAddress"]: one for one in findings_in(path)}


def one_line(shown: str) -> str:
    """Return what a panel says, as one line."""
    return " ".join(shown.replace("│", "").split())


def stored(told: dict[str, Any]) -> dict[str, Any]:
    """Return a record as the replica holds it, which knows no null."""
    return {
        name: stored(value) if isinstance(value, dict) else value
        for name, value in told.items()
        if value is not None and name != "ip"
    }


async def told(*arguments: str | Path, **settings: str) -> list[dict[str, Any]]:
    """Run a command with ``--json`` and return its lines."""
    ran = await signinwatch(*arguments, "--json", settings=settings)
    assert "Traceback" not in ran.err
    return [orjson.loads(line) for line in ran.out.splitlines()]
