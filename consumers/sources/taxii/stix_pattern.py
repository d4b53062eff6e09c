"""Which addresses a STIX pattern speaks of: STIX 2.1 section 9.

A sign-in shows one address and nothing else, so a pattern is of use only if an address alone can
make it true. What a pattern adds to an address (a port, a second event, a time) makes it skipped,
never matched in part. Of alternatives, those about an address are kept and the others left out,
because they cannot make a sign-in match.

Where this reads more than the letter of the specification: ``=`` and ``IN`` with a network mean
the addresses in it, as feeds write it; an IPv6 address is the same in any spelling; an IPv6
address that carries an IPv4 address (:mod:`schemas.events.addresses`) is that IPv4 address.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any

from schemas.events.addresses import (
    MAPPED,
    NAT64,
    SIX_TO_FOUR,
    SPECIAL_V4,
    SPECIAL_V6,
    Network,
    Unusable,
    usable_address,
)
from schemas.intel.indicators import WhySkipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_PATTERN_LENGTH = 20_000
"""Characters. The grammar reads that many in less than 0.2 s."""
MAX_PATTERN_DEPTH = 100
"""Brackets in brackets."""
MAX_PATTERN_KEYS = 1_000
WIDEST_V4 = 8
"""Prefix length. No network of ours is wider than the largest blocks that IANA hands out."""
WIDEST_V6 = 19


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a pattern matches: an address that is one of ``keys``, or lies in one.

    ``keys`` are canonical public addresses and networks in CIDR form, each once. A network may
    hold special addresses, but no sign-in comes from those. ``destination`` tells that every key
    is named as a destination; one key that is named as a source, or without a role, clears it.
    """

    keys: tuple[str, ...]
    destination: bool


class _AddressRole(Enum):
    """Where a pattern may name an address."""

    V4 = "ipv4-addr"
    V6 = "ipv6-addr"
    SOURCE = "source"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class _AddressTest:
    key: str
    place: _AddressRole
    version: int
    """4 or 6, as the pattern writes it."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a part of a pattern tells: addresses that make it true, and why others were left out.

    ``implied`` is set for a test that only repeats the type of an address: where it is true
    anyway.
    """

    found: tuple[_AddressTest, ...] = ()
    skipped: frozenset[WhySkipped] = frozenset()
    implied: frozenset[tuple[_AddressRole, int]] | None = None


_VERSIONS = {
    _AddressRole.V4: (4,),
    _AddressRole.V6: (6,),
    _AddressRole.SOURCE: (4, 6),
    _AddressRole.DESTINATION: (4, 6),
}
_PLACES = {
    ("ipv4-addr", ":", "value"): _AddressRole.V4,
    ("ipv6-addr", ":", "value"): _AddressRole.V6,
    ("network-traffic", ":", "src_ref", ".", "value"): _AddressRole.SOURCE,
    ("network-traffic", ":", "dst_ref", ".", "value"): _AddressRole.DESTINATION,
}
_TYPES = {
    (*path[:-1], "type"): {f"ipv{version}-addr": (place, version) for version in _VERSIONS[place]}
    for path, place in _PLACES.items()
}
_REASONS_BY_WEIGHT = (
    WhySkipped.NEEDS_MORE,
    WhySkipped.SEVERAL_EVENTS,
    WhySkipped.TOO_WIDE,
    WhySkipped.NEGATED,
    WhySkipped.UNSUPPORTED,
    WhySkipped.NOT_PUBLIC,
    WhySkipped.NO_ADDRESS,
)
_SINGLE = re.compile(r"\s*\[\s*ipv([46])-addr\s*:\s*value\s*=\s*'([^'\\]*)'\s*\]\s*", re.ASCII)
"""The form that nearly every indicator of a feed of addresses has."""
_ADDRESS = re.compile(r"([0-9A-Fa-f:.]{2,45})(?:/([0-9]{1,3}))?")
_MARK = re.compile(
    r"'(?:[^'\\]|\\['\\])*+'|/\*(?:[^*]|\*(?!/))*+\*/|//[^\r\n]*+|(?P<open>'|/\*)|[][()]"
)
"""Texts and comments as wholes, or where one begins that never ends; and brackets."""


