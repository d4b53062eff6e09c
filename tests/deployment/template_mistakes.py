"""Mistakes that people make in templates, to be put into ours: each must be noticed.

Each is a function that changes the template and the form in place, with a part of the line in
which a check has to tell of it. Those of the container are in
:mod:`tests.deployment.template_mistakes_app`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tests.deployment.arm_deployment import DEPLOYMENTS

Json = dict[str, Any]
Mistake = tuple[Callable[[Json, Json], None], str]
RULES = "Microsoft.Insights/dataCollectionRules"
ROLES = "Microsoft.Authorization/roleAssignments"


def one_of(template: Json, kind: str, at: int = 0) -> Json:
    """Return a resource of a type, the first or another."""
    found: Json = [one for one in template["resources"] if one["type"] == kind][at]
    return found


def role_of(template: Json, variable: str) -> Json:
    """Return the assignment of the role that a variable holds."""
    found: Json
    (found,) = [
        one
        for one in template["resources"]
        if one["type"] == ROLES and f"'{variable}'" in one["name"]
    ]
    return found


def nested_in(template: Json, variable: str) -> Json:
    """Return the nested template whose name a variable holds."""
    found: Json
    (found,) = [
        one["properties"]["template"]
        for one in template["resources"]
        if one["type"] == DEPLOYMENTS and f"'{variable}'" in one["name"]
    ]
    return found


def _column_dropped(template: Json, _: Json) -> None:
    streams = one_of(template, RULES)["properties"]["streamDeclarations"]
    columns = streams["Custom-SignInWatchFindings_CL"]["columns"]
    columns.remove({"name": "SourceTable", "type": "string"})


def _stream_renamed(template: Json, _: Json) -> None:
    streams = one_of(template, RULES)["properties"]["streamDeclarations"]
    streams["SignInWatchHealth_CL"] = streams.pop("Custom-SignInWatchHealth_CL")


def _flow_crossed(template: Json, _: Json) -> None:
    flows = one_of(template, RULES)["properties"]["dataFlows"]
    flows[0]["outputStream"] = flows[1]["outputStream"]


def _rule_of_another_kind(template: Json, _: Json) -> None:
    one_of(template, RULES)["kind"] = "Linux"


def _role_missing(template: Json, _: Json) -> None:
    template["resources"].remove(role_of(template, "publisherRole"))


def _role_wider(template: Json, _: Json) -> None:
    role_of(template, "blobRole")["scope"] = "[variables('storageId')]"


def _role_higher(template: Json, _: Json) -> None:
    template["variables"]["receiverRole"] = "f526a384-b230-433a-b45c-95f59c4a2dec"


def _role_of_another(template: Json, _: Json) -> None:
    role_of(template, "secretsRole")["properties"]["principalId"] = "[parameters('name')]"


def _sentinel_role_always(template: Json, _: Json) -> None:
    roles = [
        one for one in nested_in(template, "contentDeployment")["resources"] if one["type"] == ROLES
    ]
    del roles[0]["condition"]


def _secret_default(template: Json, _: Json) -> None:
    template["parameters"]["sekoiaApiKey"]["defaultValue"] = ""


def _secret_as_text(template: Json, _: Json) -> None:
    template["parameters"]["crowdSecApiKey"]["type"] = "string"


def _inner_secret_as_text(template: Json, _: Json) -> None:
    nested_in(template, "contentDeployment")["parameters"]["sekoiaApiKey"]["type"] = "string"


def _secret_comes_out(template: Json, _: Json) -> None:
    template["outputs"]["key"] = {
        "type": "string",
        "value": "[listKeys(variables('storageId'), '2025-01-01').keys[0].value]",
    }


def _column_of_another_type(template: Json, _: Json) -> None:
    table = nested_in(template, "workspaceDeployment")["resources"][0]
    table["properties"]["schema"]["columns"][0]["type"] = "datetime"


def _table_of_another_plan(template: Json, _: Json) -> None:
    nested_in(template, "workspaceDeployment")["resources"][1]["properties"]["plan"] = "Basic"


def _nobody_waits_for_the_namespace(template: Json, _: Json) -> None:
    one_of(template, "Microsoft.EventHub/namespaces/eventhubs")["dependsOn"] = []


def _nobody_waits_for_the_tables(template: Json, _: Json) -> None:
    one_of(template, RULES)["dependsOn"] = []


def _table_beside_the_ledger_missing(template: Json, _: Json) -> None:
    tables = "Microsoft.Storage/storageAccounts/tableServices/tables"
    template["resources"].remove(one_of(template, tables, 1))


def _form_forgets_an_output(_: Json, form: Json) -> None:
    del form["parameters"]["outputs"]["crowdSecApiKey"]


def _form_gives_too_much(_: Json, form: Json) -> None:
    form["parameters"]["outputs"]["region"] = "[location()]"


def _form_uses_another_name(_: Json, form: Json) -> None:
    form["parameters"]["outputs"]["network"] = "[steps('network').reach]"


def _version_unknown(template: Json, _: Json) -> None:
    one_of(template, RULES)["apiVersion"] = "2023-03-12"


def _variable_misspelled(template: Json, _: Json) -> None:
    one_of(template, "Microsoft.KeyVault/vaults")["name"] = "[variables('valutName')]"


def _name_too_long(template: Json, _: Json) -> None:
    template["variables"]["storageName"] = "[concat(variables('solid'), variables('unique'))]"


def _keys_of_storage(template: Json, _: Json) -> None:
    account = one_of(template, "Microsoft.Storage/storageAccounts")
    account["properties"]["allowSharedKeyAccess"] = True


def _lifecycle_of_everything(template: Json, _: Json) -> None:
    policy = one_of(template, "Microsoft.Storage/storageAccounts/managementPolicies")
    filters = policy["properties"]["policy"]["rules"][0]["definition"]["filters"]
    filters["prefixMatch"] = ["[variables('containerName')]"]


def _no_exception_for_trusted_services(template: Json, _: Json) -> None:
    rules = one_of(template, "Microsoft.EventHub/namespaces/networkRuleSets")
    rules["properties"]["trustedServiceAccessEnabled"] = False


def _vault_open_in_private(template: Json, _: Json) -> None:
    one_of(template, "Microsoft.KeyVault/vaults")["properties"]["publicNetworkAccess"] = "Enabled"


def _endpoint_without_a_zone(template: Json, _: Json) -> None:
    groups = "Microsoft.Network/privateEndpoints/privateDnsZoneGroups"
    template["resources"].remove(one_of(template, groups, 2))


def _export_into_another_hub(template: Json, _: Json) -> None:
    export = nested_in(template, "workspaceDeployment")["resources"][-1]
    export["properties"]["destination"]["metaData"]["eventHubName"] = "am-signinlogs"


def _fast_rule_enabled(template: Json, _: Json) -> None:
    content = nested_in(template, "contentDeployment")["resources"]
    rule = copy.deepcopy(
        next((one for one in content if one.get("kind") == "NRT"), None)
        or next(one for one in content if one.get("kind") == "Scheduled")
    )
    content.append(rule | {"kind": "NRT", "properties": rule["properties"] | {"enabled": True}})


def _events_for_a_day(template: Json, _: Json) -> None:
    one_of(template, "Microsoft.EventHub/namespaces/eventhubs")["properties"][
        "messageRetentionInDays"
    ] = 1


def _export_without_keys(template: Json, _: Json) -> None:
    one_of(template, "Microsoft.EventHub/namespaces")["properties"]["disableLocalAuth"] = True


def _alert_removed(template: Json, _: Json) -> None:
    template["resources"].remove(one_of(template, "Microsoft.Insights/metricAlerts"))


def _vault_unwatched(template: Json, _: Json) -> None:
    template["resources"].remove(one_of(template, "microsoft.insights/diagnosticSettings", 1))


def _connector_unasked(template: Json, _: Json) -> None:
    content = nested_in(template, "contentDeployment")["resources"]
    kind = "Microsoft.SecurityInsights/dataConnectors"
    next(one for one in content if one["type"] == kind)["condition"] = True


def _rules_unasked(template: Json, _: Json) -> None:
    content = nested_in(template, "contentDeployment")["resources"]
    for one in content:
        if one["type"] == "Microsoft.SecurityInsights/alertRules":
            del one["condition"]


def _parameter_left_over(template: Json, _: Json) -> None:
    template["parameters"]["skuName"] = {"type": "string", "defaultValue": ""}


def _table_twice(template: Json, _: Json) -> None:
    nested = nested_in(template, "workspaceDeployment")["resources"]
    nested.append(copy.deepcopy(nested[0]))


def _rules_before_the_tables(template: Json, _: Json) -> None:
    (content,) = [
        one
        for one in template["resources"]
        if one["type"] == DEPLOYMENTS and "'contentDeployment'" in one["name"]
    ]
    content["dependsOn"] = content["dependsOn"][1:]


MISTAKES: dict[str, Mistake] = {
    "a column of a stream is dropped": (_column_dropped, "Custom-SignInWatchFindings_CL: SourceT"),
    "a stream has another name": (_stream_renamed, "streams:"),
    "a flow leads into another table": (_flow_crossed, "no flow into its table"),
    "the rule has no endpoint": (_rule_of_another_kind, "only kind Direct"),
    "a role is missing": (_role_missing, "3913510d-42f4-4e42-8a64-420c390055eb: is missing"),
    "a role holds for the whole account": (_role_wider, "ba92f5b4-2d11-453d-a403-e96b0029c9fe: n"),
    "a role allows more": (_role_higher, "nobody needs it"),
    "a role is somebody else's": (_role_of_another, "given to somebody else"),
    "the workspace's role is given unasked": (_sentinel_role_always, "nobody needs it"),
    "a secret has a default": (_secret_default, "a secret has a default"),
    "a secret is a text": (_secret_as_text, "must be a securestring"),
    "a secret is a text further in": (_inner_secret_as_text, "must be a securestring"),
    "a secret comes out": (_secret_comes_out, "tells a secret"),
    "a column has the type of the other API": (_column_of_another_type, "TimeGenerated dateTime"),
    "a table cannot feed rules": (_table_of_another_plan, "rules need the plan Analytics"),
    "a hub does not wait": (_nobody_waits_for_the_namespace, "without waiting for it"),
    "the rule does not wait": (_nobody_waits_for_the_tables, "comes before its tables"),
    "the table beside the ledger is missing": (_table_beside_the_ledger_missing, "STATE__TABLE"),
    "the form forgets an output": (_form_forgets_an_output, "crowdSecApiKey is not asked for"),
    "the form gives too much": (_form_gives_too_much, "the template takes no region"),
    "the form reads what it does not ask": (_form_uses_another_name, "network.reach is used"),
    "an API version does not exist": (_version_unknown, "is not pinned"),
    "a variable of the template is misspelled": (_variable_misspelled, "valutName"),
    "a name becomes too long": (_name_too_long, "may not be called"),
    "the storage opens by key": (_keys_of_storage, "opens without an identity"),
    "positions are deleted, too": (_lifecycle_of_everything, "something else than the quarantine"),
    "data export is kept out": (_no_exception_for_trusted_services, "could not get in"),
    "the vault stays open": (_vault_open_in_private, "answers in public"),
    "an endpoint has no name": (_endpoint_without_a_zone, "private endpoints:"),
    "the export misses the hub": (_export_into_another_hub, "elsewhere than into the hub"),
    "events are gone after a day": (_events_for_a_day, "another time than seven days"),
    "data export has no key": (_export_without_keys, "and keys of the namespace"),
    "an alert is missing": (_alert_removed, "alerts: on"),
    "the vault's log goes nowhere": (_vault_unwatched, "diagnostics: none of Microsoft.KeyVault"),
    "the connector comes unasked": (_connector_unasked, "connected against the choice"),
    "rules come unasked": (_rules_unasked, "though they were not chosen"),
    "rules come before tables": (_rules_before_the_tables, "content: comes before its tables"),
    "a parameter is left over": (_parameter_left_over, "parameters.skuName: is never used"),
    "a table is there twice": (_table_twice, "is there twice"),
    "a rule of kind NRT is enabled": (_fast_rule_enabled, "must be disabled"),
}
