"""The process's own metrics. Prefix `muniment_`, base units, and never a model's name as a label: labels are few words.

One registry for each process, made by the composition root and handed in. FastStream's own metrics keep their names.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from muniment.ports.timing import Observe

QUICK_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Buckets of what answers while somebody waits, in seconds."""
SLOW_S: Final = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0)
"""Buckets of what may have gigabytes to read, in seconds."""


class Metrics:
    """All metrics, as attributes. `registry` is what `/metrics` shows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.http_requests = self._counter("http_requests", "HTTP requests answered", "method", "route", "status")
        self.http_duration = self._histogram(
            "http_request_duration_seconds", "HTTP requests, from first byte to last", QUICK_S, "method", "route"
        )
        self.stage_duration = self._histogram(
            "pipeline_stage_duration_seconds", "one stage of one publication", SLOW_S, "stage"
        )
        self.in_flight = self._gauge("pipeline_in_flight", "publications in a stage", "stage")
        self.event_to_available = self._histogram(
            "event_to_available_seconds", "from a training-completed event to its version being available", SLOW_S
        )
        self.validation_failures = self._counter("validation_failures", "publications refused by validation", "reason")
        self.artifact_bytes = self._counter("artifact_bytes", "bytes of artifacts", "op")
        self.outbox_pending = self._gauge("outbox_pending", "events committed and not yet published", "service")
        self.outbox_oldest = self._gauge("outbox_oldest_seconds", "age of the oldest of them", "service")
        self.scrubbed_bytes = self._counter("scrubbed_bytes", "committed bytes that were read again")
        self.damaged_files = self._gauge("damaged_files", "files of versions and releases whose bytes are damaged")
        self.scrub_oldest = self._gauge("scrub_oldest_seconds", "how long ago the bytes were read that wait longest")
        self.audit_chain_size = self._gauge("audit_chain_size", "entries in the audit log")
        self.audit_publish_lag = self._gauge(
            "audit_publish_lag_seconds", "how long the oldest entry waits that no checkpoint covers"
        )
        self.audit_lock_rest = self._gauge(
            "audit_lock_rest_seconds", "time left of the lock of the log's full tiles that ends first"
        )
        self.topic_drift = self._gauge("topic_drift", "settings of a topic that differ from what must hold", "topic")
        self.audit_verify_failures = self._counter("audit_verify_failures", "verifications of the log that failed")
        self.audit_cosignatures = self._counter(
            "audit_cosignatures", "cosignatures asked of witnesses", "witness", "outcome"
        )
        self.notifications = self._counter("notifications", "delivery attempts", "channel", "outcome")
        self.subscriptions_failing = self._gauge("subscriptions_failing", "subscriptions whose endpoint fails for long")
        self.event_streams = self._gauge("event_streams", "event streams that are open")
        self.step_duration = self._histogram(
            "step_seconds",
            "steps inside the services: of the store's calls, of transactions, of relays",
            QUICK_S,
            "part",
            "step",
        )
        self.consumer_lag = self._gauge("consumer_lag", "records not yet taken", "group", "topic", "partition")

    def steps(self, part: str) -> Observe:
        """What observes the steps of one part: of the store, or of a service."""
        child = functools.cache(lambda step: self.step_duration.labels(part, step))
        return lambda step, seconds: child(step).observe(seconds)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"muniment_{name}_total", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"muniment_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"muniment_{name}", text, labels, buckets=buckets, registry=self.registry)
