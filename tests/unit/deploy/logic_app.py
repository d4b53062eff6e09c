"""A small stand-in for Azure Logic Apps: runs a workflow definition, with its HTTP in our hands.

It knows the actions and functions that the playbook uses, by the Workflow Definition Language
reference, and fails on any other. Both sides of ``if()`` are evaluated, as the service may do.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|-?\d+|\w+|\?\[|[()\[\],])")
FAILED = ("Failed", "TimedOut")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP peer says; status None for none at all."""

    status: int | None
    body: Any = None


@dataclass
class Run:
    """One run of a workflow. *http* gets the evaluated inputs of an action."""

    definition: Mapping[str, Any]
    parameters: Mapping[str, Any]
    trigger: Mapping[str, Any]
    http: Callable[[str, Mapping[str, Any]], Answer]
    outputs: dict[str, Any] = field(default_factory=dict)
    status: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    items: dict[str, Any] = field(default_factory=dict)
    item: Any = None

    def start(self) -> str:
        """Run it to its end; return its status."""
        return self._scope(self.definition["actions"])

    def _scope(self, actions: Mapping[str, Any]) -> str:
        left = dict(actions)
        while left:
            ready = [name for name, one in left.items() if not set(one["runAfter"]) & set(left)]
            assert ready, f"a circle among {sorted(left)}"
            for name in ready:
                self._action(name, left.pop(name))
        heard = {
            before
            for name, one in actions.items()
            for before, states in one["runAfter"].items()
            if set(states) & set(FAILED) and self.status[name] != "Skipped"
        }
        failed = any(self.status[name] in FAILED and name not in heard for name in actions)
        return "Failed" if failed else "Succeeded"

    def _action(self, name: str, action: Mapping[str, Any]) -> None:
        goes = all(self.status[one] in states for one, states in action["runAfter"].items())
        self.status[name] = self._do(name, action) if goes else "Skipped"

    def _do(self, name: str, action: Mapping[str, Any]) -> str:
        kind = action["type"]
        if kind == "If":
            return self._scope(
                action["actions"] if self._holds(action) else action["else"]["actions"]
            )
        if kind == "Switch":
            value = self.value(action["expression"])
            cases = [one for one in action["cases"].values() if one["case"] == value]
            return self._scope((cases or [action["default"]])[0]["actions"])
        if kind == "Foreach":
            return self._each(name, action)
        if kind in ("Query", "Select"):
            self.outputs[name] = {"body": list(self._through(kind, action["inputs"]))}
            return "Succeeded"
        return self._plain(name, kind, self.value(action["inputs"]))

    def _holds(self, action: Mapping[str, Any]) -> bool:
        ((_, tests),) = action["expression"].items()
        found = []
        for test in tests:
            ((how, (left, right)),) = test.items()
            a, b = self.value(left), self.value(right)
            found.append({"equals": lambda x, y: x == y, "greater": lambda x, y: x > y}[how](a, b))
        return all(found)

    def _each(self, name: str, action: Mapping[str, Any]) -> str:
        assert action["runtimeConfiguration"]["concurrency"]["repetitions"] == 1
        states = []
        for one in self.value(action["foreach"]):
            self.items[name] = one
            states.append(self._scope(action["actions"]))
        return "Failed" if "Failed" in states else "Succeeded"

    def _through(self, kind: str, inputs: Mapping[str, Any]) -> Iterator[Any]:
        for one in self.value(inputs["from"]):
            self.item = one
            if kind == "Select":
                yield self.value(inputs["select"])
            elif self.value(inputs["where"]):
                yield one

    def _plain(self, name: str, kind: str, inputs: Any) -> str:
        match kind:
            case "InitializeVariable":
                for one in inputs["variables"]:
                    self.variables[one["name"]] = one["value"]
            case "SetVariable":
                self.variables[inputs["name"]] = inputs["value"]
            case "AppendToArrayVariable":
                self.variables[inputs["name"]] = [*self.variables[inputs["name"]], inputs["value"]]
            case "Compose":
                self.outputs[name] = inputs
            case "Http":
                return self._send(name, inputs)
            case _:
                raise AssertionError(f"no action {kind} here")
        return "Succeeded"

    def _send(self, name: str, inputs: Mapping[str, Any]) -> str:
        answer = self.http(name, inputs)
        if answer.status is None:
            self.outputs.pop(name, None)
            return "TimedOut"
        self.outputs[name] = {"statusCode": answer.status, "body": answer.body}
        return "Succeeded" if answer.status < 300 else "Failed"

    def value(self, source: Any) -> Any:
        """Evaluate a value of the definition: texts with expressions, lists, objects."""
        if isinstance(source, dict):
            return {key: self.value(one) for key, one in source.items()}
        if isinstance(source, list):
            return [self.value(one) for one in source]
        if not isinstance(source, str):
            return source
        if source.startswith("@") and not source.startswith(("@{", "@@")):
            return _Expression(source[1:], self).whole()
        return re.sub(r"@\{((?:'[^']*'|[^}'])*)\}", self._filled, source)

    def _filled(self, found: re.Match[str]) -> str:
        return _text(_Expression(found[1], self).whole())


