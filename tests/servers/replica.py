"""CrowdSec's ``/dump`` as documented, a host for files on another port, and what lies there."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import tarfile
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from consumers.clock import WallClock
from consumers.sources.crowdsec.replica_download import DownloadedReplica, ReplicaDownload
from consumers.sources.http import HttpClient
from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

KEY = "a-replica-key"
BUILT = 1_790_000_000
CUT = "cut"
"""The connection breaks half-way through the file."""
HANG = "hang"
"""Half of the file comes, and then nothing more."""


class _Writer(MMDBWriter):
    """A writer that does not take the time of its files from the clock."""

    built = BUILT

    def _build_meta(self) -> dict[str, Any]:
        return {**super()._build_meta(), "build_epoch": self.built}


def mmdb(records: Mapping[str, Any], *, version: int = 6, built: int = BUILT) -> bytes:
    """Return a database of these networks' records."""
    writer = _Writer(version, "CrowdSec-Smoke", ["en"], "a replica", ipv4_compatible=version == 6)
    writer.built = built
    # A network written after one that lies within it would take its place.
    for network in sorted(records, key=lambda text: ip_network(text).prefixlen):
        writer.insert_network(IPSet([network]), records[network])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.mmdb"
        writer.to_db_file(str(path))
        return path.read_bytes()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    """Return the header of an archive's member."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info


def tar_gz(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    """Return an archive of these members, in this order."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for header, content in members:
            info = member(header) if isinstance(header, str) else header
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def gz(content: bytes) -> bytes:
    """Return a gzip file."""
    return gzip.compress(content)


