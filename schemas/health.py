"""Health problems of the service: one code for each, explained in the runbook."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Problem(StrEnum):
    """Codes of health problems. A test checks that ``docs/runbook.md`` explains each of them."""

    STARTING = "starting"
    DRAINING = "draining"
    HUB_UNREACHABLE = "hub-unreachable"
    HUB_REFUSED = "hub-refused"
    HUB_MISSING = "hub-missing"
    PARTITION_SILENT = "partition-silent"
    CHECKPOINT_UNREACHABLE = "checkpoint-unreachable"
    CHECKPOINT_REFUSED = "checkpoint-refused"
    CHECKPOINT_MISSING = "checkpoint-missing"
    CHECKPOINT_UNREADABLE = "checkpoint-unreadable"
    BALANCING_FAILS = "balancing-fails"
    PARTITIONS_UNOWNED = "partitions-unowned"
    STREAM_STANDS = "stream-stands"
    LEDGER_UNREACHABLE = "ledger-unreachable"
    LEDGER_REFUSED = "ledger-refused"
    LEDGER_MISSING = "ledger-missing"
    QUARANTINE_UNREACHABLE = "quarantine-unreachable"
    STREAM_UNREADABLE = "stream-unreadable"
    FINDINGS_HELD_BACK = "findings-held-back"
    FINDINGS_REFUSED = "findings-refused"
    SOURCE_DOWN = "source-down"
    KEY_REFUSED = "key-refused"
    QUOTA_SPENT = "quota-spent"
    NOT_CONFIGURED = "not-configured"
    STATE_IN_USE = "state-in-use"
    FEED_DOWN = "feed-down"
    FEED_REFUSED = "feed-refused"
    FEED_STALE = "feed-stale"
    FEED_DISBELIEVED = "feed-disbelieved"
    FEED_GAP = "feed-gap"
    INDICATOR_CAPPED = "indicator-capped"
    REPLICA_REFUSED = "replica-refused"
    REPLICA_STALE = "replica-stale"
    INDICATORS_HELD_BACK = "indicators-held-back"
    CLOCK_OFF = "clock-off"
    FEW_FILES = "few-files"


DEGRADED_ONLY = frozenset(
    {
        Problem.SOURCE_DOWN,
        Problem.QUOTA_SPENT,
        Problem.FEED_DOWN,
        Problem.FEED_REFUSED,
        Problem.FEED_STALE,
        Problem.FEED_DISBELIEVED,
        Problem.FEED_GAP,
        Problem.INDICATOR_CAPPED,
        Problem.REPLICA_REFUSED,
        Problem.REPLICA_STALE,
        Problem.INDICATORS_HELD_BACK,
        Problem.CHECKPOINT_UNREADABLE,
        Problem.FINDINGS_REFUSED,
        Problem.CLOCK_OFF,
        Problem.FEW_FILES,
    }
)
"""Problems that degrade the service without stopping the evaluation of sign-ins."""

OUTSIDE = frozenset(
    {
        Problem.STARTING,
        Problem.HUB_UNREACHABLE,
        Problem.HUB_REFUSED,
        Problem.HUB_MISSING,
        Problem.PARTITION_SILENT,
        Problem.CHECKPOINT_UNREACHABLE,
        Problem.CHECKPOINT_REFUSED,
        Problem.CHECKPOINT_MISSING,
        Problem.LEDGER_UNREACHABLE,
        Problem.LEDGER_REFUSED,
        Problem.LEDGER_MISSING,
        Problem.QUARANTINE_UNREACHABLE,
        Problem.STREAM_UNREADABLE,
        Problem.FINDINGS_HELD_BACK,
    }
)
"""Problems outside the process, for which work has to wait. A restart fixes none of them."""


class HealthReporter(Protocol):
    """Receives problem reports and their resolution. Cheap enough to call on every attempt."""

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Report a problem. It begins with the first call and lasts until it is resolved.

        *detail* is one line without secrets: what is wrong and how to fix it. *part* separates
        problems with the same code (a partition, a source).
        """

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Resolve a problem, whether or not it was reported."""
