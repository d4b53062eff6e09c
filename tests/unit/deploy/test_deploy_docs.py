"""The pages on the deployment: what they name exists, what they ask is valid, and sums add up.

All that a reader copies is compared with the templates, the rules, the columns and the runbook.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from schemas.health import Problem
from tests.deployment.kql import MICROSOFT_TABLES, check, own_tables, read_functions
from tests.unit.deploy.dockerfile import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = ROOT / "deploy"
PAGES = {path: path.read_text("utf-8") for path in (DEPLOY / "README.md", DEPLOY / "MIGRATION.md")}
README = PAGES[DEPLOY / "README.md"]
EVERYTHING = "\n".join(PAGES.values())
TEMPLATES: dict[str, dict[str, Any]] = {
    path.name: json.loads(path.read_bytes())
    for path in sorted(DEPLOY.glob("*.json"))
    if "resources" in json.loads(path.read_bytes())
}
MAIN = TEMPLATES["azuredeploy.json"]
INCIDENTS = {
    "SecurityIncident": "TimeGenerated:datetime, CreatedTime:datetime, "
    "FirstActivityTime:datetime, Title:string, IncidentNumber:int"
}


def _blocks(language: str) -> dict[str, str]:
    """Return the fenced blocks of a language, by page and number."""
    return {
        f"{page.name} {number}": text
        for page, content in PAGES.items()
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", content, re.DOTALL))
    }


def _prose(page: Path) -> str:
    """Return a page without its blocks."""
    return re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """Return what headings are called in addresses."""
    heads = re.findall(r"(?m)^#+ (.*)$", page.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", one).strip().lower().replace(" ", "-") for one in heads}


def _table(head: str) -> list[list[str]]:
    """Return the rows of the table whose first line begins with *head*."""
    after = README[README.index(head) :].splitlines()[2:]
    rows = []
    for line in after:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_every_link_leads_somewhere() -> None:
    """Files and headings, of every page in the repository; the message lists what is missing."""
    missing = []
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *DEPLOY.rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
            if target.startswith("https://"):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.is_file():
                missing.append(f"{page.name}: {name}")
            elif anchor and anchor not in _anchors(file):
                missing.append(f"{page.name}: {target}")
    assert set(PAGES) <= set(pages)
    assert missing == []


def test_every_file_that_is_named_exists() -> None:
    """In commands as well."""
    named = set(re.findall(r"@?\b((?:deploy|docs)/[\w./-]+\.\w+)", EVERYTHING))
    assert "deploy/azuredeploy.json" in named
    assert [one for one in sorted(named) if not (ROOT / one).is_file()] == []


def test_every_query_passes_the_language_service() -> None:
    """Names and types over our columns, our functions, and the columns of Microsoft's tables."""
    queries = _blocks("kusto")
    assert len(queries) >= 8
    tables = {**own_tables(), **MICROSOFT_TABLES, **INCIDENTS}
    # What every table has, and no declaration tells.
    tables = {name: f"{columns}, Type:string" for name, columns in tables.items()}
    told = check(queries, tables, read_functions())
    assert {name: one["complaints"] for name, one in told.items() if one["complaints"]} == {}


def test_parameters_exist_in_the_template_that_they_are_given_to() -> None:
    """Each command gives what its template knows, and all that has no default."""
    found = 0
    for name, text in _blocks("sh").items():
        joined = text.replace("\\\n", " ")
        for command in joined.splitlines():
            template = re.search(r"--template-file deploy/([\w-]+\.json)", command)
            if template is None:
                continue
            known = TEMPLATES[template[1]]["parameters"]
            given = set(re.findall(r"(?<=\s)(\w+)=", command.partition("--template-file")[2]))
            assert given <= set(known), (name, given - set(known))
            if "parameters.json" in command:
                given |= set(
                    json.loads((DEPLOY / "azuredeploy.parameters.json").read_bytes())["parameters"]
                )
            needed = {one for one, rest in known.items() if "defaultValue" not in rest}
            assert needed <= given, (name, needed - given)
            found += 1
    assert found == 3


def test_names_of_parameters_and_outputs_are_right() -> None:
    """Every word in code that is written like one is one, of some template of ours."""
    known: set[str] = set()
    for template in TEMPLATES.values():
        known |= {*template["parameters"], *template.get("outputs", {})}
    words = set(re.findall(r"`([a-z]+[A-Z][A-Za-z]+)`", EVERYTHING))
    outputs = set(re.findall(r"properties\.outputs\.(\w+)\.value", EVERYTHING))
    foreign = {"roleAssignments", "dataExports"}
    assert len(words) > 20
    assert words - known - foreign == set()
    assert outputs <= set(MAIN["outputs"])


