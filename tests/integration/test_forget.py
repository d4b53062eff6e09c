"""``signinwatch forget`` from outside: nothing of somebody is left in any store, byte for byte."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from azure.data.tables.aio import TableClient

from consumers.enrichment.history import History
from consumers.enrichment.history_entries import pseudonym
from consumers.ledger.sqlite.ledger import SqliteLedger
from producers.quarantine.blob import BlobQuarantine
from producers.quarantine.directory import DirectoryQuarantine
from schemas.ports import Quarantine, QuarantineItem
from tests.contracts.support_history import ADA, BO, signals
from tests.contracts.support_ledger import Clock, table_store, verdict, waiting
from tests.support.blobs import blobs_in, make_container, quarantine_container
from tests.support.command import signinwatch
from tests.support.sign_ins import message, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from schemas.ledger_ports import Ledger
    from tests.servers.azurite import Azurite

    Opened = Callable[[], AbstractAsyncContextManager[Ledger]]

HERS, HIS = "81.2.69.160", "2a02:8108:9:7::5"
NOW = 4_000_000_000.0  # so that wall time has not expired what is planted


def account_bytes(account: str) -> tuple[bytes, ...]:
    """Return what an account may be told by."""
    return (account.encode(), account.upper().encode(), pseudonym(account).encode())


def address_bytes(address: str) -> tuple[bytes, ...]:
    """Return what an address may be told by; of IPv6 its /64 as well."""
    return (address.encode(), b"2a02810800090007") if ":" in address else (address.encode(),)


async def plant(ledger: Ledger, quarantine: Quarantine) -> None:
    """Have both people kept in every way that there is, by addresses of their own and a shared."""
    clock = Clock()
    clock.time = NOW
    history = History(ledger, clock)
    people = ((ADA, HERS), (BO, HIS), (ADA, "93.184.216.34"), (BO, "93.184.216.34"))
    await history.fetch(
        (address, signals(account, device=f"{account}'s")) for account, address in people
    )
    await history.fetch_bad(address for _, address in people)
    for account, address in people:
        history.learn(address, signals(account, device=f"{account}'s"))
        history.accounts_from(address, account, NOW)
    await history.flush()
    parked = [
        waiting(f"{account}-{address}".replace("@", "").replace(":", "."), address, account=account)
        for account, address in people
    ]
    await ledger.enqueue_unless_answered([*parked, waiting("settled", HERS, account=ADA)])
    await ledger.acknowledge([waiting("settled", HERS)])
    await ledger.put_verdicts({HERS: verdict(NOW + 9e5), HIS: verdict(NOW + 9e5)})
    now = datetime.now(UTC)
    bodies = [message(row(HERS, ADA.upper())), message(row(HIS, BO)), b"neither {", b"81.2.69.16"]
    await quarantine.put(
        [
            QuarantineItem("message", "unread", f"hub:{n}", body, now)
            for n, body in enumerate(bodies)
        ]
    )
    await quarantine.put([QuarantineItem("finding", "refused", "f", f'{{"x":"{ADA}'.encode(), now)])
    await quarantine.close()


class Directory:
    """Everything in one directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = {"STATE__DIR": str(folder)}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Ledger]:
        """Open the ledger."""
        clock = Clock()
        ledger = SqliteLedger(self.folder, clock, waiting_per_address=9)
        try:
            yield ledger
        finally:
            await ledger.close()

    def quarantine(self) -> Quarantine:
        """Return the quarantine."""
        return DirectoryQuarantine(self.folder)

    async def raw(self) -> bytes:
        """Return every byte of every file."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return b"".join(path.read_bytes() for path in files)


class Shared:
    """A table, and a container."""

    def __init__(self, where: str, container: str) -> None:
        self.where, self.container, self.table = where, container, f"t{uuid4().hex}"
        self.settings = {
            "STATE__CONNECTION_STRING": where,
            "STATE__TABLE": self.table,
            "CHECKPOINT__CONNECTION_STRING": where,
            "CHECKPOINT__CONTAINER": container,
        }

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Ledger]:
        """Open the ledger."""
        store = table_store(self.where, self.table, Clock(), waiting_per_address=9)
        try:
            await store.open()
            yield store
        finally:
            await store.close()

    def quarantine(self) -> Quarantine:
        """Return the quarantine."""
        return BlobQuarantine(
            quarantine_container(self.where, self.container), instance="i", patient=False
        )

    async def raw(self) -> bytes:
        """Return every byte of every entity and blob."""
        found: list[bytes] = []
        async with TableClient.from_connection_string(self.where, self.table) as table:
            async for entity in table.list_entities():
                for name, value in entity.items():
                    kept = value if isinstance(value, bytes) else str(value).encode()
                    found += [name.encode(), kept]
        for name, body in (await blobs_in(self.where, self.container)).items():
            found += [name.encode(), body]
        return b"\n".join(found)


@pytest.fixture(params=["directory", "shared"])
def server(request: pytest.FixtureRequest) -> Azurite | None:
    """Return what serves the stores; a directory needs no server."""
    if request.param == "directory":
        return None
    started: Azurite = request.getfixturevalue("azurite")
    return started


@pytest.fixture
async def place(server: Azurite | None, tmp_path: Path) -> Directory | Shared:
    """Return stores in which both people are kept."""
    made: Directory | Shared
    if server is None:
        made = Directory(tmp_path)
    else:
        where = server.connection_string
        made = Shared(where, await make_container(where))
    async with made.opened() as ledger:
        await plant(ledger, made.quarantine())
    raw = await made.raw()
    for one in (*account_bytes(ADA), *account_bytes(BO), *address_bytes(HERS), *address_bytes(HIS)):
        assert one in raw or one == BO.upper().encode()
    return made


def deleted(out: bytes) -> list[int]:
    """Return the last column of the table; names of stores may take several lines."""
    ends = re.compile(r" (?:verdicts|sign-ins|entries|findings) +([\d,]+)$")
    return [
        int(found[1]) for line in out.decode().splitlines() if (found := ends.search(line.rstrip()))
    ]


async def quarantined(place: Directory | Shared) -> list[str]:
    """Return what is in quarantine, by position."""
    quarantine = place.quarantine()
    found = [item.position async for item in quarantine.items()]
    await quarantine.close()
    return sorted(found)


async def test_an_account_is_forgotten(place: Directory | Shared) -> None:
    """Its bytes are nowhere; what is of others stays; once more finds nothing."""
    ran = await signinwatch("forget", "Ada@EXAMPLE.net", settings=place.settings)
    assert ran.status == 0, ran.err
    assert deleted(ran.out)[:2] == [0, 2]
    assert deleted(ran.out)[3:] == [2]
    raw = await place.raw()
    assert [one for one in account_bytes(ADA) if one in raw] == []
    assert all(one in raw for one in (BO.encode(), pseudonym(BO).encode()))
    async with place.opened() as ledger:
        assert await ledger.waiting_for(HERS, 9) == []
        assert len(await ledger.waiting_for("93.184.216.34", 9)) == 1
        assert set(await ledger.get_verdicts([HERS, HIS])) == {HERS, HIS}
    assert await quarantined(place) == ["hub:1", "hub:2", "hub:3"]
    again = await signinwatch("forget", ADA, "--yes", settings=place.settings)
    assert (again.status, deleted(again.out)) == (0, [0, 0, 0, 0]), again.err
    assert ADA not in (ran.out + again.out).decode().lower() + ran.err + again.err


@pytest.mark.parametrize(
    ("address", "spelling", "left"),
    [
        (HERS, f"::ffff:{HERS}", ["f", "hub:1", "hub:2", "hub:3"]),
        (HIS, "[2A02:8108:0009:0007:0::5]:443", ["f", "hub:0", "hub:2", "hub:3"]),
    ],
)
async def test_an_address_is_forgotten(
    place: Directory | Shared, address: str, spelling: str, left: list[str]
) -> None:
    """In any spelling; other addresses and the accounts stay."""
    ran = await signinwatch("forget", spelling, settings=place.settings)
    assert ran.status == 0, ran.err
    assert deleted(ran.out)[:2] == [1, 1]
    raw = await place.raw()
    assert [one for one in address_bytes(address) if one + b"|" in raw or one in raw] == []
    assert all(pseudonym(one).encode() in raw for one in (ADA, BO))
    async with place.opened() as ledger:
        assert set(await ledger.get_verdicts([HERS, HIS])) == {HERS, HIS} - {address}
        assert address not in [one.address for one in await ledger.due(9)]
    assert await quarantined(place) == left


async def test_several_at_once(place: Directory | Shared) -> None:
    """Accounts and addresses, in one go."""
    ran = await signinwatch("forget", ADA, BO, HERS, HIS, "93.184.216.34", settings=place.settings)
    assert ran.status == 0, ran.err
    raw = await place.raw()
    names = (*account_bytes(ADA), *account_bytes(BO), *address_bytes(HERS), *address_bytes(HIS))
    assert [one for one in (*names, b"93.184.216.34") if one in raw] == []
    assert await quarantined(place) == ["hub:2", "hub:3"]


async def test_a_directory_in_use_is_let_be(tmp_path: Path) -> None:
    """The service has to be stopped first; nothing was deleted."""
    place = Directory(tmp_path)
    async with place.opened() as ledger:
        await plant(ledger, place.quarantine())
        ran = await signinwatch("forget", ADA, "--state", tmp_path)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "in use by another process" in ran.err
        assert "stop the service first if it is running" in ran.err
        assert len(await ledger.waiting_for(HERS, 9)) == 1
        assert len(await quarantined(place)) == 5


async def test_a_service_beside_a_table_goes_on(azurite: Azurite) -> None:
    """Instances that run are no hindrance, and people are told what they may still hold."""
    where = azurite.connection_string
    place = Shared(where, await make_container(where))
    async with place.opened() as running:
        await plant(running, place.quarantine())
        ran = await signinwatch("forget", ADA, settings=place.settings)
        assert (ran.status, b"until they restart" in ran.out) == (0, True), ran.err
        assert await running.waiting_for(HERS, 9) == []
        await running.enqueue_unless_answered([waiting("new", HIS, account=BO)])


async def test_nothing_is_made_where_nothing_was(azurite: Azurite, tmp_path: Path) -> None:
    """Neither a ledger in a directory nor a table; a table that is not there is a mistake."""
    ran = await signinwatch("forget", ADA, "--state", tmp_path)
    assert (ran.status, deleted(ran.out)) == (0, [0, 0, 0, 0]), ran.err
    assert list(tmp_path.iterdir()) == []
    where = azurite.connection_string
    place = Shared(where, await make_container(where))
    ran = await signinwatch("forget", ADA, settings=place.settings)
    assert (ran.status, "STATE__TABLE" in ran.err, "create" in ran.err) == (1, True, True), ran.err


async def test_bad_usage(tmp_path: Path) -> None:
    """Exit status 2, and one line."""
    there = {"STATE__DIR": str(tmp_path)}
    cases: list[tuple[list[str], dict[str, str], str]] = [
        (["Ada Lovelace"], there, "argument 1: is neither an IP address nor an account"),
        ([ADA, ""], there, "argument 2: is empty"),
        (["81.2.69.0/24"], there, "argument 1: is a network"),
        (["81.2.69.1600"], there, "argument 1: is not a valid IP address"),
        ([ADA], {}, "STATE__DIR"),
        ([ADA], {"STATE__CONNECTION_STRING": "x"}, "CHECKPOINT__CONNECTION_STRING"),
        ([ADA, "--state", "/not/there"], {}, "--state /not/there"),
    ]
    for arguments, settings, words in cases:
        ran = await signinwatch("forget", *arguments, settings=settings)
        assert (ran.status, words in ran.err, ran.err.count("\n")) == (2, True, 1), ran.err
    assert (await signinwatch("forget", settings=there)).status == 2


@pytest.mark.parametrize(("answer", "status"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1)])
async def test_a_person_is_asked(tmp_path: Path, answer: bytes, status: int) -> None:
    """On a terminal; only a yes deletes, and the question names the places."""
    place = Directory(tmp_path)
    async with place.opened() as ledger:
        await plant(ledger, place.quarantine())
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumers.cli", "forget", ADA, HERS, "--state", str(tmp_path)),
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(theirs)
    os.write(ours, answer)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    os.close(ours)
    assert process.returncode == status, err
    assert b"1 account and 1 IP address" in err
    assert str(tmp_path).encode() in err
    assert (ADA.encode() in await place.raw()) == (status == 1)
    assert (b"Deleted" in out) == (status == 0)


async def test_logs_tell_nobody(tmp_path: Path) -> None:
    """Accounts and addresses appear at debug alone."""
    told: dict[str, Any] = {}
    run = partial(signinwatch, settings={"STATE__DIR": str(tmp_path)})
    told["quiet"] = await run("forget", ADA, HERS)
    told["verbose"] = await run("--verbose", "forget", ADA, HERS)
    assert [ADA in one.err for one in told.values()] == [False, True]
    assert [HERS in one.err for one in told.values()] == [False, True]
