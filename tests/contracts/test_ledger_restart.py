"""What a process does with rows that it has not read."""

from __future__ import annotations

from schemas.ledger_ports import ErasedCounts
from tests.contracts.support_ledger import A, B, Clock, Open, verdict, waiting


async def test_a_new_process_forgets_what_the_last_one_knew(opened: Open) -> None:
    """It must not take an address that it does not know for one without a row."""
    ledger = await opened()
    await ledger.put_verdicts({A: verdict()})
    await ledger.enqueue_unless_answered([waiting("1", B)])
    await ledger.close()
    ledger = await opened()
    assert await ledger.forget(lambda _, body: body, address=A) == ErasedCounts(1, 0, 0)
    assert await ledger.get_verdicts([A]) == {}
    assert await ledger.forget(lambda _, body: body, address=B) == ErasedCounts(0, 1, 0)
    assert await ledger.waiting_among([B]) == set()


async def test_a_new_process_ends_the_leases_of_its_name(opened: Open, clock: Clock) -> None:
    """And changes what it finds, whatever that is."""
    ledger = await opened()
    await ledger.acquire([A], 60.0)
    await ledger.enqueue_unless_answered([waiting("1", A)])
    await ledger.close()
    ledger = await opened()
    assert await ledger.due(9) == []
    await ledger.release([A, B])
    assert [found.address for found in await ledger.due(9)] == [A]
    await ledger.close()
    ledger = await opened()
    assert await ledger.enqueue_unless_answered([waiting("2", A), waiting("3", B)]) == {}
    assert [found.key for found in await ledger.waiting_for(A, 9)] == ["1", "2"]
    assert (await ledger.size()).waiting == 3
    clock.time += 100.0
    assert await ledger.expire_pending(clock.time) == 3
