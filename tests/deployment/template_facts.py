"""What must hold for our template: tables, streams, roles, stores, network.

Each function returns what is wrong, one line each. What the container gets is in
:mod:`tests.deployment.template_app`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from producers.quarantine.blob import BLOB_PREFIX
from schemas.rows.columns import TABLES
from tests.deployment.arm_deployment import deployed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.deployment.arm_deployment import Resource

RECEIVER = "a638d3c7-ab3a-418d-83e6-5f17a39d4fde"
BLOBS = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
ENTITIES = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
PUBLISHER = "3913510d-42f4-4e42-8a64-420c390055eb"
SECRETS = "4633458b-17de-408a-b874-0445c86b69e6"
PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
SENTINEL = "ab8e14d6-4a74-4a29-9ba8-549422addade"

HUBS = "Microsoft.EventHub/namespaces/eventhubs"
CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"
ENTITY_TABLES = "Microsoft.Storage/storageAccounts/tableServices/tables"
RULES = "Microsoft.Insights/dataCollectionRules"
VAULTS = "Microsoft.KeyVault/vaults"
COLUMN_TYPES = {"datetime": "dateTime"}
"""What the tables API calls a kind; data collection rules call it as we do."""
CLOSED = (
    "Microsoft.EventHub/namespaces/networkRuleSets",
    "Microsoft.Storage/storageAccounts",
    VAULTS,
)
"""What must not answer in public in the private variant."""
ENDPOINTS = {
    ("Microsoft.EventHub/namespaces", "namespace", "privatelink.servicebus.windows.net"),
    ("Microsoft.Storage/storageAccounts", "blob", "privatelink.blob.core.windows.net"),
    ("Microsoft.Storage/storageAccounts", "table", "privatelink.table.core.windows.net"),
    (VAULTS, "vault", "privatelink.vaultcore.azure.net"),
}


class Deployment:
    """The resources that a set of parameters brings about, by type."""

    def __init__(self, template: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        self.all = [one for one in deployed(template, given) if one.deployed]
        self.template = template
        self.given = {
            name: given.get(name, entry.get("defaultValue"))
            for name, entry in template["parameters"].items()
        }

    def of(self, kind: str) -> list[Resource]:
        """Return the resources of a type."""
        return [one for one in self.all if one.kind == kind]

    def only(self, kind: str) -> Resource:
        """Return the one resource of a type."""
        (one,) = self.of(kind)
        return one

    def named(self, kind: str, last: str) -> Resource | None:
        """Return the resource whose name ends so, if there is one."""
        return next((one for one in self.of(kind) if one.name.split("/")[-1] == last), None)


def fact_problems(template: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong beside the container."""
    all_of = Deployment(template, given)
    checks = (table_problems, stream_problems, role_problems, store_problems, hub_problems)
    more = (network_problems, content_problems, alert_problems)
    return [problem for check in (*checks, *more) for problem in check(all_of)]


def table_problems(all_of: Deployment) -> list[str]:
    """Check that tables have the columns of ``schemas``, the plan that rules need, a retention."""
    found = {
        one.name.split("/")[-1]: one.properties
        for one in all_of.of("Microsoft.OperationalInsights/workspaces/tables")
    }
    problems = []
    if set(found) != set(TABLES):
        problems.append(f"tables: {sorted(found)} instead of {sorted(TABLES)}")
    for name, properties in found.items():
        wanted = [(one.name, COLUMN_TYPES.get(one.kind, one.kind)) for one in TABLES.get(name, ())]
        problems += _differing(f"table {name}", properties["schema"]["columns"], wanted)
        if properties["schema"]["name"] != name:
            problems.append(f"table {name}: its schema is called {properties['schema']['name']}")
        if properties["plan"] != "Analytics":
            problems.append(f"table {name}: rules need the plan Analytics")
        if not 4 <= properties["retentionInDays"] <= properties["totalRetentionInDays"]:
            problems.append(f"table {name}: kept for less time than it can be queried")
    return problems


