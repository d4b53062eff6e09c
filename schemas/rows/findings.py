"""Findings: rows of the findings table, one for each bad sign-in."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from schemas.events.sign_in import TimeSource
from schemas.events.times import iso, iso_of, parse_time
from schemas.intel.verdicts import STORIES_SOURCE
from schemas.rows.columns import SCHEMA_VERSION
from schemas.rows.context import NO_CONTEXT, SignInContext

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from schemas.events.sign_in import Details
    from schemas.intel.merge import MergedVerdict
    from schemas.intel.verdicts import Intel
    from schemas.rows.policy import Line


FindingRow = dict[str, Any]


def finding_id(table: str, event_id: str, address: str) -> str:
    """Return the id of a finding. It depends on the event and the address alone.

    The format is frozen: users' rules and exceptions refer to it.
    """
    return hashlib.sha256(orjson.dumps([table, event_id, address])).hexdigest()[:32]


def finding_row(
    *,
    details: Details,
    address: str,
    merged: MergedVerdict,
    line: Line,
    origin: str,
    wall: datetime,
    delay: float,
    accounts: int | None = None,
    context: SignInContext = NO_CONTEXT,
) -> FindingRow:
    """Return the row for a sign-in from a bad address; see :mod:`schemas.rows.columns`."""
    source = details.event_time_source
    return {
        "TimeGenerated": iso(wall),
        "FindingId": finding_id(details.table, details.event_id, address),
        "EventTime": None if source is TimeSource.NONE else iso(details.event_time),
        "EventTimeSource": source.value,
        "EventId": details.event_id,
        "SourceTable": details.table,
        "IPAddress": address,
        "Account": details.account,
        "Outcome": details.outcome.value,
        "SignInSucceeded": details.outcome.succeeded,
        "Reputation": merged.reputation.value,
        "Severity": line.severity.value,
        "Sources": list(merged.sources),
        "MatchReason": _match_reason(line, context),
        "Origin": origin,
        "DelaySeconds": round(delay, 3),
        "SchemaVersion": SCHEMA_VERSION,
        "AccountObjectId": details.account_object_id,
        "AccountType": details.account_type,
        "AadTenantId": details.aad_tenant_id,
        "Application": details.application,
        "AppId": details.app_id,
        "ResourceName": details.resource_name,
        "ResultCode": details.result_code,
        "ResultDescription": details.result_description,
        "CorrelationId": details.correlation_id,
        "SessionId": details.session_id,
        "UniqueTokenIdentifier": details.unique_token_identifier,
        "SourceIPAddress": dict(details.addresses).get(address),
        "ClientAppUsed": details.client_app_used,
        "UserAgent": details.user_agent,
        "IsInteractive": details.is_interactive,
        "AuthenticationRequirement": details.authentication_requirement,
        "ConditionalAccessStatus": details.conditional_access_status,
        "DeviceId": details.device_id,
        "DeviceCompliant": details.device_compliant,
        "RiskLevel": details.risk_level,
        "RiskState": details.risk_state,
        "SignInCountry": details.sign_in_country,
        "SignInCity": details.sign_in_city,
        "SignInAsNumber": details.sign_in_as_number,
        "AuthenticationProtocol": details.authentication_protocol,
        "AuthenticationMethods": list(details.authentication_methods) or None,
        "IncomingTokenType": details.incoming_token_type,
        "ResourceId": details.resource_id,
        "AddressClass": merged.address_class.value,
        "AccountsFromAddress": accounts,
        **_intel_columns(merged.intel, rated=merged.rated is not None),
        "VerdictTime": iso_of(merged.rated),
        "ReportUrl": report_url(merged, address),
        "EntraDetections": list(details.detections) or None,
        **_context_columns(context),
        "Evidence": _evidence(merged, context),
    }


def _match_reason(line: Line, context: SignInContext) -> str:
    """Return the policy line with its reason, and what stories saw."""
    parts = [line.why, *(story.sentence for story in context.stories)]
    why = "; ".join(part for part in parts if part)
    return f"{line.name}: {why}" if why else line.name


def _context_columns(context: SignInContext) -> FindingRow:
    reasons = [{"code": it.code, "points": it.points, "text": it.text} for it in context.reasons]
    return {
        "Context": reasons or None,
        "Stories": [story.name for story in context.stories] or None,
        "NewCountry": context.new_country,
        "NewNetwork": context.new_network,
        "NewDevice": context.new_device,
        "SessionFirstNetwork": context.session_first_network,
    }


def _evidence(merged: MergedVerdict, context: SignInContext) -> dict[str, Any]:
    """Return what each source said, and each story."""
    if not context.stories:
        return merged.evidence
    sentences = {story.name: story.sentence for story in context.stories}
    support = sorted(context.signs - sentences.keys())
    return {**merged.evidence, STORIES_SOURCE: {"stories": sentences, "support": support}}


def report_url(merged: MergedVerdict, address: str) -> str | None:
    """Return the public page on an address, or None if no source has one."""
    return merged.report_page[1] + address if merged.report_page is not None else None


def _intel_columns(intel: Intel, *, rated: bool) -> FindingRow:
    """Return the columns of *intel*. With *rated*, an empty list is a result, not null."""

    def names(values: Sequence[str]) -> list[str] | None:
        return list(values) if values or rated else None

    confidence = intel.confidence if intel.confidence in ("high", "medium", "low") else None
    return {
        "Confidence": confidence,
        "Score": intel.score,
        "BackgroundNoise": intel.background_noise,
        "Behaviors": names(intel.behaviors),
        "Classifications": names(intel.classifications),
        "FalsePositives": names(intel.false_positives),
        "MitreTechniques": names(intel.mitre_techniques),
        "Cves": names(intel.cves),
        "IntelCountry": intel.country,
        "IntelAsNumber": intel.as_number,
        "IntelAsName": intel.as_name,
        "IpRange": intel.ip_range,
        "ReverseDns": intel.reverse_dns,
        "IntelFirstSeen": _timestamp(intel.first_seen),
        "IntelLastSeen": _timestamp(intel.last_seen),
    }


def _timestamp(text: str | None) -> str | None:
    parsed = parse_time(text)
    return iso(parsed) if parsed else None
