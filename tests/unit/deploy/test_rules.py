"""The rules as files: accepted by Kusto, within Sentinel's limits, true to their own columns."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
import yaml

from schemas.metrics import METRICS
from schemas.rows.columns import FINDINGS_TABLE
from tests.deployment import kql

RULES = kql.read_yaml("rules")
SIGN_IN_RULES = sorted(set(RULES) - {name for name in RULES if name.startswith("Health")})
SEVERITIES = {"High", "Medium", "Low", "Informational"}
TECHNIQUES = {
    "T1078": {"InitialAccess", "DefenseEvasion", "Persistence", "PrivilegeEscalation"},
    "T1110": {"CredentialAccess"},
    "T1528": {"CredentialAccess"},
    "T1550": {"DefenseEvasion", "LateralMovement"},
}
IDENTIFIERS = {
    "Account": {"FullName", "Name", "UPNSuffix", "AadUserId"},
    "IP": {"Address"},
    "CloudApplication": {"Name"},  # its AppId is a number that Microsoft gives, not Entra ID's id
}
DYNAMIC_PROPERTIES = {"AlertLink", "RemediationSteps"}
_FILLED_IN = re.compile(r"\{\{(\w+)\}\}")


def _minutes(duration: str) -> int:
    match = re.fullmatch(r"(\d+)([mhd])", duration)
    assert match, duration
    return int(match[1]) * {"m": 1, "h": 60, "d": 1_440}[match[2]]


def _columns(name: str) -> dict[str, str]:
    return kql.check_shipped()[f"rules/{name}"]["columns"]


@pytest.mark.parametrize("name", sorted(kql.shipped_queries()))
def test_kusto_accepts_it(name: str) -> None:
    """The language service has no word to say against it, and knows what it returns."""
    told = kql.check_shipped()[name]
    assert told["complaints"] == []
    assert told["columns"]
    repeated = {one for one in told["columns"] if one[-1] == "1" and one[:-1] in told["columns"]}
    assert not repeated, "which of the two is meant?"


def test_the_check_finds_what_is_wrong() -> None:
    """A column with another name, a missing function, and a wrong type are seen."""
    renamed = {
        table: columns.replace("ReportUrl:", "ReportLink:")
        for table, columns in kql.own_tables().items()
    }
    queries = {
        "renamed": kql.read_functions()["SignInFindingsForRules"],
        "function": "SignInFindingz()",
        "type": f"{FINDINGS_TABLE} | where Score has 3d",
    }
    told = kql.check(queries, renamed, kql.read_functions())
    assert "ReportUrl" in " ".join(told["renamed"]["complaints"])
    assert all(one["complaints"] for one in told.values())


def test_the_rules_are_those_that_were_promised() -> None:
    """One file for each; only the near-real-time variant is off."""
    assert len(RULES) == 13
    assert {name for name, rule in RULES.items() if not rule["enabled"]} == {"SuspiciousSignInNRT"}
    assert {name for name, rule in RULES.items() if rule["kind"] == "NRT"} == {
        "SuspiciousSignInNRT"
    }


@pytest.mark.parametrize("name", RULES)
def test_rule_keeps_the_limits(name: str) -> None:
    """Sentinel's limits on scheduled rules, and what its repository asks of a file."""
    rule = RULES[name]
    assert re.fullmatch(r"\d+\.\d+\.\d+", rule["version"])
    assert uuid.UUID(rule["id"])
    assert 0 < len(rule["name"]) <= 256
    assert len(rule["description"]) <= 5_000
    assert rule["severity"] in SEVERITIES
    assert isinstance(rule["requiredDataConnectors"], list)
    assert 1 <= len(rule["query"]) <= 10_000
    assert not re.search(r"\b(search|union)\s+\*", rule["query"])
    for technique in rule["relevantTechniques"]:
        assert TECHNIQUES[technique] & set(rule["tactics"]), technique
    if rule["kind"] == "NRT":
        assert not {"queryFrequency", "queryPeriod", "triggerOperator"} & set(rule)
        return
    frequency, period = _minutes(rule["queryFrequency"]), _minutes(rule["queryPeriod"])
    assert 5 <= frequency <= period <= 14 * 1_440
    assert period < 2 * 1_440 or frequency >= 60, "a long look-back wants an hour at least"
    assert (rule["triggerOperator"], rule["triggerThreshold"]) == ("gt", 0)


@pytest.mark.parametrize("name", RULES)
def test_its_slice_of_time_is_as_long_as_its_frequency(name: str) -> None:
    """Runs that cut slices of ingestion time leave no gap and share nothing."""
    rule = RULES[name]
    declared = re.findall(r"^let Frequency = (\w+);$", rule["query"], re.MULTILINE)
    if declared:
        assert declared == [rule["queryFrequency"]]
        assert re.search(r"^let Begin = End - Frequency;$", rule["query"], re.MULTILINE)
    else:
        health = {"HealthHeartbeat", "HealthFeeds", "HealthQuota", "HealthStream"}
        assert name in {"SuspiciousSignInNRT", *health}


