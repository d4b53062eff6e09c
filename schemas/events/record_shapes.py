"""Recognise records that name neither a table nor a category."""

from __future__ import annotations

from typing import Any

from schemas.events.lenient_json import load_json

_GRAPH_KINDS = {
    "noninteractiveuser": "graph_non_interactive",
    "serviceprincipal": "graph_service_principal",
    "managedidentity": "graph_managed_identity",
}


def shape_of(record: dict[str, Any]) -> str | None:
    """Return the shape of a record with lower-case names, as table formats name it, or None.

    Known shapes: Microsoft Graph sign-ins and risk detections, Microsoft 365 audit records,
    Activity Log events of the REST API, Okta System Log events, activities of Google's Reports
    API, Duo authentication logs and bare Defender hunting rows.
    """
    if "recordtype" in record and "operation" in record:
        return "office_audit"
    if "createddatetime" in record and "ipaddress" in record:
        return _graph_kind(record.get("signineventtypes"))
    if "eventtimestamp" in record and not record.keys().isdisjoint(
        ("claims", "httprequest", "caller")
    ):
        return "activity_api"
    if "eventtype" in record and "published" in record and "uuid" in record:
        return "okta_system_log"
    if "riskeventtype" in record and "detecteddatetime" in record:
        return "graph_principal_risk" if "serviceprincipalid" in record else "graph_user_risk"
    if record.get("kind") == "admin#reports#activity":
        return "google_activity"
    if "access_device" in record and "txid" in record:
        return "duo_log"
    action = record.get("actiontype")
    if "timestamp" in record and "isanonymousproxy" in record:
        return "hunting_cloud_app"
    if "timestamp" in record and isinstance(action, str) and action.lower().startswith("logon"):
        return "hunting_device" if "remoteip" in record else "hunting_identity"
    return None


def _graph_kind(kinds: object) -> str:
    if isinstance(kinds, str) and kinds.startswith("["):
        try:
            kinds = load_json(kinds)
        except ValueError:
            kinds = None
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if isinstance(kind, str) and kind.lower() in _GRAPH_KINDS:
            return _GRAPH_KINDS[kind.lower()]
    return "graph_interactive"
