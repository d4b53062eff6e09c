"""What to do about unanswered sign-ins and unreadable records, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.commands import console as screens
from schemas.intel.verdicts import WhyUnanswered

if TYPE_CHECKING:
    from consumers.pipeline.stats import PipelineCounts
    from consumers.wiring.replay import ReplayPipeline


def advice(running: ReplayPipeline, waiting: int, quota: int) -> list[str]:
    """Return notes on what to do about unanswered sign-ins and unreadable records."""
    counts = running.pipeline.counts
    notes = []
    if counts.unanswered and running.lookups is None:
        reasons = [
            "SIGNINWATCH_CROWDSEC__API_KEY is not set"
            if reason == WhyUnanswered.NO_SOURCE
            else reason
            for reason in sorted(counts.reasons)
        ]
        why = "--quota is 0" if quota == 0 else ", ".join(reasons)
        notes.append(
            f"No lookups were made; {counts.unanswered:,} sign-ins are unanswered, not clean: "
            f"{why}."
        )
    elif counts.unanswered:
        notes.append(
            f"{counts.unanswered:,} sign-ins are unanswered, not clean ({waiting:,} waiting in the "
            f"ledger): {', '.join(sorted(counts.reasons))}. The quota is {quota:,} lookups."
        )
    if counts.without_time:
        notes.append(
            f"{counts.without_time:,} sign-ins have no readable time and count as happening when "
            "they were read; their findings have no EventTime."
        )
    return notes + unread_notes(counts)


def unread_notes(counts: PipelineCounts) -> list[str]:
    """Return notes on records that were not read, or are of tables that are off."""
    notes = []
    if counts.records and counts.rejected * 2 > counts.records:
        notes.append(
            "Most records could not be read. A file needs JSON objects, or CSV with a line of "
            "column names."
        )
    elif counts.rejected:
        notes.append(
            f"{screens.counted(counts.rejected, 'record')} could not be read; `signinwatch "
            "quarantine list --state DIR` shows why if you replay with --state DIR."
        )
    if counts.off:
        tables = ", ".join(sorted(counts.off))
        notes.append(
            f"{screens.counted(counts.off.total(), 'record')} of tables that are off: {tables}. "
            f"SIGNINWATCH_TABLES=default,{tables.replace(' ', '')} turns them on as well."
        )
    elif counts.signins == 0 and counts.skipped:
        notes.append(
            "No sign-ins were found. If the rows have no column Type, --table NAME says whose "
            "they are."
        )
    return notes
