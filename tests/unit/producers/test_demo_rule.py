"""The alerts of the demo and of a replay come of the rules as they are shipped."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from datetime import timedelta

import pytest

from producers.demo import rule
from schemas.errors import ConfigurationError
from tests.deployment import kql
from tests.deployment.rows import NOON, at, finding

COPIES = kql.ROOT / "producers" / "demo" / "sentinel"


def test_the_copies_are_what_is_deployed() -> None:
    """Byte for byte: the rules that read findings and every saved function, and nothing else."""
    deployed = {
        path.name: path
        for path in (kql.SENTINEL / "rules").iterdir()
        if "SignInFindingsForRules()" in path.read_text("utf-8") and "NRT" not in path.name
    }
    deployed |= {path.name: path for path in (kql.SENTINEL / "functions").iterdir()}
    copies = {path.name: path for path in COPIES.iterdir()}
    assert {name: path.read_bytes() for name, path in copies.items()} == {
        name: path.read_bytes() for name, path in deployed.items()
    }
    assert rule.packaged_functions() == kql.read_functions()
    assert list(rule.packaged_functions()) == list(kql.read_functions())
    assert rule.packaged_rules() == {name: kql.read_yaml("rules")[name] for name in rule.RULES}


def test_replayed_findings_alert_as_if_they_were_live() -> None:
    """Worst first, counted, and the rows themselves are left as they are."""
    rows = [
        finding("198.18.0.1", "ann@contoso.com", at("11:00"), Origin="replay", Severity="Medium"),
        finding("198.18.0.2", "bob@contoso.com", at("11:00"), Origin="replay"),
        finding("198.18.0.2", "bob@contoso.com", at("11:30"), Origin="late"),
        finding("198.18.0.3", "cy@contoso.com", at("11:00"), Origin="test"),
        finding("198.18.0.4", "di@contoso.com", at("11:00"), Origin="replay", Outcome="Failure"),
    ]
    before = deepcopy(rows)
    told = rule.alerts(rows, NOON + timedelta(hours=1))
    assert rows == before
    assert [(one["title"], one["severity"], one["count"]) for one in told] == [
        ("Suspicious sign-in for bob@contoso.com from 198.18.0.2", "High", 2),
        ("Suspicious sign-in for ann@contoso.com from 198.18.0.1", "Medium", 1),
    ]
    assert ("IP", {"Address": "198.18.0.2"}) in told[0]["entities"]
    assert "malicious-success" in told[0]["reasons"]


def test_rows_made_this_very_moment_alert() -> None:
    """The demo asks as soon as its findings are written."""
    assert len(rule.alerts([finding("198.18.0.1", "a", NOON, Origin="replay")], NOON)) == 1
    assert rule.alerts([], NOON) == []


@pytest.mark.parametrize("missing", ["duckdb_kql", "yaml"])
def test_without_the_extra_it_says_how_to_get_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that a person can follow."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'signinwatch\[demo\]'"):
        rule.alerts([], NOON)


def test_the_demo_can_ask_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute of work is not done in vain."""
    rule.require_parts()
    monkeypatch.setattr(rule, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"signinwatch\[demo\]"):
        rule.require_parts()


def test_nothing_of_the_extra_is_loaded_before_it_is_needed() -> None:
    """The service does not pay for the demo."""
    text = "import sys, producers.demo.rule; print({'duckdb', 'yaml', 'antlr4'} & set(sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=kql.ROOT
    )
    assert told.stdout.strip() == "set()"
