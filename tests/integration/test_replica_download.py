"""Fetching the replica over HTTP: what is verified, what is refused, and who is told the key."""

from __future__ import annotations

import asyncio
import hashlib
import stat
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from consumers.sources.crowdsec import replica_archive, replica_download
from consumers.sources.crowdsec.replica import FILE_NAME, METADATA_NAME, Replica
from consumers.sources.crowdsec.replica_download import ReplicaDownload
from schemas.errors import FeedFailed
from tests.servers.loopback import Loopback
from tests.servers.replica import (
    ADDRESS,
    ARCHIVE,
    BUILT,
    CUT,
    DATABASE,
    HANG,
    HOSTILE,
    KEY,
    LEADING_NOWHERE,
    ReplicaHosts,
    client,
    download,
    fetched,
    gz,
    mmdb,
    tar_gz,
)

if TYPE_CHECKING:
    from collections.abc import Callable


async def failed(hosts: ReplicaHosts, folder: Path, **more: Any) -> FeedFailed:
    """Fetch once in vain; nothing is left of it in the folder."""
    with pytest.raises(FeedFailed) as error:
        await fetched(hosts, folder, **more)
    assert not list(folder.iterdir())
    for secret in (KEY, "Signature", "a%2Bsecret", hosts.host.url):
        assert secret not in str(error.value)
    return error.value


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(ARCHIVE, id="archive"),
        pytest.param(tar_gz(("./s.mmdb", DATABASE), ("z.json", b"{}" * 9_000)), id="first of two"),
        pytest.param(DATABASE, id="bare"),
        pytest.param(gz(DATABASE), id="gzip"),
    ],
)
async def test_it_is_fetched_verified_and_unpacked(tmp_path: Path, body: bytes) -> None:
    """One request for the link, one for the file, and the bytes of the database."""
    hosts = ReplicaHosts(body)
    found = await fetched(hosts, tmp_path)
    assert found.path.read_bytes() == DATABASE
    assert (found.verified, found.dataset) == (True, "smoke")
    assert hosts.queries == ["/v2/dump?format=mmdb"]
    assert (hosts.lists, hosts.files) == (1, 1)
    assert list(tmp_path.iterdir()) == [found.path]
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o600


async def test_the_key_is_for_the_list_alone(tmp_path: Path) -> None:
    """The host of files never sees it, on whatever port, even where it is the API's own host."""
    hosts = ReplicaHosts(ARCHIVE)
    await fetched(hosts, tmp_path)
    assert len(hosts.seen) == 1
    assert "x-api-key" not in hosts.seen[0]
    assert KEY not in str(hosts.seen)


async def test_the_key_is_not_sent_to_a_link_on_the_same_host(tmp_path: Path) -> None:
    """There the list is served to who has the key: without it, 403."""
    hosts = ReplicaHosts(ARCHIVE)
    async with download(hosts, tmp_path) as made:
        hosts.entry = {"url": f"{hosts.api.url}/files/smoke.tar.gz"}
        with pytest.raises(FeedFailed, match="status 403") as error:
            await made.fetch()
    assert hosts.lists == 2
    assert not error.value.refused


def test_a_client_that_knows_the_key_downloads_nothing(tmp_path: Path) -> None:
    """A mistake of the wiring must not leak it."""
    keyed = client(**{"X-Api-Key": KEY})
    with pytest.raises(ValueError, match="must not have the key"):
        ReplicaDownload(keyed, keyed, "https://localhost/v2", tmp_path)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_refused(tmp_path: Path, status: int) -> None:
    """Neither the list's nor the link's is followed, so neither carries the key elsewhere."""
    heard: list[web.Request] = []

    async def hear(request: web.Request) -> web.StreamResponse:
        heard.append(request)
        return web.json_response({"smoke": {"url": "https://localhost/"}})

    async with Loopback(hear) as elsewhere:
        away = web.Response(status=status, headers={"Location": f"{elsewhere.url}/v2/dump"})
        at_list = await failed(ReplicaHosts(ARCHIVE, list_fault=lambda: away), tmp_path)
        away = web.Response(status=status, headers={"Location": f"{elsewhere.url}/smoke.tar.gz"})
        at_link = await failed(ReplicaHosts(ARCHIVE, file_fault=lambda: away), tmp_path)
    assert at_list.refused
    assert at_link.refused
    assert "redirect" in str(at_list)
    assert "redirect" in str(at_link)
    assert not heard


