"""All metrics, defined once for ``/metrics``, the health table and the documentation."""

from __future__ import annotations

from dataclasses import dataclass

METRIC_PREFIX = "signinwatch_"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric. Counters start at 0 with the process."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a metric. Labels are in the order of the metric's label names."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


MESSAGES = Metric("messages", COUNTER, "event hub messages received")
REPEATED = Metric("repeated_messages", COUNTER, "messages redelivered after being acknowledged")
RECORDS = Metric("records", COUNTER, "records in the received messages")
REJECTED = Metric("rejected", COUNTER, "unreadable records, moved to quarantine")
SKIPPED = Metric("skipped", COUNTER, "readable records that are not evaluated", ("reason",))
SIGNINS = Metric("signins", COUNTER, "sign-ins")
OWN_NETWORK = Metric("own_network", COUNTER, "sign-ins from TRUSTED_NETWORKS")
CACHE_HITS = Metric("cache_hits", COUNTER, "sign-ins answered without a lookup of their own")
CACHE_HIT_SHARE = Metric("cache_hit_share", GAUGE, "share of sign-ins that were cache hits, 0 to 1")
UNANSWERED = Metric("unanswered", COUNTER, "sign-ins unanswered on arrival", ("reason",))
VERDICTS = Metric("verdicts", COUNTER, "verdicts and failed lookups", ("source", "kind"))
NEW_REPUTATIONS = Metric(
    "unrecognised_reputations",
    COUNTER,
    "verdicts with a reputation that is not known yet, and counts as unknown",
    ("word",),
)
LOOKUPS = Metric("lookups", COUNTER, "addresses looked up in the paid API")
REQUESTS = Metric("requests", COUNTER, "requests to the paid API")
QUOTA_LEFT = Metric("quota_left", GAUGE, "lookups left in the current quota period", ("period",))
WAITING = Metric("waiting", GAUGE, "pending sign-ins in the ledger")
WAITING_ADDRESSES = Metric("waiting_addresses", GAUGE, "addresses with pending sign-ins")
DROPPED = Metric(
    "dropped", GAUGE, "pending sign-ins dropped since the ledger was created", ("reason",)
)
LEDGER_VERDICTS = Metric("ledger_verdicts", GAUGE, "verdicts stored in the ledger")
HELD = Metric("held", GAUGE, "sign-ins in memory during the lookup of their address")
FINDINGS = Metric("findings", COUNTER, "findings accepted by the sink", ("severity",))
FINDINGS_REFUSED = Metric(
    "findings_refused", COUNTER, "permanently rejected findings, in quarantine"
)
FINDINGS_QUEUED = Metric("findings_queued", GAUGE, "findings queued for the sink")
FINDING_SECONDS = Metric(
    "finding_seconds", HISTOGRAM, "seconds from a message's arrival in the hub to its finding"
)
SINK_ERRORS = Metric("sink_errors", COUNTER, "failed uploads that were retried")
LAG = Metric(
    "lag", GAUGE, "messages between the position in an owned partition and its end", ("partition",)
)
CHECKPOINT_AGE = Metric(
    "checkpoint_age_seconds",
    GAUGE,
    "seconds since the last checkpoint or the start of ownership",
    ("partition",),
)
STANDING = Metric(
    "standing_seconds", GAUGE, "seconds since a partition advanced or had no lag", ("partition",)
)
PARTITIONS = Metric("partitions", GAUGE, "partitions of a hub", ("hub",))
PARTITIONS_UNOWNED = Metric(
    "partitions_unowned", GAUGE, "partitions without an active owner", ("hub",)
)
UNSETTLED = Metric("unsettled_batches", GAUGE, "batches not acknowledged yet", ("partition",))
FEED_INDICATORS = Metric("feed_indicators", GAUGE, "valid indicators of a feed", ("feed",))
FEED_AGE = Metric(
    "feed_age_seconds", GAUGE, "seconds since the last complete read of a feed", ("feed",)
)
FEED_SKIPPED = Metric(
    "feed_skipped", GAUGE, "objects of a feed that are not usable indicators", ("feed", "reason")
)
REPLICA_AGE = Metric("replica_age_seconds", GAUGE, "seconds since the CrowdSec replica was created")
LATE_MATCH_AGE = Metric(
    "late_match_age_seconds", GAUGE, "age in seconds of the oldest sign-in kept for retro-matching"
)
LATE_MATCH_SIGNINS = Metric("late_match_signins", GAUGE, "sign-ins kept for retro-matching")
LATE_MATCH_LOST = Metric("late_match_lost", COUNTER, "sign-ins not kept for retro-matching")
QUARANTINED = Metric("quarantined", COUNTER, "records and findings moved to quarantine")
REPORTS_DROPPED = Metric("reports_dropped", COUNTER, "verdict and health rows that were dropped")
OPEN_PROBLEM = Metric("trouble", GAUGE, "1 while a problem lasts; see runbook", ("code", "part"))
READY = Metric("ready", GAUGE, "1 while sign-ins can be evaluated")

METRICS: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
