"""Builds what `run` says of itself: its facts for the log and for the status page."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from consumers.inputs.eventhub_client import hub_names
from consumers.service.log_lines import ServiceFacts
from consumers.sources.crowdsec.lapi import LAPI
from consumers.sources.feeds.presets import feed_plans
from consumers.sources.lists.presets import list_plans
from consumers.wiring.lookups import looks_up_paid
from consumers.wiring.source_clients import lapi_plan
from schemas.intel.verdicts import CROWDSEC, REPLICA
from schemas.rows.columns import FINDINGS_TABLE

if TYPE_CHECKING:
    from consumers.settings import Settings


def source_names(settings: Settings) -> list[str]:
    """Return the names of all configured sources, as in `Sources`."""
    names = [CROWDSEC] if looks_up_paid(settings) else []
    names += [REPLICA] if settings.crowdsec.replica else []
    names += [LAPI] if lapi_plan(settings) is not None else []
    names += [plan.name for plan in feed_plans(settings.feeds)]
    names += [plan.name for plan in list_plans(settings.lists, settings.feeds)]
    return [*names, *sorted(name.lower() for name in settings.mmdb)]


def service_facts(settings: Settings, instance: str, findings: str | None) -> ServiceFacts:
    """Return the facts of a service; *findings* is the file that replaces the ingestion."""
    sink = f"table {FINDINGS_TABLE}"
    if findings is not None:
        sink = "standard output" if findings == "-" else "file"
    return ServiceFacts(
        version=version("signinwatch"),
        instance=instance,
        hubs=hub_names(settings.eventhub),
        sources=source_names(settings),
        sink=sink,
    )
