"""What must hold for any template, as functions that return what is wrong, one line each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.deployment.arm_deployment import DEPLOYMENTS, deployed
from tests.deployment.arm_expressions import (
    Call,
    Literal,
    is_expression,
    parse,
    strings,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.deployment.arm_deployment import Resource

VERSIONS = {
    "Microsoft.App/containerApps": {"2025-01-01"},
    "Microsoft.App/managedEnvironments": {"2025-01-01"},
    "Microsoft.Authorization/roleAssignments": {"2022-04-01"},
    "Microsoft.EventHub/namespaces": {"2024-01-01"},
    "Microsoft.EventHub/namespaces/eventhubs": {"2024-01-01"},
    "Microsoft.EventHub/namespaces/eventhubs/consumergroups": {"2024-01-01"},
    "Microsoft.EventHub/namespaces/networkRuleSets": {"2024-01-01"},
    "Microsoft.Insights/dataCollectionRules": {"2023-03-11"},
    "Microsoft.Insights/metricAlerts": {"2026-01-01"},
    "Microsoft.Insights/scheduledQueryRules": {"2023-12-01"},
    "microsoft.insights/workbooks": {"2023-06-01"},
    "Microsoft.KeyVault/vaults": {"2024-11-01"},
    "Microsoft.KeyVault/vaults/secrets": {"2024-11-01"},
    "Microsoft.ManagedIdentity/userAssignedIdentities": {"2023-01-31"},
    "Microsoft.Network/privateDnsZones": {"2024-06-01"},
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": {"2024-06-01"},
    "Microsoft.Network/privateEndpoints": {"2025-03-01"},
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": {"2025-03-01"},
    "Microsoft.Network/virtualnetworks": {"2025-03-01"},
    "Microsoft.OperationalInsights/workspaces/dataExports": {"2023-09-01"},
    "Microsoft.OperationalInsights/workspaces/savedSearches": {"2023-09-01"},
    "Microsoft.OperationalInsights/workspaces/tables": {"2023-09-01"},
    "Microsoft.Resources/deployments": {"2024-07-01"},
    "Microsoft.SecurityInsights/alertRules": {"2025-09-01", "2025-10-01-preview"},
    "Microsoft.SecurityInsights/dataConnectors": {"2025-10-01-preview"},
    "Microsoft.SecurityInsights/watchlists": {"2025-09-01"},
    "Microsoft.Storage/storageAccounts": {"2025-01-01"},
    "Microsoft.Storage/storageAccounts/blobServices": {"2025-01-01"},
    "Microsoft.Storage/storageAccounts/blobServices/containers": {"2025-01-01"},
    "Microsoft.Storage/storageAccounts/managementPolicies": {"2025-01-01"},
    "Microsoft.Storage/storageAccounts/tableServices/tables": {"2025-01-01"},
    "microsoft.aadiam/diagnosticSettings": {"2017-04-01"},
    "microsoft.insights/diagnosticSettings": {"2021-05-01-preview"},
}
"""Versions that Microsoft has published, and whose form the template was checked against."""

NAMES = {
    "Microsoft.App/containerApps": r"[a-z](?!.*--)[a-z0-9-]{0,30}[a-z0-9]",
    "Microsoft.App/managedEnvironments": r"[a-z][a-z0-9-]{0,58}[a-z0-9]",
    "Microsoft.EventHub/namespaces": r"[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9]",
    "Microsoft.EventHub/namespaces/eventhubs": r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}",
    "Microsoft.EventHub/namespaces/eventhubs/consumergroups": r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}",
    "Microsoft.Insights/dataCollectionRules": r"[A-Za-z0-9_.()-]{1,64}",
    "Microsoft.KeyVault/vaults": r"[A-Za-z](?!.*--)[A-Za-z0-9-]{1,22}[A-Za-z0-9]",
    "Microsoft.KeyVault/vaults/secrets": r"[A-Za-z0-9-]{1,127}",
    "Microsoft.ManagedIdentity/userAssignedIdentities": r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}",
    "Microsoft.Network/privateEndpoints": r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}[A-Za-z0-9_]",
    "Microsoft.Network/virtualnetworks": r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}[A-Za-z0-9_]",
    "Microsoft.OperationalInsights/workspaces/dataExports": (
        r"[A-Za-z][A-Za-z0-9-]{2,61}[A-Za-z0-9]"
    ),
    "Microsoft.OperationalInsights/workspaces/tables": r"[A-Za-z][A-Za-z0-9_]{0,59}_CL",
    "Microsoft.Resources/deployments": r"[A-Za-z0-9_.()-]{1,64}",
    "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
    "Microsoft.Storage/storageAccounts/blobServices/containers": (
        r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]"
    ),
    "Microsoft.Storage/storageAccounts/tableServices/tables": r"[A-Za-z][A-Za-z0-9]{2,62}",
}
"""Microsoft's "Naming rules and restrictions for Azure resources", where names are made here."""

