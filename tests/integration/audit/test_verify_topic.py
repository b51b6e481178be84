"""The topic on a real broker: all records are read without a group, and a forged one behind the log is found."""

from __future__ import annotations

from muniment.adapters.kafka import KafkaConnection, KafkaPublisher, Outgoing, TopicLayout, ensure_topics
from muniment.contracts.topics import AUDIT_LOG
from muniment.server.verifying.mirrors import read_topic
from muniment.verifier.layers import Layer
from tests.unit.server.test_verifying import ENTRIES, FORGED, GOOD, record


async def test_a_forged_record_behind_the_log_is_found(kafka: KafkaConnection, topic_prefix: str) -> None:
    await ensure_topics(kafka, [AUDIT_LOG], TopicLayout(topic_prefix, 1, 1))
    topic = AUDIT_LOG.wire_name(topic_prefix)
    publisher = KafkaPublisher(kafka)
    try:
        assert await publisher.publish([Outgoing(topic, b"audit", one.value, []) for one in GOOD]) == len(GOOD)
        with Layer("topic", repeats=True) as layer:
            await read_topic(kafka, topic, len(ENTRIES), layer, lambda *_: None)
            assert (layer.finding, layer.leaves.count) == (None, len(ENTRIES))
        await publisher.publish([Outgoing(topic, b"audit", record(9, FORGED).value, [])])
        with Layer("topic", repeats=True) as layer:
            await read_topic(kafka, topic, len(ENTRIES), layer, lambda *_: None)
            assert layer.finding is not None
            assert (layer.finding.index, layer.finding.code) == (9, "two_entries")
    finally:
        await publisher.close()
