"""Rules, functions, hunting queries, watchlist and workbook as resources of the workspace.

Read from ``deploy/sentinel``: rules and hunting queries in the YAML form of the Azure-Sentinel
repository. Names of resources depend on ids and the workspace alone, so that a second deployment
changes what the first one made.
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from deploy.build.fragments import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

STABLE = "2025-09-01"
PREVIEW = "2025-10-01-preview"
"""Rules of kind NRT exist in preview versions alone."""
SEARCHES = "2023-09-01"
WORKBOOKS = "2023-06-01"
WORKBOOK_ID = "5f0a3e0c-6a1b-4d0e-9d5a-7d6b0a7c2f41"
"""Only makes the workbook's name; changing it would leave a second workbook behind."""
OPERATORS = {"gt": "GreaterThan", "lt": "LessThan", "eq": "Equal", "ne": "NotEqual"}
_SPAN = re.compile(r"(\d+)([mhd])")
_WHEN = "[parameters('deployContent')]"
_WORKSPACE = "variables('workspace')"


def content_resources(folder: Path) -> list[dict[str, Any]]:
    """Return all resources that *folder* describes; what is not there is left out."""
    functions = {path.stem: _query(path.read_text("utf-8")) for path in _found(folder, "functions")}
    watchlists = _watchlists(folder)
    rules = [_read(path) for path in _found(folder, "rules")]
    hunting = [_read(path) for path in _found(folder, "hunting")]
    return [
        *watchlists,
        *(_function(alias, query, functions) for alias, query in functions.items()),
        *(_rule(rule, functions) for rule in rules),
        *(_hunting(query, functions) for query in hunting),
        *_workbooks(folder),
    ]


def iso_span(text: str) -> str:
    """Return ``5m``, ``1h``, ``14d`` as ISO 8601; what is ISO already stays. ValueError else."""
    if re.fullmatch(r"P(\d+D|T\d+[HM])", text):
        return text
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text}: no span of time such as 5m, 1h or 14d")
    number, unit = found.groups()
    return f"P{number}D" if unit == "d" else f"PT{number}{unit.upper()}"


def _found(folder: Path, name: str) -> list[Path]:
    pattern = "*.kql" if name == "functions" else "*.yaml"
    return sorted((folder / name).glob(pattern))


def _read(path: Path) -> dict[str, Any]:
    one: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return one


def _query(text: str) -> str:
    return literal(text.strip())


def _named(text: str) -> str:
    """Return the text of a YAML description, which the repository's form puts in quotes."""
    return literal(text.strip().strip("'").strip())


def _search_id(alias: str) -> str:
    return (
        "[resourceId('Microsoft.OperationalInsights/workspaces/savedSearches', "
        f"parameters('workspaceName'), '{alias}')]"
    )


def _watchlist_id(alias: str) -> str:
    return (
        f"[extensionResourceId({_WORKSPACE}, 'Microsoft.SecurityInsights/watchlists', '{alias}')]"
    )


def _needs(query: str, functions: Iterable[str], but: str = "") -> list[str]:
    """Return the ids of the functions and watchlists that a query uses, its comments apart."""
    code = "\n".join(line for line in query.splitlines() if not line.lstrip().startswith("//"))
    used = [one for one in functions if one != but and re.search(rf"\b{one}\(", code)]
    watchlists = dict.fromkeys(re.findall(r"""_GetWatchlist\(["'](\w+)["']\)""", code))
    return [*map(_search_id, used), *map(_watchlist_id, watchlists)]


def _function(alias: str, query: str, functions: Mapping[str, str]) -> dict[str, Any]:
    return {
        "condition": _WHEN,
        "type": "Microsoft.OperationalInsights/workspaces/savedSearches",
        "apiVersion": SEARCHES,
        "name": f"[concat(parameters('workspaceName'), '/{alias}')]",
        "dependsOn": _needs(query, functions, but=alias),
        "etag": "*",
        "properties": {
            "category": "signinwatch",
            "displayName": alias,
            "functionAlias": alias,
            "query": query,
            "version": 2,
        },
    }


def _hunting(query: Mapping[str, Any], functions: Mapping[str, str]) -> dict[str, Any]:
    text = _query(query["query"])
    tags = {
        "description": _named(query["description"]),
        "tactics": ",".join(query.get("tactics", [])),
        "techniques": ",".join(query.get("relevantTechniques", [])),
    }
    return {
        "condition": _WHEN,
        "type": "Microsoft.OperationalInsights/workspaces/savedSearches",
        "apiVersion": SEARCHES,
        "name": f"[concat(parameters('workspaceName'), '/', guid('{query['id']}', {_WORKSPACE}))]",
        "dependsOn": _needs(text, functions),
        "etag": "*",
        "properties": {
            "category": "Hunting Queries",
            "displayName": _named(query["name"]),
            "query": text,
            "version": 2,
            "tags": [{"name": name, "value": value} for name, value in tags.items() if value],
        },
    }


