"""Two instances on either row store, driven by the same operations, give the same answers."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from msgspec.structs import replace

from consumers.ledger.ledger import StoredLedger
from consumers.ledger.sqlite.addresses import SqliteAddresses
from consumers.ledger.sqlite.entries import SqliteEntries
from consumers.ledger.sqlite.schema import SqliteFile
from schemas.events.outcomes import Outcome
from schemas.intel.verdicts import Answer, Reputation, Unanswered, Verdict, WhyUnanswered
from tests.contracts.support_ledger import Clock, table_store, verdict, waiting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from schemas.ledger_ports import Ledger
    from tests.servers.azurite import Azurite

LIMIT = 3
INSTANCES = ("one", "two")
# Of one shard and of several, and some that begin like others.
ADDRESSES = ["81.2.69.1", "81.2.69.16", "81.2.69.160", "2a02:8108::5", "93.184.216.34", "9.9.9.9"]
addresses = st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=4, unique=True)
instances = st.sampled_from((0, 1))
points = st.sampled_from((-60.0, -3.0, 0.0, 1.0, 4.9, 5.0, 30.0, 31.0, 60.0))
sign_ins = st.lists(
    st.tuples(
        st.sampled_from(ADDRESSES),
        st.integers(0, 9),
        st.sampled_from((Outcome.SUCCESS, Outcome.FAILURE)),
        points,
        points,
    ),
    min_size=1,
    max_size=6,
)


class LedgersAgree(RuleBasedStateMachine):
    """Keeps two instances on each store, and compares what they answer."""

    azurite: Azurite

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="ledger-")
        self.clock = Clock()
        self.were_final: set[str] = set()
        self.last_put: dict[str, int] = {}
        self.file = SqliteFile(Path(self.folder.name), self.clock, keep=False)
        self.embedded: list[Ledger] = [
            StoredLedger(
                SqliteAddresses(self.file, instance=name, exclusive=False),
                SqliteEntries(self.file),
                self.clock,
                instance=name,
                waiting_per_address=LIMIT,
            )
            for name in INSTANCES
        ]
        table = f"t{uuid4().hex}"
        shared = [
            table_store(
                self.azurite.connection_string,
                table,
                self.clock,
                instance=name,
                waiting_per_address=LIMIT,
            )
            for name in INSTANCES
        ]
        for store in shared:
            self.runner.run(store.open())
        self.shared: list[Ledger] = list(shared)

    def same(self, instance: int, operation: Callable[[Ledger], Awaitable[Any]]) -> Any:
        """Run an operation on both stores and hold that they answer the same."""

        async def run(ledger: Ledger) -> Any:
            return await operation(ledger)

        expected = self.runner.run(run(self.embedded[instance]))
        assert self.runner.run(run(self.shared[instance])) == expected
        return expected

    @rule(instance=instances, given=sign_ins, displaced=st.integers(0, 2))
    def enqueue(self, instance: int, given: list[Any], displaced: int) -> None:
        """Sign-ins come, some of them again."""
        unnoticed = self.runner.run(self._may_not_notice(instance))
        pending = [
            waiting(f"{address} {key}", address, outcome, self.clock.time, own=own, place=place)
            for address, key, outcome, own, place in given
            if address not in unnoticed
        ]
        self.same(instance, lambda ledger: ledger.enqueue_unless_answered(pending, displaced))

    async def _may_not_notice(self, instance: int) -> set[str]:
        """Return answered addresses with pending sign-ins: the answer may be another instance's.

        A shared ledger may then enqueue one more, which whoever has answered judges; see the
        contract suite. Or it may go on with a final answer that another instance has replaced by
        one that is looked up again, as long as it lasts.
        """
        ledger = self.embedded[instance]
        found = set(await ledger.pending_addresses(100))
        answers = await ledger.get_verdicts(sorted(found))
        return {
            address
            for address, answer in answers.items()
            if isinstance(answer, Verdict)
            and (
                not answer.recheck_pending
                or (address in self.were_final and self.last_put[address] != instance)
            )
        }

    @rule(instance=instances, given=addresses, seconds=st.sampled_from((5.0, 60.0)))
    def acquire(self, instance: int, given: list[str], seconds: float) -> None:
        """Lease addresses that an instance wants to look up."""
        self.same(instance, lambda ledger: ledger.acquire(given, seconds))

    @rule(instance=instances, given=addresses)
    def release(self, instance: int, given: list[str]) -> None:
        """No lookup was made."""
        self.same(instance, lambda ledger: ledger.release(given))

    @rule(
        instance=instances,
        given=addresses,
        kind=st.sampled_from(("final", "recheck", "down")),
        lasts=st.sampled_from((20.0, 4_000.0)),
    )
    def put(self, instance: int, given: list[str], kind: str, lasts: float) -> None:
        """Store that a source has answered, or not."""
        now = self.clock.time
        final = verdict(now + lasts, Reputation.UNKNOWN)
        answers: dict[str, Answer] = {
            "final": final,
            "recheck": replace(final, recheck_at=now + lasts / 2, first_lookup=now),
            "down": Unanswered(why=WhyUnanswered.SOURCE_DOWN, expires=now + lasts),
        }
        answer = dict.fromkeys(given, answers[kind])
        self.last_put |= dict.fromkeys(given, instance)
        if kind == "final":
            self.were_final |= set(given)
        self.same(instance, lambda ledger: ledger.put_verdicts(answer))

    @rule(instance=instances, address=st.sampled_from(ADDRESSES), most=st.integers(1, 9))
    def settle(self, instance: int, address: str, most: int) -> None:
        """Sign-ins are judged, one by one or all of an address."""
        found = self.same(instance, lambda ledger: ledger.waiting_for(address, most))
        if most % 2:
            self.same(instance, lambda ledger: ledger.acknowledge(found[:2]))
        else:
            self.same(instance, lambda ledger: ledger.acknowledge_addresses([address]))

    @rule(instance=instances, most=st.sampled_from((1, 3, 50)))
    def read(self, instance: int, most: int) -> None:
        """Everything that is asked of a ledger."""
        self.same(instance, lambda ledger: ledger.due(most))
        self.same(instance, lambda ledger: ledger.get_verdicts(ADDRESSES))
        self.same(instance, lambda ledger: ledger.waiting_among(ADDRESSES))
        self.same(instance, lambda ledger: _as_set(ledger.answered_waiting()))
        self.same(instance, lambda ledger: _as_set(ledger.pending_addresses(50)))
        self.same(instance, lambda ledger: ledger.size())

    @rule(instance=instances, wanted=st.integers(1, 9), used=st.booleans())
    def spend(self, instance: int, wanted: int, used: bool) -> None:
        """Lookups are reserved, and some returned."""
        granted = self.same(instance, lambda ledger: ledger.reserve("key", "march", wanted, 30))
        if not used:
            self.same(instance, lambda ledger: ledger.refund("key", "march", granted))
        self.same(instance, lambda ledger: ledger.spent("key", "march"))
        hour = int(self.clock.time // 3_600)
        self.same(instance, lambda ledger: ledger.count_demand("key", {hour: wanted}))

    @rule(instance=instances, name=st.sampled_from("ab"), ends=st.booleans())
    def lease(self, instance: int, name: str, ends: bool) -> None:
        """Take a lease, and perhaps end it."""
        self.same(instance, lambda ledger: ledger.take_lease(name, 30.0))
        if ends:
            self.same(instance, lambda ledger: ledger.end_lease(name))

    @rule(seconds=st.sampled_from((1.0, 10.0, 60.0, 3_600.0)))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.time += seconds

    @rule(instance=instances, age=st.sampled_from((5.0, 100.0)))
    def give_up(self, instance: int, age: float) -> None:
        """Drop what is too old."""
        self.same(instance, lambda ledger: ledger.expire_pending(self.clock.time - age))

    def teardown(self) -> None:
        """Close everything."""
        for store in self.shared:
            self.runner.run(store.close())
        self.runner.run(self.embedded[0].close())
        self.runner.close()
        self.folder.cleanup()


async def _as_set(addresses: Awaitable[list[str]]) -> set[str]:
    return set(await addresses)


def test_either_store_gives_the_same_answers(azurite: Azurite) -> None:
    """Whatever the order of operations, for two instances that see the same addresses."""
    LedgersAgree.azurite = azurite
    run_state_machine_as_test(
        LedgersAgree,
        settings=settings(
            max_examples=12,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
