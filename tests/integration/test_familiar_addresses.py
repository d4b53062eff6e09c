"""Indicators that name an address from which a company works: capped until a person decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.taxii import TaxiiServer, indicator
from tests.support.command import findings_in, replay, signinwatch
from tests.support.feed_commands import BAD, OTHER, feed_at, recording, told
from tests.support.sign_ins import row

if TYPE_CHECKING:
    from pathlib import Path

OFFICE, NEIGHBOUR = "81.2.70.10", "81.2.70.99"
NAMED = indicator(OFFICE, valid_from="2026-01-01T00:00:00Z")
NETWORK = indicator("[ipv4-addr:value ISSUBSET '81.2.70.0/24']")


def at(day: int, address: str, account: str, **more: Any) -> dict[str, Any]:
    """Return a sign-in on a day of March."""
    time = f"2026-03-{day:02}T09:00:00Z"
    return row(address, account, TimeGenerated=time, CreatedDateTime=time, **more)


def people(count: int) -> list[str]:
    """Return accounts."""
    return [f"user{n}@example.net" for n in range(count)]


async def severities(
    folder: Path,
    before: list[dict[str, Any]],
    today: list[dict[str, Any]],
    *named: dict[str, Any],
    **settings: str,
) -> tuple[list[tuple[str, str]], str]:
    """Learn from the days before, then return address and severity of today's findings."""
    taxii, path = TaxiiServer(), folder / "found"
    taxii.add(*named)
    state = folder / "state"
    async with taxii.server() as server:
        feed = feed_at(server, **settings)
        if before:
            ran = await replay(
                recording(folder, *before, name="before.ndjson"), "--warm", "--state", state, **feed
            )
            assert ran.status == 0, ran.err
        events = recording(folder, *today, name="today.ndjson")
        path.unlink(missing_ok=True)
        ran = await replay(events, "--findings", path, "--state", state, **feed)
    assert ran.status == 0, ran.err
    found = findings_in(path)
    return sorted((one["IPAddress"], one["Severity"]) for one in found), ran.err


def office_days(count: int, days: int = 4) -> list[dict[str, Any]]:
    """Return days on which people worked at the office."""
    return [at(day, OFFICE, who) for day in range(1, days + 1) for who in people(count)]


@pytest.mark.parametrize(
    ("count", "days", "expected"),
    [(20, 3, "Low"), (25, 4, "Low"), (19, 4, "High"), (25, 2, "High"), (8, 4, "High")],
)
async def test_a_familiar_address_is_capped(
    tmp_path: Path, count: int, days: int, expected: str
) -> None:
    """From 20 accounts on three earlier days on; another address of the feed is found as ever."""
    today = [at(days + 1, OFFICE, "user0@example.net"), at(days + 1, BAD, "user1@example.net")]
    found, log = await severities(tmp_path, office_days(count, days), today, NAMED, indicator(BAD))
    assert found == [(BAD, "High"), (OFFICE, expected)]
    assert ("indicator capped" in log) == (expected == "Low")


async def test_a_network_with_a_familiar_address_is_capped(tmp_path: Path) -> None:
    """The whole indicator: it was made by mistake."""
    today = [at(5, address, "user0@example.net") for address in (OFFICE, NEIGHBOUR, BAD)]
    found, _ = await severities(tmp_path, office_days(20), today, NETWORK, indicator(BAD))
    assert found == [(BAD, "High"), (OFFICE, "Low"), (NEIGHBOUR, "Low")]


async def test_an_attack_cannot_hide_itself(tmp_path: Path) -> None:
    """Failures never count, nor do the successes of the day itself."""
    spray = [at(day, OFFICE, who, ResultType="50126") for day in range(1, 6) for who in people(40)]
    today = [at(6, OFFICE, who) for who in people(25)]
    found, _ = await severities(tmp_path, spray, today, NAMED)
    assert found == [(OFFICE, "High")] * 25


