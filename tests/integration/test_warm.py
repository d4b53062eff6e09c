"""``replay --warm``: what is usual is learned from a recording, and nothing is asked or told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from consumers.enrichment.history import History
from consumers.ledger.sqlite.ledger import SqliteLedger
from schemas.events.outcomes import Outcome
from schemas.events.ranking_signals import Signals
from tests.contracts.support_ledger import Clock, table_store
from tests.servers.crowdsec import CrowdSec
from tests.support.command import Ran, crowdsec_at, signinwatch
from tests.support.sign_ins import address

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.ledger_ports import Ledger
    from tests.servers.azurite import Azurite

HOME, AWAY = address(1), address(2)
START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def sign_in(day: float, ip: str, event: str = "") -> dict[str, Any]:
    """Return a successful sign-in of Ada."""
    time = (START + timedelta(days=day)).isoformat().replace("+00:00", "Z")
    return {
        "Type": "SigninLogs",
        "TimeGenerated": time,
        "CreatedDateTime": time,
        "Id": event or f"{day} {ip}",
        "IPAddress": ip,
        "UserPrincipalName": "ada@example.net",
        "UserId": "0a0a",
        "ResultType": "0",
        "AutonomousSystemNumber": 3320,
    }


def written(path: Path, *rows: dict[str, Any]) -> Path:
    """Write a recording."""
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return path


async def warmed(tmp_path: Path, *arguments: str | Path, **settings: str) -> Ran:
    """Learn from ten days at home."""
    days = written(tmp_path / "days.ndjson", *(sign_in(day, HOME) for day in range(10)))
    return await signinwatch(
        "replay", days, "--warm", "--summary", "-", *arguments, settings=settings
    )


@pytest.mark.parametrize("warm", [True, False])
async def test_the_first_lookup_goes_to_what_is_unusual(tmp_path: Path, warm: bool) -> None:
    """After ten days at home; without them, both addresses are equally new."""
    crowdsec = CrowdSec()
    async with crowdsec.server() as server:
        settings = crowdsec_at(server.url)
        if warm:
            ran = await warmed(tmp_path, "--state", tmp_path / "state", **settings)
            assert (ran.status, ran.summary["signins"], ran.summary["lookups"]) == (0, 10, 0)
            assert "Nothing was looked up or reported" in " ".join(ran.err.split())
            assert not crowdsec.asked
        today = written(tmp_path / "today.ndjson", sign_in(10, HOME), sign_in(10.001, AWAY))
        ran = await signinwatch(
            *("replay", today, "--quota", "1", "--state", tmp_path / "state", "--summary", "-"),
            settings=settings,
        )
    assert ran.status == 0, ran.err
    assert list(crowdsec.asked) == ([AWAY] if warm else [HOME])


def a_day_later() -> Clock:
    """Return a clock that shows the day after the recording."""
    clock = Clock()
    clock.time = (START + timedelta(days=10)).timestamp()
    return clock


async def test_the_service_s_own_ledger_is_warmed(tmp_path: Path) -> None:
    """By the times of the recording, though its clock is the wall's."""
    state = tmp_path / "state"
    ran = await warmed(tmp_path, STATE__DIR=str(state))
    assert ran.status == 0, ran.err
    clock = a_day_later()
    await assert_learned(SqliteLedger(state, clock, waiting_per_address=9), clock)


async def assert_learned(ledger: Ledger, clock: Clock) -> None:
    """See that home is known for ten days, and nothing else."""
    history = History(ledger, clock)
    ada = Signals(
        "ada@example.net", Outcome.SUCCESS, True, None, "", "", "", None, 3320, "", "", "", "0a0a"
    )
    await history.fetch([(HOME, ada), (AWAY, ada)])
    seen = history.seen(HOME, ada)
    assert (seen.place_days, seen.experience) == (10, 1.0)
    assert history.seen(AWAY, ada).place_days == -1
    assert (await ledger.size()).waiting == 0
    await ledger.close()


async def test_the_shared_ledger_is_warmed(tmp_path: Path, azurite: Azurite) -> None:
    """Twice the same recording teaches nothing new."""
    settings = {"STATE__CONNECTION_STRING": azurite.connection_string, "STATE__TABLE": "warmed"}
    for _ in range(2):
        ran = await warmed(tmp_path, **settings)
        assert ran.status == 0, ran.err
    clock = a_day_later()
    ledger = table_store(azurite.connection_string, "warmed", clock, waiting_per_address=9)
    await ledger.open()
    await assert_learned(ledger, clock)


async def test_without_a_ledger_that_is_kept_it_is_refused(tmp_path: Path) -> None:
    """What is learned would be lost at once."""
    ran = await warmed(tmp_path)
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "--state" in ran.err
