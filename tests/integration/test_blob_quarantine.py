"""The quarantine beside the checkpoints: faults of the service, and people who purge at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob.aio import BlobClient, ContainerClient

from consumers.wiring.identity import IdentityError
from producers.quarantine import blob as blob_quarantine
from producers.quarantine.blob import CONTAINER_OPTIONS, MAX_TRIES, BlobQuarantine
from schemas.errors import ConfigurationError, LedgerFailed, SigninwatchError
from schemas.health import Problem
from schemas.ports import QuarantineItem
from tests.servers.azurite import Azurite
from tests.servers.front import Fault, Front
from tests.support.blobs import (
    blobs_in,
    containers_named,
    make_container,
    quarantine_container,
    write_blobs,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web
    from azure.core.credentials import AccessToken

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
SECRET = "c2VjcmV0LW9mLXRoZS10ZXN0"


@dataclass
class Notes:
    """A watch that writes down what it is told, and lets a test wait for it."""

    told: list[str] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    waiters: list[tuple[str, asyncio.Event]] = field(default_factory=list)

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Note it once, however often it is told in a row."""
        assert (what, part) == (Problem.QUARANTINE_UNREACHABLE, "")
        self._note(detail)

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Note it."""
        assert (what, part) == (Problem.QUARANTINE_UNREACHABLE, "")
        self._note("well")

    def _note(self, text: str) -> None:
        if self.told[-1:] != [text]:
            self.told.append(text)
        for words, event in self.waiters:
            if words in text:
                event.set()

    async def hears(self, words: str) -> None:
        """Return when something with *words* is told from now on."""
        event = asyncio.Event()
        self.waiters.append((words, event))
        await event.wait()


@pytest.fixture
async def container(azurite: Azurite) -> str:
    """Return a new container."""
    return await make_container(azurite.connection_string)


@pytest.fixture
async def front(azurite: Azurite) -> AsyncIterator[tuple[Front, str]]:
    """Return a door before the emulator, and its connection string."""
    front = Front(azurite.connection_string)
    async with front.open() as where:
        yield front, where


def quarantine_at(where: str, container: str, **more: Any) -> BlobQuarantine:
    """Return a quarantine of a command."""
    settings: dict[str, Any] = {"instance": "test", "patient": False, **more}
    return BlobQuarantine(quarantine_container(where, container), **settings)


def item(number: int) -> QuarantineItem:
    """Return some item."""
    return QuarantineItem("message", "not JSON", f"hub/0:{number}", b"body %d" % number, START)


async def bodies(quarantine: BlobQuarantine) -> list[bytes]:
    """Return the bodies of what is kept."""
    return [one.body async for one in quarantine.items()]


async def failure(quarantine: BlobQuarantine) -> SigninwatchError:
    """Return the error of each thing that can be asked; they are of one kind and text."""
    errors: list[SigninwatchError] = []
    for attempt in (quarantine.put([item(1)]), bodies(quarantine), quarantine.remove(None)):
        with pytest.raises(SigninwatchError) as caught:
            await attempt
        errors.append(caught.value)
    await quarantine.close()
    assert len({(type(error), str(error)) for error in errors}) == 1
    assert SECRET not in repr(errors)
    assert SECRET not in repr(quarantine)
    return errors[0]


async def test_a_missing_container_is_named_and_never_made(azurite: Azurite) -> None:
    """The setting, and what to do."""
    where = azurite.connection_string
    error = await failure(quarantine_at(where, "not-there"))
    assert isinstance(error, ConfigurationError)
    assert str(error).startswith("SIGNINWATCH_CHECKPOINT__CONTAINER: there is no such container")
    assert await containers_named(where, ["not-there"]) == []


@pytest.mark.parametrize("key", [SECRET, "notbase64" + SECRET])
async def test_a_wrong_key_is_named_and_not_shown(
    azurite: Azurite, container: str, key: str
) -> None:
    """One that the service refuses, and one that cannot be used at all."""
    parts = azurite.connection_string.split(";")
    where = ";".join(f"AccountKey={key}" if "Key=" in part else part for part in parts)
    error = await failure(quarantine_at(where, container))
    assert isinstance(error, ConfigurationError)
    assert "SIGNINWATCH_CHECKPOINT__CONNECTION_STRING: access is refused" in str(error)


@pytest.mark.parametrize("where", ["nonsense" + SECRET, "AccountKey=" + SECRET])
def test_what_is_no_connection_string_is_refused(where: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigurationError, match="CHECKPOINT__CONNECTION_STRING") as caught:
        quarantine_at(where, "container")
    assert SECRET not in str(caught.value)


class _NobodyIsSignedIn:
    """A credential for which there is no token."""

    closed = False

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        """Refuse."""
        raise IdentityError("nobody is signed in")

    async def close(self) -> None:
        """Note it."""
        self.closed = True

    async def __aenter__(self) -> _NobodyIsSignedIn:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to let go of."""


