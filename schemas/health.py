"""How the service says that it is not well: one code for each trouble, explained in the runbook."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Problem(StrEnum):
    """What can be wrong, by code. ``docs/runbook.md`` has a paragraph on each, held by a test."""

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
        Problem.REPLICA_REFUSED,
        Problem.REPLICA_STALE,
        Problem.INDICATORS_HELD_BACK,
        Problem.CHECKPOINT_UNREADABLE,
        Problem.FINDINGS_REFUSED,
        Problem.CLOCK_OFF,
        Problem.FEW_FILES,
    }
)
"""Troubles that a person may want to know of, while the service does all that it can."""

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
"""Troubles by which work rightly waits for something outside the process; a restart mends none."""


class HealthReporter(Protocol):
    """Is told of trouble, and of its end. Cheap: may be called at every try."""

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Note that something is wrong; the first call of several counts as its beginning.

        *detail* is one line that says how to mend it, without secrets; *part* tells several of one
        kind apart (a partition, a source).
        """

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Note that it is right (again)."""
