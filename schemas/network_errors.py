"""Describe why a peer was not reached, for the person who runs the network.

Libraries wrap each other's errors, and their texts may contain credentials. Errors are therefore
recognised by their types in the chain of causes, and their texts are never shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import TokenUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNTRUSTED = (
    "its certificate is not trusted here; with TLS inspection, set SIGNINWATCH_CA_BUNDLE to a "
    "file with the company's certificate authority"
)
_NO_PROXY = "the proxy of HTTPS_PROXY is unreachable"
_NO_NAME = "its name cannot be resolved here; set HTTPS_PROXY if you use a proxy"


def why_unreached(error: BaseException) -> str:
    """Return the reason in a line without URLs or secrets; the type name if unknown."""
    last = error
    for link in causes(error):
        name = type(link).__name__
        if name == "ClientHttpProxyError":
            return _proxy_response(getattr(link, "status", None))
        if name == "ClientProxyConnectionError":
            return _NO_PROXY
        if name in ("ClientConnectorCertificateError", "SSLCertVerificationError"):
            return _UNTRUSTED
        if name == "WSServerHandshakeError":
            return _handshake_response(getattr(link, "status", None))
        if name in ("ClientConnectorDNSError", "gaierror"):
            return _NO_NAME
        last = link
    return getattr(last, "strerror", None) or type(last).__name__


def why_no_token(error: BaseException) -> str | None:
    """Return why there was no token, and the fix; None if that is not why the request failed."""
    return next((str(link) for link in causes(error) if isinstance(link, TokenUnavailable)), None)


def _proxy_response(status: int | None) -> str:
    if status == 407:
        return "the proxy answers 407: HTTPS_PROXY needs another user and password"
    return f"the proxy answers {status}: it does not permit connections to this host"


def _handshake_response(status: int | None) -> str:
    """Describe the answer to a WebSocket handshake, which is AMQP's way through proxies."""
    if status in (401, 403):
        why = "a gateway or proxy before the hub requires credentials of its own"
    elif status == 404:
        why = "nothing at this host speaks AMQP over WebSocket"
    elif status is not None and status >= 500:
        why = "the gateway or proxy before the hub does not reach it"
    else:
        why = "this is not an event hub"
    return f"the WebSocket handshake is answered by HTTP {status}: {why}"


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes; some libraries store a cause in a field of their own."""
    seen: set[int] = set()
    due = [error]
    while due:
        link = due.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        inner = (
            link.__cause__,
            *(getattr(link, name, None) for name in ("inner_exception", "error", "os_error")),
            link.__context__,
        )
        due += [cause for cause in inner if isinstance(cause, BaseException)]
