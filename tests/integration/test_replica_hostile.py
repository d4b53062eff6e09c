"""The replica against servers that are odd, broken or hostile, by commands alone."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from tests.servers.peer import Peer
from tests.support.command import crowdsec_at
from tests.support.hostile import BAD, KEY, found, replayed, synced
from tests.support.sign_ins import row

if TYPE_CHECKING:
    from pathlib import Path


def packed(*members: tuple[str, bytes | None]) -> bytes:
    """Return a tar.gz; a member without content is a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members:
            told = tarfile.TarInfo(name)
            if content is None:
                told.type = tarfile.DIRTYPE
            told.size = len(content or b"")
            archive.addfile(told, io.BytesIO(content or b""))
    return out.getvalue()


def database(folder: Path) -> bytes:
    """Return a replica: a malicious address, and a /24 of which only the range is known."""
    writer = MMDBWriter(6, ipv4_compatible=True, database_type="crowdsec")
    around = {"ip_range_24": "81.2.70.0/24", "reputation": "malicious"}
    writer.insert_network(IPSet(["81.2.70.0/24"]), around)
    writer.insert_network(IPSet([f"{BAD}/32"]), {"reputation": "malicious"})
    path = folder / "made.mmdb"
    writer.to_db_file(str(path))
    return path.read_bytes()


@pytest.mark.parametrize("shape", ["archive", "bare", "gzip"])
async def test_shapes_of_the_replica(tmp_path: Path, shape: str) -> None:
    """Folders first, ``./``, no archive at all: read; the key goes to the list alone."""
    plain = database(tmp_path)
    body = {
        "archive": packed(
            ("./", None), ("./d/", None), ("./d/README", b"x"), ("./d/a.mmdb", plain)
        ),
        "bare": plain,
        "gzip": gzip.compress(plain),
    }[shape]

    async def link(_: web.Request) -> web.Response:
        return web.Response(body=body)

    async with Peer(link) as storage:

        async def listing(_: web.Request) -> web.Response:
            checksum = hashlib.sha256(plain if shape == "gzip" else body).hexdigest()
            told = {"url": f"{storage.url}/a?sig=%2F+b", "checksum": checksum}
            name = "smoke_full_mmdb" if shape == "bare" else "smoke"
            return web.json_response({name: {**told, "checksum_type": "sha256"}})

        async with Peer(listing) as api:
            settings = crowdsec_at(api.url, KEY, CROWDSEC__REPLICA="true")
            ran = await replayed(tmp_path, row(BAD), row("81.2.70.7"), **settings)
            assert api.asked == ["/v2/dump?format=mmdb"]
        assert storage.asked == ["/a?sig=%2F+b"]
        assert all("x-api-key" not in one for one in storage.headers)
    assert set(found(tmp_path)) == {BAD}
    assert (ran.summary["lookups"], ran.summary["unanswered"]) == (0, 0)


async def test_a_damaged_replica_leaves_the_last_one(tmp_path: Path) -> None:
    """A wrong checksum, a name that leads out, a redirect: refused, and the old copy answers."""
    plain = database(tmp_path)
    bodies = [plain, plain[:-100], packed(("../../evil.mmdb", plain)), None]

    async def link(_: web.Request) -> web.Response:
        body = bodies[0]
        if body is None:
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})
        return web.Response(body=body)

    async with Peer(link) as storage:

        async def listing(_: web.Request) -> web.Response:
            return web.json_response({"smoke": {"url": f"{storage.url}/a"}})

        async with Peer(listing) as api:
            settings = crowdsec_at(api.url, KEY, CROWDSEC__REPLICA="true")
            statuses = []
            while bodies:
                ran, (told,) = await synced(tmp_path / "state", settings)
                statuses.append(ran.status)
                assert told["detail"].startswith("smoke, built")
                bodies.pop(0)
    assert statuses == [0, 1, 1, 1]
    assert not list(tmp_path.rglob("evil*"))
    kept = (tmp_path / "state" / "replica" / "crowdsec.mmdb").read_bytes()
    assert kept == plain
