"""How the service says that it is not well: one code for each trouble, explained in the runbook."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Trouble(StrEnum):
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
        Trouble.SOURCE_DOWN,
        Trouble.QUOTA_SPENT,
        Trouble.FEED_DOWN,
        Trouble.FEED_REFUSED,
        Trouble.FEED_STALE,
        Trouble.REPLICA_REFUSED,
        Trouble.REPLICA_STALE,
        Trouble.INDICATORS_HELD_BACK,
        Trouble.CHECKPOINT_UNREADABLE,
        Trouble.FINDINGS_REFUSED,
        Trouble.CLOCK_OFF,
        Trouble.FEW_FILES,
    }
)
"""Troubles that a person may want to know of, while the service does all that it can."""

OUTSIDE = frozenset(
    {
        Trouble.STARTING,
        Trouble.HUB_UNREACHABLE,
        Trouble.HUB_REFUSED,
        Trouble.HUB_MISSING,
        Trouble.PARTITION_SILENT,
        Trouble.CHECKPOINT_UNREACHABLE,
        Trouble.CHECKPOINT_REFUSED,
        Trouble.CHECKPOINT_MISSING,
        Trouble.LEDGER_UNREACHABLE,
        Trouble.LEDGER_REFUSED,
        Trouble.LEDGER_MISSING,
        Trouble.QUARANTINE_UNREACHABLE,
        Trouble.STREAM_UNREADABLE,
        Trouble.FINDINGS_HELD_BACK,
    }
)
"""Troubles by which work rightly waits for something outside the process; a restart mends none."""


class Watch(Protocol):
    """Is told of trouble, and of its end. Cheap: may be called at every try."""

    def trouble(self, what: Trouble, detail: str, *, part: str = "") -> None:
        """Note that something is wrong; the first call of several counts as its beginning.

        *detail* is one line that says how to mend it, without secrets; *part* tells several of one
        kind apart (a partition, a source).
        """

    def well(self, what: Trouble, *, part: str = "") -> None:
        """Note that it is right (again)."""