@pytest.mark.parametrize(
    ("listed", "dataset", "expected"),
    [
        ({"smoke_full_mmdb": {}, "smoke": {}, "fire": {}}, None, "smoke"),
        ({"geoip-asn-circle": {}, "smoke_full_mmdb": {}}, None, "smoke_full_mmdb"),
        ({"smoke_full_mmdb": "bare text"}, None, "smoke_full_mmdb"),
        ({"smoke": {}, "fire": {}}, "fire", "fire"),
    ],
)
async def test_the_dataset_is_picked(
    tmp_path: Path, listed: dict[str, Any], dataset: str | None, expected: str
) -> None:
    """Both shapes of the list; what is not named is not taken, but the whole data."""
    hosts = ReplicaHosts(DATABASE)
    async with download(hosts, tmp_path, dataset=dataset) as made:
        link, other = hosts.link, f"{hosts.host.url}/other"
        hosts.listed = {
            name: link if entry else {"url": link if name == expected else other}
            for name, entry in listed.items()
        }
        found = await made.fetch()
    assert (found.dataset, found.verified) == (expected, False)
    assert found.path.read_bytes() == DATABASE


@pytest.mark.parametrize(("listed", "dataset", "told"), LEADING_NOWHERE)
async def test_lists_that_lead_nowhere_are_refused(
    tmp_path: Path, listed: object, dataset: str | None, told: str
) -> None:
    """A human has to look; nothing is asked for."""
    hosts = ReplicaHosts(DATABASE, listed=listed)
    error = await failed(hosts, tmp_path, dataset=dataset)
    assert error.refused
    assert told in str(error)
    assert hosts.files == 0


@pytest.mark.parametrize(
    ("status", "refused", "told"),
    [
        (401, True, "CROWDSEC__API_KEY"),
        (403, True, "a separate key"),
        (404, True, "CROWDSEC__URL"),
        (400, True, "unexpected status 400"),
        (204, True, "unexpected status 204"),
        (429, False, "status 429"),
        (500, False, "status 500"),
        (503, False, "status 503"),
    ],
)
async def test_the_lists_status_says_what_to_do(
    tmp_path: Path, status: int, refused: bool, told: str
) -> None:
    """A human mends the key and the URL; the rest may pass."""
    answer = web.Response(status=status, headers={"Retry-After": "7"})
    error = await failed(ReplicaHosts(ARCHIVE, list_fault=lambda: answer), tmp_path)
    assert (error.refused, told in str(error)) == (refused, True)
    assert error.retry_after == (None if refused else 7.0)


@pytest.mark.parametrize("body", [b"<html>", b'{"smoke":', b"x" * 200_000])
async def test_a_list_that_is_none_is_refused(tmp_path: Path, body: bytes) -> None:
    """Not JSON, and far too long for a list."""
    answer = web.Response(body=body)
    assert (await failed(ReplicaHosts(ARCHIVE, list_fault=lambda: answer), tmp_path)).refused


@pytest.mark.parametrize("status", [403, 404, 429, 500])
async def test_a_link_that_does_not_answer_may_pass(tmp_path: Path, status: int) -> None:
    """Links run out; the next fetch has a new one."""
    answer = web.Response(status=status, headers={"Retry-After": "7"}, body=ARCHIVE)
    error = await failed(ReplicaHosts(ARCHIVE, file_fault=lambda: answer), tmp_path)
    assert (error.refused, error.retry_after) == (False, 7.0)
    assert f"status {status}" in str(error)


