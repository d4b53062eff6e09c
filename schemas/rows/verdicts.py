"""Rows of the verdicts table: the verdict on an address, or why it has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.events.times import iso_of
from schemas.intel.merge import merge_verdicts
from schemas.intel.verdicts import Answer, Unanswered, Verdict
from schemas.rows.findings import report_url

if TYPE_CHECKING:
    from collections.abc import Sequence


def verdict_row(
    address: str,
    answer: Answer | None,
    why: str = "not looked up yet",
    local: Sequence[Verdict] = (),
) -> dict[str, Any]:
    """Return the columns of ``SignInWatchVerdicts_CL`` except ``TimeGenerated``.

    *local* are the verdicts of local sources, in addition to *answer*. *why* is the reason to
    show if there is neither an answer nor a local verdict.
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
    verdicts = [*([answer] if isinstance(answer, Verdict) else []), *local]
    if verdicts:
        merged = merge_verdicts(verdicts)
        intel = merged.intel
        row |= {
            "Verdict": merged.reputation.value,
            "Reason": merged.reason,
            "Sources": list(merged.sources),
            "Score": intel.score,
            "Confidence": intel.confidence,
            "Classifications": [*intel.classifications, *intel.false_positives],
            "AddressClass": merged.address_class.value,
            "ExpiresTime": iso_of(merged.expires),
            "ReportUrl": report_url(merged, address),
        }
    return row
