"""Which of a record's times is that of the event."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from schemas.events.decode import Decoder
from schemas.events.sign_in import TimeSource
from schemas.events.tables import load_tables
from schemas.intel.merge import merge_verdicts
from schemas.intel.verdicts import Reputation, Verdict
from schemas.rows.columns import row_error
from schemas.rows.findings import finding_row
from schemas.rows.policy import Policy
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
    ("record", "expected", "source"),
    [
        (entra(f"{SANE}Z", LATE), SANE, TimeSource.RECORD),
        (entra(f"{EARLY}Z"), SANE, TimeSource.ENVELOPE),
        (entra(f"{LATE}Z"), SANE, TimeSource.ENVELOPE),
        (entra(0), SANE, TimeSource.ENVELOPE),
        (entra("/Date(1772438400000)/", LATE), SANE, TimeSource.RECORD),
        (entra(f"{EARLY}Z", LATE), EARLY, TimeSource.RECORD),
        (entra(None, "nonsense"), "2026-03-02T08:30:00", TimeSource.ENQUEUED),
        (
            {
                "Type": "AzureActivity",
                "TimeGenerated": f"{SANE}Z",
                "EventSubmissionTimestamp": "2026-03-02T08:03:00Z",
                "CallerIpAddress": V4,
            },
            SANE,
            TimeSource.RECORD,
        ),
    ],
    ids=["own", "year 1", "year 9999", "zero", "PowerShell", "both absurd", "none", "activity"],
)
def test_the_time_of_the_event(record: dict[str, Any], expected: str, source: TimeSource) -> None:
    """An absurd year is not believed beside a plausible time."""
    (signin,) = Decoder(load_tables(["all"])).decode(orjson.dumps(record)).signins
    details = signin.details(enqueued=ENQUEUED, fallback_time=FALLBACK)
    assert details.event_time.isoformat() == f"{expected}+00:00"
    assert details.event_time_source is source


@pytest.mark.parametrize("created", [None, "nonsense", "", 7])
def test_no_time_is_invented(created: object) -> None:
    """Without any, the event counts as happening when it is read, and its row has no EventTime."""
    record = {"Type": "SigninLogs", "Id": "1", "CreatedDateTime": created, "IPAddress": V4}
    (signin,) = Decoder(load_tables()).decode(orjson.dumps(record)).signins
    details = signin.details(enqueued=None, fallback_time=FALLBACK)
    assert not signin.has_time()
    assert (details.event_time, details.event_time_source) == (FALLBACK, TimeSource.NONE)
    row = finding_row(
        details=details,
        address=V4,
        merged=merge_verdicts(
            [Verdict(source="s", reputation=Reputation.MALICIOUS, time=0.0, expires=9.0)]
        ),
        line=Policy().lines[0],
        origin="live",
        wall=ENQUEUED,
        delay=0.0,
    )
    assert (row["EventTime"], row["EventTimeSource"]) == (None, "none")
    assert row_error(row) is None