async def test_hosts_out_of_reach_may_pass(tmp_path: Path) -> None:
    """The API, or the host of files."""
    async with ReplicaHosts().api as gone:
        pass
    error = await failed(ReplicaHosts(ARCHIVE), tmp_path, url=f"{gone.url}/v2")
    assert (error.refused, "cannot connect" in str(error)) == (False, True)
    error = await failed(ReplicaHosts(ARCHIVE, entry={"url": f"{gone.url}/x"}), tmp_path)
    assert (error.refused, "cannot connect" in str(error)) == (False, True)


async def test_a_broken_connection_may_pass(tmp_path: Path) -> None:
    """Half a file is not taken for a whole one, even if no checksum is told."""
    entry = {"checksum": None}
    error = await failed(ReplicaHosts(ARCHIVE, entry=entry, file_fault=lambda: CUT), tmp_path)
    assert not error.refused


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"checksum": "0" * 64}, "another checksum"),
        ({"checksum": "0" * 63}, "not a valid SHA-256"),
        ({"checksum": "ä" * 64}, "not a valid SHA-256"),
        ({"checksum": 7}, "not a valid SHA-256"),
        ({"checksum_type": "md5"}, "type"),
        ({"checksum_type": 7}, "type"),
    ],
)
async def test_a_wrong_checksum_is_refused(
    tmp_path: Path, entry: dict[str, Any], told: str
) -> None:
    """And one that cannot be compared."""
    error = await failed(ReplicaHosts(ARCHIVE, entry=entry), tmp_path)
    assert error.refused
    assert told in str(error)


@pytest.mark.parametrize("body", [ARCHIVE, DATABASE], ids=["archive", "database"])
async def test_a_checksum_of_neither_archive_nor_database_is_refused(
    tmp_path: Path, body: bytes
) -> None:
    """Nothing is left in the folder."""
    error = await failed(ReplicaHosts(body, entry={"checksum": "0" * 64}), tmp_path)
    assert "checksum" in str(error)
    assert error.refused


async def test_a_checksum_of_the_database_in_the_archive_is_right_too(tmp_path: Path) -> None:
    """CrowdSec does not say which of them it is of."""
    entry = {"checksum": hashlib.sha256(DATABASE).hexdigest()}
    assert (await fetched(ReplicaHosts(ARCHIVE, entry=entry), tmp_path)).verified


@pytest.mark.parametrize(
    ("entry", "verified"),
    [
        ({"checksum": None}, False),
        ({"checksum": ""}, False),
        ({"checksum_type": None}, True),
        ({"checksum_type": "SHA-256"}, True),
        ({"checksum": hashlib.sha256(ARCHIVE).hexdigest().upper() + "\n"}, True),
    ],
)
async def test_what_is_not_told_of_a_checksum_is_tolerated(
    tmp_path: Path, entry: dict[str, Any], verified: bool
) -> None:
    """Without a checksum the file is used, and called unverified; digits have no case."""
    assert (await fetched(ReplicaHosts(ARCHIVE, entry=entry), tmp_path)).verified is verified


