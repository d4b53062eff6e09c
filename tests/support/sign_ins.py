"""Sign-ins for tests, in the two envelopes."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
_numbers = itertools.count(1)


def row(address: str, account: str = "ada@example.net", **more: Any) -> dict[str, Any]:
    """Return a row of SigninLogs as data export sends it."""
    number = next(_numbers)
    return {
        "TimeGenerated": _time(number),
        "CreatedDateTime": _time(number),
        "Id": f"event-{number}",
        "IPAddress": address,
        "UserPrincipalName": account,
        "ResultType": "0",
        "Type": "SigninLogs",
        **more,
    }


def record(address: str, account: str = "ada@example.net", **more: Any) -> dict[str, Any]:
    """Return a record of the diagnostic settings."""
    number = next(_numbers)
    return {
        "time": _time(number),
        "category": "SignInLogs",
        "resultType": "0",
        "callerIpAddress": address,
        "properties": {
            "id": f"event-{number}",
            "createdDateTime": _time(number),
            "ipAddress": address,
            "userPrincipalName": account,
            **more,
        },
    }


def message(*records: Any) -> bytes:
    """Return a message body."""
    return orjson.dumps({"records": list(records)})


def lines(*bodies: bytes) -> bytes:
    """Return a recording."""
    return b"".join(body + b"\n" for body in bodies)


def address(number: int) -> str:
    """Return one of many public addresses."""
    return f"81.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _time(number: int) -> str:
    moment = START + timedelta(seconds=number % 50_000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "0Z")
