"""Metrics export to Azure Monitor with OpenTelemetry; needs the extra ``telemetry``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from consumers.settings.load import disable_exporter_statistics
from schemas import metrics as m
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions, Observation

    from consumers.service.metrics import MetricsCollector

EXPORT_INTERVAL_SECONDS = 60.0


@contextmanager
def exported(connection_string: str, instance: str, metrics: MetricsCollector) -> Iterator[None]:
    """Export every metric except the histogram once a minute, and a last time at the end.

    Raise ConfigurationError if the extra is not installed or the connection string is invalid.
    """
    try:
        from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
    except ImportError:
        raise ConfigurationError(
            "SIGNINWATCH_SERVICE__TELEMETRY: needs an extra; run "
            "pip install 'signinwatch[telemetry]'"
        ) from None
    disable_exporter_statistics()
    try:
        exporter = AzureMonitorMetricExporter(
            connection_string=connection_string, disable_offline_storage=True
        )
    except ValueError:
        raise ConfigurationError(
            "SIGNINWATCH_SERVICE__TELEMETRY: not a connection string of Application Insights; "
            "copy it from the resource's overview"
        ) from None
    reader = PeriodicExportingMetricReader(
        exporter,
        export_interval_millis=EXPORT_INTERVAL_SECONDS * 1_000,
        export_timeout_millis=10_000,
    )
    resource = Resource({"service.name": "signinwatch", "service.instance.id": instance})
    provider = MeterProvider([reader], resource)
    meter = provider.get_meter("signinwatch")
    for metric in m.METRICS:
        if metric.kind == m.COUNTER:
            meter.create_observable_counter(
                metric.name, [_observing(metric, metrics)], description=metric.meaning
            )
        elif metric.kind == m.GAUGE:
            meter.create_observable_gauge(
                metric.name, [_observing(metric, metrics)], description=metric.meaning
            )
    try:
        yield
    finally:
        provider.shutdown(timeout_millis=2_000)


def _observing(
    metric: m.Metric, collector: MetricsCollector
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    from opentelemetry.metrics import Observation

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        for sample in list(collector.samples()):
            if sample.metric is metric:
                labels = dict(zip(metric.labels, sample.labels, strict=True))
                yield Observation(sample.value, labels)

    return observe