@pytest.mark.parametrize(("body", "told"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_archives_are_refused(
    tmp_path: Path, body: Callable[[], bytes], told: str
) -> None:
    """Nothing is written outside of our own file, and nothing is left."""
    folder = tmp_path / "a" / "replica"
    error = await failed(ReplicaHosts(body()), folder, largest=50_000_000)
    assert error.refused
    assert told in str(error)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", folder]


async def test_a_file_too_large_is_refused(tmp_path: Path) -> None:
    """What is beyond the limit is not read."""
    hosts = ReplicaHosts(DATABASE)
    error = await failed(hosts, tmp_path, largest=len(DATABASE) - 1)
    assert error.refused
    assert (await fetched(hosts, tmp_path, largest=len(DATABASE))).verified


async def test_leftovers_of_a_crash_go_at_the_next_fetch(tmp_path: Path) -> None:
    """Our own alone."""
    (tmp_path / "replica-old.part").write_bytes(b"half")
    (tmp_path / FILE_NAME).write_bytes(DATABASE)
    found = await fetched(ReplicaHosts(ARCHIVE), tmp_path)
    assert set(tmp_path.iterdir()) == {found.path, tmp_path / FILE_NAME}


async def test_an_interrupted_fetch_leaves_nothing(tmp_path: Path) -> None:
    """Cancelled in the middle of the download."""
    hosts = ReplicaHosts(ARCHIVE, file_fault=lambda: HANG)
    async with download(hosts, tmp_path) as made:
        task = asyncio.ensure_future(made.fetch())
        await asyncio.wait_for(hosts.half_sent.wait(), 5)
        assert list(tmp_path.iterdir())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("entry", [{}, {"checksum": None}], ids=["summing", "unpacking"])
async def test_heavy_work_is_done_beside_the_event_loop_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]
) -> None:
    """Cancelled, the thread ends by itself instead of working for nobody."""
    entered, go, done = threading.Event(), threading.Event(), threading.Event()
    ends: list[BaseException] = []
    true_one = replica_archive.verified_database
    packed, unpacked = tmp_path / "packed", tmp_path / "unpacked"
    packed.write_bytes(ARCHIVE if entry else DATABASE)
    unpacked.touch()

    def checked(checksum: str, _: Path, __: Path, largest: int, stop: threading.Event) -> Path:
        entered.set()
        go.wait(5)
        try:
            return true_one(checksum, packed, unpacked, largest, stop)
        except BaseException as error:
            ends.append(error)
            raise
        finally:
            done.set()

    monkeypatch.setattr(replica_download, "verified_database", checked)
    async with download(ReplicaHosts(ARCHIVE, entry=entry), tmp_path / "replica") as made:
        task = asyncio.ensure_future(made.fetch())
        assert await asyncio.to_thread(entered.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not list((tmp_path / "replica").iterdir())
        go.set()
        assert await asyncio.to_thread(done.wait, 5)
    assert [type(error) for error in ends] == [replica_archive.Interrupted]


@pytest.mark.parametrize("full", [0, 1])
async def test_a_full_disk_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: int
) -> None:
    """While downloading, and while unpacking."""
    made: list[str] = []
    true_one = tempfile.mkstemp

    def mkstemp(*given: Any) -> tuple[int, str]:
        number, name = true_one(*given)
        if len(made) == full:
            Path(name).unlink()
            Path(name).symlink_to("/dev/full")
        made.append(name)
        return number, name

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    error = await failed(ReplicaHosts(ARCHIVE), tmp_path)
    assert not error.refused
    assert "disk is full" in str(error)
    assert "STATE__DIR" in str(error)


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "replica").write_bytes(b"")
    with pytest.raises(FeedFailed, match="STATE__DIR"):
        await fetched(ReplicaHosts(ARCHIVE), tmp_path / "replica")


async def test_a_failed_refresh_leaves_the_old_copy_answering(tmp_path: Path) -> None:
    """From the first fetch over three that fail to the next good one."""
    hosts = ReplicaHosts(ARCHIVE)
    replica = Replica(tmp_path)
    async with download(hosts, tmp_path) as made:
        first = await made.fetch()
        replica.swap(first.path, now=1.0, verified=first.verified, dataset=first.dataset)
        for entry, body in (
            ({"checksum": "0" * 64}, ARCHIVE),
            ({}, tar_gz(("s.mmdb", b"no database" * 99))),
            ({}, mmdb({"81.2.69.1/32": {"reputation": "safe"}}, built=BUILT - 1)),
        ):
            hosts.entry, hosts.body = entry, body
            with pytest.raises(FeedFailed) as error:
                replica.swap((await made.fetch()).path, now=2.0)
            assert error.value.refused
            assert replica.find(ADDRESS).exact is not None
            assert (replica.fetched, replica.verified, replica.dataset) == (1.0, True, "smoke")
        hosts.entry = {}
        hosts.body = mmdb({"81.2.69.1/32": {"reputation": "safe"}}, built=BUILT + 1)
        replica.swap((await made.fetch()).path, now=3.0)
    assert replica.find(ADDRESS).exact is None
    assert replica.find("81.2.69.1").exact is not None
    assert {path.name for path in tmp_path.iterdir()} == {FILE_NAME, METADATA_NAME}
