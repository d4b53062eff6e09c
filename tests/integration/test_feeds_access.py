"""How a feed's server knows its reader: Basic, Bearer, a header of its own, a certificate."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.servers.loopback import Loopback
from tests.servers.taxii import indicator
from tests.servers.tls import Authority, Front
from tests.support.command import signinwatch

if TYPE_CHECKING:
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


@pytest.mark.parametrize("known", [True, False])
async def test_a_client_certificate(tmp_path: Path, *, known: bool) -> None:
    """Shown to the server that asks for it; without it there is no connection."""
    authority = Authority()
    bundle = authority.write_bundle(tmp_path / "ca.pem")
    certificate = authority.write_client(tmp_path / "client.pem")

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"objects": [indicator("81.2.69.160")]})

    async with (
        Loopback(answer) as server,
        Front(
            authority, "localhost", int(server.url.rpartition(":")[2]), knows_clients=True
        ) as front,
    ):
        settings = {
            "FEEDS__ACME__URL": f"https://localhost:{front.port}/root",
            "FEEDS__ACME__COLLECTION": "c",
            "CA_BUNDLE": str(bundle),
        }
        if known:
            settings["FEEDS__ACME__CLIENT_CERTIFICATE"] = str(certificate)
        ran = await signinwatch("feeds", "sync", "--state", tmp_path / "s", settings=settings)
    assert ran.status == (0 if known else 1), ran.err
