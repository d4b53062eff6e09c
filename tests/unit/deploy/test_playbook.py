"""The playbook of deploy/playbook.json: its template, its graph, its query.

Runs of it are in :mod:`tests.unit.deploy.test_playbook_runs`.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from schemas.rows.columns import VERDICTS_TABLE
from tests.deployment.arm_deployment import deployed
from tests.deployment.kql import check, make_workspace, own_tables, read_yaml
from tests.unit.deploy.logic_app import FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.deployment.arm_deployment import Resource

FILE = Path(__file__).parent.parent.parent.parent / "deploy" / "playbook.json"
# What an identity is called is known after the deployment alone, in the full or the short form.
TEMPLATE: dict[str, Any] = json.loads(FILE.read_bytes())
WORKSPACE = (
    "/subscriptions/1/resourceGroups/soc/providers/Microsoft.OperationalInsights/workspaces/w"
)
GIVEN = {
    "workspaceResourceId": WORKSPACE,
    "keyVaultName": "vault",
    "crowdSecApiKey": "",
    "automationRule": True,
}
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECURE = {"secureData": {"properties": ["inputs", "outputs"]}}


def _resources(**given: Any) -> list[Resource]:
    return deployed(TEMPLATE, {**GIVEN, **given})


def workflow() -> dict[str, Any]:
    """Return the Logic App's properties, as they would be deployed."""
    (one,) = (one for one in _resources() if one.kind == "Microsoft.Logic/workflows")
    return one.properties


def _actions(of: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], Mapping[str, Any]]]:
    """Yield each action with its name and those on its level, all levels."""
    for name, one in of.items():
        yield name, one, of
        inner = [one, one.get("else", {}), one.get("default", {}), *one.get("cases", {}).values()]
        for level in inner:
            yield from _actions(level.get("actions", {}))


def _all_actions() -> dict[str, dict[str, Any]]:
    found = [(name, one) for name, one, _ in _actions(workflow()["definition"]["actions"])]
    assert len(dict(found)) == len(found), "names are unique in the whole workflow"
    return dict(found)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for one in value.values():
                yield from _texts(one)
        case list():
            for one in value:
                yield from _texts(one)


# ------------------------------------------------------------------------------ the template


def test_its_roles_are_these_and_no_others() -> None:
    """Responder and reader on the workspace, the one secret of the vault."""
    found = {
        (one.scope, one.properties["roleDefinitionId"].rpartition("/")[2])
        for one in _resources()
        if one.kind == "Microsoft.Authorization/roleAssignments"
    }
    (secret,) = (scope for scope, _ in found if scope is not None and "/secrets/" in scope)
    assert secret.endswith("/vaults/vault/secrets/crowdsec-playbook-key")
    assert {(scope.rpartition("/")[2] if scope else None, role) for scope, role in found} == {
        ("w", "3e150937-b8fe-4cfb-8069-0eaf05ecd056"),
        ("w", "73c42c96-874c-492b-b04d-ab87d138a893"),
        ("crowdsec-playbook-key", "4633458b-17de-408a-b874-0445c86b69e6"),
    }


def test_nobody_consents_and_no_secret_has_a_default() -> None:
    """The connection and every call sign in as the playbook; a key is asked for and kept."""
    resources = {one.kind: one for one in _resources()}
    assert resources["Microsoft.Web/connections"].properties["parameterValueType"] == "Alternative"
    app = resources["Microsoft.Logic/workflows"]
    assert app.body["identity"] == {"type": "SystemAssigned"}
    connection = app.properties["parameters"]["$connections"]["value"]["azuresentinel"]
    assert connection["connectionProperties"] == {
        "authentication": {"type": "ManagedServiceIdentity"}
    }
    for name, one in _all_actions().items():
        if one["type"] == "Http" and name != "Look_up_in_CrowdSec":
            assert one["inputs"]["authentication"]["type"] == "ManagedServiceIdentity", name
        assert one["type"] != "ApiConnection", name
    for name, parameter in TEMPLATE["parameters"].items():
        secret = parameter["type"].lower().startswith("secure")
        assert secret == (name == "crowdSecApiKey"), name
        assert not (secret and "defaultValue" in parameter)
    assert "crowdSecApiKey" not in json.dumps(app.properties)


@pytest.mark.parametrize(("key", "kept"), [("", False), ("k", True)])
def test_an_empty_key_leaves_the_one_in_the_vault(key: str, kept: bool) -> None:
    """The secret is deployed only where a key was given."""
    (secret,) = (
        one
        for one in _resources(crowdSecApiKey=key)
        if one.kind == "Microsoft.KeyVault/vaults/secrets"
    )
    assert secret.deployed is kept


