"""Rules, functions, queries, watchlist and workbook arrive in the template as they were written."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deploy.build.content import (
    OPERATORS,
    PREVIEW,
    STABLE,
    content_resources,
    iso_span,
)
from deploy.build.fragments import as_expression, expanded, literal, merged
from deploy.build.template import DEPLOY, FILE
from tests.deployment.arm_deployment import Scope, deployed
from tests.deployment.arm_expressions import ExpressionError, parse
from tests.deployment.template_cases import LEAST, WORKSPACE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deployment.arm_deployment import Resource

SENTINEL = DEPLOY / "sentinel"
SEARCHES = "Microsoft.OperationalInsights/workspaces/savedSearches"


@pytest.fixture(scope="module", name="made")
def resources() -> list[Resource]:
    """Give what the committed template deploys."""
    return deployed(json.loads(FILE.read_bytes()), LEAST)


def _read(folder: str) -> list[dict[str, Any]]:
    paths = sorted((SENTINEL / folder).glob("*.yaml"))
    return [yaml.safe_load(path.read_text("utf-8")) for path in paths]


def _of(made: list[Resource], kind: str) -> list[Resource]:
    return [one for one in made if one.kind == kind]


def test_every_rule_is_there_as_written(made: list[Resource]) -> None:
    """Query, texts and mappings unchanged; spans and operators in Resource Manager's words."""
    found = {
        one.properties["displayName"]: one
        for one in _of(made, "Microsoft.SecurityInsights/alertRules")
    }
    rules = _read("rules")
    assert len(found) == len(rules) == len({rule["id"] for rule in rules})
    for rule in rules:
        one = found[rule["name"].strip("'")]
        fast = rule.get("kind") == "NRT"
        assert (one.body["kind"], one.version) == (
            ("NRT", PREVIEW) if fast else ("Scheduled", STABLE)
        )
        assert one.scope == WORKSPACE
        assert one.properties["query"] == rule["query"].strip()
        assert one.properties["enabled"] == rule.get("enabled", True)
        for key in ("severity", "entityMappings", "customDetails", "alertDetailsOverride"):
            assert one.properties.get(key) == rule.get(key)
        assert ("queryPeriod" in one.properties) is not fast
        if not fast:
            assert one.properties["queryFrequency"] == iso_span(rule["queryFrequency"])
            assert one.properties["triggerOperator"] in OPERATORS.values()


def test_every_query_waits_for_what_it_calls(made: list[Resource]) -> None:
    """A rule is refused when a function that it calls is not saved yet."""
    aliases = {one.properties["functionAlias"]: one.id for one in _functions(made)}
    assert aliases.keys() == {path.stem for path in (SENTINEL / "functions").glob("*.kql")}
    for one in [*_of(made, "Microsoft.SecurityInsights/alertRules"), *_of(made, SEARCHES)]:
        lines = one.properties["query"].splitlines()
        code = "\n".join(line for line in lines if not line.lstrip().startswith("//"))
        for alias, identity in aliases.items():
            called = f"{alias}()" in code and identity != one.id
            assert (identity in one.needs) == called, (one.path, alias)


def _functions(made: list[Resource]) -> list[Resource]:
    return [one for one in _of(made, SEARCHES) if "functionAlias" in one.properties]


def test_hunting_queries_are_there(made: list[Resource]) -> None:
    """Each in the category where Sentinel looks for them."""
    found = {
        one.properties["query"]
        for one in _of(made, SEARCHES)
        if one.properties["category"] == "Hunting Queries"
    }
    assert found == {one["query"].strip() for one in _read("hunting")}


def test_the_watchlist_has_its_columns(made: list[Resource]) -> None:
    """The lines are CSV with the columns that the function reads."""
    told = json.loads((SENTINEL / "watchlist.json").read_bytes())
    (one,) = _of(made, "Microsoft.SecurityInsights/watchlists")
    rows = list(csv.DictReader(io.StringIO(one.properties["rawContent"])))
    assert rows == told["rows"]
    assert list(rows[0]) == told["columns"]
    assert one.properties["itemsSearchKey"] in told["columns"]
    assert one.name == told["alias"]