def read_pattern(pattern: str) -> Pattern | WhySkipped:
    """Return the addresses and networks that *pattern* matches, or why it matches none of ours.

    Of several reasons the one that tells most is returned. Never raises.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        return WhySkipped.UNREADABLE
    if single := _SINGLE.fullmatch(pattern):
        version, text = single.groups()
        return _single_of(text, _AddressRole.V4 if version == "4" else _AddressRole.V6)
    if not _is_harmless(pattern):
        return WhySkipped.UNREADABLE
    try:
        told = _told_by(_grammar()(pattern))
    except (ValueError, RecursionError):
        return WhySkipped.UNREADABLE
    return _pattern_of(told)


def _single_of(text: str, place: _AddressRole) -> Pattern | WhySkipped:
    found = _found(text, place)
    return found if isinstance(found, WhySkipped) else Pattern((found.key,), destination=False)


def _pattern_of(told: _Reading) -> Pattern | WhySkipped:
    keys = tuple(dict.fromkeys(one.key for one in told.found))
    if not keys:
        return next(why for why in _REASONS_BY_WEIGHT if why in told.skipped)
    if len(keys) > MAX_PATTERN_KEYS:
        return WhySkipped.TOO_MANY
    return Pattern(keys, all(one.place is _AddressRole.DESTINATION for one in told.found))


def _is_harmless(pattern: str) -> bool:
    """Tell whether the grammar can be let loose on a pattern.

    It would exhaust the stack on deep nesting, and try a text without an end anew from each quote
    in it, which takes a minute.
    """
    depth = 0
    for mark in _MARK.finditer(pattern):
        if mark["open"]:
            return False
        if mark[0] in "[(":
            depth += 1
        elif mark[0] in "])":
            depth -= 1
        if depth > MAX_PATTERN_DEPTH:
            return False
    return True


class _Tree:
    """A visitor that hands over the parse tree, which the library keeps to itself."""

    def visit(self, tree: Any) -> Any:
        """Return *tree*."""
        return tree


@cache
def _grammar() -> Callable[[str], Any]:
    """Return what parses a pattern to a tree, or raises ValueError. Loaded when first needed."""
    from stix2patterns.exceptions import ParseException
    from stix2patterns.v21.pattern import Pattern as Parsed

    def parse(pattern: str) -> Any:
        try:
            return Parsed(pattern).visit(_Tree())
        except ParseException:
            raise ValueError("not a STIX pattern") from None

    return parse


def _told_by(node: Any) -> _Reading:
    """Return what a part of the parse tree tells; the names of parts are the grammar's."""
    while True:
        kind = type(node).__name__.removesuffix("Context")
        if kind in _QUALIFIED:
            return _nothing(_QUALIFIED[kind])
        if kind.startswith("PropTest") and kind != "PropTestParen":
            return _told_by_test(kind, node)
        parts = _parts(node)
        if len(parts) > 1:
            return _JOINED[kind]([_told_by(part) for part in parts])
        node = parts[0]


def _parts(node: Any) -> list[Any]:
    """Return the parts of *node* that are no mere words, a chain of one operator as one list."""
    parts = []
    rest = list(reversed(node.children))
    while rest:
        child = rest.pop()
        if type(child) is type(node):
            rest.extend(reversed(child.children))
        elif getattr(child, "children", None):
            parts.append(child)
    return parts


def _nothing(why: WhySkipped) -> _Reading:
    return _Reading(skipped=frozenset((why,)))


def _any_of(parts: list[_Reading]) -> _Reading:
    return _Reading(
        found=tuple(one for part in parts for one in part.found),
        skipped=frozenset().union(*(part.skipped for part in parts)),
    )


def _all_of(parts: list[_Reading]) -> _Reading:
    implied = [part.implied for part in parts if part.implied is not None]
    others = [part for part in parts if part.implied is None]
    if len(others) != 1:
        return _nothing(_why_not_all(parts))
    found = tuple(
        one
        for one in others[0].found
        if all((one.place, one.version) in pairs for pairs in implied)
    )
    dropped = len(found) < len(others[0].found)
    return _Reading(found, others[0].skipped | ({WhySkipped.NEEDS_MORE} if dropped else set()))


def _why_not_all(parts: list[_Reading]) -> WhySkipped:
    about_addresses = any(part.found or part.skipped - {WhySkipped.NO_ADDRESS} for part in parts)
    return WhySkipped.NEEDS_MORE if about_addresses else WhySkipped.NO_ADDRESS


def _several_events(_: list[_Reading]) -> _Reading:
    return _nothing(WhySkipped.SEVERAL_EVENTS)


_QUALIFIED = {
    "ObservationExpressionRepeated": WhySkipped.SEVERAL_EVENTS,
    "ObservationExpressionWithin": WhySkipped.SEVERAL_EVENTS,
    "ObservationExpressionStartStop": WhySkipped.NEEDS_MORE,
}
_JOINED = {
    "ComparisonExpression": _any_of,
    "ComparisonExpressionAnd": _all_of,
    "ObservationExpressions": _several_events,
    "ObservationExpressionOr": _any_of,
    "ObservationExpressionAnd": _several_events,
}