@pytest.mark.parametrize("wanted", [True, False])
def test_the_automation_rule_is_a_choice_and_leaves_our_incidents_out(wanted: bool) -> None:
    """Our alerts already describe the IP address, so every title prefix must be excluded."""
    (rule,) = (
        one
        for one in _resources(automationRule=wanted)
        if one.kind == "Microsoft.SecurityInsights/automationRules"
    )
    assert rule.deployed is wanted
    (condition,) = rule.properties["triggeringLogic"]["conditions"]
    assert condition["conditionProperties"]["operator"] == "NotStartsWith"
    prefixes = tuple(condition["conditionProperties"]["propertyValues"])
    titles = [
        one["alertDetailsOverride"]["alertDisplayNameFormat"] for one in read_yaml("rules").values()
    ]
    assert titles
    assert [title for title in titles if not title.startswith(prefixes)] == []
    assert [one for one in prefixes if not any(title.startswith(one) for title in titles)] == []


# ------------------------------------------------------------------------------ the definition


def test_expressions_name_what_exists() -> None:
    """Parameters, variables, actions and functions; every parameter is given and used."""
    app = workflow()
    definition, actions = app["definition"], _all_actions()
    variables = {
        one["name"]
        for action in actions.values()
        if action["type"] == "InitializeVariable"
        for one in action["inputs"]["variables"]
    }
    text = "\n".join(_texts([definition["actions"], definition["triggers"]]))
    for function, name in re.findall(r"\b(\w+)\('([^']+)'\)", text):
        known: dict[str, Any] = {
            "parameters": definition["parameters"],
            "variables": variables,
            "items": {name for name, one in actions.items() if one["type"] == "Foreach"},
        }
        if function in ("body", "outputs", "actions", *known):
            assert name in known.get(function, actions), f"{function}('{name}')"
    expressions = [one for one in _texts(definition["actions"]) if one.startswith("@")]
    of_runs = {"triggerBody", "parameters", "variables", "outputs", "body", "items", "item"}
    for one in expressions:
        outside = re.sub(r"'[^']*'", "''", one)
        assert set(re.findall(r"(\w+)\(", outside)) <= of_runs | set(FUNCTIONS), one
    declared = set(definition["parameters"])
    assert declared == set(app["parameters"])
    assert declared == {name for name in declared if f"parameters('{name}')" in text}


def test_the_graph_is_sound() -> None:
    """Each waits for neighbours only, never in a circle; what is read ran before."""
    for name, one, neighbours in _actions(workflow()["definition"]["actions"]):
        assert "runAfter" in one, name
        assert set(one["runAfter"]) <= set(neighbours) - {name}, name
        if one["type"] == "InitializeVariable":
            assert name in workflow()["definition"]["actions"], "only at the top"
    loops = [one for one in _all_actions().values() if one["type"] in ("Foreach", "Until")]
    assert len(loops) == 1, "a variable belongs to one loop"
    assert loops[0]["runtimeConfiguration"] == {"concurrency": {"repetitions": 1}}


def test_the_key_shows_nowhere() -> None:
    """In the history of runs inputs and outputs are hidden where a key passes; no call repeats."""
    actions = _all_actions()
    holders = {
        name
        for name, one in actions.items()
        if name == "Get_API_key"
        or any("'Get_API_key'" in text for text in _texts(one.get("inputs")))
    }
    assert holders == {"Get_API_key", "Look_up_in_CrowdSec"}
    for name in holders:
        assert actions[name]["runtimeConfiguration"] == SECURE, name
    assert actions["Look_up_in_CrowdSec"]["inputs"]["retryPolicy"] == {"type": "none"}


# ------------------------------------------------------------------------------ the query


def query(*addresses: Any) -> str:
    """Return the query as it goes out, about *addresses*."""
    entities = json.dumps([{"address": one} for one in addresses], separators=(",", ":"))
    source: str = _all_actions()["Query_verdicts"]["inputs"]["body"]["query"]
    source = source.replace("@{parameters('verdictDays')}", "14")
    coded = base64.b64encode(entities.encode()).decode()
    filled = source.replace("@{base64(string(body('Select_IP_addresses')))}", coded)
    assert "@" not in filled
    return filled