def stream_problems(all_of: Deployment) -> list[str]:
    """Check that the rule takes each table by the stream ``Custom-<table>``, unchanged."""
    rule = all_of.only(RULES)
    properties = rule.properties
    streams = properties["streamDeclarations"]
    problems = []
    if rule.body["kind"] != "Direct":
        problems.append("rule: only kind Direct has an endpoint of its own")
    if set(streams) != {f"Custom-{name}" for name in TABLES}:
        problems.append(f"streams: {sorted(streams)}")
    for name, columns in TABLES.items():
        declared = streams.get(f"Custom-{name}", {"columns": []})["columns"]
        wanted = [(one.name, one.kind) for one in columns]
        problems += _differing(f"stream Custom-{name}", declared, wanted)
        wanted_flow = {
            "streams": [f"Custom-{name}"],
            "destinations": [one["name"] for one in properties["destinations"]["logAnalytics"]],
            "transformKql": "source",
            "outputStream": f"Custom-{name}",
        }
        if wanted_flow not in properties["dataFlows"]:
            problems.append(f"stream Custom-{name}: no flow into its table")
    (destination,) = properties["destinations"]["logAnalytics"]
    if destination["workspaceResourceId"] != all_of.given["workspaceResourceId"]:
        problems.append("rule: leads into another workspace")
    return problems


def role_problems(all_of: Deployment) -> list[str]:
    """Check that the identity has the roles that it needs, each at its narrowest scope, no more."""
    wanted = {
        (RECEIVER, all_of.only(HUBS).id),
        (BLOBS, all_of.only(CONTAINERS).id),
        *((ENTITIES, table.id) for table in all_of.of(ENTITY_TABLES)),
        (PUBLISHER, all_of.only(RULES).id),
        (SECRETS, all_of.only(VAULTS).id),
    }
    if all_of.given["containerRegistryId"]:
        wanted.add((PULL, all_of.given["containerRegistryId"]))
    if all_of.given["shareIndicators"]:
        wanted.add((SENTINEL, all_of.given["workspaceResourceId"]))
    assigned = all_of.of("Microsoft.Authorization/roleAssignments")
    found = {
        (one.properties["roleDefinitionId"].split("/")[-1], str(one.scope)) for one in assigned
    }
    identity = all_of.only("Microsoft.ManagedIdentity/userAssignedIdentities").id
    return [
        *(f"role {role}: is missing at {scope}" for role, scope in wanted - found),
        *(f"role {role}: nobody needs it at {scope}" for role, scope in found - wanted),
        *(
            f"{one.path}: is given to somebody else"
            for one in assigned
            if one.properties["principalId"] != f"reference({identity}).principalId"
        ),
    ]


def store_problems(all_of: Deployment) -> list[str]:
    """Check that stores open to identities alone, and that only the quarantine grows too old."""
    account = all_of.only("Microsoft.Storage/storageAccounts").properties
    problems = []
    if account["allowSharedKeyAccess"] or account["allowBlobPublicAccess"]:
        problems.append("storage: opens without an identity")
    if not all_of.only(VAULTS).properties["enableRbacAuthorization"]:
        problems.append("vault: roles do not count")
    policy = all_of.only("Microsoft.Storage/storageAccounts/managementPolicies").properties
    (rule,) = policy["policy"]["rules"]
    container = all_of.only(CONTAINERS).name.split("/")[-1]
    if rule["definition"]["filters"]["prefixMatch"] != [f"{container}/{BLOB_PREFIX}"]:
        problems.append("lifecycle: deletes something else than the quarantine")
    return problems


def hub_problems(all_of: Deployment) -> list[str]:
    """Check that the hub keeps seven days and gets the exported tables."""
    namespace, hub = all_of.only("Microsoft.EventHub/namespaces"), all_of.only(HUBS)
    problems = []
    if namespace.body["sku"]["name"] != "Standard" or namespace.properties["disableLocalAuth"]:
        problems.append("namespace: data export needs Standard, and keys of the namespace")
    if hub.properties["messageRetentionInDays"] != 7:
        problems.append("hub: keeps events for another time than seven days")
    if len(all_of.of(f"{HUBS}/consumergroups")) != 2:
        problems.append("hub: needs one consumer group for us and one to spare")
    exports = all_of.of("Microsoft.OperationalInsights/workspaces/dataExports")
    if len(exports) != int(all_of.given["exportSignIns"]):
        problems.append("export: is there though it was not chosen, or the other way round")
    for one in exports:
        target = {
            "resourceId": namespace.id,
            "metaData": {"eventHubName": hub.name.split("/")[-1]},
        }
        if one.properties["destination"] != target:
            problems.append("export: leads elsewhere than into the hub")
        if one.properties["tableNames"] != all_of.given["exportTables"]:
            problems.append("export: other tables than were chosen")
    nested, content = (
        next(
            one
            for one in all_of.of("Microsoft.Resources/deployments")
            if one.name.startswith(f"signinwatch-{what}-")
        )
        for what in ("workspace", "content")
    )
    problems += [
        f"export: begins before {need.split('/')[-2]}"
        for need in (hub.id, all_of.only("Microsoft.EventHub/namespaces/networkRuleSets").id)
        if need not in nested.needs
    ]
    problems += [
        f"{what}: comes before its tables"
        for what, one in (("rule", all_of.only(RULES)), ("content", content))
        if nested.id not in one.needs
    ]
    return problems


