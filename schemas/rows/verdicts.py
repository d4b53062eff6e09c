"""A row of the verdicts table: what is known of one address, or why nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.events.times import iso_of
from schemas.intel.merge import merge_verdicts
from schemas.intel.verdicts import Answer, Unanswered, Verdict
from schemas.rows.findings import REPORT_URL

if TYPE_CHECKING:
    from collections.abc import Sequence


def verdict_row(
    address: str,
    answer: Answer | None,
    why: str = "not asked yet",
    words: Sequence[Verdict] = (),
) -> dict[str, Any]:
    """Return the columns of ``SignInWatchVerdicts_CL`` but for ``TimeGenerated``.

    *words* are those of free sources, besides the answer. *why* stands as the reason where nobody
    tells anything and there is no answer either.
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
    all_words = [*([answer] if isinstance(answer, Verdict) else []), *words]
    if all_words:
        told = merge_verdicts(all_words)
        intel = told.intel
        row |= {
            "Verdict": told.reputation.value,
            "Reason": told.reason,
            "Sources": list(told.sources),
            "Score": intel.score,
            "Confidence": intel.confidence,
            "Classifications": [*intel.classifications, *intel.false_positives],
            "AddressClass": told.address_class.value,
            "ExpiresTime": iso_of(told.expires),
            "ReportUrl": REPORT_URL + address if told.looked_up is not None else None,
        }
    return row
