"""How a feed's server knows its reader: Basic, Bearer, a header of its own, a certificate."""

from __future__ import annotations

import base64
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme
from aiohttp import web

from tests.servers.loopback import Loopback
from tests.servers.splice import Server, splice
from tests.servers.taxii import indicator
from tests.support.command import signinwatch

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

KEY = "a-good-key"


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("settings", "header", "value"),
    [
        ({"USERNAME": "me", "PASSWORD": KEY}, "Authorization", _basic("me", KEY)),
        ({"PASSWORD": KEY}, "Authorization", _basic("signinwatch", KEY)),
        ({"USERNAME": KEY}, "Authorization", _basic(KEY, "")),
        ({"AUTH": "bearer", "PASSWORD": f"{KEY}\n"}, "Authorization", f"Bearer {KEY}"),
        ({"AUTH": "header:X-Api-Key", "PASSWORD": KEY}, "X-Api-Key", KEY),
        ({"AUTH": "Header: X-Api-Key ", "PASSWORD": KEY}, "X-Api-Key", KEY),
        ({}, "Authorization", None),
    ],
)
async def test_what_is_sent(
    tmp_path: Path, settings: dict[str, str], header: str, value: str | None
) -> None:
    """In one header, and in no other; never shown."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response({"objects": [indicator("81.2.69.160")]})

    async with Loopback(answer) as server:
        own = {"URL": f"{server.url}/root", "COLLECTION": "c", **settings}
        ran = await signinwatch(
            "feeds", "sync", "--state", tmp_path,
            settings={f"FEEDS__ACME__{name}": text for name, text in own.items()},
        )  # fmt: skip
    assert ran.status == 0, ran.err
    assert KEY not in ran.err + ran.out.decode()
    assert [request.headers.get(header) for request in seen] == [value]
    assert sum(KEY in text or text == value for text in seen[0].headers.values()) <= 1


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"AUTH": "digest"}, "FEEDS__ACME__AUTH"),
        ({"AUTH": "header:"}, "FEEDS__ACME__AUTH"),
        ({"AUTH": "header:a b"}, "FEEDS__ACME__AUTH"),
        ({"AUTH": "bearer"}, "FEEDS__ACME__PASSWORD"),
        ({"CLIENT_CERTIFICATE": "/nowhere"}, "FEEDS__ACME__CLIENT_CERTIFICATE"),
    ],
)
async def test_what_cannot_be_sent_is_named(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    """Exit status 2, before any request."""
    own = {"URL": "https://localhost", "COLLECTION": "c", **settings}
    ran = await signinwatch(
        "feeds", "sync", "--state", tmp_path,
        settings={f"FEEDS__ACME__{name}": text for name, text in own.items()},
    )  # fmt: skip
    assert (ran.status, named in ran.err) == (2, True), ran.err


class _CertificateFront(Server):
    """Takes TLS from clients that the authority has signed."""

    def __init__(self, authority: trustme.CA, behind: int) -> None:
        super().__init__()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        authority.configure_trust(self._context)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._behind = behind

    async def __aenter__(self) -> _CertificateFront:
        await self.start(ssl=self._context)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection."""
        await splice(reader, writer, self._behind)


@pytest.mark.parametrize("known", [True, False])
async def test_a_client_certificate(tmp_path: Path, *, known: bool) -> None:
    """Shown to the server that asks for it; without it there is no connection."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("client@example.test")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"objects": [indicator("81.2.69.160")]})

    async with (
        Loopback(answer) as server,
        _CertificateFront(authority, int(server.url.rpartition(":")[2])) as front,
    ):
        settings = {
            "FEEDS__ACME__URL": f"https://localhost:{front.port}/root",
            "FEEDS__ACME__COLLECTION": "c",
            "CA_BUNDLE": str(tmp_path / "ca.pem"),
        }
        if known:
            settings["FEEDS__ACME__CLIENT_CERTIFICATE"] = str(tmp_path / "client.pem")
        ran = await signinwatch("feeds", "sync", "--state", tmp_path / "s", settings=settings)
    assert ran.status == (0 if known else 1), ran.err
