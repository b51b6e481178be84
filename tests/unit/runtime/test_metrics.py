"""The metrics' names are what dashboards and alerts are written against."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from muniment.runtime.metrics import Metrics

NAMES = {
    "muniment_http_requests",
    "muniment_http_request_duration_seconds",
    "muniment_pipeline_stage_duration_seconds",
    "muniment_pipeline_in_flight",
    "muniment_event_to_available_seconds",
    "muniment_validation_failures",
    "muniment_artifact_bytes",
    "muniment_outbox_pending",
    "muniment_outbox_oldest_seconds",
    "muniment_scrubbed_bytes",
    "muniment_damaged_files",
    "muniment_scrub_oldest_seconds",
    "muniment_audit_chain_size",
    "muniment_audit_publish_lag_seconds",
    "muniment_audit_lock_rest_seconds",
    "muniment_topic_drift",
    "muniment_audit_verify_failures",
    "muniment_audit_cosignatures",
    "muniment_notifications",
    "muniment_subscriptions_failing",
    "muniment_event_streams",
    "muniment_consumer_lag",
    "muniment_step_seconds",
}


def test_the_names_are_these_and_no_label_names_a_model() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    assert {family.name for family in registry.collect()} == NAMES
    labels = {name for collector in registry._collector_to_names for name in getattr(collector, "_labelnames", ())}
    known = "method route status stage reason op service channel outcome group topic partition part step witness"
    assert labels == set(known.split())


def test_each_process_has_its_own() -> None:
    one, other = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    one.artifact_bytes.labels("read").inc(5)
    assert b'muniment_artifact_bytes_total{op="read"} 5.0' in generate_latest(one.registry)
    assert b'op="read"' not in generate_latest(other.registry)
