"""Checks of URLs that settings and clients share."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(url: str) -> bool:
    """Return True if the host of *url* is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def checked_url(url: str) -> str:
    """Return *url* without a trailing slash.

    ValueError unless it is https, or http to this machine, without credentials, query or fragment.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an https:// URL")
    if parts.scheme == "http" and not is_loopback(url):
        raise ValueError("http:// is allowed on loopback only; use https://")
    if parts.port == 0:  # reading it raises for a port that is not a number
        raise ValueError("must have a port from 1 to 65535, or none")
    if parts.username or parts.password:
        raise ValueError("must not hold a user name or password")
    if "?" in url or "#" in url:
        raise ValueError("must not hold a query or a fragment (? or #)")
    return url.rstrip("/")