@dataclass
class ReplicaHosts:
    """The state of both hosts; ``body`` is the file behind the link.

    ``entry`` changes what the list says of the dataset, None takes a key out. ``listed`` is
    answered instead of the list, ``list_fault`` instead of any list, ``file_fault`` instead of the
    file: a response, CUT or HANG.
    """

    body: bytes = b""
    name: str = "smoke"
    entry: dict[str, Any] = field(default_factory=dict)
    listed: object = None
    list_fault: Callable[[], web.Response | None] = lambda: None
    file_fault: Callable[[], web.Response | str | None] = lambda: None
    lists: int = 0
    files: int = 0
    queries: list[str] = field(default_factory=list)
    seen: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request at the host of files, by lower-case name."""
    half_sent: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by HANG."""
    api: Loopback = field(init=False)
    host: Loopback = field(init=False)

    def __post_init__(self) -> None:
        self.api = Loopback(self._list)
        self.host = Loopback(self._file)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve both; yield the API's URL, which ends in ``/v2``."""
        async with self.api, self.host:
            yield f"{self.api.url}/v2"

    @property
    def link(self) -> str:
        """The file's URL, signed as such links are."""
        return f"{self.host.url}/files/smoke_mmdb_latest.tar.gz?Signature=a%2Bsecret"

    def told(self) -> dict[str, Any]:
        """Return what the list says of the dataset."""
        usual = {
            "url": self.link,
            "checksum": hashlib.sha256(self.body).hexdigest(),
            "checksum_type": "sha256",
            "expire_at": "2026-06-20T18:45:00",
            "description": "the whole data",
            "format": "mmdb",
        }
        return {key: value for key, value in (usual | self.entry).items() if value is not None}

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self.lists += 1
        self.queries.append(request.path_qs)
        if request.headers.get("x-api-key") != KEY:
            return web.json_response({"message": "Forbidden"}, status=403)
        fault = self.list_fault()
        if fault is not None:
            return fault
        other = {"url": f"{self.host.url}/files/other.mmdb"}
        usual = {"geoip-asn-circle": other, "fire": other, self.name: self.told()}
        return web.json_response(usual if self.listed is None else self.listed)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self.files += 1
        self.seen.append({name.lower(): value for name, value in request.headers.items()})
        fault = self.file_fault()
        if isinstance(fault, web.Response):
            return fault
        response = web.StreamResponse()
        response.content_length = len(self.body)
        await response.prepare(request)
        await response.write(self.body if fault is None else self.body[: len(self.body) // 2])
        if fault == HANG:
            self.half_sent.set()
            await asyncio.Event().wait()
        if fault == CUT:
            assert request.transport is not None
            request.transport.close()
        return response


ADDRESS = "81.2.69.160"
DATABASE = mmdb({f"{ADDRESS}/32": {"reputation": "malicious"}})
ARCHIVE = tar_gz(("smoke_mmdb_latest/README", b"read me"), ("smoke_mmdb_latest/s.mmdb", DATABASE))


def pax_bomb() -> bytes:
    """Return an archive whose header of extended attributes is longer than any needs."""
    header = member("pax", tarfile.XHDTYPE)
    return tar_gz(("s.mmdb", DATABASE), (header, b"200000 comment=" + b"0" * 199_985))


def sparse() -> bytes:
    """Return an archive whose member claims holes."""
    return tar_gz((member("s.mmdb", tarfile.GNUTYPE_SPARSE), DATABASE))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "up": (lambda: tar_gz(("../s.mmdb", DATABASE)), "leads out"),
    "up in the middle": (lambda: tar_gz(("a/../../s.mmdb", DATABASE)), "leads out"),
    "absolute": (lambda: tar_gz(("/srv/s.mmdb", DATABASE)), "leads out"),
    "another one absolute": (
        lambda: tar_gz(("s.mmdb", DATABASE), ("/etc/cron.d/x", b"x")),
        "leads out",
    ),
    "soft link": (
        lambda: tar_gz((member("s.mmdb", tarfile.SYMTYPE, "/etc/passwd"), b"")),
        "link or a folder",
    ),
    "hard link": (
        lambda: tar_gz((member("s.mmdb", tarfile.LNKTYPE, "/etc/passwd"), b"")),
        "link or a folder",
    ),
    "device": (lambda: tar_gz((member("s.mmdb", tarfile.CHRTYPE), b"")), "link or a folder"),
    "folder": (lambda: tar_gz((member("s.mmdb/", tarfile.DIRTYPE), b"")), "link or a folder"),
    "two": (lambda: tar_gz(("a.mmdb", DATABASE), ("b.mmdb", DATABASE)), "more than one"),
    "none": (lambda: tar_gz(("s.mmdb.txt", DATABASE)), "no database"),
    "no members": (lambda: tar_gz(), "no database"),
    "many": (lambda: tar_gz(*[(f"{one}.txt", b"") for one in range(1_001)]), "too many"),
    "sparse": (sparse, "invalid member"),
    "pax": (pax_bomb, "more than is allowed"),
    "cut archive": (lambda: ARCHIVE[:-30], "damaged"),
    "cut tar": (lambda: gz(gzip.decompress(ARCHIVE)[:2_100]), "damaged"),
    "damaged archive": (lambda: ARCHIVE[:60] + b"\xff" * 40 + ARCHIVE[100:], "damaged"),
    "wrong sum of gzip": (lambda: ARCHIVE[:-8] + b"\0\0\0\0" + ARCHIVE[-4:], "damaged"),
    "empty gzip": (lambda: gz(b""), "damaged"),
    "start of gzip": (lambda: b"\x1f\x8b", "damaged"),
    "bomb": (lambda: tar_gz(("s.mmdb", bytes(60_000_000))), "more than is allowed"),
    "bomb beside": (
        lambda: tar_gz(("x", bytes(60_000_000)), ("s.mmdb", DATABASE)),
        "more than is allowed",
    ),
    "bomb of one": (lambda: gz(b"x" + bytes(60_000_000)), "more than is allowed"),
}
"""Archives that are to be refused, made when needed, and a word of the reason."""

LEADING_NOWHERE: list[tuple[object, str | None, str]] = [
    ({"fire": {"url": "https://localhost/"}}, None, "it offers fire"),
    ({"smoke": {"url": "https://localhost/"}}, "ice", "no ice; it offers smoke"),
    ({}, None, "it offers nothing"),
    ({"new\nline": 1}, None, "new�line"),
    ([], None, "not a JSON object"),
    ("text", None, "not a JSON object"),
    ({"smoke": None}, None, "no link"),
    ({"smoke": {}}, None, "no link"),
    ({"smoke": {"url": 7}}, None, "no link"),
    ({"smoke": [1]}, None, "no link"),
    ({"smoke": "http://files.example/x"}, None, "not https"),
    ({"smoke": "ftp://localhost/x"}, None, "not https"),
    ({"smoke": "file:///etc/passwd"}, None, "not https"),
    ({"smoke": "https://"}, None, "not https"),
    ({"smoke": "https://[::1/"}, None, "not https"),
    ({"smoke": "https://localhost:99999/"}, None, "not https"),
    ({"smoke": "https://user:word@localhost/"}, None, "not https"),
    ({"smoke": "/relative"}, None, "not https"),
]
"""Lists, the dataset that is wanted of each, and a word of the reason why it is refused."""


def client(**headers: str) -> HttpClient:
    """Return a client as the wiring makes them."""
    return HttpClient(
        headers=headers,
        timeout=5,
        connections=2,
        largest_body=100_000,
        proxies=False,
        now=WallClock(),
    )


@asynccontextmanager
async def download(
    hosts: ReplicaHosts, folder: Path, *, key: str = KEY, url: str | None = None, **more: Any
) -> AsyncIterator[ReplicaDownload]:
    """Serve the hosts, and yield a download of them."""
    async with hosts.serve() as served:
        listing = client(**{"x-api-key": key})
        made = ReplicaDownload(listing, client(), url or served, folder, **more)
        try:
            yield made
        finally:
            await made.close()


async def fetched(hosts: ReplicaHosts, folder: Path, **more: Any) -> DownloadedReplica:
    """Fetch once."""
    async with download(hosts, folder, **more) as made:
        return await made.fetch()