async def test_an_account_url_without_a_token_is_named() -> None:
    """With the reason, and nothing of a role: no token comes before any role."""
    credential = _NobodyIsSignedIn()
    account = "https://127.0.0.1:9/account"
    container = ContainerClient(account, "c", credential, **CONTAINER_OPTIONS)
    quarantine = BlobQuarantine(container, credential=credential, instance="test", patient=False)
    error = await failure(quarantine)
    assert "SIGNINWATCH_CHECKPOINT__ACCOUNT_URL: no token could be had: nobody" in str(error)
    assert "Storage Blob Data Contributor" not in str(error)
    assert credential.closed


@pytest.mark.usefixtures("no_waiting")
async def test_a_command_gives_up_after_a_few_tries(
    front: tuple[Front, str], container: str
) -> None:
    """A busy service is tried again, by nobody but us, and named."""
    door, where = front
    door.fault = lambda _: Fault.BUSY
    error = await failure(quarantine_at(where, container))
    assert isinstance(error, LedgerFailed)
    assert "CHECKPOINT__CONNECTION_STRING: the storage account answers 503" in str(error)
    assert len(door.requests) == 3 * MAX_TRIES
    closed = where.replace(where.split("http://")[1].split("/")[0], "127.0.0.1:9")
    error = await failure(quarantine_at(closed, container))
    assert "the storage account does not answer" in str(error)


async def test_the_service_waits_a_busy_storage_out(
    front: tuple[Front, str], container: str
) -> None:
    """Tells its watch, and goes on by itself when the storage does."""
    door, where = front
    door.fault = lambda _: Fault.BUSY
    notes = Notes()
    quarantine = quarantine_at(where, container, patient=True, health=notes)
    putting = asyncio.create_task(quarantine.put([item(1)]))
    await notes.hears("503")
    await notes.hears("503")
    door.fault = lambda _: Fault.NONE
    await putting
    assert [text[-11:] for text in notes.told] == ["answers 503", "well"]
    assert await bodies(quarantine) == [b"body 1"]
    await quarantine.close()


async def test_the_service_outlasts_a_stopped_storage() -> None:
    """Unreachable, then back without its container, then well."""
    async with Azurite() as storage:
        where = storage.connection_string
        container = await make_container(where)
        notes = Notes()
        quarantine = quarantine_at(where, container, patient=True, health=notes)
        await quarantine.put([item(1)])
        await storage.stop()
        putting = asyncio.create_task(quarantine.put([item(2)]))
        await notes.hears("does not answer")
        missing = asyncio.create_task(notes.hears("no such container"))
        await storage.start()
        await missing  # what was in memory is gone
        assert await containers_named(where, [container]) == []
        await make_container(where, container)
        await putting
        assert notes.told[-1] == "well"
        assert await bodies(quarantine) == [b"body 2"]
        await quarantine.close()


async def test_a_lost_answer_writes_nothing_twice(front: tuple[Front, str], container: str) -> None:
    """The repeat finds the blob there; the same with one that is staged in blocks."""
    door, where = front
    quarantine = quarantine_at(where, container)
    large = QuarantineItem("message", "x", "hub/0:2", bytes(1_000_000), START)
    for number, one in enumerate((item(1), large), 1):
        lost: list[str] = []

        def lose_first(request: web.Request, lost: list[str] = lost) -> Fault:
            if request.method != "PUT" or lost or "comp=block&" in request.query_string:
                return Fault.NONE
            lost.append(request.path)
            return Fault.ANSWER_LOST

        door.fault = lose_first
        await quarantine.put([one])
        assert len(lost) == 1
        assert len(await blobs_in(where, container)) == number
    assert await bodies(quarantine) == [b"body 1", large.body]
    await quarantine.close()


async def test_purging_at_once_loses_nothing(azurite: Azurite, container: str) -> None:
    """Two people remove different items of the same blobs while the service writes others."""
    where = azurite.connection_string
    first, second, service = (quarantine_at(where, container) for _ in range(3))
    for start in range(0, 40, 8):
        await service.put([item(number) for number in range(start, start + 8)])
    ids = [one.id async for one in service.items()]
    removed = await asyncio.gather(
        first.remove(ids[0::4]),
        second.remove(ids[1::4]),
        *(service.put([item(number)]) for number in (40, 41)),
    )
    assert removed[:2] == [10, 10]
    left = {item(number).body for number in range(42) if number >= 40 or number % 4 > 1}
    assert set(await bodies(first)) == left
    await asyncio.gather(first.remove(None), second.remove(None))
    assert await blobs_in(where, container) == {}
    for one in (first, second, service):
        await one.close()


