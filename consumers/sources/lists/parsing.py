"""Reads the addresses and networks in a list: text, CSV, or the JSON of a cloud's ranges. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.errors import FeedFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_UNREADABLE_SHARE = 0.5
"""Share of lines without an address, beyond which a list is not what it should be."""
MAX_LINE_LENGTH = 1_000
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:/[0-9]{1,3})?")
_COMMENT = re.compile(r"\s*(?:[#;]|//)")
_SEPARATORS = re.compile(r"[,;\s|]+")
_JSON_NAMES = frozenset(("ip_prefix", "ipv6_prefix", "ipv4Prefix", "ipv6Prefix", "addressPrefixes"))


def read_list(body: bytes) -> list[str]:
    """Return the distinct addresses and networks of a list as they are written, in order.

    Raises FeedFailed for what is no list: a web page, broken JSON, mostly other lines, nothing.
    """
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        raise FeedFailed("sends a web page instead of a list", refused=True)
    keys = _of_json(body) if start in (b"{", b"[") else _of_text(body)
    if not keys:
        raise FeedFailed("holds no address", refused=True)
    return keys


def _of_json(body: bytes) -> list[str]:
    try:
        value = msgspec.json.decode(body.lstrip(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FeedFailed("sends broken JSON") from None
    return list(dict.fromkeys(_texts(value, wanted=isinstance(value, list))))


def _texts(value: Any, *, wanted: bool) -> Iterator[str]:
    """Yield the addresses under the names that cloud providers use."""
    waiting = [(value, wanted)]
    while waiting:
        item, is_wanted = waiting.pop()
        if isinstance(item, dict):
            waiting += [(inner, name in _JSON_NAMES) for name, inner in item.items()]
        elif isinstance(item, list):
            waiting += [(inner, is_wanted) for inner in item]
        elif is_wanted and isinstance(item, str) and _ADDRESS.fullmatch(item):
            yield item


def _of_text(body: bytes) -> list[str]:
    keys: dict[str, None] = {}
    unreadable = 0
    for line in body.decode("utf-8", "replace").splitlines():
        text = line[:MAX_LINE_LENGTH].strip()
        if not text or _COMMENT.match(text):
            continue
        fields = _SEPARATORS.split(text.replace('"', " ").strip())
        key = next((field for field in fields if _is_address(field)), None)
        if key is None:
            unreadable += 1
        else:
            keys[key] = None
    if unreadable > 1 and unreadable > MAX_UNREADABLE_SHARE * (unreadable + len(keys)):
        raise FeedFailed(f"has {unreadable:,} lines without an address", refused=True)
    return list(keys)


def _is_address(text: str) -> bool:
    return ("." in text or ":" in text) and _ADDRESS.fullmatch(text) is not None
