"""Extracts the addresses that a STIX pattern matches: STIX 2.1 section 9.

A sign-in has one address and no other observable, so a pattern is only usable if an address alone
can make it true. A pattern that requires more (a port, a second event, a time) is skipped, never
matched in part. Of alternatives, those about an address are used and the others ignored, because
they cannot match a sign-in.

Extensions to the specification: ``=`` and ``IN`` with a network match the addresses in it, as feeds
use it. An IPv6 address is the same in any notation. An IPv6 address that carries an IPv4 address
(:mod:`schemas.events.addresses`) is that IPv4 address.
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
"""Characters. The parser reads that many in less than 0.2 s."""
MAX_PATTERN_DEPTH = 100
"""Nesting depth of brackets."""
MAX_PATTERN_KEYS = 1_000
WIDEST_V4 = 8
"""Shortest prefix length. No network may be larger than the largest blocks that IANA assigns."""
WIDEST_V6 = 19


@dataclass(frozen=True, slots=True)
class Pattern:
    """The addresses that a pattern matches: those in ``keys`` or in a network of ``keys``.

    ``keys`` are distinct canonical public addresses, and networks in CIDR form. A network may
    contain special addresses, but no sign-in comes from them. ``destination`` is True if every key
    is a destination. It is False if any key is a source or has no role.
    """

    keys: tuple[str, ...]
    destination: bool


class _AddressRole(Enum):
    """The properties of a pattern that may contain an address."""

    V4 = "ipv4-addr"
    V6 = "ipv6-addr"
    SOURCE = "source"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class _AddressTest:
    key: str
    role: _AddressRole
    version: int
    """4 or 6, as written in the pattern."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """The result for a part of a pattern: the addresses that make it true, and skip reasons.

    ``implied`` is set for a test that only repeats the type of an address. It lists the roles and
    versions for which the test is always true.
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
_ROLES = {
    ("ipv4-addr", ":", "value"): _AddressRole.V4,
    ("ipv6-addr", ":", "value"): _AddressRole.V6,
    ("network-traffic", ":", "src_ref", ".", "value"): _AddressRole.SOURCE,
    ("network-traffic", ":", "dst_ref", ".", "value"): _AddressRole.DESTINATION,
}
_TYPES = {
    (*path[:-1], "type"): {f"ipv{version}-addr": (role, version) for version in _VERSIONS[role]}
    for path, role in _ROLES.items()
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
"""The form of nearly every indicator in a feed of addresses."""
_ADDRESS = re.compile(r"([0-9A-Fa-f:.]{2,45})(?:/([0-9]{1,3}))?")
_MARK = re.compile(
    r"'(?:[^'\\]|\\['\\])*+'|/\*(?:[^*]|\*(?!/))*+\*/|//[^\r\n]*+|(?P<open>'|/\*)|[][()]"
)
"""String literals, comments, the start of an unterminated literal or comment, and brackets."""


def read_pattern(pattern: str) -> Pattern | WhySkipped:
    """Return the addresses and networks that *pattern* matches, or the reason why it is skipped.

    Of several reasons, the most informative is returned. Never raises.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        return WhySkipped.UNREADABLE
    if single := _SINGLE.fullmatch(pattern):
        version, text = single.groups()
        return _single_address(text, _AddressRole.V4 if version == "4" else _AddressRole.V6)
    if not _is_safe_to_parse(pattern):
        return WhySkipped.UNREADABLE
    try:
        reading = _read_node(_parser()(pattern))
    except (ValueError, RecursionError):
        return WhySkipped.UNREADABLE
    return _pattern_of(reading)


def _single_address(text: str, role: _AddressRole) -> Pattern | WhySkipped:
    found = _address_test(text, role)
    return found if isinstance(found, WhySkipped) else Pattern((found.key,), destination=False)


def _pattern_of(reading: _Reading) -> Pattern | WhySkipped:
    keys = tuple(dict.fromkeys(test.key for test in reading.found))
    if not keys:
        return next(why for why in _REASONS_BY_WEIGHT if why in reading.skipped)
    if len(keys) > MAX_PATTERN_KEYS:
        return WhySkipped.TOO_MANY
    return Pattern(keys, all(test.role is _AddressRole.DESTINATION for test in reading.found))


def _is_safe_to_parse(pattern: str) -> bool:
    """Return True if a pattern is safe to parse.

    The parser exhausts the stack on deep nesting. It also rescans an unterminated literal from each
    quote in it, which takes a minute.
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
    """A visitor that returns the parse tree, which the library does not expose."""

    def visit(self, tree: Any) -> Any:
        """Return *tree*."""
        return tree


@cache
def _parser() -> Callable[[str], Any]:
    """Return a function that parses a pattern or raises ValueError. Imports the library lazily."""
    from stix2patterns.exceptions import ParseException
    from stix2patterns.v21.pattern import Pattern as Parsed

    def parse(pattern: str) -> Any:
        try:
            return Parsed(pattern).visit(_Tree())
        except ParseException:
            raise ValueError("not a STIX pattern") from None

    return parse


def _read_node(node: Any) -> _Reading:
    """Read a node of the parse tree. The class names of nodes come from the grammar."""
    while True:
        kind = type(node).__name__.removesuffix("Context")
        if kind in _QUALIFIED:
            return _skipped(_QUALIFIED[kind])
        if kind.startswith("PropTest") and kind != "PropTestParen":
            return _read_test(kind, node)
        parts = _parts(node)
        if len(parts) > 1:
            return _JOINED[kind]([_read_node(part) for part in parts])
        node = parts[0]


def _parts(node: Any) -> list[Any]:
    """Return the non-terminal children of *node*. A chain of one operator is flattened."""
    parts = []
    rest = list(reversed(node.children))
    while rest:
        child = rest.pop()
        if type(child) is type(node):
            rest.extend(reversed(child.children))
        elif getattr(child, "children", None):
            parts.append(child)
    return parts


def _skipped(why: WhySkipped) -> _Reading:
    return _Reading(skipped=frozenset((why,)))


def _any_of(parts: list[_Reading]) -> _Reading:
    return _Reading(
        found=tuple(test for part in parts for test in part.found),
        skipped=frozenset().union(*(part.skipped for part in parts)),
    )


def _all_of(parts: list[_Reading]) -> _Reading:
    implied = [part.implied for part in parts if part.implied is not None]
    conditions = [part for part in parts if part.implied is None]
    if len(conditions) != 1:
        return _skipped(_why_not_all(parts))
    found = tuple(
        test
        for test in conditions[0].found
        if all((test.role, test.version) in pairs for pairs in implied)
    )
    dropped = len(found) < len(conditions[0].found)
    return _Reading(found, conditions[0].skipped | ({WhySkipped.NEEDS_MORE} if dropped else set()))


def _why_not_all(parts: list[_Reading]) -> WhySkipped:
    about_addresses = any(part.found or part.skipped - {WhySkipped.NO_ADDRESS} for part in parts)
    return WhySkipped.NEEDS_MORE if about_addresses else WhySkipped.NO_ADDRESS


def _several_events(_: list[_Reading]) -> _Reading:
    return _skipped(WhySkipped.SEVERAL_EVENTS)


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


def _read_test(kind: str, test: Any) -> _Reading:
    path = tuple(_written(test.objectPath()))
    literals = list(_leaves(test.children[-1]))
    plain = test.NOT() is None and not (kind == "PropTestEqual" and test.NEQ() is not None)
    role = _ROLES.get(path)
    if role is None:
        equal = plain and kind in ("PropTestEqual", "PropTestSet")
        return _read_type_test(path, literals) if equal else _skipped(WhySkipped.NO_ADDRESS)
    if not plain:
        return _skipped(WhySkipped.NEGATED)
    if kind not in ("PropTestEqual", "PropTestSet", "PropTestIsSubset"):
        return _skipped(WhySkipped.UNSUPPORTED)
    results = [_address_test(text, role) for text in _texts(literals)]
    skipped = frozenset(result for result in results if isinstance(result, WhySkipped))
    return _Reading(
        found=tuple(result for result in results if isinstance(result, _AddressTest)),
        skipped=skipped or frozenset((WhySkipped.NO_ADDRESS,)),
    )


def _read_type_test(path: tuple[str, ...], literals: list[str]) -> _Reading:
    types = _TYPES.get(path)
    implied = None
    if types is not None:
        implied = frozenset(types[text] for text in _texts(literals) if text in types)
    return _Reading(skipped=frozenset((WhySkipped.NO_ADDRESS,)), implied=implied)


def _leaves(node: Any) -> Iterator[str]:
    """Yield the tokens below *node* as written, at any depth."""
    rest = [node]
    while rest:
        node = rest.pop()
        children = getattr(node, "children", None)
        if children is None:
            yield node.getText()
        else:
            rest.extend(reversed(children))


def _written(node: Any) -> Iterator[str]:
    """Yield the tokens below *node*, string literals without their quotes."""
    return (_unquoted(leaf) if leaf.startswith("'") else leaf for leaf in _leaves(node))


def _texts(literals: Iterable[str]) -> Iterator[str]:
    """Yield the string values among *literals*. Other literals never equal an address."""
    return (_unquoted(literal) for literal in literals if literal.startswith("'"))


def _unquoted(literal: str) -> str:
    """Return a string literal without its quotes.

    Escapes are kept. Only a quote and a backslash can be escaped, and neither occurs in a property
    name or an address.
    """
    return literal[1:-1]


def _address_test(text: str, role: _AddressRole) -> _AddressTest | WhySkipped:
    """Return the test for the address or network *text*, or the reason why it is skipped.

    A port, a zone, or the other IP version than that of *role* is not an address.
    """
    match = _ADDRESS.fullmatch(text)
    colons = text.count(":")
    version = 6 if colons else 4
    if match is None or colons == 1 or version not in _VERSIONS[role]:
        return WhySkipped.NO_ADDRESS
    address, prefix = match.groups()
    key = _address_key(address) if prefix is None else _network_key(address, int(prefix))
    return key if isinstance(key, WhySkipped) else _AddressTest(key, role, version)


def _address_key(text: str) -> str | WhySkipped:
    result = usable_address(text)
    if isinstance(result, str):
        return result
    none = result in (Unusable.NOT_AN_ADDRESS, Unusable.MISSING)
    return WhySkipped.NO_ADDRESS if none else WhySkipped.NOT_PUBLIC


def _network_key(address: str, prefix: int) -> str | WhySkipped:
    try:
        network = _embedded_ipv4(ipaddress.ip_network(f"{address}/{prefix}", strict=False))
    except ValueError:
        return WhySkipped.NO_ADDRESS
    if network.prefixlen == network.max_prefixlen:
        return _address_key(str(network.network_address))
    if _is_special(network):
        return WhySkipped.NOT_PUBLIC
    widest = WIDEST_V4 if network.version == 4 else WIDEST_V6
    return WhySkipped.TOO_WIDE if network.prefixlen < widest else str(network)


_CARRIERS = ((MAPPED, 96), (NAT64, 96), (SIX_TO_FOUR, 16))
"""Blocks whose addresses carry an IPv4 address, with the bit at which it starts."""


def _embedded_ipv4(network: Network) -> Network:
    """Return the IPv4 network that *network* carries, otherwise *network* itself."""
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
"""The only block that IANA assigns for global unicast (RFC 4291 section 2.4)."""


def _is_special(network: Network) -> bool:
    """Return True if *network* contains no public address."""
    if isinstance(network, ipaddress.IPv4Network):
        return any(network.subnet_of(special) for special in _SPECIAL_V4)
    return not network.overlaps(_GLOBAL_UNICAST_V6) or any(
        network.subnet_of(special) for special in _SPECIAL_V6
    )