async def test_what_may_be_rewritten_fits_one_request(
    front: tuple[Front, str], container: str
) -> None:
    """Blocks staged by two people who purge at once would get mixed up."""
    door, where = front
    quarantine = quarantine_at(where, container)
    sizes = [400_000, 400_000, 400_000, 300_000, 1_000_000, 10, 7]
    items = [
        QuarantineItem("message", "x", f"hub/0:{number}", bytes([65 + number]) * size, START)
        for number, size in enumerate(sizes)
    ]
    items.insert(5, QuarantineItem("message", "x", "hub/0:9", bytes(1_000_000), START))
    await quarantine.put(items)
    blobs = (await blobs_in(where, container)).values()
    assert [blob.count(b"\n") for blob in blobs] == [2, 2, 1, 1, 2]
    assert (
        max(len(blob) for blob in blobs if blob.count(b"\n") > 1) <= blob_quarantine.REQUEST_BYTES
    )
    door.requests.clear()
    ids = [one.id async for one in quarantine.items()]
    assert await quarantine.remove(ids[::2]) == 4
    assert not [one for one in door.requests if "comp=block" in one]
    assert await bodies(quarantine) == [one.body for one in items[1::2]]
    await quarantine.close()


async def test_a_leased_blob_is_told_of(azurite: Azurite, container: str) -> None:
    """Somebody holds on to it: nothing is forced."""
    where = azurite.connection_string
    quarantine = quarantine_at(where, container)
    await quarantine.put([item(1)])
    (name,) = await blobs_in(where, container)
    async with BlobClient.from_connection_string(where, container, name) as blob:
        await blob.acquire_lease(15)
    with pytest.raises(LedgerFailed, match="leased"):
        await quarantine.remove(None)
    assert await bodies(quarantine) == [b"body 1"]
    await quarantine.close()


async def test_foreign_blobs_are_left_alone(
    azurite: Azurite, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By reading, purging and trimming; checkpoints above all."""
    where = azurite.connection_string
    foreign = {
        "ns/hub/group/checkpoint/0": b"",
        "quarantine/2020-01-01/notes.ndjson": b"mine",
        "quarantine/README": b'{"id":"a"}\n',
        "quarantine-of-others/2020-01-01/080000.000000-a-0123456789abcdef-1.ndjson": b"x" * 9_000,
    }
    await write_blobs(where, container, foreign)
    quarantine = quarantine_at(where, container, largest=100)
    await quarantine.put([item(1)])
    monkeypatch.setattr(blob_quarantine, "MAX_BLOB_BYTES", 10)
    assert await bodies(quarantine) == []
    monkeypatch.undo()
    assert await bodies(quarantine) == []
    await quarantine.remove(None)
    assert await blobs_in(where, container) == foreign
    await quarantine.close()


async def test_trimming_is_rare_and_holds_nothing_up(
    front: tuple[Front, str], container: str
) -> None:
    """At the first put and once an hour, a page at a time; not being allowed to is no failure."""
    door, where = front
    moment = START
    quarantine = quarantine_at(
        where, container, patient=True, health=Notes(), largest=1, now=lambda: moment.timestamp()
    )
    door.fault = lambda request: Fault.REFUSED if request.method == "DELETE" else Fault.NONE
    for _ in range(5):
        await quarantine.put([item(1), item(2)])
        moment += timedelta(minutes=20)
    listings = [one for one in door.requests if one.startswith("GET") and "comp=list" in one]
    assert len(listings) == 2 * 2
    assert len(await blobs_in(where, container)) == 5
    await quarantine.close()


async def test_many_blobs_are_read_by_pages(
    front: tuple[Front, str], container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault between two pages, or in the middle of a blob, costs neither order nor an item."""
    monkeypatch.setattr(blob_quarantine, "PAGE_BLOBS", 2)
    door, where = front
    quarantine = quarantine_at(where, container)
    for number in range(7):
        await quarantine.put([item(number)])
    seen: set[str] = set()

    def busy_once_each(request: web.Request) -> Fault:
        if request.path_qs in seen:
            return Fault.NONE
        seen.add(request.path_qs)
        return Fault.BUSY if len(seen) % 2 else Fault.ANSWER_LOST

    door.fault = busy_once_each
    assert await bodies(quarantine) == [b"body %d" % number for number in range(7)]
    assert sum("marker" in one for one in seen) == 3
    await quarantine.close()
