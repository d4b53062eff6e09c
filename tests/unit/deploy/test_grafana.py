"""The Grafana dashboard: what it queries is what the service exports, and it fits on a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from consumers.service.health import Health
from consumers.service.metrics import MetricsCollector
from schemas import metrics as m
from tests.unit.deploy.dockerfile import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.ledger_ports import Ledger

BOARD: dict[str, Any] = orjson.loads((ROOT / "deploy/grafana/signinwatch.json").read_bytes())
PANELS: list[dict[str, Any]] = BOARD["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]
QUERIES = [(panel["title"], target) for panel in CHARTS for target in panel["targets"]]
SCRAPE_LABELS = {"instance"}
"""What Prometheus adds to every metric."""
LANGUAGE = frozenset(
    "sum min max by or vector rate increase delta clamp_min histogram_quantile "
    "label_replace".split()
)
COLUMNS = 24


def exported() -> dict[str, set[str]]:
    """Return the label names of each series, by the names on ``/metrics`` of a real collector."""
    ledger: Any = None
    never_asked: Ledger = ledger
    metrics = MetricsCollector(health=Health(), ledger=never_asked)
    labels = {metric.name: set(metric.labels) for metric in m.METRICS}
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        own = labels.get(family.name.removeprefix(m.METRIC_PREFIX))
        if own is None:  # when the histogram began
            continue
        if family.type == "histogram":
            found[f"{family.name}_bucket"] = own | {"le"}
        else:
            found[family.name + ("_total" if family.type == "counter" else "")] = own
    return found


SERIES = exported()


def _words(query: str) -> set[str]:
    """Return the names in a query, without texts, matchers, durations and groupings."""
    bare = re.sub(r'"[^"]*"', "", query)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", "", bare)
    return set(re.findall(r"[a-zA-Z_]\w*", bare))


def _labels(query: str) -> set[str]:
    """Return the labels by which a query selects or groups."""
    found = set()
    for inner in re.findall(r"\{([^}]*)\}", query):
        found |= set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inner))
    for inner in re.findall(r"\bby \(([^)]*)\)", query):
        found |= {name.strip() for name in inner.split(",")}
    return found


def test_the_collector_exports_every_metric() -> None:
    """What the queries are compared with is complete."""
    assert len(SERIES) == len(m.METRICS)
    assert {"signinwatch_signins_total", "signinwatch_finding_seconds_bucket"} <= set(SERIES)


@pytest.mark.parametrize(("title", "target"), QUERIES)
def test_a_query_names_what_is_exported(title: str, target: dict[str, Any]) -> None:
    """Metrics, the labels of each, and the labels in the legend."""
    query = target["expr"]
    names = _words(query) - LANGUAGE
    assert names, title
    assert names <= set(SERIES)
    known = set.union(*(SERIES[name] for name in names)) | SCRAPE_LABELS
    assert _labels(query) <= known
    legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert legend <= _labels(query)
    for opening, closing in ("()", "{}", "[]"):
        assert query.count(opening) == query.count(closing)
    for name in names:
        assert query.count(name) == len(
            re.findall(rf"\b{name}\{{instance=~\"\$instance\"\}}", query)
        )


@pytest.mark.parametrize(("title", "target"), QUERIES)
def test_counters_are_read_as_rates_and_gauges_are_not(title: str, target: dict[str, Any]) -> None:
    """A counter begins again with the process; a gauge may fall."""
    query = target["expr"]
    for name in _words(query) - LANGUAGE:
        counter = name.endswith(("_total", "_bucket"))
        rated = re.search(rf"\b(rate|increase)\({name}\{{[^}}]*\}}\[", query) is not None
        assert rated == counter, title


def test_what_the_dashboard_shows() -> None:
    """All that was promised."""
    shown = set.union(*(_words(target["expr"]) for _, target in QUERIES))
    wanted = (m.LAG, m.QUOTA_LEFT, m.WAITING, m.FEED_AGE, m.OPEN_PROBLEM, m.REPLICA_AGE, m.READY)
    assert {m.METRIC_PREFIX + metric.name for metric in wanted} <= shown
    counters = (m.SIGNINS, m.FINDINGS, m.LOOKUPS, m.CACHE_HITS)
    assert {f"{m.METRIC_PREFIX}{metric.name}_total" for metric in counters} <= shown
    assert "signinwatch_finding_seconds_bucket" in shown


def _cells(panel: dict[str, Any]) -> Iterator[tuple[int, int]]:
    place = panel["gridPos"]
    for row in range(place["y"], place["y"] + place["h"]):
        for column in range(place["x"], place["x"] + place["w"]):
            yield row, column


def test_panels_do_not_overlap() -> None:
    """Each has its own place within the width, and an id."""
    taken = [cell for panel in PANELS for cell in _cells(panel)]
    assert len(taken) == len(set(taken))
    assert all(0 <= column < COLUMNS for _, column in taken)
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("panel", CHARTS, ids=lambda panel: panel["title"])
def test_a_panel_is_complete(panel: dict[str, Any]) -> None:
    """It says what it shows, and reads from the data source that the reader has chosen."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    letters = [target["refId"] for target in panel["targets"]]
    assert len(letters) == len(set(letters))


def test_it_is_imported_without_changes() -> None:
    """Variables for data source and instance; a fixed uid, no id of somebody's Grafana."""
    assert BOARD["uid"] == "signinwatch"
    assert "id" not in BOARD
    assert BOARD["schemaVersion"] >= 38  # Grafana 10
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["instance"]["query"]["query"] == "label_values(signinwatch_ready, instance)"
    assert "signinwatch_ready" in SERIES
