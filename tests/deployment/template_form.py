"""What must hold for the portal's form and the file of parameters: they fit the template.

Each function returns what is wrong, one line each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.deployment.arm_expressions import (
    Call,
    Literal,
    Part,
    is_expression,
    parse,
    strings,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def form_problems(template: Mapping[str, Any], form: Mapping[str, Any]) -> list[str]:
    """Return where the form's outputs and the template's parameters differ."""
    outputs, parameters = form["parameters"]["outputs"], template["parameters"]
    elements = {
        (step["name"], one["name"])
        for step in form["parameters"]["steps"]
        for one in step["elements"]
    }
    elements |= {("", one["name"]) for one in form["parameters"]["basics"]}
    return [
        *(f"form: {name} is not asked for" for name in parameters.keys() - outputs.keys()),
        *(f"form: the template takes no {name}" for name in outputs.keys() - parameters.keys()),
        *(
            f"form: {'.'.join(one)} is used and not asked for"
            for one in set(_elements_used(form)) - elements
        ),
        *(
            f"form: {'.'.join(one)} is asked for and not used"
            for one in elements - set(_elements_used(outputs)) - _only_told(form)
        ),
    ]


def _elements_used(value: Any) -> Iterator[tuple[str, str]]:
    for text in strings(value):
        if not is_expression(text):
            continue
        for node in walk(parse(text)):
            match node:
                case Call(name="basics", arguments=(Literal(value=name),)):
                    yield "", str(name)
                case Part(
                    of=Call(name="steps", arguments=(Literal(value=step),)),
                    key=Literal(value=name),
                ):
                    yield str(step), str(name)


def _only_told(form: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {
        (step["name"], one["name"])
        for step in form["parameters"]["steps"]
        for one in step["elements"]
        if one["type"] == "Microsoft.Common.InfoBox"
    }
