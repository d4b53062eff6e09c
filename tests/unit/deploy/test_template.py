"""The deployment template, its form and the two small templates, checked without Azure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from consumers.settings import load_settings
from consumers.settings.model import PREFIX
from consumers.wiring.service import require_run_settings
from consumers.wiring.service_sources import RECENT_SUFFIX
from deploy.build.template import DEPLOY, FILE, build
from schemas.events.tables import table_names
from schemas.metrics import LAG
from schemas.rows.columns import HEALTH_TABLE
from tests.deployment.arm_deployment import Scope, deployed
from tests.deployment.kql import check, own_tables
from tests.deployment.template_app import App, app_problems
from tests.deployment.template_cases import CASES, EVERYTHING, LEAST
from tests.deployment.template_checks import (
    leak_problems,
    name_problems,
    name_use_problems,
    order_problems,
    secret_problems,
    version_problems,
)
from tests.deployment.template_facts import ENTITY_TABLES, Deployment, fact_problems
from tests.deployment.template_form import form_problems

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE: dict[str, Any] = json.loads(FILE.read_bytes())
FORM: dict[str, Any] = json.loads((DEPLOY / "createUiDefinition.json").read_bytes())
SMALL = {
    "dataexport.json": {
        "workspaceName": "soc-workspace",
        "eventHubNamespaceId": "/subscriptions/1/resourceGroups/2/providers/"
        "Microsoft.EventHub/namespaces/ours",
    },
    "entra-diagnostics.json": {"eventHubAuthorizationRuleId": "/subscriptions/1"},
}


def _small(name: str) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads((DEPLOY / name).read_bytes())
    return whole


def test_the_template_is_as_built() -> None:
    """What is committed is what the builder makes; run it after a change of its sources."""
    assert FILE.read_text("utf-8") == build()


def test_the_template_builds_without_content(tmp_path: Path) -> None:
    """Tables and service need no rules to be there."""
    bare = json.loads(build(tmp_path))
    assert fact_problems(bare, LEAST) == app_problems(bare, LEAST) == []
    kinds = {one.kind for one in deployed(bare, LEAST)}
    assert "Microsoft.SecurityInsights/alertRules" not in kinds


@pytest.mark.parametrize("name", ["azuredeploy.json", *SMALL])
def test_names_are_defined_and_used(name: str) -> None:
    """No parameter or variable is missing or left over, in nested templates neither."""
    assert name_use_problems(_small(name)) == []


@pytest.mark.parametrize("name", ["azuredeploy.json", *SMALL])
def test_versions_are_pinned(name: str) -> None:
    """Every API version is one that was checked to exist."""
    assert version_problems(_small(name)) == []


@pytest.mark.parametrize("name", ["azuredeploy.json", *SMALL])
def test_no_secret_has_a_default_or_comes_out(name: str) -> None:
    """Keys go in by secure parameters and nowhere else."""
    assert secret_problems(_small(name)) == []


@pytest.mark.parametrize("given", CASES.values(), ids=list(CASES))
def test_the_template_deploys_what_it_should(given: dict[str, Any]) -> None:
    """Tables, streams, roles, stores, network, content, container, for each choice."""
    assert fact_problems(TEMPLATE, given) == []
    assert app_problems(TEMPLATE, given) == []


@pytest.mark.parametrize("given", CASES.values(), ids=list(CASES))
def test_everything_comes_after_what_it_uses(given: dict[str, Any]) -> None:
    """Each resource waits for those that it names, and for nothing that is not there."""
    assert order_problems(TEMPLATE, given) == []


@pytest.mark.parametrize("given", CASES.values(), ids=list(CASES))
def test_no_key_is_in_the_open(given: dict[str, Any]) -> None:
    """Keys are in the vault and in the connector's password alone."""
    assert leak_problems(TEMPLATE, given) == []


@pytest.mark.parametrize("name", ["abc", "signinwatch", "a-very-long-name", "abcdefghijklmnop"])
def test_names_are_within_limits(name: str) -> None:
    """The shortest and longest names that the parameter allows make names that Azure takes."""
    parameter = TEMPLATE["parameters"]["name"]
    assert parameter["minLength"] <= len(name) <= parameter["maxLength"]
    assert name_problems(TEMPLATE, {**EVERYTHING, "name": name}) == []


def test_a_second_deployment_changes_the_first() -> None:
    """Ids depend on the parameters alone; keys that are left out change none of them."""
    first = [one.id for one in deployed(TEMPLATE, EVERYTHING)]
    without_keys = {**EVERYTHING, "crowdSecApiKey": "", "sekoiaApiKey": "", "crowdSecFeedKey": ""}
    assert [one.id for one in deployed(TEMPLATE, without_keys)] == first
    assert "newGuid(" not in FILE.read_text("utf-8")
    assert "utcNow(" not in FILE.read_text("utf-8")


