"""A row of the verdicts table: what is known of one address, or why nothing is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from schemas.findings import REPORT_URL
from schemas.times import iso
from schemas.verdicts import Answer, Unanswered, Verdict


def verdict_row(address: str, answer: Answer | None, why: str = "not asked yet") -> dict[str, Any]:
    """Return the columns of ``SignInWatchVerdicts_CL`` but for ``TimeGenerated``.

    *why* stands as the reason where there is no answer at all.
    """
    row: dict[str, Any] = {
        "IPAddress": address,
        "Verdict": "unanswered",
        "Reason": answer.why.value if isinstance(answer, Unanswered) else why,
        "Sources": [],
        "Score": None,
        "Confidence": None,
        "Classifications": [],
        "AddressClass": "unknown",
        "ExpiresTime": None,
        "ReportUrl": None,
    }
    if isinstance(answer, Verdict):
        intel = answer.intel
        row |= {
            "Verdict": answer.reputation.value,
            "Reason": f"{answer.source} says {intel.told_reputation or 'nothing is known'}",
            "Sources": [answer.source],
            "Score": intel.score,
            "Confidence": intel.confidence,
            "Classifications": [*intel.classifications, *intel.false_positives],
            "AddressClass": answer.address_class.value,
            "ExpiresTime": iso(datetime.fromtimestamp(answer.expires, UTC)),
            "ReportUrl": REPORT_URL + address,
        }
    return row
