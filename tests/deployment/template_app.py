"""What must hold for the container: its settings exist and lead to what the template makes.

Each function returns what is wrong, one line each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from consumers.settings import Settings
from consumers.settings.model import PREFIX
from consumers.sources.feeds.presets import PRESETS
from consumers.wiring.service_sources import RECENT_SUFFIX
from tests.deployment.template_facts import (
    CONTAINERS,
    ENTITY_TABLES,
    HUBS,
    RULES,
    VAULTS,
    Deployment,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUPS = f"{HUBS}/consumergroups"
STORAGE = "Microsoft.Storage/storageAccounts"
IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
ALWAYS = (
    "EVENTHUB__NAMESPACE EVENTHUB__NAME EVENTHUB__CONSUMER_GROUP CHECKPOINT__ACCOUNT_URL "
    "CHECKPOINT__CONTAINER STATE__ACCOUNT_URL STATE__TABLE STATE__SCRATCH LOGS__ENDPOINT "
    "LOGS__RULE_ID HTTP__PORT"
).split()
CROWDSEC = [
    f"CROWDSEC__{name}" for name in ("API_KEY_FILE", "MONTHLY_QUOTA", "RESET_DAY", "REPLICA")
]
MOST_FAILURES = 10
"""What Container Apps takes as a probe's failureThreshold at most."""
DRAINING = 10.0
"""Seconds that the platform must leave beyond SERVICE__DRAIN."""


class App:
    """The container app of a deployment, and what its container gets."""

    def __init__(self, all_of: Deployment) -> None:
        self.all_of = all_of
        self.resource = all_of.only("Microsoft.App/containerApps")
        self.configuration: dict[str, Any] = self.resource.properties["configuration"]
        self.template: dict[str, Any] = self.resource.properties["template"]
        (self.container,) = self.template["containers"]
        self.plain: dict[str, str] = {
            one["name"]: one["value"] for one in self.container["env"] if "value" in one
        }
        self.secret: dict[str, str] = {
            one["name"]: one["secretRef"] for one in self.container["env"] if "secretRef" in one
        }

    def setting(self, name: str) -> str:
        """Return the value of one of our variables, without the prefix; empty if it has none."""
        return self.plain.get(PREFIX + name, "")


