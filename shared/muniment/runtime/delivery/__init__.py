"""Delivery: at least once in, effects exactly once, out through an outbox.

One event's way: `subscriber` (Kafka, FastStream) -> `processor` (decode, inbox, handler, outbox in one transaction)
-> `relay` (outbox to Kafka). What cannot be processed goes to a retry topic or becomes a dead letter; nothing is
skipped.
"""