@pytest.mark.parametrize("name", RULES)
def test_what_an_alert_shows_is_returned(name: str) -> None:
    """Mapped columns exist; a severity is text; numbers of mappings are within the limits."""
    rule, columns = RULES[name], _columns(name)
    override = rule["alertDetailsOverride"]
    mapped = [*rule["customDetails"].values()]
    for key in ("alertDisplayNameFormat", "alertDescriptionFormat"):
        placeholders = _FILLED_IN.findall(override[key])
        assert len(placeholders) <= 3
        mapped += placeholders
    if "alertSeverityColumnName" in override:
        assert columns[override["alertSeverityColumnName"]] == "string"
        mapped.append(override["alertSeverityColumnName"])
    properties = override.get("alertDynamicProperties", [])
    assert {one["alertProperty"] for one in properties} <= DYNAMIC_PROPERTIES
    mapped += [one["value"] for one in properties]
    entities = rule.get("entityMappings", [])
    assert len(entities) <= 5
    assert entities or name.startswith("Health")
    for entity in entities:
        fields = entity["fieldMappings"]
        assert 1 <= len(fields) <= 3
        assert {field["identifier"] for field in fields} <= IDENTIFIERS[entity["entityType"]]
        for field in fields:
            assert columns[field["columnName"]] == "string"
            mapped.append(field["columnName"])
    assert set(mapped) <= set(columns)
    assert not any(columns[one] == "dynamic" for one in mapped), "shown as JSON text"
    details = rule["customDetails"]
    assert 1 <= len(details) <= 20
    assert all(re.fullmatch(r"[a-zA-Z]\w{0,19}", key) for key in details)
    grouping = rule["incidentConfiguration"]["groupingConfiguration"]
    assert 5 <= _minutes(grouping["lookbackDuration"]) <= 7 * 1_440
    assert set(grouping.get("groupByEntities", [])) <= {one["entityType"] for one in entities}
    assert (grouping["matchingMethod"] == "Selected") == bool(grouping.get("groupByEntities"))


def test_the_alert_on_a_success_is_titled_as_promised() -> None:
    """In both variants; entities, link and grouping too."""
    for name in ("SuspiciousSignIn", "SuspiciousSignInNRT"):
        override = RULES[name]["alertDetailsOverride"]
        assert override["alertDisplayNameFormat"] == (
            "Suspicious sign-in for {{Account}} from {{IPAddress}}"
        )
        told = {
            (one["entityType"], field["identifier"])
            for one in RULES[name]["entityMappings"]
            for field in one["fieldMappings"]
        }
        assert told == {(kind, one) for kind, names in IDENTIFIERS.items() for one in names}
        grouping = RULES[name]["incidentConfiguration"]["groupingConfiguration"]
        assert grouping["groupByEntities"] == ["Account", "IP"]
        assert RULES[name]["eventGroupingSettings"] == {"aggregationKind": "AlertPerResult"}
    assert {"Outcome", "MFA", "Device", "AccountsFromAddress", "DelaySeconds", "Reason"} <= set(
        RULES["SuspiciousSignIn"]["customDetails"]
    )


def test_ids_and_names_are_unique() -> None:
    """Rules and hunting queries are told apart by them."""
    everything = [*RULES.values(), *kql.read_yaml("hunting").values()]
    for key in ("id", "name"):
        assert len({one[key] for one in everything}) == len(everything)


def test_every_metric_that_a_rule_reads_exists() -> None:
    """A health rule on a name that nobody writes would be silent for ever."""
    known = {metric.name for metric in METRICS} | {"last_error"}
    labels = {label for metric in METRICS for label in metric.labels}
    queries = [text for name, text in kql.shipped_queries().items() if "_CL" in text or name]
    read: set[str] = set()
    for text in queries:
        for one in re.findall(r"Metric (?:==|in) (\([^)]*\)|\S+)", text):
            read |= set(re.findall(r"""["'](\w+)["']""", one))
    assert {"ready", "quota_left", "feed_age_seconds", "dropped", "waiting"} <= read <= known
    details = {one for text in queries for one in re.findall(r"\bDetail\.(\w+)", text)}
    assert details <= labels | {"code", "part", "since", "detail", "blocking"}


@pytest.mark.parametrize("name", SIGN_IN_RULES)
def test_every_rule_reads_the_saved_function(name: str) -> None:
    """None reads the table of findings itself."""
    assert FINDINGS_TABLE not in RULES[name]["query"]
    assert "SignInFindings" in RULES[name]["query"]


def test_every_row_has_one_owner() -> None:
    """Each word of the function is taken by one enabled rule, and the table tells of it."""
    text = kql.read_functions()["SignInFindingsForRules"]
    block = text[text.index("| extend Rule = case(") :].partition(")\n|")[0]
    words = set(re.findall(r'"([a-z-]+)"[,)\n]', block + "\n")) - {"muted", "shown"}
    owners: dict[str, list[str]] = {}
    for name, rule in RULES.items():
        for one in re.findall(r'^\| where Rule == "([a-z-]+)"', rule["query"], re.MULTILINE):
            owners.setdefault(one, []).append(name)
    assert set(owners) == words
    assert all(len(names) == 1 for names in owners.values())
    readme = (kql.SENTINEL / "README.md").read_text("utf-8")
    for word, (name,) in owners.items():
        assert re.search(rf"^\| `{word}` \|.*`{name}`", readme, re.MULTILINE), word
    for name in RULES:
        assert f"`{name}`" in readme


def test_yaml_holds_no_surprises() -> None:
    """Texts are texts, and no key stands twice."""

    class Strict(yaml.SafeLoader):
        """Refuses a key that stands twice."""

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    for path in sorted(kql.SENTINEL.glob("*/*.yaml")):
        text = path.read_text("utf-8")
        assert "\t" not in text
        json.dumps(yaml.load(text, Strict))  # noqa: S506 - a safe loader, only stricter
