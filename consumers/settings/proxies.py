"""Proxies of the environment, so that every library understands them in the same way."""

from __future__ import annotations

import os
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from consumers.settings.urls import is_loopback
from schemas.errors import ConfigurationError

NEVER_PROXIED = ("localhost", "127.0.0.1", "::1", "169.254.169.254")
"""Hosts that are never behind a proxy: this machine, and the token endpoint of Azure machines."""


def proxy_for(url: str) -> str | None:
    """Return the URL of the proxy that the environment sets for *url*, if any."""
    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return None
    proxy = getproxies().get(parts.scheme)
    return _proxy_url(parts.scheme, proxy) if proxy else None


def _proxy_url(scheme: str, proxy: str) -> str:
    """Return a proxy as a URL. Libraries silently ignore a form that they do not support."""
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(url)
        supported = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        supported = False
    if not supported:
        raise ConfigurationError(
            f"{scheme.upper()}_PROXY: must be http://HOST:PORT, with USER:PASSWORD@ before the "
            "host if the proxy requires them; TLS to the proxy itself is not supported"
        )
    return url


def normalise_proxies() -> None:
    """Rewrite the proxy variables of the environment to the form that all libraries understand.

    Some libraries need ``http://`` in front, do not know ``*.`` in NO_PROXY, or send requests for
    this machine to the proxy.
    ConfigurationError names the variable that is wrong and never shows its value.
    """
    proxies = getproxies()
    configured = {scheme: proxies[scheme] for scheme in ("http", "https") if proxies.get(scheme)}
    for scheme, proxy in configured.items():
        os.environ[f"{scheme}_proxy"] = _proxy_url(scheme, proxy)  # lower case wins everywhere
    hosts = [part.strip() for part in proxies.get("no", "").split(",") if part.strip()]
    if configured and "*" not in hosts:
        direct = [host.removeprefix("*") for host in hosts] + list(NEVER_PROXIED)
        os.environ["no_proxy"] = ",".join(dict.fromkeys(direct))
    elif configured:
        os.environ["no_proxy"] = "*"
