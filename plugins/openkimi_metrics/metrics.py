"""The metrics of one gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from openkimi import KimiEngine, __version__

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)


class Registry(CollectorRegistry):
    """A registry that leaves out when each series began: a second series for each, which nobody reads.

    The client's own switch for that holds for the whole process, and so for metrics that are not ours.
    """

    def collect(self) -> Iterator[Metric]:
        """Collect what is measured."""
        for metric in super().collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class Metrics:
    """A registry of its own, so that two gateways in a process do not count together."""

    def __init__(self, engine: KimiEngine) -> None:
        self.registry = Registry()
        self.requests = Counter(
            "openkimi_http_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.durations = Histogram(
            "openkimi_http_request_duration_seconds",
            "Time from a request's head to the end of its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.first_bytes = Histogram(
            "openkimi_http_first_byte_seconds",
            "Time from a request's head to the first byte of its answer's body.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_progress = Gauge(
            "openkimi_http_requests_in_progress", "Requests that are under way.", registry=self.registry
        )
        self.lateness = Gauge(
            "openkimi_event_loop_lateness_seconds",
            "How late the event loop was at most in the last ten seconds.",
            registry=self.registry,
        )
        Info("openkimi", "The gateway.", registry=self.registry).info({"version": __version__})
        ProcessCollector(registry=self.registry)
        self._engines = [engine]
        self.registry.register(EngineCollector(self))

    @property
    def engine(self) -> KimiEngine:
        """The engine that answers: at a reload another takes its place, and the counts go on."""
        return self._engines[-1]

    @contextmanager
    def following(self, engine: KimiEngine) -> Iterator[None]:
        """Count what an engine does from here on, and no longer after the ``with`` if another one does."""
        if engine not in self._engines:
            self._engines.append(engine)
        try:
            yield
        finally:
            if len(self._engines) > 1:
                self._engines.remove(engine)


class EngineCollector(Collector):
    """Reads off what an engine counts itself."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Read the counts as they stand."""
        engine = self._metrics.engine
        now = engine.statistics
        counters = {
            "openkimi_requests": ("Requests that the model was to answer.", now.requests),
            "openkimi_requests_failed": (
                "Those that ended early: an error, or a caller who left.",
                now.failed,
            ),
            "openkimi_answers": ("Answers that were written.", now.answers),
            "openkimi_paths": ("Reasoning paths of these answers.", now.paths),
            "openkimi_prompt_tokens": ("Tokens of prompts.", now.usage.prompt_tokens),
            "openkimi_cached_tokens": ("Those of them that were not read anew.", now.usage.cached_tokens),
            "openkimi_completion_tokens": ("Tokens of answers.", now.usage.completion_tokens),
            "openkimi_documents_processed": ("Documents that were cut and stored.", now.documents),
            "openkimi_reloads": ("Reloads of the config that were begun.", now.reloads),
            "openkimi_reloads_done": ("Those of them that took effect.", now.reloads_done),
            "openkimi_trims": ("How often caches were emptied to give memory back.", now.trims),
        }
        for name, (meaning, value) in counters.items():
            yield CounterMetricFamily(name, meaning, value=value)
        gauges = {
            "openkimi_ready": ("1 when the model is loaded.", engine.is_open),
            "openkimi_requests_running": ("Requests that are being answered.", now.running),
            "openkimi_requests_waiting": ("Requests that wait for the model.", now.waiting),
        }
        for name, (meaning, value) in gauges.items():
            yield GaugeMetricFamily(name, meaning, value=value)
