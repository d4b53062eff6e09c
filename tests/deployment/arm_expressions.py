"""Expressions of Azure Resource Manager templates, read and evaluated without Azure.

The language is Microsoft's "ARM template syntax and expressions": a text in brackets is an
expression of calls, quoted texts, numbers, ``.name`` and ``[index]``. What only Azure knows (a
``reference``) becomes a text that tells where it would come from, and so can be compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|(-?\d+)|([A-Za-z_]\w*)|([()\[\],.]))")


class ExpressionError(ValueError):
    """A text in brackets that is no expression, or one that has no value."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A quoted text or a number."""

    value: str | int


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What a value holds under a name or an index."""

    of: Node
    key: Node


Node = Literal | Call | Part


def is_expression(value: object) -> bool:
    """Tell whether Resource Manager would evaluate this."""
    return (
        isinstance(value, str)
        and value.startswith("[")
        and not value.startswith("[[")
        and value.endswith("]")
    )


@cache
def parse(text: str) -> Node:
    """Return the tree of an expression with its brackets. ExpressionError if it is none."""
    reader = _Reader(list(_tokens(text[1:-1])))
    node = reader.node()
    if reader.rest:
        raise ExpressionError(f"{text}: something follows its end")
    return node


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it."""
    yield node
    match node:
        case Call(arguments=arguments):
            for one in arguments:
                yield from walk(one)
        case Part(of=of, key=key):
            yield from walk(of)
            yield from walk(key)


def strings(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def calls(value: Any, *names: str) -> Iterator[Call]:
    """Yield the calls of these functions in all expressions of a JSON value."""
    for text in strings(value):
        if is_expression(text):
            for node in walk(parse(text)):
                if isinstance(node, Call) and node.name in names:
                    yield node


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            raise ExpressionError(f"{text}: cannot be read from {text[at : at + 20]!r} on")
        for kind, group in zip(("text", "number", "name", "sign"), found.groups(), strict=True):
            if group is not None:
                yield kind, group
        at = found.end()


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.rest = tokens

    def node(self) -> Node:
        kind, text = self._take()
        node: Node
        if kind == "text":
            node = Literal(text.replace("''", "'"))
        elif kind == "number":
            node = Literal(int(text))
        elif kind == "name":
            self._sign("(")
            node = Call(text, tuple(self._arguments()))
        else:
            raise ExpressionError(f"{text!r} where a value was expected")
        while self.rest and self.rest[0] in (("sign", "."), ("sign", "[")):
            node = self._part(node)
        return node

    def _part(self, of: Node) -> Part:
        if self._take()[1] == ".":
            kind, name = self._take()
            if kind != "name":
                raise ExpressionError("a name must follow a dot")
            return Part(of, Literal(name))
        key = self.node()
        self._sign("]")
        return Part(of, key)

    def _arguments(self) -> Iterator[Node]:
        if self.rest and self.rest[0] == ("sign", ")"):
            self._take()
            return
        while True:
            yield self.node()
            if self._sign(",", ")") == ")":
                return

    def _take(self) -> tuple[str, str]:
        if not self.rest:
            raise ExpressionError("it ends too early")
        return self.rest.pop(0)

    def _sign(self, *signs: str) -> str:
        kind, text = self._take()
        if kind != "sign" or text not in signs:
            raise ExpressionError(f"{text!r} where {' or '.join(signs)} was expected")
        return text