async def test_the_service_learns_by_itself(tmp_path: Path) -> None:
    """As days go by; two replays stand for two processes, one after the other."""
    found, _ = await severities(tmp_path, [], office_days(22, 4))
    assert found == []
    found, _ = await severities(tmp_path, [], [at(9, OFFICE, "user3@example.net")], NAMED)
    rows = findings_in(tmp_path / "found")
    assert {one["Severity"] for one in rows if one["EventTime"] > "2026-03-04"} == {"Low"}
    assert (OFFICE, "Low") in found


async def test_a_person_decides(tmp_path: Path) -> None:
    """Released, refused, for a time; shown with the feed."""
    before, state = office_days(20), tmp_path / "state"

    async def today(day: int) -> list[tuple[str, str]]:
        events = [at(day, OFFICE, "user0@example.net"), at(day, OTHER, "user0@example.net")]
        found, _ = await severities(tmp_path, [], events, NAMED, indicator(OTHER))
        return found

    await severities(tmp_path, before, [at(5, BAD, "user0@example.net")])
    day = 7
    assert await today(day) == [(OTHER, "High"), (OFFICE, "Low")]
    async with TaxiiServer().server() as server:
        feed = feed_at(server)
        (status,) = await told("feeds", "status", "--state", state, **feed)
        (capped,) = status["capped"]
        assert (capped["indicator"], capped["names"]) == (NAMED["id"], OFFICE)
        assert (capped["accounts"], capped["days"], capped["decision"]) == (20, 4, None)
        for command, until, expected in (
            ("refuse", None, [(OTHER, "High")]),
            ("release", None, [(OTHER, "High"), (OFFICE, "High")]),
            ("refuse", "2026-03-02", [(OTHER, "High"), (OFFICE, "Low")]),
        ):
            arguments = ["--until", until] if until else []
            ran = await signinwatch(
                "feeds", command, NAMED["id"], *arguments, "--state", state, settings=feed
            )
            assert ran.status == 0, ran.err
            day += 2  # so that nothing is matched again with what came before
            assert set(await today(day)) == set(expected), command
        (status,) = await told("feeds", "status", "--state", state, **feed)
        assert status["capped"][0]["decision"] == "refused"


async def test_the_limits_are_settings(tmp_path: Path) -> None:
    """Both the accounts and the days."""
    today = [at(3, OFFICE, "user0@example.net")]
    taxii, path = TaxiiServer(), tmp_path / "found"
    taxii.add(NAMED)
    state = tmp_path / "state"
    async with taxii.server() as server:
        feed = {**feed_at(server), "GUARD__KNOWN_ACCOUNTS": "5", "GUARD__KNOWN_DAYS": "2"}
        before = recording(tmp_path, *office_days(5, 2), name="before.ndjson")
        ran = await replay(before, "--warm", "--state", state, **feed)
        assert ran.status == 0, ran.err
        events = recording(tmp_path, *today)
        await replay(events, "--findings", path, "--state", state, **feed)
        assert [one["Severity"] for one in findings_in(path)] == ["Low"]
        assert "5 accounts have succeeded" in findings_in(path)[0]["MatchReason"]
        other = tmp_path / "other"
        ran = await replay(before, "--warm", "--state", other, **feed)
        path.unlink()
        feed["GUARD__KNOWN_DAYS"] = "3"
        await replay(events, "--findings", path, "--state", other, **feed)
        assert [one["Severity"] for one in findings_in(path)] == ["High"]


@pytest.mark.parametrize("size", [8, 2_000])
async def test_an_attack_on_a_company_is_high(tmp_path: Path, size: int) -> None:
    """A spray from an address that the feed names, then two accounts taken over; small or large."""
    company = people(size)
    before = [at(day, OFFICE, who) for day in range(1, 4) for who in company]
    spray = [at(4, BAD, who, ResultType="50126") for who in company[:300]]
    taken = company[:2]
    today = [at(4, OFFICE, who) for who in company] + spray + [at(4, BAD, who) for who in taken]
    found, _ = await severities(tmp_path, before, today, indicator(BAD))
    rows = findings_in(tmp_path / "found")
    assert {one["Account"] for one in rows if one["Severity"] == "High"} == set(taken)
    assert found.count((BAD, "High")) == 2