def test_the_workbook_is_there(made: list[Resource]) -> None:
    """Its text is the file's, and it belongs to the workspace."""
    (one,) = _of(made, "microsoft.insights/workbooks")
    assert json.loads(one.properties["serializedData"]) == json.loads(
        (SENTINEL / "workbook.json").read_bytes()
    )
    assert one.properties["sourceId"] == WORKSPACE


def test_a_rule_with_little_in_it(tmp_path: Path) -> None:
    """What a rule leaves out gets the defaults of the field; sub-techniques become techniques."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "one.yaml").write_text(
        "id: 1\nname: one\nkind: NRT\ndescription: |\n  'Quoted.'\nseverity: Low\n"
        "relevantTechniques: [T1078.004, T1078]\nquery: '[a]'\n"
        "incidentConfiguration:\n  createIncident: true\n  groupingConfiguration:\n"
        "    lookbackDuration: 5h\n"
    )
    (one,) = content_resources(tmp_path)
    properties = one["properties"]
    assert (properties["description"], properties["techniques"]) == ("Quoted.", ["T1078"])
    assert properties["suppressionDuration"] == "PT5H"
    assert Scope({}, {}).value(properties["query"]) == "[a]"
    assert properties["incidentConfiguration"]["groupingConfiguration"] == {
        "lookbackDuration": "PT5H"
    }


@pytest.mark.parametrize(
    ("text", "iso"), [("5m", "PT5M"), ("1h", "PT1H"), ("14d", "P14D"), ("PT5M", "PT5M")]
)
def test_spans_become_iso(text: str, iso: str) -> None:
    """The repository's spans and those of ISO 8601."""
    assert iso_span(text) == iso


def test_a_span_of_another_kind_is_refused() -> None:
    """A typing error is not passed on."""
    with pytest.raises(ValueError, match="no span"):
        iso_span("5 minutes")


@pytest.mark.parametrize("text", ["[a]", "plain", "[a] b", "it's", ""])
def test_texts_arrive_as_they_stand(text: str) -> None:
    """A text that looks like an expression is none."""
    scope = Scope({}, {})
    assert scope.value(literal(text)) == text
    if not text.startswith("["):
        assert scope.value(f"[concat({as_expression(text)}, '')]") == text


def test_values_become_expressions() -> None:
    """Objects and lists survive the way through an expression."""
    value = {"a": [1, True, None, "it's"], "b": {"c": "[toLower('X')]"}}
    found = Scope({}, {}).value(f"[{as_expression(value)}]")
    assert found == {"a": [1, True, None, "it's"], "b": {"c": "x"}}


def test_parts_are_expanded() -> None:
    """All four forms, one within another."""
    part = {
        "list": [{"$each": [{"<x>": "1"}, {"<x>": "2"}], "resources": [{"n": "<x>"}]}],
        "more": [{"$insert": "made"}],
        "joined": {"$concat": [["a"], {"$when": "true()", "then": ["b"]}]},
        "none": {"$when": "false()", "then": {"k": 1}},
    }
    scope = Scope({}, {})
    assert scope.value(expanded(part, {"made": ["m"]})) == {
        "list": [{"n": "1"}, {"n": "2"}],
        "more": ["m"],
        "joined": ["a", "b"],
        "none": None,
    }


def test_parts_may_not_define_a_name_twice(tmp_path: Path) -> None:
    """The second would silently take the place of the first."""
    for name in "ab":
        (tmp_path / f"{name}.json").write_text('{"variables": {"v": 1}}')
    with pytest.raises(ValueError, match=r"b\.json: variables v again"):
        merged(tmp_path)


@pytest.mark.parametrize(
    "text", ["[concat('a']", "[concat('a'))]", "['a]", "[a]", "[concat('a' 'b')]", "[]", "[f().1]"]
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    """Unbalanced brackets, open quotes, missing commas."""
    with pytest.raises(ExpressionError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    ["[nothing()]", "[parameters('a')]", "[variables('a')]", "[resourceId('A/b', '1', '2')]"],
)
def test_what_has_no_value_is_refused(text: str) -> None:
    """Unknown functions and names, and ids whose names do not fit their type."""
    with pytest.raises(ExpressionError):
        Scope({}, {}).value(text)
