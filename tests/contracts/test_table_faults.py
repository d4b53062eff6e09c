"""The ledger in a table while the service fails, refuses, or is not there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import stamina
from aiohttp import web
from azure.data.tables.aio import TableClient

from consumers.ledger.table.client import StateTable
from schemas.errors import ConfigurationError, LedgerFailed
from schemas.health import Problem
from tests.contracts.support_ledger import (
    A,
    B,
    C,
    Clock,
    Told,
    instances,
    table_store,
    verdict,
    waiting,
)
from tests.servers.azurite import KEY, Azurite
from tests.servers.faults import LOST, RESET, FaultyWay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from azure.core.credentials import AccessToken

ADDRESSES = [f"81.2.{n // 250}.{n % 250}" for n in range(20)]


@pytest.fixture
def clock() -> Clock:
    """Return the clock of all instances."""
    return Clock()


@asynccontextmanager
async def faulty(azurite: Azurite) -> AsyncIterator[tuple[FaultyWay, str]]:
    """Put a faulty way before the table service; give it and the connection string."""
    way = FaultyWay(azurite.table_port)
    async with way.server() as server:
        port = int(server.url.rpartition(":")[2])
        yield way, azurite.connection_string_at(azurite.blob_port, port)


def busy(seconds: float | None = None) -> web.Response:
    """Return what a service says that has too much to do."""
    headers = {"x-ms-error-code": "ServerBusy"}
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    return web.Response(status=503, headers=headers)


async def test_throttling_holds_back_and_loses_nothing(azurite: Azurite, clock: Clock) -> None:
    """Every other request is refused; trouble is told at the second refusal, and its end."""
    health = Told()
    signins = [waiting(f"{n}", address) for n, address in enumerate(ADDRESSES[:20])]
    async with (
        faulty(azurite) as (way, text),
        instances(text, clock, health=health) as (store,),
    ):
        way.fault = lambda _: busy(0.01) if way.requests % 2 else None
        await store.enqueue_unless_answered(signins)
        await store.put_verdicts(dict.fromkeys(ADDRESSES[:10], verdict()))
        assert set(await store.answered_waiting()) == set(ADDRESSES[:10])
        way.fault = lambda _: busy(0.01)
        asking = asyncio.ensure_future(store.acquire([A], 60.0))
        await health.until(Problem.LEDGER_UNREACHABLE)
        assert not asking.done()
        way.fault = lambda _: None
        assert (await asking).acquired == {A}
        assert not health.troubles
    assert "503 ServerBusy" in health.details[-1]


async def test_lost_answers_count_nothing_twice(azurite: Azurite, clock: Clock) -> None:
    """A write may have happened though nobody heard of it: what it left behind tells."""
    armed = False

    def lose_next_write(request: web.Request) -> str | None:
        nonlocal armed
        lost = armed and request.path.endswith("$batch")
        armed = armed and not lost
        return LOST if lost else None

    async with faulty(azurite) as (way, text), instances(text, clock) as (store,):
        way.fault = lose_next_write
        armed = True
        assert await store.reserve("key", "march", 30, 100) == 30
        assert await store.spent("key", "march") == 30
        armed = True
        await store.refund("key", "march", 10)
        assert await store.spent("key", "march") == 20
        armed = True
        assert (await store.acquire([A], 60.0)).acquired == {A}
        armed = True
        await store.enqueue_unless_answered([waiting("1"), waiting("2")])
        assert await store.waiting_for(A, 10) == [waiting("1"), waiting("2")]
        armed = True
        await store.acknowledge([waiting("1")])
        assert await store.waiting_for(A, 10) == [waiting("2")]
        armed = True
        await store.expire_pending(2_000.0)
        assert (await store.size()).dropped == {"waited too long": 1}
        armed = True
        await store.put_verdicts({A: verdict()})
        assert await store.get_verdicts([A]) == {A: verdict()}
        assert not armed


async def test_the_budget_holds_whatever_gets_lost(azurite: Azurite, clock: Clock) -> None:
    """Some lookups may be taken without being granted; none is granted beyond the quota."""
    async with faulty(azurite) as (way, text), instances(text, clock, 3) as stores:
        way.fault = lambda _: {0: LOST, 5: RESET}.get(way.requests % 10)
        granted = await asyncio.gather(
            *(store.reserve("key", "march", 9, 100) for store in stores for _ in range(4))
        )
        assert 0 < sum(granted) <= await stores[0].spent("key", "march") <= 100
        await asyncio.gather(*(store.refund("key", "march", 5) for store in stores))
        assert await stores[0].spent("key", "march") >= sum(granted) - 15


async def test_an_outage_holds_back_until_it_ends(clock: Clock) -> None:
    """The service goes away and comes back; who called just waits."""
    health = Told()
    async with (
        Azurite(keep=True) as own,
        instances(own.connection_string, clock, health=health) as (store,),
    ):
        await store.put_verdicts({A: verdict()})
        await own.stop()
        parking = asyncio.ensure_future(
            store.enqueue_unless_answered([waiting("1", A, parked=900.0), waiting("2", B)])
        )
        await health.until(Problem.LEDGER_UNREACHABLE)
        assert not parking.done()
        await own.start()
        assert await parking == {A: verdict()}
        assert not health.troubles
        assert await store.waiting_for(B, 10) == [waiting("2", B)]
    assert not any(KEY in detail or "Eby8" in detail for detail in health.details)


async def test_a_wrong_key_is_told(azurite: Azurite, clock: Clock) -> None:
    """It may be mended while the service waits; neither key is told."""
    health = Told()
    wrong = KEY.replace("Eby8", "Ebz8")
    store = table_store(
        azurite.connection_string.replace(KEY, wrong), "refused", clock, health=health
    )
    opening = asyncio.ensure_future(store.open())
    await health.until(Problem.LEDGER_REFUSED)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await store.close()
    assert "Storage Table Data Contributor" in health.details[0]
    assert wrong not in "".join(health.details)


async def test_a_missing_table_is_told(azurite: Azurite, clock: Clock) -> None:
    """Where it must not be made, somebody else has to."""
    health, name = Told(), f"t{uuid4().hex}"
    store = table_store(azurite.connection_string, name, clock, health=health)
    opening = asyncio.ensure_future(store.open(create=False))
    await health.until(Problem.LEDGER_MISSING)
    async with instances(azurite.connection_string, clock, table=name):
        await opening
        assert not health.troubles
        assert await store.get_verdicts([A]) == {}
    await store.close()


async def test_a_ledger_that_is_deleted_makes_itself_anew(azurite: Azurite, clock: Clock) -> None:
    """What it held is lost and may be looked up again; nothing else goes wrong."""
    name, text = f"t{uuid4().hex}", azurite.connection_string
    health = Told()
    async with instances(text, clock, table=name, health=health) as (store,):
        await store.enqueue_unless_answered([waiting("1", A)])
        await store.put_verdicts({B: verdict()})
        async with TableClient.from_connection_string(text, name) as table:
            await table.delete_table()
        assert await store.enqueue_unless_answered([waiting("2", A), waiting("3", C)]) == {}
        assert not health.troubles
        assert [found.key for found in await store.waiting_for(A, 9)] == ["2"]
        assert await store.waiting_among([A, C]) == {A, C}
        assert (await store.acquire([A], 60.0)).acquired == {A}
        assert await store.reserve("key", "march", 1, 1) == 1


async def test_reading_well_does_not_end_the_trouble_of_writing(
    azurite: Azurite, clock: Clock
) -> None:
    """An identity that may only read is in trouble as long as a write waits."""
    health = Told()

    def refuse_writes(request: web.Request) -> web.Response | None:
        if request.path.endswith("$batch"):
            return web.Response(status=403, headers={"x-ms-error-code": "AuthorizationFailure"})
        return None

    async with (
        faulty(azurite) as (way, text),
        instances(text, clock, health=health) as (store,),
    ):
        way.fault = refuse_writes
        writing = asyncio.ensure_future(store.put_value("a/b", "text"))
        await health.until(Problem.LEDGER_REFUSED)
        assert await store.get_value("a/b") is None
        assert health.troubles == {Problem.LEDGER_REFUSED}
        way.fault = lambda _: None
        await writing
        assert await store.get_value("a/b") == "text"
        assert not health.troubles


# --- settings ---


class Credential:
    """A credential that nobody asks."""

    async def get_token(self, *_: str, **__: object) -> AccessToken:
        """Fail: nothing is sent before the table is opened."""
        raise AssertionError("asked for a token")

    async def close(self) -> None:
        """Nothing to let go of."""

    async def __aenter__(self) -> Credential:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to let go of."""