def test_names_of_things_are_those_of_the_template() -> None:
    """Hub, groups, app and secrets, with the name that the template has by default."""
    variables = MAIN["variables"]
    stem = MAIN["parameters"]["name"]["defaultValue"]
    assert variables["appName"] == "[concat(variables('stem'), '-app')]"
    assert set(re.findall(r"--name (\w+-app)\b", EVERYTHING)) == {f"{stem}-app"}
    for name in ("hubName", "consumerGroup", "spareConsumerGroup"):
        assert f"`{variables[name]}`" in README, name
    for name in ("crowdSecSecret", "crowdSecFeedSecret", "sekoiaSecret"):
        assert f"`{variables[name]}`" in README, name
    playbook = TEMPLATES["playbook.json"]["parameters"]
    assert f"`{playbook['crowdSecSecretName']['defaultValue']}`" in README
    share = playbook["maxLookupsPerIncident"]["defaultValue"]
    assert f"at most `maxLookupsPerIncident` ({share})" in README


def test_the_providers_that_must_be_registered_are_named() -> None:
    """All that the main template has resources of, but those that every subscription has."""
    text = (DEPLOY / "azuredeploy.json").read_text("utf-8")
    kinds = set(re.findall(r'"type": "(Microsoft\.\w+)/', text))
    common = {"Microsoft.Authorization", "Microsoft.Resources", "Microsoft.ManagedIdentity",
              "Microsoft.Network", "Microsoft.SecurityInsights"}  # fmt: skip
    wanted = {one.lower() for one in kinds - common}
    named = {one.lower() for one in re.findall(r"Microsoft\.\w+", README)}
    assert wanted - named == set()


def test_the_columns_of_the_watchlist_are_those_it_has() -> None:
    """In the order of the file that is deployed."""
    watchlist = json.loads((DEPLOY / "sentinel" / "watchlist.json").read_bytes())
    told = re.findall(r"`(\w+)`", " ".join(row[0] for row in _table("| column | meaning |")))
    assert told == watchlist["columns"]
    assert watchlist["alias"] in README


def test_codes_of_trouble_are_codes() -> None:
    """Those that the table of troubles names."""
    rows = _table("| symptom |")
    named = {code for row in rows for code in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", row[0])}
    assert len(named) >= 6
    assert named <= {str(one) for one in Problem}


def test_roles_that_are_named_are_real_ones() -> None:
    """A role in the table of rights is one that Azure or Entra ID has."""
    known = (
        "Contributor", "Owner", "Role Based Access Control Administrator",
        "Log Analytics Contributor", "Microsoft Sentinel Contributor", "Security Administrator",
        "AcrPush", "Key Vault Secrets Officer",
    )  # fmt: skip
    for step, role, scope, person in _table("| step | role |"):
        assert scope, step
        assert person, step
        assert any(one in role for one in known) or "administrator" in role, step


@pytest.mark.parametrize("column", [1, 2, 3])
def test_the_costs_add_up(column: int) -> None:
    """Each line follows from the assumptions above it, and the sum from the lines."""
    users, instances, units = {1: (1e3, 1, 1), 2: (1e4, 1, 1), 3: (1e5, 2, 4)}[column]
    rows = _table("| item | 1,000")
    lines = {row[0].partition(":")[0].strip("*"): row[column].strip("*") for row in rows}
    records = users * 68 * 22
    assert float(lines["records per month"].split()[0]) == pytest.approx(records / 1e6, rel=0.01)
    rows_gb = instances * 0.13 + users * (4 * 0.6 + 2 * 3) / 1e6 + 0.3 + records * 0.007 / 1e6
    expected = {
        "export": records * 3 / 1e6 * 0.10,
        "Event Hubs": units * 730 * 0.03,
        "container": instances * 2_628_000 * (0.5 * 0.000024 + 0.000003),
        "storage": 320 * 0.055,
        "rows and logs": rows_gb * 4.30,
        "alerts": 0.70,
    }
    for name, value in expected.items():
        assert float(lines[name]) == pytest.approx(value, abs=0.006), name
    total = sum(float(lines[name]) for name in expected)
    assert float(lines["total"]) == pytest.approx(total, abs=0.001)