def app_problems(template: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong with the container."""
    app = App(Deployment(template, given))
    checks = (
        setting_name_problems,
        chosen_problems,
        target_problems,
        secret_reference_problems,
        file_problems,
        probe_problems,
        scale_problems,
        waiting_problems,
    )
    return [problem for check in checks for problem in check(app)]


def is_setting(name: str) -> bool:
    """Tell whether a variable, without the prefix, is one that the settings know."""
    first, *rest = name.lower().split("__")
    field = Settings.model_fields.get(first)
    if field is None:
        return False
    model: Any = field.annotation
    if first == "feeds":
        if len(rest) != 2 or rest[0] not in PRESETS:
            return False
        rest, model = rest[1:], get_args(model)[1]
    if not rest:
        return not (isinstance(model, type) and issubclass(model, BaseModel))
    return len(rest) == 1 and rest[0] in model.model_fields


def setting_name_problems(app: App) -> list[str]:
    """Check that every variable of ours is a setting, and none is there twice."""
    names = [one["name"] for one in app.container["env"]]
    ours = [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]
    foreign = {name for name in names if not name.startswith(PREFIX)}
    return [
        *(f"{name}: there is no such setting" for name in ours if not is_setting(name)),
        *(f"{name}: is there twice" for name in set(names) if names.count(name) > 1),
        *(f"{name}: nobody reads it" for name in foreign - {"AZURE_CLIENT_ID"}),
    ]


def chosen_problems(app: App) -> list[str]:
    """Check that what was chosen is there, and nothing else."""
    given = app.all_of.given
    wanted = set(ALWAYS)
    wanted |= set(CROWDSEC) if given["useCrowdSec"] else set()
    wanted |= {"FEEDS__CROWDSEC__PASSWORD"} if given["crowdSecFeed"] else set()
    if given["sekoiaFeed"]:
        wanted |= {"FEEDS__SEKOIA__PASSWORD", "FEEDS__SEKOIA__COLLECTION"}
    wanted |= {"SENTINEL__WORKSPACE_ID"} if given["shareIndicators"] else set()
    wanted |= {"TRUSTED_NETWORKS"} if given["trustedNetworks"] else set()
    if given["exportSignIns"] or given["additionalTables"]:
        wanted |= {"TABLES"}
    found = {
        one["name"].removeprefix(PREFIX)
        for one in app.container["env"]
        if one["name"].startswith(PREFIX)
    }
    return [f"{name}: set against the choice, or not set" for name in wanted ^ found]


def target_problems(app: App) -> list[str]:
    """Check that settings name what the template makes."""
    all_of = app.all_of
    namespace = all_of.only("Microsoft.EventHub/namespaces").id
    account = all_of.only(STORAGE).id
    rule = all_of.only(RULES).id
    texts = {
        "EVENTHUB__NAMESPACE": f"reference({namespace}).serviceBusEndpoint",
        "CHECKPOINT__ACCOUNT_URL": f"reference({account}).primaryEndpoints.blob",
        "STATE__ACCOUNT_URL": f"reference({account}).primaryEndpoints.table",
        "LOGS__ENDPOINT": f"reference({rule}).endpoints.logsIngestion",
        "LOGS__RULE_ID": f"reference({rule}).immutableId",
    }
    if all_of.given["shareIndicators"]:
        workspace = all_of.given["workspaceResourceId"]
        texts["SENTINEL__WORKSPACE_ID"] = f"reference({workspace}).customerId"
    made = {
        "EVENTHUB__NAME": (HUBS, ""),
        "EVENTHUB__CONSUMER_GROUP": (GROUPS, ""),
        "CHECKPOINT__CONTAINER": (CONTAINERS, ""),
        "STATE__TABLE": (ENTITY_TABLES, ""),
        "STATE__TABLE ": (ENTITY_TABLES, RECENT_SUFFIX),
    }
    identity = f"reference({all_of.only(IDENTITIES).id}).clientId"
    return [
        *(f"{name}: leads elsewhere" for name, text in texts.items() if app.setting(name) != text),
        *(
            f"{name.strip()}: no {kind} called {app.setting(name.strip())}{suffix}"
            for name, (kind, suffix) in made.items()
            if all_of.named(kind, app.setting(name.strip()) + suffix) is None
        ),
        *(["AZURE_CLIENT_ID: is not our identity"] if _client(app) != identity else []),
    ]


def secret_reference_problems(app: App) -> list[str]:
    """Check that secrets come from the vault, by our identity, unversioned, and are used."""
    identity = app.all_of.only(IDENTITIES).id
    vault = app.all_of.only(VAULTS).name
    secrets = {one["name"]: one for one in app.configuration["secrets"]}
    mounted = {
        item["secretRef"]
        for volume in app.template["volumes"]
        for item in volume.get("secrets", ())
    }
    used = set(app.secret.values()) | mounted
    problems = [f"secret {name}: is used and not there" for name in used - secrets.keys()]
    problems += [f"secret {name}: is there and not used" for name in secrets.keys() - used]
    for name, one in secrets.items():
        if one.get("keyVaultUrl") != f"https://{vault}.vault.azure.net/secrets/{name}":
            problems.append(f"secret {name}: is not the vault's")
        if one.get("identity") != identity or "value" in one:
            problems.append(f"secret {name}: is not read by our identity")
    for name in app.plain:
        if name.endswith(("PASSWORD", "API_KEY", "CONNECTION_STRING")):
            problems.append(f"{name}: a secret in the open")
    return problems


def file_problems(app: App) -> list[str]:
    """Check that the key's file and the scratch folder lie on volumes of the right kind."""
    kinds = {one["name"]: one for one in app.template["volumes"]}
    mounts = {
        one["mountPath"]: kinds.get(one["volumeName"]) for one in app.container["volumeMounts"]
    }
    problems = []
    scratch = mounts.get(app.setting("STATE__SCRATCH"))
    if scratch is None or scratch["storageType"] != "EmptyDir":
        problems.append("STATE__SCRATCH: is no empty folder")
    path = app.setting("CROWDSEC__API_KEY_FILE")
    if path:
        folder, _, name = path.rpartition("/")
        volume = mounts.get(folder)
        if volume is None or name not in {one["path"] for one in volume.get("secrets", ())}:
            problems.append("CROWDSEC__API_KEY_FILE: no secret lies there")
    if app.setting("CROWDSEC__REPLICA") == "true" and float(app.container["resources"]["cpu"]) <= 1:
        problems.append("CROWDSEC__REPLICA: up to one processor has 4 GiB of disk, too little")
    return problems


def probe_problems(app: App) -> list[str]:
    """Check that the platform asks /healthz whether to restart, and /readyz whether all is well."""
    port = int(app.setting("HTTP__PORT") or "0")
    wanted = {"Startup": "/healthz", "Liveness": "/healthz", "Readiness": "/readyz"}
    found = {one["type"]: one["httpGet"] for one in app.container.get("probes", ())}
    problems = [
        f"probe {kind}: does not ask {path} on {port}"
        for kind, path in wanted.items()
        if found.get(kind) != {"path": path, "port": port}
    ]
    problems += [
        f"probe {one['type']}: allows for more than {MOST_FAILURES} failures"
        for one in app.container.get("probes", ())
        if one["failureThreshold"] > MOST_FAILURES
    ]
    drain: float = Settings().service.drain
    if app.template["terminationGracePeriodSeconds"] < drain + DRAINING:
        problems.append("grace: is over before the service has drained")
    return problems


def scale_problems(app: App) -> list[str]:
    """Check for one instance at least, one a partition at most, started by what the hub holds."""
    all_of, scale = app.all_of, app.template["scale"]
    problems = []
    if app.configuration["activeRevisionsMode"] != "Single":
        problems.append("revisions: only one may run")
    if scale["minReplicas"] != 1:
        problems.append("scale: one instance must always be there")
    if not 1 <= scale["maxReplicas"] <= all_of.only(HUBS).properties["partitionCount"]:
        problems.append("scale: more instances than partitions")
    (rule,) = scale["rules"]
    metadata = dict(rule["custom"]["metadata"])
    wanted = {
        "eventHubNamespace": all_of.only("Microsoft.EventHub/namespaces").name,
        "eventHubName": app.setting("EVENTHUB__NAME"),
        "consumerGroup": app.setting("EVENTHUB__CONSUMER_GROUP"),
        "storageAccountName": all_of.only(STORAGE).name,
        "blobContainer": app.setting("CHECKPOINT__CONTAINER"),
        "checkpointStrategy": "blobMetadata",
    }
    problems += [
        f"scale: {name} is {metadata.get(name)}, not {value}"
        for name, value in wanted.items()
        if metadata.get(name) != value
    ]
    if rule["custom"]["type"] != "azure-eventhub" or (
        rule["custom"].get("identity") != all_of.only(IDENTITIES).id
    ):
        problems.append("scale: does not ask the hub by our identity")
    if not all(isinstance(value, str) for value in metadata.values()):
        problems.append("scale: the scaler takes texts alone")
    return problems


def waiting_problems(app: App) -> list[str]:
    """Check that the app comes after all that it needs at its start, ids named or not."""
    kinds = {
        GROUPS,
        CONTAINERS,
        ENTITY_TABLES,
        RULES,
        f"{VAULTS}/secrets",
        "Microsoft.EventHub/namespaces/networkRuleSets",
        "Microsoft.Authorization/roleAssignments",
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
    }
    spare = next((one.id for one in app.all_of.of(GROUPS) if one.name.endswith("/spare")), "")
    problems = [
        f"app: does not wait for {one.path} ({one.kind})"
        for one in app.all_of.all
        if one.kind in kinds
        and one.group == app.resource.group
        and one.id not in (*app.resource.needs, spare)
    ]
    pulls = [one for one in app.all_of.all if one.name.startswith("signinwatch-registry-")]
    problems += [
        "app: comes before it may pull" for one in pulls if one.id not in app.resource.needs
    ]
    servers = [one["server"] for one in app.configuration["registries"]]
    image = app.all_of.given["image"]
    if servers != ([image.split("/")[0]] if app.all_of.given["containerRegistryId"] else []):
        problems.append(f"app: pulls {image} from {servers}")
    return problems


def _client(app: App) -> str:
    return app.plain.get("AZURE_CLIENT_ID", "")
