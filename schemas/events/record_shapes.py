"""Recognise records that name neither a table nor a category."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.events.lenient_json import load_json

if TYPE_CHECKING:
    from collections.abc import Callable

_GRAPH_KINDS = {
    "noninteractiveuser": "graph_non_interactive",
    "serviceprincipal": "graph_service_principal",
    "managedidentity": "graph_managed_identity",
}


def shape_of(record: dict[str, Any]) -> str | None:
    """Return the shape of a record with lower-case names, as table formats name it, or None.

    Known shapes: Microsoft Graph sign-ins and risk detections, Microsoft 365 audit records,
    Activity Log events of the REST API, Okta System Log events, activities of Google's Reports
    API, Duo authentication logs, bare Defender hunting rows, and sign-in rows of a query that
    dropped ``Type``.
    """
    for names, shape in _SHAPES:
        if names <= record.keys():
            found = shape if isinstance(shape, str) else shape(record)
            if found is not None:
                return found
    return None


def _row_kind(record: dict[str, Any]) -> str | None:
    """Return the kind of a workspace row that lost its ``Type``, by whom it names."""
    if "userprincipalname" in record:
        interactive = str(record.get("isinteractive")).lower() != "false"
        return "row_interactive" if interactive else "row_non_interactive"
    return "row_service_principal" if "serviceprincipalid" in record else None


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


def _risk_kind(record: dict[str, Any]) -> str:
    return "graph_principal_risk" if "serviceprincipalid" in record else "graph_user_risk"


def _activity_kind(record: dict[str, Any]) -> str | None:
    known = not record.keys().isdisjoint(("claims", "httprequest", "caller"))
    return "activity_api" if known else None


def _google_kind(record: dict[str, Any]) -> str | None:
    return "google_activity" if record["kind"] == "admin#reports#activity" else None


def _hunting_kind(record: dict[str, Any]) -> str | None:
    action = record["actiontype"]
    if not isinstance(action, str) or not action.lower().startswith("logon"):
        return None
    return "hunting_device" if "remoteip" in record else "hunting_identity"


_SHAPES: tuple[tuple[set[str], str | Callable[[dict[str, Any]], str | None]], ...] = (
    ({"recordtype", "operation"}, "office_audit"),
    ({"resulttype", "ipaddress"}, _row_kind),
    ({"createddatetime", "ipaddress"}, lambda record: _graph_kind(record.get("signineventtypes"))),
    ({"eventtimestamp"}, _activity_kind),
    ({"eventtype", "published", "uuid"}, "okta_system_log"),
    ({"riskeventtype", "detecteddatetime"}, _risk_kind),
    ({"kind"}, _google_kind),
    ({"access_device", "txid"}, "duo_log"),
    ({"timestamp", "isanonymousproxy"}, "hunting_cloud_app"),
    ({"timestamp", "actiontype"}, _hunting_kind),
)
"""The fields that a record must have, and its shape then; the first that fits counts."""
