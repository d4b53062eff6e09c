"""What was paid for is kept: asked once, within the real quota, over repeated commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from pydantic import SecretStr

from consumers.settings import CrowdSecSettings, Settings
from consumers.sources.paid_answers import KeepingSource, PaidAnswers, file_of
from consumers.wiring.lookups import make_source
from schemas.errors import QuotaSpent, SourceUnavailable, TooFast
from schemas.intel.verdicts import Reputation
from tests.recorded import OTHER_V4, V4, V6
from tests.servers.crowdsec import KEY, CrowdSec, item

if TYPE_CHECKING:
    from pathlib import Path

PERIOD = 1_772_323_200.0
LIFETIME = 1_000.0


class Now:
    """A clock that a test sets."""

    time = PERIOD + 10.0

    def __call__(self) -> float:
        """Return what was set."""
        return self.time


def source_at(url: str, path: Path, now: Now, quota: int = 10) -> KeepingSource:
    """Return a source that keeps what it is told, whatever its URL."""
    crowdsec = CrowdSecSettings(url=f"{url}/v2", api_key=SecretStr(KEY))
    source = make_source(Settings(crowdsec=crowdsec))
    assert source is not None
    return KeepingSource(
        source,
        PaidAnswers(path),
        quota=quota,
        period_of=lambda _: PERIOD,
        lifetime_of=lambda _: LIFETIME,
        now=now,
    )


async def test_an_address_is_paid_for_once(tmp_path: Path) -> None:
    """Until its answer expires, also by another command; a batch asks for the rest alone."""
    crowdsec, now = CrowdSec({V4: item(V4)}), Now()
    path = file_of(tmp_path / "state" / "paid", "https://cti.example", KEY)
    async with crowdsec.server() as server:
        first = source_at(server.url, path, now)
        told = await first.look_up([V4, V6])
        await first.close()
        second = source_at(server.url, path, now)
        again = await second.look_up([V4, V6, OTHER_V4])
        assert {it: again[it] for it in told} == told
        assert told[V4].reputation is Reputation.MALICIOUS
        assert told[V4].intel.score == again[V4].intel.score
        assert (second.answered, second.unasked) == (2, 0)
        await second.look_up([V4])
        assert (second.answered, second.unasked) == (3, 1)
        assert crowdsec.asked == {V4: 1, V6: 1, OTHER_V4: 1}
        now.time += LIFETIME
        await second.look_up([V4])
        assert crowdsec.asked[V4] == 2
        await second.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert KEY not in str(path)


async def test_the_real_quota_holds_over_commands(tmp_path: Path) -> None:
    """What is kept costs none of it, and what the source did not count is given back."""
    crowdsec, now, path = CrowdSec(), Now(), tmp_path / "paid.sqlite"
    async with crowdsec.server() as server:
        first = source_at(server.url, path, now, quota=2)
        crowdsec.fault = lambda _: web.Response(status=429, text="Too Many Requests")
        for _ in range(3):
            with pytest.raises(TooFast):
                await first.look_up([V4])
        crowdsec.fault = lambda _: None
        await first.look_up([V4])
        await first.close()
        second = source_at(server.url, path, now, quota=2)
        with pytest.raises(QuotaSpent) as refused:
            await second.look_up([V6, OTHER_V4])
        assert not refused.value.counted
        await second.look_up([V4, V6])
        with pytest.raises(QuotaSpent):
            await second.look_up([OTHER_V4])
        await second.close()
    assert crowdsec.asked == {V4: 1, V6: 1}


async def test_what_may_have_counted_is_booked(tmp_path: Path) -> None:
    """A request that was lost on its way back."""
    crowdsec, now, path = CrowdSec(fault=lambda _: web.Response(status=500)), Now(), tmp_path / "p"
    async with crowdsec.server() as server:
        source = source_at(server.url, path, now, quota=1)
        with pytest.raises(SourceUnavailable):
            await source.look_up([V4])
        with pytest.raises(QuotaSpent):
            await source.look_up([V4])
        await source.close()


async def test_answers_are_forgotten(tmp_path: Path) -> None:
    """By address, whoever paid."""
    crowdsec, now, path = CrowdSec(), Now(), tmp_path / "paid.sqlite"
    async with crowdsec.server() as server:
        source = source_at(server.url, path, now)
        await source.look_up([V4, V6])
        await source.close()
    kept = PaidAnswers(path)
    assert kept.forget([V4, OTHER_V4]) == 1
    assert kept.find([V4, V6], now()).keys() == {V6}
    kept.close()
