"""The rules for a broker with an authorizer, derived from the topics' declaration."""

from __future__ import annotations

from muniment.contracts import topics
from muniment.server.topic_acls import acls


def test_the_audit_service_alone_may_write_the_audit_log() -> None:
    name = topics.AUDIT_LOG.wire_name("m.")
    assert {rule.principal for rule in acls("m.", "g.") if rule.name == name and "Write" in rule.operations} == {
        "User:muniment-audit"
    }


def test_every_producer_and_consumer_has_its_rule() -> None:
    rules = {(rule.principal, rule.name): rule for rule in acls("m.", "g.")}
    for topic in topics.everything():
        for service in topics.SERVICES:
            operations = rules[f"User:muniment-{service}", topic.wire_name("m.")].operations
            assert ("Write" in operations) == (service in topic.producers)
            assert ("Read" in operations) == (service in topic.consumers)
    assert rules["User:muniment-ingest", "g.ingest"].operations == ("Read",)
    assert rules["User:muniment-ingest", "g.ingest-following"].operations == ("Read",)
