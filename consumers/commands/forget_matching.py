"""The accounts and addresses of an erasure request, and whether a body mentions them.

A body may be anything: it lies in quarantine because it could not be read. Where it is JSON its
values are compared, else its text as it is.
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
"""Texts that can only be addresses."""

_DOTTED = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d)")
_COLONS = re.compile(r"[0-9A-Fa-f:.]{2,}")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([\s\S]))")
_BLANKS = dict.fromkeys("bfnrt", " ")
_DEEPEST = 3
"""How many layers of text are decoded: JSON in JSON, escapes of escapes."""


@dataclass(frozen=True, slots=True)
class DataSubjects:
    """Accounts in lower case and canonical addresses.

    Private addresses as well: nothing waits for them, but what was not read may mention them.
    """

    accounts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @classmethod
    def of(cls, texts: Sequence[str]) -> DataSubjects:
        """Parse the arguments; ConfigurationError names the argument that is neither.

        By its number: an account does not belong into what may be logged.
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
    """Return the canonical form of an address in any notation, or None."""
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
    """Return why *text*, not an address, is not an account either; None if it may be."""
    if usable_address(text) is Unusable.MISSING:
        return "is empty; give an account or an address"
    if _NO_NAME.search(text):
        return "is neither an address nor an account: it contains a space"
    if _MISTYPED.fullmatch(text):
        return "is not an address"
    if "/" in text:
        try:
            ip_network(text, strict=False)
        except ValueError:
            return None
        return "is a network; give its addresses individually"
    return None


class BodyMatcher:
    """Matches bodies that mention the accounts or addresses."""

    def __init__(self, wanted: DataSubjects) -> None:
        names = "|".join(re.escape(one) for one in wanted.accounts)
        # A longer name that holds this one is somebody else's.
        self._names = (
            re.compile(rf"(?<![\w.+-])(?:{names})(?![\w@-]|\.\w)", re.IGNORECASE) if names else None
        )
        self._addresses = frozenset(wanted.addresses)
        self._dotted = any(":" not in one for one in self._addresses)

    def matches(self, body: bytes) -> bool:
        """Return True if *body* mentions a subject, in any notation."""
        return any(self._in_text(text) for text in _texts(body))

    def _in_text(self, text: str) -> bool:
        if self._names is not None and self._names.search(text):
            return True
        return bool(self._addresses) and any(
            canonical(one) in self._addresses for one in self._spelled(text)
        )

    def _spelled(self, text: str) -> Iterator[str]:
        """Yield candidates for addresses in a text."""
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
    """Yield all texts of a body, JSON or not, decoded and, in doubt, as written."""
    try:
        yield from _texts_in(orjson.loads(body), _DEEPEST)
    except orjson.JSONDecodeError:
        for line in body.splitlines():
            try:
                yield from _texts_in(orjson.loads(line), _DEEPEST)
            except orjson.JSONDecodeError:
                # Without the zeros UTF-16 reads like ASCII, as far as it goes.
                yield from _meant(line.decode("utf-8", "replace").replace("\0", ""))


def _texts_in(value: Any, deepest: int) -> Iterator[str]:
    """Yield the texts and numbers of a JSON value, also of JSON embedded in texts."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += one.keys()
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif isinstance(one, str):
            yield one
            if "%" in one:
                yield unquote(one)
            if deepest and one.lstrip()[:1] in ("{", "["):
                try:
                    yield from _texts_in(orjson.loads(one), deepest - 1)
                except orjson.JSONDecodeError:
                    yield from _meant(one)
        elif isinstance(one, int):
            yield str(one)


def _meant(text: str) -> Iterator[str]:
    """Yield a text as written and without escapes."""
    yield text
    if "%" in text:
        yield unquote(text)
    for _ in range(_DEEPEST):
        if "\\" not in text:
            return
        text = _ESCAPE.sub(_unescaped, text)
        yield text


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return _BLANKS.get(found[2], found[2])