def test_keys_that_are_left_out_stay_in_the_vault() -> None:
    """Without a key neither its secret nor the connector is written; the app still uses it."""
    again = CASES["again, with the keys that are there"]
    all_of = Deployment(TEMPLATE, again)
    assert all_of.of("Microsoft.KeyVault/vaults/secrets") == []
    assert all_of.of("Microsoft.SecurityInsights/dataConnectors") == []
    assert len(App(all_of).configuration["secrets"]) == 3


@pytest.mark.parametrize("case", CASES)
def test_the_service_starts_with_these_settings(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container's variables are settings with which ``run`` begins."""
    app = App(Deployment(TEMPLATE, CASES[case]))
    key = tmp_path / "key"
    key.write_text("a-key")
    for name, value in app.plain.items():
        text = value.replace("reference(", "https://host").replace(")", "")
        monkeypatch.setenv(name, str(key) if name.endswith("_FILE") else text.replace(" ", ""))
    for name in app.secret:
        monkeypatch.setenv(name, "a-password")
    settings = load_settings()
    require_run_settings(settings)
    given = app.all_of.given
    assert (settings.crowdsec.api_key is not None) == given["useCrowdSec"]
    assert settings.crowdsec.replica == (given["useCrowdSec"] and given["crowdSecReplica"])
    assert set(settings.feeds) == {
        name
        for name, chosen in (("sekoia", "sekoiaFeed"), ("crowdsec", "crowdSecFeed"))
        if given[chosen]
    }
    assert settings.trusted_networks == given["trustedNetworks"]
    assert all_of_tables(app) == {settings.state.table, settings.state.table + RECENT_SUFFIX}


def all_of_tables(app: App) -> set[str]:
    """Return the names of the storage account's tables."""
    return {one.name.split("/")[-1] for one in app.all_of.of(ENTITY_TABLES)}


def test_the_form_fits_the_template() -> None:
    """Each parameter is asked for, each output is a parameter, each answer is used."""
    assert form_problems(TEMPLATE, FORM) == []


def test_the_form_offers_tables_that_can_be_judged() -> None:
    """A table that the service does not know would keep it from starting."""
    (tables,) = [
        one
        for step in FORM["parameters"]["steps"]
        for one in step["elements"]
        if one["name"] == "exportTables"
    ]
    offered = [one["value"] for one in tables["constraints"]["allowedValues"]]
    assert set(offered) <= set(table_names())
    assert tables["defaultValue"] == TEMPLATE["parameters"]["exportTables"]["defaultValue"]


def test_the_form_asks_within_the_limits_of_the_template() -> None:
    """Sliders end where parameters do, and begin with the same value."""
    sliders = {
        one["name"]: one
        for step in FORM["parameters"]["steps"]
        for one in step["elements"]
        if one["type"] == "Microsoft.Common.Slider"
    }
    assert len(sliders) > 5
    for name, slider in sliders.items():
        parameter = TEMPLATE["parameters"][name]
        assert parameter["minValue"] <= slider["min"] < slider["max"] <= parameter["maxValue"]
        assert slider["defaultValue"] == parameter["defaultValue"]


def test_tables_are_kept_for_a_time_that_log_analytics_takes() -> None:
    """Any days up to two years, then whole years alone (Tables API, totalRetentionInDays)."""
    years = {1095, 1460, 1826, 2191, 2556, 2922, 3288, 3653, 4018, 4383}
    allowed = TEMPLATE["parameters"]["totalRetentionDays"]["allowedValues"]
    assert {one for one in allowed if not 4 <= one <= 730} == years
    (asked,) = [one for one in _elements() if one["name"] == "totalRetentionDays"]
    offered = {one["label"]: int(one["value"]) for one in asked["constraints"]["allowedValues"]}
    assert list(offered.values()) == allowed
    default = TEMPLATE["parameters"]["totalRetentionDays"]["defaultValue"]
    assert offered[asked["defaultValue"]] == default
    assert TEMPLATE["parameters"]["retentionDays"]["maxValue"] == 730


def _elements() -> list[dict[str, Any]]:
    """Return everything that the form shows."""
    steps = [one for step in FORM["parameters"]["steps"] for one in step["elements"]]
    return [*FORM["parameters"]["basics"], *steps]


def test_the_form_explains_what_it_asks() -> None:
    """Whatever can be filled in has a sentence beside it; keys are never shown."""
    for one in _elements():
        if one["type"] != "Microsoft.Common.InfoBox":
            assert one["toolTip"].endswith("."), one["name"]
        asks_key = one["name"].lower().endswith("key")
        assert asks_key == (one["type"] == "Microsoft.Common.PasswordBox"), one["name"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("name", ["abc", "sign-in-watchers"], ["ab", "1abc", "a--b", "Abc", "a" * 17]),
        (
            "image",
            ["r.azurecr.io/a:1", "ghcr.io/a/b@sha256:" + "0" * 64],
            ["signinwatch", "r.azurecr.io/a", "https://r/a b:1"],
        ),
        ("trustedNetworks", ["81.2.69.0/24, 2a02:ec80::/32"], ["81.2.69.1", "our office"]),
        ("crowdSecMonthlyQuota", ["0", "1500"], ["-1", "many", "007"]),
        ("sekoiaCollection", ["00000000-0000-4000-8000-000000000000"], ["feed"]),
        ("networkPrefix", ["10.0.0.0/16"], ["10.0.0.0/25", "fd00::/64"]),
        ("additionalTables", ["ADFSSignInLogs, OktaV2_CL"], ["a b"]),
    ],
)
def test_the_form_refuses_what_cannot_work(name: str, good: list[str], bad: list[str]) -> None:
    """Its patterns take the default and good answers, and no bad ones."""
    (box,) = [one for one in _elements() if one["name"] == name]
    pattern = re.compile(box["constraints"]["regex"])
    first = (
        [box["defaultValue"]] if box["defaultValue"] or not box["constraints"]["required"] else []
    )
    for text in [*first, *good]:
        assert pattern.search(text), text
    for text in bad:
        assert not pattern.search(text), text