def _rule(rule: Mapping[str, Any], functions: Mapping[str, str]) -> dict[str, Any]:
    kind = rule.get("kind", "Scheduled")
    text = _query(rule["query"])
    return {
        "condition": _WHEN,
        "type": "Microsoft.SecurityInsights/alertRules",
        "apiVersion": PREVIEW if kind == "NRT" else STABLE,
        "name": f"[guid('{rule['id']}', {_WORKSPACE})]",
        "scope": f"[{_WORKSPACE}]",
        "kind": kind,
        "dependsOn": _needs(text, functions),
        "properties": {
            "displayName": _named(rule["name"]),
            "description": _named(rule["description"]),
            "enabled": rule.get("enabled", True),
            "severity": rule["severity"],
            "query": text,
            **(_schedule(rule) if kind == "Scheduled" else {}),
            "suppressionEnabled": rule.get("suppressionEnabled", False),
            "suppressionDuration": iso_span(rule.get("suppressionDuration", "5h")),
            "tactics": rule.get("tactics", []),
            "techniques": _techniques(rule.get("relevantTechniques", [])),
            **{key: rule[key] for key in _AS_THEY_ARE if key in rule},
            **_incidents(rule),
        },
    }


_AS_THEY_ARE = ("entityMappings", "customDetails", "alertDetailsOverride", "eventGroupingSettings")


def _schedule(rule: Mapping[str, Any]) -> dict[str, Any]:
    operator = rule["triggerOperator"]
    return {
        "queryFrequency": iso_span(rule["queryFrequency"]),
        "queryPeriod": iso_span(rule["queryPeriod"]),
        "triggerOperator": OPERATORS.get(operator, operator),
        "triggerThreshold": rule["triggerThreshold"],
    }


def _techniques(techniques: Iterable[str]) -> list[str]:
    """Return techniques without their sub-techniques, which stable versions do not take."""
    return list(dict.fromkeys(one.partition(".")[0] for one in techniques))


def _incidents(rule: Mapping[str, Any]) -> dict[str, Any]:
    incidents = rule.get("incidentConfiguration")
    if incidents is None:
        return {}
    grouping = dict(incidents.get("groupingConfiguration", {}))
    if "lookbackDuration" in grouping:
        grouping["lookbackDuration"] = iso_span(grouping["lookbackDuration"])
    whole = dict(incidents) | ({"groupingConfiguration": grouping} if grouping else {})
    return {"incidentConfiguration": whole}


def _watchlists(folder: Path) -> list[dict[str, Any]]:
    """Return the watchlist. Its rows are added to those that are there; none is taken away."""
    path = folder / "watchlist.json"
    if not path.is_file():
        return []
    told = json.loads(path.read_text("utf-8"))
    return [
        {
            "comments": "Deploying again adds the example if it is missing, and keeps all others.",
            "condition": _WHEN,
            "type": "Microsoft.SecurityInsights/watchlists",
            "apiVersion": STABLE,
            "name": told["alias"],
            "scope": f"[{_WORKSPACE}]",
            "properties": {
                "watchlistAlias": told["alias"],
                "displayName": told["displayName"],
                "description": told["description"],
                "provider": told["provider"],
                "source": told["source"],
                "sourceType": "Local",
                "itemsSearchKey": told["itemsSearchKey"],
                "contentType": "text/csv",
                "numberOfLinesToSkip": 0,
                "rawContent": _csv(told["columns"], told["rows"]),
            },
        }
    ]


def _csv(columns: list[str], rows: Iterable[Mapping[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _workbooks(folder: Path) -> list[dict[str, Any]]:
    path = folder / "workbook.json"
    if not path.is_file():
        return []
    book = json.loads(path.read_text("utf-8"))
    return [
        {
            "condition": _WHEN,
            "type": "microsoft.insights/workbooks",
            "apiVersion": WORKBOOKS,
            "name": f"[guid('{WORKBOOK_ID}', {_WORKSPACE})]",
            "location": "[parameters('location')]",
            "kind": "shared",
            "properties": {
                "displayName": "Sign-in watch",
                "serializedData": json.dumps(book, ensure_ascii=False, separators=(",", ":")),
                "version": "1.0",
                "sourceId": f"[{_WORKSPACE}]",
                "category": "sentinel",
            },
        }
    ]