class _Expression:
    def __init__(self, text: str, run: Run) -> None:
        self.tokens = _TOKEN.findall(text)
        assert "".join(self.tokens) == re.sub(r"\s+(?=(?:[^']*'[^']*')*[^']*$)", "", text), text
        self.run = run

    def whole(self) -> Any:
        value = self._value()
        assert not self.tokens, self.tokens
        return value

    def _value(self) -> Any:
        token = self.tokens.pop(0)
        if token.startswith("'"):
            value: Any = token[1:-1].replace("''", "'")
        elif token.lstrip("-").isdigit():
            value = int(token)
        else:
            assert self.tokens.pop(0) == "(", token
            value = self._call(token, self._arguments())
        while self.tokens and self.tokens[0] in ("[", "?["):
            optional = self.tokens.pop(0) == "?["
            key = self._value()
            assert self.tokens.pop(0) == "]"
            value = _part(value, key, optional=optional)
        return value

    def _arguments(self) -> list[Any]:
        found: list[Any] = []
        while self.tokens[0] != ")":
            found.append(self._value())
            if self.tokens[0] == ",":
                self.tokens.pop(0)
        self.tokens.pop(0)
        return found

    def _call(self, name: str, given: list[Any]) -> Any:
        run = self.run
        of_run: dict[str, Callable[..., Any]] = {
            "triggerBody": lambda: run.trigger,
            "parameters": lambda one: run.parameters[one],
            "variables": lambda one: run.variables[one],
            "outputs": run.outputs.get,
            "body": lambda one: (run.outputs.get(one) or {}).get("body"),
            "items": lambda one: run.items[one],
            "item": lambda: run.item,
        }
        return (of_run.get(name) or FUNCTIONS[name])(*given)


def _part(value: Any, key: Any, *, optional: bool) -> Any:
    if value is None and optional:
        return None
    assert isinstance(value, dict if isinstance(key, str) else list), f"{key!r} of {value!r}"
    return value.get(key) if optional and isinstance(value, dict) else value[key]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def _union(*lists: list[Any]) -> list[Any]:
    found: list[Any] = []
    for one in (item for part in lists for item in part):
        if one not in found:
            found.append(one)
    return found


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "coalesce": lambda *given: next((one for one in given if one is not None), None),
    "concat": lambda *given: "".join(map(_text, given)),
    "contains": lambda where, what: what in where,
    "createArray": lambda *given: list(given),
    "empty": lambda one: one in (None, "", [], {}),
    "equals": lambda a, b: a == b,
    "guid": lambda: "6f9619ff-8b86-d011-b42d-00c04fc964ff",
    "if": lambda test, yes, no: yes if test else no,
    "join": lambda parts, between: between.join(parts),
    "json": json.loads,
    "length": len,
    "min": min,
    "not": lambda one: not one,
    "string": _text,
    "take": lambda parts, number: parts[:number],
    "toLower": lambda text: text.lower(),
    "union": _union,
}
