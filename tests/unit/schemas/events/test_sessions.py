"""Sessions, devices and tokens of activity, by which a finding's session is followed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from schemas.events.decode import Decoder
from schemas.events.tables import load_tables
from tests.recorded import V4

GRAPH = {"RequestId": "g1", "IPAddress": V4, "UserId": "u", "C_Sid": "sid-1", "C_DeviceId": "dev-1",
         "SignInActivityId": "uti-1"}  # fmt: skip
RECORDS: dict[str, dict[str, Any]] = {
    "a row of Graph activity": {"Type": "MicrosoftGraphActivityLogs", **GRAPH},
    "a record of Graph activity": {
        "category": "MicrosoftGraphActivityLogs",
        "callerIpAddress": V4,
        "properties": {
            "requestId": "g1",
            "userId": "u",
            "C_Sid": "sid-1",
            "C_DeviceId": "dev-1",
            "signInActivityId": "uti-1",
        },
    },
    "a row of Office activity": {
        "Type": "OfficeActivity",
        "OfficeId": "o1",
        "ClientIP": V4,
        "UserId": "ada@example.net",
        "AppAccessContext": '{"AADSessionId": "sid-1", "UniqueTokenId": "uti-1"}',
    },
    "an audit record": {
        "Id": "o1",
        "RecordType": 2,
        "Operation": "MailItemsAccessed",
        "ClientIP": V4,
        "UserId": "ada@example.net",
        "AppAccessContext": {"AADSessionId": "sid-1", "UniqueTokenId": "uti-1"},
    },
}


@pytest.mark.parametrize("kind", RECORDS)
def test_what_links_activity_to_a_sign_in_is_read(kind: str) -> None:
    """Alone and among others, as texts or objects."""
    body = orjson.dumps({"records": [RECORDS[kind], {"x": 1}]})
    for found in (body, orjson.dumps(RECORDS[kind])):
        (signin,) = Decoder(load_tables(["all"])).decode(found).signins
        details = signin.details(enqueued=None, fallback_time=datetime(1999, 1, 1, tzinfo=UTC))
        assert (details.session_id, details.unique_token_identifier) == ("sid-1", "uti-1")
        assert details.device_id == ("dev-1" if "Graph" in kind else None)
