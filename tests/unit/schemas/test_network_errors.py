"""Proxies of the environment, and why a peer was not reached."""

from __future__ import annotations

import os
import socket
import ssl
from urllib.request import getproxies, proxy_bypass

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from consumers.settings.proxies import NEVER_PROXIED, normalise_proxies, proxy_for
from schemas.errors import ConfigurationError, TokenUnavailable
from schemas.network_errors import why_no_token, why_unreached


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is settled go away with the test."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_nothing_is_settled_without_a_proxy() -> None:
    """The environment stays as it is."""
    before = dict(os.environ)
    normalise_proxies()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("proxy.example.net:3128", "http://proxy.example.net:3128"),
        ("http://u:p%40@proxy.example.net:80/", "http://u:p%40@proxy.example.net:80/"),
        ("http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
    ],
)
def test_a_proxy_means_the_same_to_all(named: str, meant: str) -> None:
    """With or without a scheme; settled twice is settled once."""
    os.environ["HTTPS_PROXY"] = named
    normalise_proxies()
    normalise_proxies()
    assert getproxies()["https"] == meant == proxy_for("https://hub.example.net")
    assert all(proxy_bypass(host) for host in NEVER_PROXIED)


@pytest.mark.parametrize(
    "named",
    ["https://p:1", "socks5://p:1", "http://", "http://p:x", "http://p:99999", "http://p:0", "::"],
)
def test_a_proxy_that_cannot_be_used(named: str) -> None:
    """Refused, and not shown."""
    os.environ["https_proxy"] = f"{named}?secret"
    with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY: ") as caught:
        normalise_proxies()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("hosts", "direct", "proxied"),
    [
        ("", ["localhost"], ["hub.example.net"]),
        ("example.net", ["hub.example.net", "example.net"], ["other.example.org"]),
        (" .example.net , x", ["hub.example.net", "x"], ["other.example.org"]),
        ("*.example.net", ["hub.example.net"], ["other.example.org"]),
        ("*", ["hub.example.net", "anything"], []),
        ("a.net,*", ["hub.example.net", "anything"], []),
    ],
)
def test_hosts_that_are_reached_directly(hosts: str, direct: list[str], proxied: list[str]) -> None:
    """Names with their subdomains, in the forms that companies write."""
    os.environ |= {"HTTPS_PROXY": "http://p:1", "NO_PROXY": hosts}
    normalise_proxies()
    assert [proxy_for(f"https://{one}") for one in direct] == [None] * len(direct)
    assert [proxy_for(f"https://{one}") for one in proxied] == ["http://p:1"] * len(proxied)


def _by_proxy(status: int) -> aiohttp.ClientHttpProxyError:
    url = URL("http://a-secret@proxy.example.net")
    request = aiohttp.RequestInfo(url, "CONNECT", CIMultiDictProxy(CIMultiDict()), url)
    return aiohttp.ClientHttpProxyError(request, (), status=status, message="a secret")


def _caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (_caused(RuntimeError("a secret"), _by_proxy(407)), "proxy answers 407"),
        (_caused(OSError("a secret"), _by_proxy(502)), "proxy answers 502"),
        (_caused(RuntimeError("secret"), ssl.SSLCertVerificationError(1, "x")), "not trusted"),
        (_caused(ValueError(), socket.gaierror(-2, "a secret")), "cannot be resolved"),
        (_caused(RuntimeError("a secret"), ConnectionRefusedError(111, "refused")), "refused"),
        (RuntimeError("a secret"), "RuntimeError"),
    ],
)
def test_why_a_peer_is_not_reached(error: Exception, told: str) -> None:
    """The cause decides, however it is wrapped; texts of others are not shown."""
    assert told in why_unreached(error)
    assert "secret" not in why_unreached(error)


def test_errors_that_cause_each_other() -> None:
    """Going around in circles ends."""
    first, second = ValueError(), KeyError()
    first.__context__, second.__context__ = second, first
    assert why_unreached(first) == "KeyError"


def test_a_missing_token_is_found_however_it_is_wrapped() -> None:
    """By its type, with its own text; other errors say nothing of tokens."""
    refused = TokenUnavailable("AADSTS1: do this")
    assert why_no_token(_caused(RuntimeError("a secret"), refused)) == "AADSTS1: do this"
    assert why_no_token(RuntimeError("AADSTS1")) is None
