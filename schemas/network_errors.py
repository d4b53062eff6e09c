"""Describe why a peer was not reached, for the person who runs the network.

Libraries wrap each other's errors, and their texts may contain credentials. Errors are therefore
recognised by the type names in the chain of causes, and their texts are never shown. The identity
library keeps no causes; its text is searched, but not shown either.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNTRUSTED = (
    "its certificate is not trusted here; where a company's proxy opens TLS, "
    "SIGNINWATCH_CA_BUNDLE must name a file with the company's authority"
)
_NO_PROXY = "the proxy of HTTPS_PROXY is out of reach"
_NO_NAME = "its name cannot be resolved here; a proxy would be named by HTTPS_PROXY"
_REFUSED_BY_PROXY = re.compile(r"(\d{3}), message='[^']*', url='http://")
"""How aiohttp reports the response of a proxy. Tokens are requested from https:// URLs."""


def why_unreached(error: BaseException) -> str:
    """Return the reason in a line without URLs or secrets; the type name if unknown."""
    last = error
    for link in _causes(error):
        name = type(link).__name__
        if name == "ClientHttpProxyError":
            return _proxy_response(getattr(link, "status", None))
        if name == "ClientProxyConnectionError":
            return _NO_PROXY
        if name in ("ClientConnectorCertificateError", "SSLCertVerificationError"):
            return _UNTRUSTED
        if name in ("ClientConnectorDNSError", "gaierror"):
            return _NO_NAME
        last = link
    return getattr(last, "strerror", None) or type(last).__name__


def why_no_token(error: BaseException) -> str:
    """Return ``no token could be had``, with the reason if it was the network."""
    text = str(error)
    description = "no token could be had"
    if found := _REFUSED_BY_PROXY.search(text):
        return f"{description}: {_proxy_response(int(found[1]))}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"{description} from Entra ID: {_UNTRUSTED}"
    if "Cannot connect to host" in text:
        return f"{description}: Entra ID is out of reach, or the proxy before it"
    return description


def _proxy_response(status: int | None) -> str:
    if status == 407:
        return "the proxy answers 407: HTTPS_PROXY needs another user and password"
    return f"the proxy answers {status}: it does not let us through to this host"


def _causes(error: BaseException) -> Iterator[BaseException]:
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