@pytest.mark.parametrize(
    ("name", "connection_string", "account_url", "setting"),
    [
        ("no-table", "UseDevelopmentStorage=true", None, "STATE__TABLE"),
        ("ledger", "", None, "STATE__CONNECTION_STRING"),
        ("ledger", "AccountName=secret", None, "STATE__CONNECTION_STRING"),
        ("ledger", "AccountName=a;AccountKey=secret;x", None, "STATE__CONNECTION_STRING"),
        ("ledger", "AccountName=a;AccountKey=secret!", None, "STATE__CONNECTION_STRING"),
        ("ledger", None, None, "STATE__ACCOUNT_URL"),
        ("ledger", None, "http://a.table.core.windows.net", "STATE__ACCOUNT_URL"),
        ("ledger", None, "https://", "STATE__ACCOUNT_URL"),
        ("ledger", None, "https://[a", "STATE__ACCOUNT_URL"),
        ("ledger", None, "https://a.table.core.windows.net?sig=secret", "STATE__ACCOUNT_URL"),
    ],
)
def test_wrong_settings_are_named(
    name: str, connection_string: str | None, account_url: str | None, setting: str
) -> None:
    """Without what may be secret in them."""
    with pytest.raises(ConfigurationError, match=setting) as refused:
        StateTable.at(
            name,
            Told(),
            connection_string=connection_string,
            account_url=account_url,
            credential=Credential(),
        )
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_an_account_url_with_a_credential_is_enough() -> None:
    """Nothing is sent before the table is opened."""
    health = Told()
    table = StateTable.at(
        "ledger",
        health,
        account_url="https://account.table.core.windows.net",
        credential=Credential(),
    )
    await table.close()
    assert health.details == []


@pytest.mark.parametrize("status", [409, 412])
async def test_a_conflict_that_no_condition_explains_is_tried_again(
    azurite: Azurite, clock: Clock, status: int
) -> None:
    """It passes, or ends in one line; never in an error that nobody expects."""
    async with faulty(azurite) as (way, text), instances(text, clock) as (store,):
        await store.put_value("a", "before")
        left = [2]

        def conflict(request: web.Request) -> web.Response | None:
            if not request.path.endswith("$batch") or left[0] <= 0:
                return None
            left[0] -= 1
            return web.Response(status=status, headers={"x-ms-error-code": "LeaseConflict"})

        way.fault = conflict
        with stamina.set_testing(True, attempts=100, cap=True):
            await store.put_value("a", "after")
            assert await store.get_value("a") == "after"
            left[0] = 1_000
            with pytest.raises(LedgerFailed, match="STATE__TABLE"):
                await store.put_value("a", "never")
        way.fault = lambda _: None
        assert await store.get_value("a") == "after"
