"""Mistakes that people make in templates, put into ours: each is noticed by a check."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.deployment import template_mistakes, template_mistakes_app
from tests.deployment.arm_expressions import ExpressionError
from tests.deployment.template_app import app_problems
from tests.deployment.template_cases import CASES
from tests.deployment.template_checks import (
    leak_problems,
    name_problems,
    name_use_problems,
    order_problems,
    secret_problems,
    version_problems,
)
from tests.deployment.template_facts import fact_problems
from tests.deployment.template_form import form_problems
from tests.unit.deploy.test_template import FORM, TEMPLATE

MISTAKES = {**template_mistakes.MISTAKES, **template_mistakes_app.MISTAKES}


def _problems(template: dict[str, Any], form: dict[str, Any]) -> list[str]:
    """Return what any check finds, with all sets of parameters."""
    found = [
        *name_use_problems(template),
        *secret_problems(template),
        *version_problems(template),
        *form_problems(template, form),
    ]
    for given in CASES.values():
        for check in (name_problems, order_problems, leak_problems, fact_problems, app_problems):
            try:
                found += check(template, given)
            except ExpressionError as error:
                found.append(str(error))
    return found


def test_the_untouched_template_is_sound() -> None:
    """Else a mutation would be noticed for nothing."""
    assert _problems(TEMPLATE, FORM) == []


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(name: str) -> None:
    """One of the checks tells of it, in words that name it."""
    change, told = MISTAKES[name]
    template, form = copy.deepcopy(TEMPLATE), copy.deepcopy(FORM)
    change(template, form)
    assert (template, form) != (TEMPLATE, FORM)
    problems = _problems(template, form)
    assert any(told in one for one in problems), problems


def test_every_choice_is_made_both_ways() -> None:
    """Else a check that looks at a choice would see one side of it alone."""
    choices = {
        name: one["defaultValue"]
        for name, one in TEMPLATE["parameters"].items()
        if one["type"] == "bool" or name == "network"
    }
    assert len(choices) > 6
    for name, default in choices.items():
        assert len({given.get(name, default) for given in CASES.values()}) == 2, name
