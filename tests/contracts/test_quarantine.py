"""Every quarantine, through one suite."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from producers.quarantine.blob import BlobQuarantine
from producers.quarantine.directory import MAX_DIRECTORY_BYTES, MAX_ITEM_BYTES, DirectoryQuarantine
from schemas.ports import Quarantine, QuarantineItem
from tests.support.blobs import blobs_in, make_container, quarantine_container, write_blobs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.servers.azurite import Azurite

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> float:
        """Return what was set."""
        return self.time.timestamp()


@dataclass
class Place:
    """Where one quarantine is; opening it again is a restart."""

    opened: Callable[[int], Quarantine]
    clock: Clock
    spoil: Callable[[bytes], Awaitable[None]]
    """Appends to what was written last."""

    def open(self, largest: int = MAX_DIRECTORY_BYTES) -> Quarantine:
        """Return a quarantine of *largest* bytes."""
        return self.opened(largest)


@pytest.fixture(params=["directory", "blob"])
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, azurite: Azurite
) -> AsyncIterator[Place]:
    """Return an empty place."""
    clock = Clock()
    opened: list[Quarantine] = []

    if request.param == "directory":

        def open_again(largest: int) -> Quarantine:
            return DirectoryQuarantine(tmp_path, largest=largest, now=clock.now)

        async def spoil(text: bytes) -> None:
            with max((tmp_path / "quarantine").iterdir()).open("ab") as file:
                file.write(text)

    else:
        where = azurite.connection_string
        container = await make_container(where)

        def open_again(largest: int) -> Quarantine:
            opened.append(
                BlobQuarantine(
                    quarantine_container(where, container),
                    instance="a/b c",
                    patient=False,
                    largest=largest,
                    now=clock.now,
                )
            )
            return opened[-1]

        async def spoil(text: bytes) -> None:
            name, body = max((await blobs_in(where, container)).items())
            await write_blobs(where, container, {name: body + text})

    yield Place(open_again, clock, spoil)
    for one in opened:
        await one.close()


def item(number: int, body: bytes | None = None, kind: str = "message") -> QuarantineItem:
    """Return the item of a minute."""
    body = b"body %d" % number if body is None else body
    moment = START + timedelta(minutes=number)
    return QuarantineItem(kind, "not JSON", f"hub/0:{number}", body, moment)


async def kept(quarantine: Quarantine) -> list[QuarantineItem]:
    """Return what is kept."""
    return [one async for one in quarantine.items()]


async def bodies(quarantine: Quarantine) -> list[bytes]:
    """Return the bodies of what is kept."""
    return [one.body for one in await kept(quarantine)]


async def test_what_was_put_is_there_after_a_restart(place: Place) -> None:
    """In order, unchanged but for the id; also when the place was empty, or nothing was put."""
    quarantine = place.open()
    assert await kept(quarantine) == []
    await quarantine.put([])
    assert await quarantine.remove(None) == 0
    await quarantine.put([item(1), item(2)])
    await quarantine.put([item(3, kind="finding")])
    place.clock.time += timedelta(days=1)
    await place.open().put([item(4)])
    found = await kept(place.open())
    assert [
        QuarantineItem(one.kind, one.reason, one.position, one.body, one.time) for one in found
    ] == [item(1), item(2), item(3, kind="finding"), item(4)]
    assert len({one.id for one in found} - {""}) == 4


async def test_each_thing_is_kept_once(place: Place) -> None:
    """However often it comes; the same body from elsewhere is another thing."""
    quarantine = place.open()
    await quarantine.put([item(1, b"same"), item(1, b"same")])
    place.clock.time += timedelta(days=1)
    await quarantine.put([item(1, b"same"), item(2, b"same")])
    found = await kept(quarantine)
    assert [one.position for one in found] == ["hub/0:1", "hub/0:2"]
    assert await quarantine.remove([found[0].id]) == 1
    assert [one.position for one in await kept(quarantine)] == ["hub/0:2"]


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe{", b"a\r\nb\n\n", "\u2028 \x00\x1b[31m ä".encode(), b'"\\', b"\xf0\x9f\x98"],
)
async def test_any_body_comes_back(place: Place, body: bytes) -> None:
    """Byte for byte, whatever it would do to a line."""
    quarantine = place.open()
    await quarantine.put([item(1, body), item(2)])
    assert await bodies(quarantine) == [body, b"body 2"]


async def test_large_bodies_are_cut(place: Place) -> None:
    """At 1 MiB, also where that divides a character, or where each byte is written as six."""
    large = ("ä" * MAX_ITEM_BYTES).encode()[1:]
    nothing = bytes(MAX_ITEM_BYTES + 1)
    quarantine = place.open()
    await quarantine.put([item(1, large), item(2, nothing), item(3, large + b"!")])
    found = await kept(quarantine)
    assert [one.body for one in found] == [
        large[:MAX_ITEM_BYTES],
        nothing[:MAX_ITEM_BYTES],
        large[:MAX_ITEM_BYTES],
    ]
    assert found[0].id != found[2].id
    assert await quarantine.remove([found[1].id]) == 1
    assert len(await kept(quarantine)) == 2


async def test_any_number_is_kept_in_order(place: Place) -> None:
    """Also more than one file or blob may hold."""
    items = [item(number, b"%04d" % number * 50_000) for number in range(60)]
    quarantine = place.open()
    await quarantine.put(items)
    assert await bodies(quarantine) == [one.body for one in items]


async def test_removing(place: Place) -> None:
    """By id, by age, by both, by neither."""
    quarantine = place.open()
    await quarantine.put([item(1), item(2), item(3)])
    await quarantine.put([item(4), item(5)])
    ids = [one.id for one in await kept(quarantine)]
    assert await quarantine.remove([]) == 0
    assert await quarantine.remove(["unknown"]) == 0
    assert await quarantine.remove([ids[1], ids[4]]) == 2
    assert await bodies(place.open()) == [b"body 1", b"body 3", b"body 4"]
    before = START + timedelta(minutes=3)
    assert await quarantine.remove([ids[0], ids[3]], before) == 1
    assert await quarantine.remove(None, START + timedelta(minutes=4)) == 1
    assert await bodies(quarantine) == [b"body 4"]
    await quarantine.put([item(6)])
    assert await quarantine.remove(None) == 2
    assert await kept(place.open()) == []


async def test_old_days_go(place: Place) -> None:
    """After fourteen days, in a process that never ends as well."""
    quarantine = place.open()
    await quarantine.put([item(1)])
    place.clock.time += timedelta(days=1)
    await quarantine.put([item(2)])
    place.clock.time += timedelta(days=13)
    await quarantine.put([item(3)])
    assert await bodies(quarantine) == [b"body 1", b"body 2", b"body 3"]
    place.clock.time += timedelta(days=1)
    await quarantine.put([item(4)])
    assert await bodies(quarantine) == [b"body 2", b"body 3", b"body 4"]


async def test_the_oldest_give_way(place: Place) -> None:
    """When all is too much; what was just put stays."""
    quarantine = place.open(largest=2_500)
    for number in range(4):
        await quarantine.put([item(number, b"%d" % number * 1_000)])
        place.clock.time += timedelta(days=1)
    assert await bodies(quarantine) == [b"2" * 1_000, b"3" * 1_000]


@pytest.mark.parametrize(
    "text",
    [
        b'{"id":"cut off","time":"2026-03-02T0',
        b"\xff\x00 nonsense\nof two lines",
        b"[1]\nnull\n{}\n",
        b'{"id":[],"time":1,"kind":{},"reason":null,"position":2,"body":"b"}\n',
        b'{"id":"a","time":"t","kind":"k","reason":"r","position":"p","base64":"\xc3\xa4"}',
    ],
)
async def test_what_is_no_item_is_passed_over(place: Place, text: bytes) -> None:
    """And spoils nothing beside it: neither what came before nor what comes after."""
    await place.open().put([item(1), item(2)])
    await place.spoil(text)
    place.clock.time += timedelta(seconds=1)
    quarantine = place.open()
    await quarantine.put([item(3)])
    found = await kept(quarantine)
    assert [one.body for one in found] == [b"body 1", b"body 2", b"body 3"]
    assert await quarantine.remove([found[0].id]) == 1
    assert await bodies(quarantine) == [b"body 2", b"body 3"]
