"""Sets of parameters with which the template is checked: each choice at least once each way."""

from __future__ import annotations

from typing import Any

WORKSPACE = (
    "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/soc/providers/"
    "Microsoft.OperationalInsights/workspaces/soc-workspace"
)
REGISTRY = (
    "/subscriptions/22222222-2222-4222-8222-222222222222/resourceGroups/images/providers/"
    "Microsoft.ContainerRegistry/registries/ourimages"
)
ACTION_GROUP = (
    "/subscriptions/33333333-3333-4333-8333-333333333333/resourceGroups/soc/providers/"
    "Microsoft.Insights/actionGroups/soc"
)
LEAST: dict[str, Any] = {
    "workspaceResourceId": WORKSPACE,
    "image": "registry.example.net/signinwatch:1.0.0",
    "crowdSecApiKey": "KEY-OF-CROWDSEC",
    "crowdSecFeedKey": "",
    "sekoiaApiKey": "",
}
EVERYTHING: dict[str, Any] = {
    **LEAST,
    "name": "sign-in-watchers",
    "image": "ourimages.azurecr.io/signinwatch@sha256:" + "0" * 64,
    "containerRegistryId": REGISTRY,
    "actionGroupId": ACTION_GROUP,
    "crowdSecReplica": True,
    "crowdSecFeed": True,
    "crowdSecFeedKey": "KEY-OF-THE-CROWDSEC-FEED",
    "sekoiaFeed": True,
    "sekoiaInSentinel": True,
    "sekoiaApiKey": "KEY-OF-SEKOIA",
    "shareIndicators": True,
    "network": "private",
    "additionalTables": ["ADFSSignInLogs"],
    "trustedNetworks": ["81.2.69.0/24", "2a02:ec80::/32"],
    "maxReplicas": 32,
    "maxThroughputUnits": 1,
}
CASES: dict[str, dict[str, Any]] = {
    "least": LEAST,
    "everything": EVERYTHING,
    "private": {**LEAST, "network": "private"},
    "sekoia alone": {
        **LEAST,
        "name": "abc",
        "useCrowdSec": False,
        "crowdSecApiKey": "",
        "sekoiaFeed": True,
        "sekoiaInSentinel": True,
        "sekoiaApiKey": "KEY-OF-SEKOIA",
    },
    "diagnostic settings": {**LEAST, "exportSignIns": False, "deployContent": False},
    "again, with the keys that are there": {
        **EVERYTHING,
        "network": "public",
        "crowdSecApiKey": "",
        "crowdSecFeedKey": "",
        "sekoiaApiKey": "",
    },
}