def _told_by_test(kind: str, test: Any) -> _Reading:
    path = tuple(_written(test.objectPath()))
    literals = list(_leaves(test.children[-1]))
    plain = test.NOT() is None and not (kind == "PropTestEqual" and test.NEQ() is not None)
    place = _PLACES.get(path)
    if place is None:
        equal = plain and kind in ("PropTestEqual", "PropTestSet")
        return _told_by_type(path, literals) if equal else _nothing(WhySkipped.NO_ADDRESS)
    if not plain:
        return _nothing(WhySkipped.NEGATED)
    if kind not in ("PropTestEqual", "PropTestSet", "PropTestIsSubset"):
        return _nothing(WhySkipped.UNSUPPORTED)
    answers = [_found(text, place) for text in _texts(literals)]
    skipped = frozenset(one for one in answers if isinstance(one, WhySkipped))
    return _Reading(
        found=tuple(one for one in answers if isinstance(one, _AddressTest)),
        skipped=skipped or frozenset((WhySkipped.NO_ADDRESS,)),
    )


def _told_by_type(path: tuple[str, ...], literals: list[str]) -> _Reading:
    types = _TYPES.get(path)
    implied = None
    if types is not None:
        implied = frozenset(types[text] for text in _texts(literals) if text in types)
    return _Reading(skipped=frozenset((WhySkipped.NO_ADDRESS,)), implied=implied)


def _leaves(node: Any) -> Iterator[str]:
    """Yield the words below *node* as they are written, however deep the tree."""
    rest = [node]
    while rest:
        node = rest.pop()
        children = getattr(node, "children", None)
        if children is None:
            yield node.getText()
        else:
            rest.extend(reversed(children))


def _written(node: Any) -> Iterator[str]:
    """Yield the words below *node*, texts without their quotes."""
    return (_unquoted(leaf) if leaf.startswith("'") else leaf for leaf in _leaves(node))


def _texts(literals: Iterable[str]) -> Iterator[str]:
    """Yield what the texts among *literals* say; other literals never equal an address."""
    return (_unquoted(literal) for literal in literals if literal.startswith("'"))


def _unquoted(literal: str) -> str:
    """Return a text without its quotes.

    Escapes stay: only a quote and a backslash can be escaped, and no name of a property and no
    address has either.
    """
    return literal[1:-1]


def _found(text: str, place: _AddressRole) -> _AddressTest | WhySkipped:
    """Return the key that *text* writes. Ports, zones and addresses of the other kind are none."""
    match = _ADDRESS.fullmatch(text)
    colons = text.count(":")
    version = 6 if colons else 4
    if match is None or colons == 1 or version not in _VERSIONS[place]:
        return WhySkipped.NO_ADDRESS
    address, prefix = match.groups()
    key = _address_key(address) if prefix is None else _network_key(address, int(prefix))
    return key if isinstance(key, WhySkipped) else _AddressTest(key, place, version)


def _address_key(text: str) -> str | WhySkipped:
    answer = usable_address(text)
    if isinstance(answer, str):
        return answer
    none = answer in (Unusable.NOT_AN_ADDRESS, Unusable.MISSING)
    return WhySkipped.NO_ADDRESS if none else WhySkipped.NOT_PUBLIC


def _network_key(address: str, prefix: int) -> str | WhySkipped:
    try:
        network = _carried(ipaddress.ip_network(f"{address}/{prefix}", strict=False))
    except ValueError:
        return WhySkipped.NO_ADDRESS
    if network.prefixlen == network.max_prefixlen:
        return _address_key(str(network.network_address))
    if _is_special(network):
        return WhySkipped.NOT_PUBLIC
    widest = WIDEST_V4 if network.version == 4 else WIDEST_V6
    return WhySkipped.TOO_WIDE if network.prefixlen < widest else str(network)


_CARRIERS = ((MAPPED, 96), (NAT64, 96), (SIX_TO_FOUR, 16))
"""Blocks whose addresses carry an IPv4 address, which begins after so many bits."""


def _carried(network: Network) -> Network:
    """Return the IPv4 network that *network* stands for, as its addresses are read as IPv4."""
    packed = network.network_address.packed
    for begin, bits in _CARRIERS:
        if network.version == 6 and network.prefixlen >= bits and packed.startswith(begin):
            inner = packed[len(begin) : len(begin) + 4]
            prefix = min(network.prefixlen - bits, 32)
            return ipaddress.IPv4Network((inner, prefix), strict=False)
    return network


_SPECIAL_V4 = [ipaddress.IPv4Network(text) for text in SPECIAL_V4]
_SPECIAL_V6 = [ipaddress.IPv6Network(text) for text in SPECIAL_V6]
_GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
"""The only block that IANA hands out for global unicast (RFC 4291 section 2.4)."""


def _is_special(network: Network) -> bool:
    """Tell whether no address of *network* can be a public one."""
    if isinstance(network, ipaddress.IPv4Network):
        return any(network.subnet_of(special) for special in _SPECIAL_V4)
    return not network.overlaps(_GLOBAL_UNICAST_V6) or any(
        network.subnet_of(special) for special in _SPECIAL_V6
    )