_SECRET_NAME = re.compile(r"key$|password|secret|token", re.IGNORECASE)


def templates(whole: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a template and those nested in it, each with where it stands."""
    yield path, whole
    for number, resource in enumerate(whole["resources"]):
        if resource["type"] == DEPLOYMENTS:
            inner = f"{path}resources[{number}].template."
            yield from templates(resource["properties"]["template"], inner)


def name_use_problems(whole: Mapping[str, Any]) -> list[str]:
    """Return parameters and variables that do not exist, or that nobody uses."""
    problems = []
    for path, template in templates(whole):
        for section in ("parameters", "variables"):
            known = set(template.get(section, {}))
            used = _names_used(_without_nested(template), section)
            problems += [f"{path}{section}.{name}: does not exist" for name in used - known]
            problems += [f"{path}{section}.{name}: is never used" for name in known - used]
    return problems


def secret_problems(whole: Mapping[str, Any]) -> list[str]:
    """Return keys that are no secure parameters, have a default, or come out again."""
    problems = []
    for path, template in templates(whole):
        parameters = template.get("parameters", {})
        secure = {name for name, one in parameters.items() if _is_secure(one)}
        for name, one in parameters.items():
            if _SECRET_NAME.search(name) and not _is_secure(one):
                problems.append(f"{path}parameters.{name}: must be a securestring")
            if name in secure and "defaultValue" in one:
                problems.append(f"{path}parameters.{name}: a secret has a default")
        for name, output in template.get("outputs", {}).items():
            if _is_secure(output) or _tells_secret(output, secure):
                problems.append(f"{path}outputs.{name}: tells a secret")
        if _tells_secret(template.get("variables", {}), secure):
            problems.append(f"{path}variables: hold a secret")
    return problems


def leak_problems(whole: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return places that hold a key although they are not made for one.

    *given* holds a text of its own for each secure parameter.
    """
    keys = {given[name] for name, one in whole["parameters"].items() if _is_secure(one)}
    allowed = {
        "Microsoft.KeyVault/vaults/secrets": "value",
        "Microsoft.SecurityInsights/dataConnectors": "password",
    }
    problems = []
    for one in deployed(whole, given):
        body = dict(one.body, properties=dict(one.properties))
        body["properties"].pop(allowed.get(one.kind, ""), None)
        if one.kind == DEPLOYMENTS:
            inner = _at(whole, one.path)["properties"]["template"]["parameters"]
            body["properties"]["parameters"] = {
                name: value
                for name, value in one.properties["parameters"].items()
                if not _is_secure(inner[name])
            }
        if any(key and key in text for text in strings(body) for key in keys):
            problems.append(f"{one.path}: holds a key in the open")
    return problems


def version_problems(whole: Mapping[str, Any]) -> list[str]:
    """Return resources of an API version that was not checked."""
    return [
        f"{path}resources[{number}]: {one['type']}@{one['apiVersion']} is not pinned"
        for path, template in templates(whole)
        for number, one in enumerate(template["resources"])
        if one["apiVersion"] not in VERSIONS.get(one["type"], ())
    ]


def name_problems(whole: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return names that Azure would refuse, and ids that two resources share."""
    problems = []
    seen: set[str] = set()
    for one in deployed(whole, given):
        last = one.name.split("/")[-1]
        pattern = NAMES.get(one.kind)
        if pattern and not re.fullmatch(pattern, last):
            problems.append(f"{one.path}: {one.kind} may not be called {last}")
        if one.id.lower() in seen:
            problems.append(f"{one.path}: {one.id} is there twice")
        seen.add(one.id.lower())
    return problems


def order_problems(whole: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return what a resource waits for that is not there, and what it does not wait for.

    A resource must wait for each other one of its template that it names by id, reads, lies in or
    lies on.
    """
    problems = []
    everything = deployed(whole, given)
    for group in {one.group for one in everything}:
        known = {one.id.lower(): one for one in everything if one.group == group}
        texts = {key: _text_of(one) for key, one in known.items()}
        for one in known.values():
            problems += [
                f"{one.path}: waits for {need}, which is not in its template"
                for need in one.needs
                if need.lower() not in known
            ]
            if one.deployed:
                waited = waited_for(one, known)
                problems += [
                    f"{one.path}: uses {other.path} ({other.kind}) without waiting for it"
                    for key, other in known.items()
                    if other.deployed and key not in waited and key != one.id.lower()
                    if _uses(one.id.lower(), texts[one.id.lower()], key)
                ]
    return problems


def waited_for(one: Resource, known: Mapping[str, Resource]) -> set[str]:
    """Return the ids, in small letters, that are there when *one* begins.

    What is not deployed is not waited for, and nothing by way of it.
    """
    found: set[str] = set()
    left = [one.id.lower()]
    while left:
        for need in known[left.pop()].needs:
            low = need.lower()
            if low in known and low not in found and known[low].deployed:
                found.add(low)
                left.append(low)
    return found


def _text_of(one: Resource) -> str:
    """Return all that a resource says, but for what it waits for, in small letters."""
    body = {key: value for key, value in one.body.items() if key != "dependsOn"}
    return "\n".join(strings(body)).lower()


def _uses(own: str, text: str, other: str) -> bool:
    """Tell whether a resource lies in another one, or names its very id."""
    lies_in = other == own.rsplit("/", 2)[0]
    named = other in text and re.search(re.escape(other) + r"(?![\w/.-])", text) is not None
    return lies_in or named


def _is_secure(entry: Mapping[str, Any]) -> bool:
    return str(entry["type"]).lower().startswith("secure")


def _tells_secret(value: Any, secure: Iterable[str]) -> bool:
    for text in strings(value):
        if not is_expression(text):
            continue
        for node in walk(parse(text)):
            match node:
                case Call(name=name) if name.startswith("list"):
                    return True
                case Call(name="parameters", arguments=(Literal(value=key),)) if str(key) in secure:
                    return True
    return False


def _names_used(value: Any, function: str) -> set[str]:
    return {
        str(node.arguments[0].value)
        for text in strings(value)
        if is_expression(text)
        for node in walk(parse(text))
        if isinstance(node, Call)
        and node.name == function
        and isinstance(node.arguments[0], Literal)
    }


def _without_nested(template: Mapping[str, Any]) -> dict[str, Any]:
    resources: Sequence[Mapping[str, Any]] = template["resources"]
    return dict(
        template,
        resources=[
            dict(one, properties=dict(one["properties"], template=None))
            if one["type"] == DEPLOYMENTS
            else one
            for one in resources
        ],
    )


def _at(whole: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the resource that stands at a path such as ``resources[3].template.resources[0]``."""
    here = whole
    for number, found in enumerate(re.findall(r"resources\[(\d+)\]", path)):
        here = here["properties"]["template"] if number else here
        here = here["resources"][int(found)]
    return here
