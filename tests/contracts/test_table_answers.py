"""What is not an answer of a table service must not pass for one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from consumers.ledger.rules import MAX_PENDING_BYTES
from schemas.events.outcomes import Outcome
from schemas.health import Problem
from tests.contracts.support_ledger import A, Clock, Told, instances, verdict, waiting
from tests.contracts.test_table_faults import faulty

if TYPE_CHECKING:
    from tests.servers.azurite import Azurite

PAGES = (b"<html>Please sign in to the network</html>", b"", b"[]", b'{"value":[{}]}', b"{}")


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_of_a_proxy_is_no_write(azurite: Azurite, page: bytes) -> None:
    """Status 200 without the answers of a transaction: it is told, and the write repeated."""
    health, clock = Told(), Clock()

    def in_between(request: web.Request) -> web.Response | None:
        del request
        return web.Response(body=page)

    async with (
        faulty(azurite) as (way, text),
        instances(text, clock, health=health) as (store,),
    ):
        way.fault = in_between
        writing = asyncio.ensure_future(store.put_verdicts({A: verdict()}))
        await health.until(Problem.LEDGER_UNREACHABLE)
        assert not writing.done()
        way.fault = lambda _: None
        await writing
        assert await store.get_verdicts([A]) == {A: verdict()}
    assert "not that of a table service" in health.details[-1]


async def test_large_sign_ins_of_an_address_stay_within_a_row(azurite: Azurite) -> None:
    """They crowd each other out and are counted; none of them stops the stream."""
    clock = Clock()
    each = MAX_PENDING_BYTES // 3
    many = [waiting(f"{n}", A, parked=1_000.0 + n, account="x" * each) for n in range(5)]
    best = waiting("best", A, Outcome.SUCCESS, 2_000.0, account="y" * each)
    beyond = waiting("beyond", A, Outcome.SUCCESS, 3_000.0, account="z" * (MAX_PENDING_BYTES + 1))
    async with instances(azurite.connection_string, clock, waiting_per_address=99) as (store,):
        for sign_in in (*many, best, beyond):
            await store.enqueue_unless_answered([sign_in])
        assert "best" in [found.key for found in await store.waiting_for(A, 99)]
        size = await store.size()
        assert size.waiting + size.dropped["displaced"] == 7