def test_the_language_service_accepts_the_query() -> None:
    """Over the columns of our table; the columns come in the order in which they are read."""
    told = check({"query": query("2.56.10.9", "' | x")}, own_tables(), {})["query"]
    assert told["complaints"] == []
    assert list(told["columns"]) == ["IPAddress", "Verdict", "Reputation", "Source"]
    order = [
        _all_actions()["Select_verdict_rows"]["inputs"]["select"][one]
        for one in ("address", "verdict", "reputation", "source")
    ]
    assert order == [f"@item()[{number}]" for number in range(4)]


def test_networks_that_are_nobodys_are_left_out() -> None:
    """Each range is one that Python calls not global, and the usual ones are among them."""
    ranges = re.findall(r'"(\d+\.\d+\.\d+\.\d+/\d+)"', query("9.9.9.9"))
    networks = [ipaddress.ip_network(one) for one in ranges]
    nobodys = (
        "10.1.2.3 100.64.9.9 127.0.0.1 169.254.1.1 172.31.0.1 192.168.9.9 192.0.2.7 198.51.100.7 "
        "203.0.113.7 0.0.0.1 224.0.0.1 255.255.255.255"
    )
    public = "9.9.9.9 11.0.0.1 100.128.0.1 172.32.0.1 192.167.0.1 223.255.255.1"
    for text, left_out in ((nobodys, True), (public, False)):
        for address in map(ipaddress.ip_address, text.split()):
            assert any(address in one for one in networks) is left_out, address


def _verdict(address: str, verdict: str, hours: float = 1, **more: Any) -> dict[str, Any]:
    at = datetime.fromtimestamp(NOW.timestamp() - hours * 3600, UTC)
    return {
        "TimeGenerated": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "IPAddress": address,
        "Verdict": verdict,
        "Reason": "r",
        "Sources": ["crowdsec"],
        "Score": 5,
        "Confidence": "high",
        "Classifications": [],
        "AddressClass": "unknown",
        "ExpiresTime": "2026-03-05T00:00:00Z",
        "ReportUrl": None,
        **more,
    }


def _ask(text: str, rows: list[dict[str, Any]]) -> list[list[Any]]:
    """Run the query on DuckDB, with a shim for two legs.

    duckdb-kql has no ``ipv4_is_in_any_range``: 10.0.0.0/8 stands for the ranges, which are compared
    with Python's above. Its ``base64_decode_tostring`` escapes quotes: the test decodes.
    """
    shimmed, times = re.subn(
        r"coalesce\(ipv4_is_in_any_range\(IPAddress, dynamic\(\[[^\]]*\]\)\), false\)",
        'IPAddress startswith "10."',
        text,
    )
    coded = re.search(r'base64_decode_tostring\("([^"]*)"\)', shimmed)
    assert coded is not None
    shimmed = shimmed.replace(coded[0], json.dumps(base64.b64decode(coded[1]).decode()))
    assert times == 1
    found = make_workspace({VERDICTS_TABLE: rows}).query(shimmed, NOW)
    return [
        [one[name] for name in ("IPAddress", "Verdict", "Reputation", "Source")] for one in found
    ]


def test_the_query_tells_known_open_and_none() -> None:
    """Fresh verdicts count; expired, unanswered and strange ones are open; nonsense is left out."""
    rows = [
        _verdict("2.56.10.9", "malicious"),
        _verdict("2.56.10.9", "benign", hours=9),
        _verdict("2a02::1", "benign", Sources=["a<b>|c"], Confidence="<b>"),
        _verdict("9.9.9.9", "suspicious", ExpiresTime="2026-03-01T00:00:00Z"),
        _verdict("8.8.8.8", "unanswered", ExpiresTime=None),
        _verdict("8.8.4.4", "<script>"),
        _verdict("7.7.7.7", "malicious", hours=24 * 15),
    ]
    asked: list[str | None] = list(
        "2.56.10.9 2.56.10.9 2A02:0::1 9.9.9.9 8.8.8.8 8.8.4.4 7.7.7.7".split()
    )
    asked += ["10.0.0.1", "::1", "fe80::1", "2001:db8::1", "' | evil", "", None, "1.2.3.4/../x"]
    found = {one[0]: one[1:] for one in _ask(query(*asked), rows)}
    assert set(found) == {"2.56.10.9", "2a02:0::1", "9.9.9.9", "8.8.8.8", "8.8.4.4", "7.7.7.7"}
    assert {one for one, row in found.items() if not row[0]} == set(found) - {
        "2.56.10.9",
        "2a02:0::1",
    }
    assert found["2.56.10.9"][:2] == ["malicious", "score 5, confidence high"]
    assert found["2a02:0::1"][0] == "benign"
    assert not set("<>|") & set("".join(found["2a02:0::1"]))
