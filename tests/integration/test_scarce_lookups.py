"""Whose turn it is: scarce lookups go to the best, and come back to what may have turned bad."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import SecretStr

from consumers.commands.replay.job import ReplayOptions, replay
from consumers.settings import CrowdSecSettings, Settings
from consumers.wiring.replay import StateFolder, make_sink
from tests.bench.goals.goal6_servers import ListedLater, sharing_the_clock
from tests.servers.crowdsec import KEY, item
from tests.support.sign_ins import address, lines, message, row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

START = datetime(2026, 3, 2, tzinfo=UTC)
HOME, BAD = "81.2.69.160", "93.184.216.34"


def _at(hours: float, where: str, account: str = "ada@example.net", **more: Any) -> dict[str, Any]:
    moment = (START + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
    return row(where, account, TimeGenerated=moment, CreatedDateTime=moment, **more)


@dataclass
class Told:
    """What a replay gave."""

    summary: dict[str, Any]
    findings: list[dict[str, Any]]
    asked: dict[str, int]


async def _replayed(
    folder: Path,
    rows: Iterable[dict[str, Any]],
    quota: int,
    *,
    listed: dict[str, float],
    state: Path | None = None,
) -> Told:
    """Replay *rows*; *listed* tells from which hour on an address is known to be bad."""
    recording, findings = folder / "recording", folder / "findings"
    recording.write_bytes(lines(*(message(one) for one in rows)))
    items = folder / "items"
    items.write_bytes(orjson.dumps({one: item(one) for one in listed}))
    since = {one: START.timestamp() + hour * 3_600 for one, hour in listed.items()}
    service = ListedLater(items, since)
    with sharing_the_clock(service), StateFolder(state) as ledger:
        async with service.server() as server:
            crowdsec = CrowdSecSettings(api_key=SecretStr(KEY), url=f"{server.url}/v2")
            settings = Settings(crowdsec=crowdsec)
            told = await replay(
                settings,
                ReplayOptions([str(recording)], quota=quota),
                ledger,
                lambda: make_sink(settings, str(findings)),
                lambda *_: None,
            )
    rows_found = [orjson.loads(line) for line in findings.read_bytes().splitlines()]
    return Told(told.summary, rows_found, dict(service.asked))


def _noise(hours: Iterable[int], each: int = 6) -> Iterator[dict[str, Any]]:
    """Yield failures from new addresses: nobody got in, and they are far too many to ask about."""
    for hour in hours:
        for number in range(each):
            where = address(hour * 100 + number + 1_000)
            yield _at(hour + 0.5 + number / 100, where, f"user{number}@example.net",
                      ResultType="50126")  # fmt: skip


async def test_scarce_lookups_go_where_somebody_got_in(tmp_path: Path) -> None:
    """One day's share is one lookup here; the noise before it does not get it all."""
    rows = [*_noise(range(48)), _at(20, BAD, AutonomousSystemNumber=16276)]
    rows.sort(key=lambda one: one["TimeGenerated"])
    told = await _replayed(tmp_path, rows, 60, listed={BAD: 0})
    assert [one["IPAddress"] for one in told.findings if one["SignInSucceeded"]] == [BAD]
    assert sum(told.asked.values()) <= 6
    late = next(one for one in told.findings if one["SignInSucceeded"])
    assert late["Origin"] == "late"
    assert late["AccountsFromAddress"] == 1


async def test_what_was_not_known_yet_is_asked_again(tmp_path: Path) -> None:
    """Listed two hours after the sign-in, which waits and is found at the second question."""
    rows = [*_noise(range(72), each=2), _at(20, BAD, RiskLevelDuringSignIn="high")]
    rows.sort(key=lambda one: one["TimeGenerated"])
    told = await _replayed(tmp_path, rows, 900, listed={BAD: 22.0})
    assert told.asked[BAD] == 2
    (found,) = [one for one in told.findings if one["IPAddress"] == BAD]
    assert found["Origin"] == "late"
    assert 2 * 3_600 <= found["DelaySeconds"] <= 24 * 3_600


async def test_nothing_is_asked_again_for_an_everyday_sign_in(tmp_path: Path) -> None:
    """While lookups are plenty, only what is truly odd is asked about again."""
    rows = [_at(hour, HOME) for hour in range(48)] + [_at(50, address(1))]
    told = await _replayed(tmp_path, rows, 100_000, listed={})
    assert told.asked == {HOME: 1, address(1): 1}
    assert told.summary["lookups"] == told.summary["distinct_ips"] == 2
    assert told.summary["unanswered"] == 0


async def test_evidence_that_comes_later_counts(tmp_path: Path) -> None:
    """A success among others rises as accounts fail from its address."""
    others = [_at(20 + n / 10, address(n), f"u{n}@example.net") for n in range(8)]
    success = _at(20, BAD)
    spray = [_at(20.9, BAD, f"victim{n}@example.net", ResultType="50126") for n in range(6)]
    early = [_at(0, address(500 + n), f"v{n}@example.net") for n in range(3)]
    rows = sorted([*early, success, *others, *spray, _at(40, HOME)], key=_time)
    told = await _replayed(tmp_path, rows, 30, listed={BAD: 0})
    assert BAD in told.asked
    assert sum(told.asked.values()) <= 4
    assert {one["Outcome"] for one in told.findings} == {"Success", "Failure"}
    assert {one["AccountsFromAddress"] for one in told.findings} == set(range(1, 8))


async def test_history_is_kept_between_runs(tmp_path: Path) -> None:
    """A network that was settled in one run soothes in the next, also after a restart."""
    state = tmp_path / "state"
    past = [_at(24 * day + 9, HOME, AutonomousSystemNumber=3320) for day in range(6)]
    same = [_at(154, address(n), AutonomousSystemNumber=3320) for n in range(12)]
    present = [*same, _at(154, BAD, AutonomousSystemNumber=64500)]
    asked: dict[str, int] = {}
    for number, rows in enumerate((past, present)):
        folder = tmp_path / str(number)
        folder.mkdir()
        told = await _replayed(folder, rows, 15, listed={BAD: 0}, state=state)
        asked |= told.asked
    assert len(asked) < 6
    assert BAD in asked


async def test_a_summary_adds_up(tmp_path: Path) -> None:
    """Every sign-in is a question, answered by one, or unanswered; also when all had to wait."""
    busy = [_at(20 + n / 100, address(7), f"u{n}@example.net") for n in range(5)]
    rows = sorted([*_noise(range(30)), *busy, *(_at(h, HOME) for h in range(30))], key=_time)
    told = await _replayed(tmp_path, rows, 90, listed={})
    figures = told.summary
    assert figures["unanswered"] > 0
    assert address(7) in told.asked
    assert figures["signins"] == (len(told.asked) + figures["cache_hits"] + figures["unanswered"])


def _time(one: dict[str, Any]) -> str:
    text: str = one["TimeGenerated"]
    return text
