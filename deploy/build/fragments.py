"""Hand-written parts of the template, put together.

``deploy/template/*.json`` hold parameters, variables, resources and outputs by topic. Four forms
in them are ours and not Resource Manager's:

* ``{"$each": [{"<x>": "a"}, …], "resources": […]}`` stands for the resources, once for each entry,
  with its words put in;
* ``{"$insert": "name"}`` stands for what the builder makes; in a list, for the items of a list;
* ``{"$concat": [part, …]}`` becomes one expression that joins lists;
* ``{"$when": "expression", "then": value}`` is *value* where the expression holds; else an empty
  list in a ``$concat``, and null elsewhere.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECTIONS = ("parameters", "variables", "resources", "outputs")


def as_expression(value: Any) -> str:
    """Return the text, without brackets, of an expression that has this value."""
    match value:
        case bool():
            return "true()" if value else "false()"
        case None:
            return "null()"
        case int():
            return str(value)
        case str() if is_expression(value):
            return value[1:-1]
        case str():
            return "'" + value.replace("'", "''") + "'"
        case list():
            return f"createArray({', '.join(as_expression(one) for one in value)})"
        case dict():
            parts = [part for key in value for part in (key, value[key])]
            return f"createObject({', '.join(as_expression(one) for one in parts)})"
    raise TypeError(f"no expression has the value {value!r}")


def is_expression(text: str) -> bool:
    """Tell whether Resource Manager would evaluate *text*."""
    return text.startswith("[") and not text.startswith("[[") and text.endswith("]")


def literal(text: str) -> str:
    """Return *text* so that Resource Manager takes it as it stands."""
    return f"[{text}" if text.startswith("[") and text.endswith("]") else text


def merged(folder: Path) -> dict[str, Any]:
    """Return the parts of a folder, in the order of their names, as one template.

    ValueError where two parts define one name.
    """
    whole: dict[str, Any] = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "metadata": {},
        "parameters": {},
        "variables": {},
        "resources": [],
        "outputs": {},
    }
    for path in sorted(folder.glob("*.json")):
        part = json.loads(path.read_text("utf-8"))
        whole["metadata"] |= part.get("metadata", {})
        whole["resources"] += part.get("resources", [])
        for section in ("parameters", "variables", "outputs"):
            both = whole[section].keys() & part.get(section, {}).keys()
            if both:
                raise ValueError(f"{path.name}: {section} {', '.join(both)} again")
            whole[section] |= part.get(section, {})
    return whole


def expanded(value: Any, made: Mapping[str, Any]) -> Any:
    """Return *value* with our four forms replaced; *made* holds what ``$insert`` names."""
    match value:
        case {"$insert": name}:
            return made[name]
        case {"$concat": parts}:
            joined = ", ".join(_list_expression(part, made) for part in parts)
            return f"[concat({joined})]"
        case {"$when": condition, "then": then}:
            return f"[if({condition}, {as_expression(expanded(then, made))}, null())]"
        case dict():
            return {key: expanded(one, made) for key, one in value.items()}
        case list():
            return [one for item in value for one in _items(item, made)]
    return value


def _items(item: Any, made: Mapping[str, Any]) -> list[Any]:
    """Return what one item of a list stands for."""
    match item:
        case {"$each": entries, "resources": resources}:
            return [
                expanded(_with_words(resource, words), made)
                for words in entries
                for resource in resources
            ]
        case {"$insert": name} if isinstance(made[name], list):
            return list(made[name])
    return [expanded(item, made)]


def _with_words(value: Any, words: Mapping[str, str]) -> Any:
    text = json.dumps(value)
    for placeholder, word in words.items():
        text = text.replace(placeholder, word)
    return json.loads(text)


def _list_expression(part: Any, made: Mapping[str, Any]) -> str:
    match part:
        case {"$when": condition, "then": then}:
            return f"if({condition}, {as_expression(expanded(then, made))}, createArray())"
    return as_expression(expanded(part, made))
