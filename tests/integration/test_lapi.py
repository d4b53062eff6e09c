"""The decisions of a CrowdSec engine as a local source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from consumers.sources.crowdsec.lapi import duration_of
from tests.recorded import OTHER_V4, V4, V6
from tests.servers.lapi import LAPI_KEY, Lapi, decision
from tests.support.command import Ran, findings_in, replay, signinwatch
from tests.support.sign_ins import lines, message, row

if TYPE_CHECKING:
    from pathlib import Path


def engine_at(url: str, key: str = LAPI_KEY) -> dict[str, str]:
    """Return the settings of an engine."""
    return {"CROWDSEC__LAPI__URL": url, "CROWDSEC__LAPI__API_KEY": key}


async def judged(tmp_path: Path, *events: tuple[str, str], **settings: str) -> set[str]:
    """Replay successes, each from an address; return the events that became findings."""
    recording, path = tmp_path / "recording.ndjson", tmp_path / "found.jsonl"
    rows = [row(address, Id=event) for event, address in events]
    for one in rows:
        if one["Id"].startswith("later"):
            soon = datetime.now(UTC) + timedelta(hours=1)
            one["CreatedDateTime"] = one["TimeGenerated"] = f"{soon:%Y-%m-%dT%H:%M:%SZ}"
    recording.write_bytes(lines(*map(message, rows)))
    state = str(tmp_path / "state")
    ran = await replay(recording, "--findings", path, "--quota", "0", "--state", state, **settings)
    assert ran.status == 0, ran.err
    found = findings_in(path)
    assert all(it["Sources"] == ["crowdsec-lapi"] for it in found)
    return {f"{it['EventId']} {it['Severity']}" for it in found}


async def synced(tmp_path: Path, **settings: Any) -> Ran:
    """Read the decisions now."""
    return await signinwatch("feeds", "sync", "--state", tmp_path / "state", settings=settings)


async def test_decisions_are_found_changed_and_deleted(tmp_path: Path) -> None:
    """All at the start, then what is new and what was deleted."""
    engine = Lapi()
    engine.add(
        decision(V4, 1),
        decision("93.184.216.0/24", 2, type="captcha"),
        decision("DE", 3, scope="Country"),
        decision("10.0.0.1", 4),
    )
    events = (("a", V4), ("b", OTHER_V4), ("c", V6))
    async with engine.server() as server:
        settings = engine_at(server.url)
        assert await judged(tmp_path, *events, **settings) == {"a High", "b Medium"}
        engine.add(decision(V6, 5))
        engine.delete(1)
        assert (await synced(tmp_path, **settings)).status == 0
        assert engine.asked == ["true", "false"]
        status = await signinwatch(
            "feeds", "status", "--json", "--state", tmp_path / "state", settings=settings
        )
        assert b'"crowdsec-lapi"' in status.out
        later = [(f"{event}+", address) for event, address in events]
        found = await judged(tmp_path, *later, **settings)
        late = {"c High"}
        assert found == {"a+ High", "b+ Medium", "c+ High"} | late, "it holds for then"
        expected = {"later c High"}
        found = await judged(tmp_path, ("later a", V4), ("later c", V6), **settings)
        assert found == expected, "a decision that was deleted has ended, another has not"


@pytest.mark.parametrize(
    ("body", "key", "text"),
    [
        (None, "wrong", "key is not accepted"),
        (b"<html>", LAPI_KEY, "broken JSON"),
        (b"[]", LAPI_KEY, "sends no decisions"),
    ],
)
async def test_an_engine_that_refuses_leaves_what_is_stored(
    tmp_path: Path, body: bytes | None, key: str, text: str
) -> None:
    """And is told."""
    engine = Lapi()
    engine.add(decision(V4, 1))
    async with engine.server() as server:
        assert await judged(tmp_path, ("a", V4), **engine_at(server.url)) == {"a High"}
        engine.body = body
        ran = await synced(tmp_path, **engine_at(server.url, key))
        assert ran.status != 0
        assert text in " ".join((ran.out.decode() + ran.err).split())
        assert key not in ran.err or key == LAPI_KEY
        assert await judged(tmp_path, ("b", V4), **engine_at(server.url)) == {"b High"}


async def test_a_key_is_needed(tmp_path: Path) -> None:
    """One line that names the setting."""
    ran = await synced(tmp_path, CROWDSEC__LAPI__URL="http://127.0.0.1:9")
    assert ran.status == 2
    assert "CROWDSEC__LAPI__API_KEY" in ran.err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3h59m58s", 14_398.0),
        ("59m40.5s", 3_580.5),
        ("-1h0m0s", -3_600.0),
        ("15s", 15.0),
        ("12ms", 0.0),
        ("", None),
        ("soon", None),
        (5, None),
    ],
)
def test_durations(text: object, seconds: float | None) -> None:
    """As Go writes them."""
    assert duration_of(text) == seconds
