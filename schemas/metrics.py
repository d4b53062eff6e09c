"""Every measurement, defined once: ``/metrics``, the health table and the documentation use it."""

from __future__ import annotations

from dataclasses import dataclass

METRIC_PREFIX = "signinwatch_"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One measurement. Counters count from the start of the process."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a measurement; labels in the order of their names."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


MESSAGES = Metric("messages", COUNTER, "event hub messages taken")
REPEATED = Metric("repeated_messages", COUNTER, "messages that came again after being settled")
RECORDS = Metric("records", COUNTER, "records in them")
REJECTED = Metric("rejected", COUNTER, "records that could not be read; they are in quarantine")
SKIPPED = Metric("skipped", COUNTER, "readable records that do not count", ("reason",))
SIGNINS = Metric("signins", COUNTER, "sign-ins")
OWN_NETWORK = Metric("own_network", COUNTER, "sign-ins from TRUSTED_NETWORKS")
CACHE_HITS = Metric("cache_hits", COUNTER, "sign-ins answered without a question of their own")
CACHE_HIT_SHARE = Metric("cache_hit_share", GAUGE, "share of the sign-ins that were cache hits")
UNANSWERED = Metric("unanswered", COUNTER, "sign-ins unanswered when they came", ("reason",))
VERDICTS = Metric("verdicts", COUNTER, "answers", ("source", "kind"))
LOOKUPS = Metric("lookups", COUNTER, "addresses asked of the paid API")
REQUESTS = Metric("requests", COUNTER, "requests to the paid API")
QUOTA_LEFT = Metric("quota_left", GAUGE, "lookups left in the running period", ("period",))
WAITING = Metric("waiting", GAUGE, "sign-ins that wait in the ledger")
WAITING_ADDRESSES = Metric("waiting_addresses", GAUGE, "addresses they wait for")
DROPPED = Metric("dropped", GAUGE, "waiting sign-ins given up since the ledger began", ("reason",))
LEDGER_VERDICTS = Metric("ledger_verdicts", GAUGE, "verdicts in the ledger")
HELD = Metric("held", GAUGE, "sign-ins held in memory while their address is asked about")
FINDINGS = Metric("findings", COUNTER, "findings accepted by the sink", ("severity",))
FINDINGS_REFUSED = Metric("findings_refused", COUNTER, "findings refused for good; in quarantine")
FINDINGS_QUEUED = Metric("findings_queued", GAUGE, "findings on their way to the sink")
FINDING_SECONDS = Metric(
    "finding_seconds", HISTOGRAM, "seconds from a message's arrival in the hub to its finding"
)
SINK_ERRORS = Metric("sink_errors", COUNTER, "uploads that failed and were tried again")
LAG = Metric("lag", GAUGE, "messages that a partition of ours is behind its end", ("partition",))
CHECKPOINT_AGE = Metric(
    "checkpoint_age_seconds", GAUGE, "seconds since the last checkpoint or claim", ("partition",)
)
STANDING = Metric(
    "standing_seconds", GAUGE, "seconds since a partition got further or had no lag", ("partition",)
)
PARTITIONS = Metric("partitions", GAUGE, "partitions of a hub", ("hub",))
PARTITIONS_UNOWNED = Metric(
    "partitions_unowned", GAUGE, "partitions that no instance has claimed lately", ("hub",)
)
UNSETTLED = Metric("unsettled_batches", GAUGE, "batches not settled yet", ("partition",))
FEED_INDICATORS = Metric(
    "feed_indicators", GAUGE, "indicators of a feed that have not ended", ("feed",)
)
FEED_AGE = Metric(
    "feed_age_seconds", GAUGE, "seconds since a feed was last read to its end", ("feed",)
)
FEED_SKIPPED = Metric(
    "feed_skipped", GAUGE, "objects of a feed that are no indicators of ours", ("feed", "reason")
)
REPLICA_AGE = Metric("replica_age_seconds", GAUGE, "seconds since the CrowdSec replica was made")
LATE_MATCH_AGE = Metric(
    "late_match_age_seconds", GAUGE, "how far back sign-ins are kept for late matches"
)
LATE_MATCH_SIGNINS = Metric("late_match_signins", GAUGE, "sign-ins kept for late matches")
LATE_MATCH_LOST = Metric("late_match_lost", COUNTER, "sign-ins that could not be kept for them")
QUARANTINED = Metric("quarantined", COUNTER, "records and findings set aside in quarantine")
REPORTS_DROPPED = Metric("reports_dropped", COUNTER, "verdict and health rows that were given up")
TROUBLE = Metric("trouble", GAUGE, "1 while something is wrong; see the runbook", ("code", "part"))
READY = Metric("ready", GAUGE, "1 while nothing keeps sign-ins from being judged")

METRICS: tuple[Metric, ...] = tuple(
    one for one in list(globals().values()) if isinstance(one, Metric)
)
