"""Which of a record's times is that of the event."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from schemas.events.decode import Decoder
from schemas.events.tables import load_tables
from tests.recorded import V4

ENQUEUED = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
FALLBACK = datetime(1999, 1, 1, tzinfo=UTC)
SANE, EARLY, LATE = "2026-03-02T08:00:00", "0001-01-01T00:00:00", "9999-12-31T23:59:59"


def entra(created: object, envelope: str = SANE) -> dict[str, Any]:
    """Return a record of diagnostic settings."""
    return {
        "category": "SignInLogs",
        "time": f"{envelope}Z",
        "properties": {"id": "1", "createdDateTime": created, "ipAddress": V4},
    }


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (entra(f"{SANE}Z", LATE), SANE),
        (entra(f"{EARLY}Z"), SANE),
        (entra(f"{LATE}Z"), SANE),
        (entra(0), SANE),
        (entra("/Date(1772438400000)/", LATE), SANE),
        (entra(f"{EARLY}Z", LATE), EARLY),
        (entra(None, "nonsense"), "2026-03-02T08:30:00"),
        (
            {
                "Type": "AzureActivity",
                "TimeGenerated": f"{SANE}Z",
                "EventSubmissionTimestamp": "2026-03-02T08:03:00Z",
                "CallerIpAddress": V4,
            },
            SANE,
        ),
    ],
    ids=["own", "year 1", "year 9999", "zero", "PowerShell", "both absurd", "none", "activity"],
)
def test_the_time_of_the_event(record: dict[str, Any], expected: str) -> None:
    """An absurd year is not believed beside a plausible time."""
    (signin,) = Decoder(load_tables(["all"])).decode(orjson.dumps(record)).signins
    time = signin.details(enqueued=ENQUEUED, fallback_time=FALLBACK).event_time
    assert time.isoformat() == f"{expected}+00:00"
