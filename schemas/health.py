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
    LEDGER_UNREACHABLE = "ledger-unreachable"
    LEDGER_REFUSED = "ledger-refused"
    LEDGER_MISSING = "ledger-missing"
    QUARANTINE_UNREACHABLE = "quarantine-unreachable"
    STREAM_UNREADABLE = "stream-unreadable"
    FINDINGS_HELD_BACK = "findings-held-back"
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
    }
)
"""Troubles that a person may want to know of, while the service does all that it can."""


class Watch(Protocol):
    """Is told of trouble, and of its end. Cheap: may be called at every try."""

    def trouble(self, what: Trouble, detail: str, *, part: str = "") -> None:
        """Note that something is wrong; the first call of several counts as its beginning.

        *detail* is one line that says how to mend it, without secrets; *part* tells several of one
        kind apart (a partition, a source).
        """

    def well(self, what: Trouble, *, part: str = "") -> None:
        """Note that it is right (again)."""