def test_every_pattern_of_the_form_is_tried() -> None:
    """A new one must be added to the test above."""
    assert sum("regex" in one.get("constraints", {}) for one in _elements()) == 7


def test_the_file_of_parameters_leaves_out_keys_alone() -> None:
    """It holds every parameter without a default but the keys, and none that does not exist."""
    given = _small("azuredeploy.parameters.json")["parameters"]
    needed = {n for n, one in TEMPLATE["parameters"].items() if "defaultValue" not in one}
    keys = {n for n, one in TEMPLATE["parameters"].items() if one["type"] == "securestring"}
    assert len(keys) == 3
    assert needed - given.keys() == keys
    assert given.keys() <= TEMPLATE["parameters"].keys() - keys


def test_every_parameter_is_explained() -> None:
    """The portal shows the explanation; so does the command line."""
    for template in (TEMPLATE, *map(_small, SMALL)):
        for name, one in template["parameters"].items():
            assert one["metadata"]["description"].endswith("."), name


def test_the_export_alone_leads_into_the_named_hub() -> None:
    """With a hub all tables go there; without one Azure makes a hub for each table."""
    export = _small("dataexport.json")
    (one,) = deployed(export, {**SMALL["dataexport.json"], "eventHubName": "signins"})
    target = one.properties["destination"]
    assert target["metaData"] == {"eventHubName": "signins"}
    assert target["resourceId"] == SMALL["dataexport.json"]["eventHubNamespaceId"]
    (one,) = deployed(export, SMALL["dataexport.json"])
    assert one.properties["destination"]["metaData"] is None
    assert one.properties["tableNames"] == TEMPLATE["parameters"]["exportTables"]["defaultValue"]


def test_the_tenants_setting_sends_the_categories_into_the_hub() -> None:
    """It is of the tenant's scope, and its defaults fit the large template's hub."""
    setting = _small("entra-diagnostics.json")
    assert setting["$schema"].endswith("/tenantDeploymentTemplate.json#")
    scope = Scope(setting, SMALL["entra-diagnostics.json"])
    (source,) = setting["resources"]
    (loop,) = source["properties"]["copy"]
    assert scope.value(loop["count"]) == len(setting["parameters"]["categories"]["defaultValue"])
    assert loop["input"]["enabled"] is True
    assert setting["parameters"]["eventHubName"]["defaultValue"] == TEMPLATE["variables"]["hubName"]


def test_the_alert_on_falling_behind_asks_for_our_measurement() -> None:
    """Table, columns, measurement and label are those that the service writes."""
    (alert,) = [
        one
        for one in deployed(TEMPLATE, LEAST)
        if one.kind == "Microsoft.Insights/scheduledQueryRules"
    ]
    query = alert.properties["criteria"]["allOf"][0]["query"]
    found = check({"behind": query}, own_tables(), {})["behind"]
    assert found["complaints"] == []
    assert set(found["columns"]) == {"Partition", "Behind", "Times"}
    assert query.startswith(HEALTH_TABLE)
    assert f'Metric == "{LAG.name}"' in query
    assert LAG.labels == ("partition",)
    assert "Detail.partition" in query


def test_settings_of_ours_begin_with_the_prefix() -> None:
    """A variable that only looks like ours would be passed over in silence."""
    app = App(Deployment(TEMPLATE, EVERYTHING))
    names = [one["name"] for one in app.container["env"]]
    assert [name for name in names if not name.startswith(PREFIX)] == ["AZURE_CLIENT_ID"]
