"""Commands as the suites of hostile servers run them: no secret is told, and the sums are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tests.support.command import Ran, findings_in, replay, signinwatch
from tests.support.sign_ins import lines, message

if TYPE_CHECKING:
    from pathlib import Path

BAD, OTHER = "81.2.69.160", "81.2.69.161"
PASSWORD, KEY = "a-password-to-keep", "a-key-to-keep"


async def synced(state: Path, settings: dict[str, str]) -> tuple[Ran, list[dict[str, Any]]]:
    """Run ``feeds sync``; see that no secret and no traceback is told."""
    ran = await signinwatch(
        "--verbose", "feeds", "sync", "--json", "--state", state, settings=settings
    )
    told = ran.out.decode() + ran.err
    assert "Traceback" not in told
    assert PASSWORD not in told
    assert KEY not in told
    return ran, [orjson.loads(line) for line in ran.out.splitlines()]


async def replayed(folder: Path, *rows: dict[str, Any], **settings: str) -> Ran:
    """Replay rows with the folder's state and findings; see that the sums are right."""
    recording = folder / "events.ndjson"
    recording.write_bytes(lines(*(message(one) for one in rows)))
    ran = await replay(
        recording, "--findings", folder / "found", "--state", folder / "state", **settings
    )
    assert ran.status == 0, ran.err
    told = ran.summary
    assert told["records"] == told["rejected"] + told["skipped"] + told["signins"] == len(rows)
    return ran


def found(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the findings of :func:`replayed`, by address."""
    return {one["IPAddress"]: one for one in findings_in(folder / "found")}
