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

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from consumers.sources.taxii.stix_addresses import AddressRole, AddressTest, address_test
from schemas.intel.indicators import WhySkipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_PATTERN_LENGTH = 20_000
"""Characters. The parser reads that many in less than 0.2 s."""
MAX_PATTERN_DEPTH = 100
"""Nesting depth of brackets."""
MAX_LIST_LENGTH = 2_000_000
"""Characters of a pattern that only lists addresses, which needs no parser."""
MAX_PATTERN_KEYS = 20_000


@dataclass(frozen=True, slots=True)
class Pattern:
    """The addresses that a pattern matches: those in ``keys`` or in a network of ``keys``.

    ``keys`` are distinct canonical public addresses, and networks in CIDR form. A network may
    contain special addresses, but no sign-in comes from them. ``destination`` is True if every key
    is a destination. It is False if any key is a source or has no role.
    """

    keys: tuple[str, ...]
    destination: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """The result for a part of a pattern: the addresses that make it true, and skip reasons.

    ``implied`` is set for a test that only repeats the type of an address. It lists the roles and
    versions for which the test is always true.
    """

    found: tuple[AddressTest, ...] = ()
    skipped: frozenset[WhySkipped] = frozenset()
    implied: frozenset[tuple[AddressRole, int]] | None = None


_VERSIONS = {
    AddressRole.V4: (4,),
    AddressRole.V6: (6,),
    AddressRole.SOURCE: (4, 6),
    AddressRole.DESTINATION: (4, 6),
}
_ROLES = {
    ("ipv4-addr", ":", "value"): AddressRole.V4,
    ("ipv6-addr", ":", "value"): AddressRole.V6,
    ("network-traffic", ":", "src_ref", ".", "value"): AddressRole.SOURCE,
    ("network-traffic", ":", "dst_ref", ".", "value"): AddressRole.DESTINATION,
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
_LISTED = re.compile(
    r"ipv([46])-addr\s*:\s*value\s*(?:=\s*'([^'\\]*)'|IN\s*\(([^()\\]*)\))", re.ASCII
)
_QUOTED = re.compile(r"'([^']*)'")
_GAPS = re.compile(r"[\s\[\]()]+")
_MARK = re.compile(
    r"'(?:[^'\\]|\\['\\])*+'|/\*(?:[^*]|\*(?!/))*+\*/|//[^\r\n]*+|(?P<open>'|/\*)|[][()]"
)
"""String literals, comments, the start of an unterminated literal or comment, and brackets."""


def read_pattern(pattern: str) -> Pattern | WhySkipped:
    """Return the addresses and networks that *pattern* matches, or the reason why it is skipped.

    Of several reasons, the most informative is returned. Never raises.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        return _long_list(pattern)
    if single := _SINGLE.fullmatch(pattern):
        version, text = single.groups()
        return _single_address(text, AddressRole.V4 if version == "4" else AddressRole.V6)
    if not _is_safe_to_parse(pattern):
        return WhySkipped.UNREADABLE
    try:
        reading = _read_node(_parser()(pattern))
    except (ValueError, RecursionError):
        return WhySkipped.UNREADABLE
    return _pattern_of(reading)


def _single_address(text: str, role: AddressRole) -> Pattern | WhySkipped:
    found = address_test(text, role)
    return found if isinstance(found, WhySkipped) else Pattern((found.key,), destination=False)


def _long_list(pattern: str) -> Pattern | WhySkipped:
    """Return the addresses of a pattern that is too long to parse, if it is a mere list of them."""
    if len(pattern) > MAX_LIST_LENGTH or set(_GAPS.split(_LISTED.sub(" ", pattern))) - {"", "OR"}:
        return WhySkipped.UNREADABLE
    tests: list[AddressTest | WhySkipped] = []
    for version, single, several in _LISTED.findall(pattern):
        if set(_QUOTED.sub("", several)) - set(", \t\r\n"):
            return WhySkipped.UNREADABLE
        role = AddressRole.V4 if version == "4" else AddressRole.V6
        tests += [address_test(text, role) for text in _QUOTED.findall(several) or [single]]
    found = tuple(test for test in tests if isinstance(test, AddressTest))
    skipped = frozenset(test for test in tests if isinstance(test, WhySkipped))
    return _pattern_of(_Reading(found, skipped or frozenset((WhySkipped.NO_ADDRESS,))))


def _pattern_of(reading: _Reading) -> Pattern | WhySkipped:
    keys = tuple(dict.fromkeys(test.key for test in reading.found))
    if not keys:
        return next(why for why in _REASONS_BY_WEIGHT if why in reading.skipped)
    if len(keys) > MAX_PATTERN_KEYS:
        return WhySkipped.TOO_MANY
    return Pattern(keys, all(test.role is AddressRole.DESTINATION for test in reading.found))


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
    results = [address_test(text, role) for text in _texts(literals)]
    skipped = frozenset(result for result in results if isinstance(result, WhySkipped))
    return _Reading(
        found=tuple(result for result in results if isinstance(result, AddressTest)),
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