def network_problems(all_of: Deployment) -> list[str]:
    """Check that in the private variant nothing answers in public but to trusted services."""
    private = all_of.given["network"] == "private"
    wanted = ("Disabled", "Deny") if private else ("Enabled", "Allow")
    problems = []
    for kind in CLOSED:
        properties = all_of.only(kind).properties
        rules = properties.get("networkAcls", properties)
        if (properties["publicNetworkAccess"], rules["defaultAction"]) != wanted:
            problems.append(f"{kind}: answers in public, or not, against the choice")
    if not all_of.only("Microsoft.EventHub/namespaces/networkRuleSets").properties[
        "trustedServiceAccessEnabled"
    ]:
        problems.append("namespace: data export is a trusted service and could not get in")
    environment = all_of.only("Microsoft.App/managedEnvironments").properties
    if (environment["vnetConfiguration"] is not None) is not private:
        problems.append("environment: lies in a network, or not, against the choice")
    found = set(_endpoints(all_of))
    if found != (ENDPOINTS if private else set()):
        problems.append(f"private endpoints: {sorted(found)}")
    return problems


def content_problems(all_of: Deployment) -> list[str]:
    """Check that rules are there if they were chosen, and that those of kind NRT are disabled."""
    rules = all_of.of("Microsoft.SecurityInsights/alertRules")
    problems = [
        f"{one.path}: a rule of kind NRT must be disabled"
        for one in rules
        if one.body["kind"] == "NRT" and one.properties["enabled"]
    ]
    if not all_of.given["deployContent"] and rules:
        problems.append("rules: are there though they were not chosen")
    connectors = all_of.of("Microsoft.SecurityInsights/dataConnectors")
    wanted = all_of.given["sekoiaInSentinel"] and bool(all_of.given["sekoiaApiKey"])
    if len(connectors) != int(wanted):
        problems.append("Sekoia.io: connected against the choice, or without a key")
    problems += [
        "Sekoia.io: no TAXII connector that asks every hour"
        for one in connectors
        if (one.body["kind"], one.properties["pollingFrequency"])
        != ("ThreatIntelligenceTaxii", "OnceAnHour")
    ]
    return problems


def alert_problems(all_of: Deployment) -> list[str]:
    """Check for alerts on nothing coming, on too much, and on falling behind."""
    metrics = {
        criterion["metricName"]
        for one in all_of.of("Microsoft.Insights/metricAlerts")
        for criterion in one.properties["criteria"]["allOf"]
    }
    problems = []
    if metrics != {"IncomingMessages", "ThrottledRequests"}:
        problems.append(f"alerts: on {sorted(metrics)}")
    if len(all_of.of("Microsoft.Insights/scheduledQueryRules")) != 1:
        problems.append("alerts: none on falling behind")
    watched = {one.scope for one in all_of.of("microsoft.insights/diagnosticSettings")}
    problems += [
        f"diagnostics: none of {kind}"
        for kind in ("Microsoft.EventHub/namespaces", VAULTS, "Microsoft.App/managedEnvironments")
        if all_of.only(kind).id not in watched
    ]
    return problems


def _endpoints(all_of: Deployment) -> Iterable[tuple[str, str, str]]:
    kinds = {one.id: one.kind for one in all_of.all}
    groups = all_of.of("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
    linked = {
        one.name.split("/")[0]
        for one in all_of.of("Microsoft.Network/privateDnsZones/virtualNetworkLinks")
    }
    for one in all_of.of("Microsoft.Network/privateEndpoints"):
        (connection,) = one.properties["privateLinkServiceConnections"]
        (group,) = connection["properties"]["groupIds"]
        for named in groups:
            (zone,) = named.properties["privateDnsZoneConfigs"]
            name = zone["properties"]["privateDnsZoneId"].split("/")[-1]
            if named.name.split("/")[0] == one.name and name in linked:
                target = kinds.get(connection["properties"]["privateLinkServiceId"], "nothing")
                yield target, group, name


def _differing(
    what: str, found: Iterable[Mapping[str, str]], wanted: list[tuple[str, str]]
) -> list[str]:
    have = [(one["name"], one["type"]) for one in found]
    return [
        *(f"{what}: {name} {kind} is missing" for name, kind in wanted if (name, kind) not in have),
        *(
            f"{what}: {name} {kind} is too much"
            for name, kind in have
            if (name, kind) not in wanted
        ),
        *([f"{what}: a column is there twice"] if len(set(have)) < len(have) else []),
    ]
