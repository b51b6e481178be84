"""The topic on a real broker: all records are read without a group; a forged one behind the log and a flipped byte are found."""

from __future__ import annotations

from pathlib import Path

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


async def test_a_byte_flipped_in_the_brokers_file_is_found_before_its_entry(
    kafka: KafkaConnection, topic_prefix: str, parts_folder: Path
) -> None:
    await ensure_topics(kafka, [AUDIT_LOG], TopicLayout(topic_prefix, 1, 1))
    topic = AUDIT_LOG.wire_name(topic_prefix)
    publisher = KafkaPublisher(kafka)
    try:
        for one in (GOOD[:100], GOOD[100:200], GOOD[200:]):  # each a batch, with a checksum of its own
            await publisher.publish([Outgoing(topic, b"audit", record.value, []) for record in one])
        segment = parts_folder / "kafka" / "data" / f"{topic}-0" / "00000000000000000000.log"
        data = segment.read_bytes()
        at = data.index(GOOD[150].value) + 20
        with segment.open("r+b") as file:
            file.seek(at)
            file.write(bytes([data[at] ^ 1]))
        with Layer("topic", repeats=True) as layer:
            await read_topic(kafka, topic, len(ENTRIES), layer, lambda *_: None)
            assert layer.finding is not None
            assert (layer.finding.index, layer.finding.code) == (layer.leaves.count, "record_corrupt")
            assert 0 < layer.leaves.count <= 150
    finally:
        await publisher.close()
