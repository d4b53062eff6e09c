"""The metrics of a running service, read from their sources; nothing is counted twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas import metrics as m
from schemas.ledger_ports import LedgerSize, RecentCoverage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric as Family

    from consumers.enrichment.budget import QuotaStatus
    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.inputs.partition import OwnedPartition
    from consumers.inputs.partition_owners import PartitionOwners
    from consumers.pipeline.outbox import Outbox
    from consumers.pipeline.pipeline import Pipeline
    from consumers.pipeline.recent_sign_ins import RecentSignIns
    from consumers.service.health import Health
    from consumers.service.source_changes import RunningSources
    from schemas.ledger_ports import Ledger
    from schemas.metrics import Sample

DELAY_BUCKETS_SECONDS = (
    0.1,
    0.25,
    0.5,
    1.0,
    2.0,
    3.0,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    3_600.0,
    86_400.0,
)
"""Seconds, counted from arrival in the hub. Data export before that takes minutes."""


class MetricsCollector:
    """Collects all metrics. :meth:`refresh` queries those that the ledger holds."""

    def __init__(
        self,
        *,
        health: Health,
        ledger: Ledger,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.claims: Callable[[], Iterable[OwnedPartition]] = tuple
        self.lags: Callable[[], Iterable[tuple[str, int]]] = tuple
        self.owners: Callable[[], Iterable[PartitionOwners]] = tuple
        self.sink_errors: Callable[[], int] = int
        self.reports_dropped: Callable[[], int] = int
        self._sources: RunningSources | None = None
        self._recent: RecentSignIns | None = None
        self._coverage = RecentCoverage()
        self._local_sources: list[Sample] = []
        self._health = health
        self._ledger = ledger
        self._monotonic = monotonic
        self._pipeline: Pipeline | None = None
        self._outbox: Outbox | None = None
        self._lookups: LookupQueue | None = None
        self._size = LedgerSize()
        self.quota: QuotaStatus | None = None
        """The lookup quota at the last :meth:`refresh`; None without paid lookups."""
        self._registry = CollectorRegistry()
        self._registry.register(_RegistryAdapter(self.samples))
        self._seconds = Histogram(
            m.METRIC_PREFIX + m.FINDING_SECONDS.name,
            m.FINDING_SECONDS.meaning,
            buckets=DELAY_BUCKETS_SECONDS,
            registry=self._registry,
        )

    def attach(
        self,
        pipeline: Pipeline,
        outbox: Outbox,
        lookups: LookupQueue | None,
        sources: RunningSources,
        recent: RecentSignIns,
    ) -> None:
        """Set the components to measure."""
        self._pipeline, self._outbox, self._lookups = pipeline, outbox, lookups
        self._sources, self._recent = sources, recent

    def record_delay(self, seconds: float) -> None:
        """Record how long a finding took."""
        self._seconds.observe(seconds)

    def delays(self) -> list[tuple[float, float]]:
        """Return how many findings took up to how many seconds, for each bucket; the last has all.

        The seconds of the last bucket are infinite.
        """
        (family,) = self._seconds.collect()
        return [
            (float(sample.labels["le"]), sample.value)
            for sample in family.samples
            if sample.name.endswith("_bucket")
        ]

    async def refresh(self) -> None:
        """Query the ledger, quota, recent sign-ins and local sources."""
        self._size = await self._ledger.size()
        if self._lookups is not None:
            self.quota = await self._lookups.paid_lookup.budget.status()
        if self._recent is not None and self._recent.recording:
            self._coverage = await self._recent.coverage()
        if self._sources is not None:
            self._local_sources = self._sources.samples()

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)

    def samples(self) -> Iterator[Sample]:
        """Yield every metric except the histogram. May be called from another thread."""
        if self._pipeline is not None and self._outbox is not None:
            yield from self._of_stream(self._pipeline)
            yield from self._of_findings(self._outbox)
            quarantined = self._pipeline.counts.rejected + self._outbox.refused
            yield m.Sample(m.QUARANTINED, quarantined)
        yield from self._of_ledger()
        yield from self._of_local_sources()
        yield from self._of_partitions()
        for reason in self._health.reasons():
            yield m.Sample(m.OPEN_PROBLEM, 1, (reason["code"], reason["part"] or ""))
        yield m.Sample(m.READY, float(self._health.healthy))
        yield m.Sample(m.REPORTS_DROPPED, self.reports_dropped())

    def _of_stream(self, pipeline: Pipeline) -> Iterator[Sample]:
        counts = pipeline.counts
        yield m.Sample(m.MESSAGES, counts.messages)
        yield m.Sample(m.REPEATED, counts.repeated)
        yield m.Sample(m.RECORDS, counts.records)
        yield m.Sample(m.REJECTED, counts.rejected)
        yield m.Sample(m.SIGNINS, counts.signins)
        yield m.Sample(m.OWN_NETWORK, counts.own_network)
        yield m.Sample(m.CACHE_HITS, counts.cache_hits)
        yield m.Sample(m.CACHE_HIT_SHARE, counts.cache_hits / max(1, counts.signins))
        yield m.Sample(m.HELD, len(pipeline.lookups.in_flight) if pipeline.lookups else 0)
        for reason, count in list(counts.skipped.items()):
            yield m.Sample(m.SKIPPED, count, (reason,))
        for reason, count in list(counts.reasons.items()):
            yield m.Sample(m.UNANSWERED, count, (reason,))
        for word, count in list(counts.new_reputations.items()):
            yield m.Sample(m.NEW_REPUTATIONS, count, (word,))
        for labels, count in list(counts.verdicts.items()):
            yield m.Sample(m.VERDICTS, count, labels)
        if self._lookups is not None:
            yield m.Sample(m.LOOKUPS, self._lookups.counts.lookups)
            yield m.Sample(m.REQUESTS, self._lookups.counts.requests)

    def _of_findings(self, outbox: Outbox) -> Iterator[Sample]:
        for severity, count in list(outbox.accepted.items()):
            yield m.Sample(m.FINDINGS, count, (severity,))
        yield m.Sample(m.FINDINGS_REFUSED, outbox.refused)
        yield m.Sample(m.FINDINGS_QUEUED, len(outbox))
        yield m.Sample(m.SINK_ERRORS, self.sink_errors())

    def _of_ledger(self) -> Iterator[Sample]:
        if self.quota is not None:
            yield m.Sample(m.QUOTA_LEFT, self.quota.left, (self.quota.period,))
        yield m.Sample(m.WAITING, self._size.waiting)
        yield m.Sample(m.WAITING_ADDRESSES, self._size.waiting_addresses)
        yield m.Sample(m.LEDGER_VERDICTS, self._size.verdicts)
        for reason, count in list(self._size.dropped.items()):
            yield m.Sample(m.DROPPED, count, (reason,))

    def _of_local_sources(self) -> Iterator[Sample]:
        yield from self._local_sources
        if self._recent is not None and self._recent.recording:
            since = self._coverage.since
            age = max(0.0, time.time() - since) if since is not None else 0.0
            yield m.Sample(m.LATE_MATCH_AGE, age)
            yield m.Sample(m.LATE_MATCH_SIGNINS, self._coverage.signins)
            yield m.Sample(m.LATE_MATCH_LOST, self._recent.failed)

    def _of_partitions(self) -> Iterator[Sample]:
        now = self._monotonic()
        for claim in self.claims():
            yield m.Sample(m.CHECKPOINT_AGE, now - claim.checkpointed_at, (claim.name,))
            yield m.Sample(m.UNSETTLED, claim.unsettled, (claim.name,))
            yield m.Sample(m.STANDING, now - claim.stalled_since, (claim.name,))
        for name, lag in self.lags():
            yield m.Sample(m.LAG, lag, (name,))
        for owners in self.owners():
            yield m.Sample(m.PARTITIONS, len(owners.partitions), (owners.hub,))
            yield m.Sample(m.PARTITIONS_UNOWNED, len(owners.unowned), (owners.hub,))


class _RegistryAdapter(Collector):
    """Adapts samples to the Prometheus client."""

    def __init__(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self._samples = samples

    def collect(self) -> Sequence[Family]:
        """Return a family for each metric; without labels and samples its value is 0."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {
            metric.name: _family(metric) for metric in m.METRICS if metric.kind != m.HISTOGRAM
        }
        seen = set()
        for sample in self._samples():
            families[sample.metric.name].add_metric(sample.labels, sample.value)
            seen.add(sample.metric.name)
        for metric in m.METRICS:
            if metric.name in families and metric.name not in seen and not metric.labels:
                families[metric.name].add_metric((), 0)
        return list(families.values())


def _family(metric: m.Metric) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if metric.kind == m.COUNTER else GaugeMetricFamily
    return kind(m.METRIC_PREFIX + metric.name, metric.meaning, labels=metric.labels)
