"""The accounts and IP addresses to forget, and whether a message body mentions any of them.

A body may be anything: it was quarantined because it could not be read. Values are compared if it
is JSON, else the text as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from schemas.errors import ConfigurationError
from schemas.events.addresses import MAX_ADDRESS_LENGTH, Unusable, usable_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NO_ADDRESS = (Unusable.MISSING, Unusable.NOT_AN_ADDRESS, Unusable.A_NETWORK)
_NO_NAME = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
_MISTYPED = re.compile(r"[0-9.]*\.[0-9.]*|\[?[0-9A-Fa-f.]*:[0-9A-Fa-f:.\]]*(%\w*)?")
"""Texts that can only be mistyped IP addresses."""

_DOTTED = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d)")
_COLONS = re.compile(r"[0-9A-Fa-f:.]{2,}")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([\s\S]))")
_BLANKS = dict.fromkeys("bfnrt", " ")
_MAX_DEPTH = 3
"""Levels of nested encoding that are read: JSON in JSON, escapes of escapes."""


@dataclass(frozen=True, slots=True)
class DataSubjects:
    """Accounts in lower case, and canonical IP addresses.

    Private IP addresses too: no sign-in waits for them, but quarantined bodies may mention them.
    """

    accounts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @classmethod
    def of(cls, texts: Sequence[str]) -> DataSubjects:
        """Parse the arguments of the command. Raise ConfigurationError if a text is neither.

        The error names the argument's number, because accounts must not be logged.
        """
        accounts: dict[str, None] = {}
        addresses: dict[str, None] = {}
        for number, text in enumerate(texts, 1):
            address = canonical(text)
            if address is not None:
                addresses[address] = None
            elif (why := _why_no_account(text)) is None:
                accounts[text.lower()] = None
            else:
                raise ConfigurationError(f"argument {number}: {why}")
        return cls(tuple(accounts), tuple(addresses))


def canonical(text: str) -> str | None:
    """Return the canonical form of an IP address in any notation, public or not, or None."""
    found = usable_address(text)
    if isinstance(found, str):
        return found
    if found in _NO_ADDRESS:
        return None
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    parsed = ip_address(bare.partition("%")[0])
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _why_no_account(text: str) -> str | None:
    """Return why *text*, which is not an IP address, cannot be an account; None if it may be."""
    if usable_address(text) is Unusable.MISSING:
        return "is empty; give an account or an IP address"
    if _NO_NAME.search(text):
        return "is neither an IP address nor an account: it contains a space"
    if _MISTYPED.fullmatch(text):
        return "is not a valid IP address"
    if "/" in text:
        try:
            ip_network(text, strict=False)
        except ValueError:
            return None
        return "is a network; give its IP addresses individually"
    return None


class BodyMatcher:
    """Matches bodies that mention any of the accounts or IP addresses."""

    def __init__(self, wanted: DataSubjects) -> None:
        names = "|".join(re.escape(account) for account in wanted.accounts)
        # A longer name that contains this one is a different account.
        self._names = (
            re.compile(rf"(?<![\w.+-])(?:{names})(?![\w@-]|\.\w)", re.IGNORECASE) if names else None
        )
        self._addresses = frozenset(wanted.addresses)
        self._dotted = any(":" not in address for address in self._addresses)

    def matches(self, body: bytes) -> bool:
        """Return True if *body* mentions any of them, in any notation."""
        return any(self._in_text(text) for text in _texts(body))

    def _in_text(self, text: str) -> bool:
        if self._names is not None and self._names.search(text):
            return True
        return bool(self._addresses) and any(
            canonical(candidate) in self._addresses for candidate in self._candidates(text)
        )

    def _candidates(self, text: str) -> Iterator[str]:
        """Yield substrings that may be IP addresses."""
        if self._dotted:
            yield from _DOTTED.findall(text)
        if ":" not in text:
            return
        for found in _COLONS.findall(text):
            if ":" in found and len(found) <= MAX_ADDRESS_LENGTH:
                yield found
                yield found.lstrip(".:")
                yield found.rstrip(".:")


def _texts(body: bytes) -> Iterator[str]:
    """Yield all texts of a body, JSON or not, decoded and, in doubt, as they are."""
    try:
        yield from _texts_in(orjson.loads(body), _MAX_DEPTH)
    except orjson.JSONDecodeError:
        for line in body.splitlines():
            try:
                yield from _texts_in(orjson.loads(line), _MAX_DEPTH)
            except orjson.JSONDecodeError:
                # Without NUL bytes, ASCII characters in UTF-16 read as ASCII.
                yield from _decoded(line.decode("utf-8", "replace").replace("\0", ""))


def _texts_in(value: Any, depth_left: int) -> Iterator[str]:
    """Yield the texts and numbers of a JSON value, including JSON embedded in its texts."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += (*item.keys(), *item.values())
        elif isinstance(item, list):
            left += item
        elif isinstance(item, str):
            yield item
            if "%" in item:
                yield unquote(item)
            if depth_left and item.lstrip()[:1] in ("{", "["):
                try:
                    yield from _texts_in(orjson.loads(item), depth_left - 1)
                except orjson.JSONDecodeError:
                    yield from _decoded(item)
        elif isinstance(item, int):
            yield str(item)


def _decoded(text: str) -> Iterator[str]:
    """Yield a text as it is, and unescaped."""
    yield text
    if "%" in text:
        yield unquote(text)
    for _ in range(_MAX_DEPTH):
        if "\\" not in text:
            return
        text = _ESCAPE.sub(_unescaped, text)
        yield text


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return _BLANKS.get(found[2], found[2])
