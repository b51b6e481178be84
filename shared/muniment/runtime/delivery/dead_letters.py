"""Dead letters: what is written when a record is set aside, in the transaction that lets the partition move on."""

from __future__ import annotations

import base64
from typing import Final, cast
from uuid import UUID

from muniment.contracts import topics
from muniment.contracts.canonical import sha256_hex
from muniment.contracts.cloudevent import CloudEvent, content_event_id
from muniment.contracts.errors import MunimentError
from muniment.contracts.events import Authentication, Cause, DeadLetter
from muniment.contracts.identity import UNSIGNED
from muniment.contracts.ids import printable
from muniment.contracts.model import rfc3339
from muniment.runtime.delivery.header_text import pack_headers
from muniment.runtime.delivery.record import Refusal
from muniment.runtime.delivery.refusal_tally import count_refusal
from muniment.runtime.delivery.transaction import SQL, Tx

MAX_VALUE: Final = 1024 * 1024
"""Bytes of a record's value that the table keeps; anything an intake topic accepts fits."""
MAX_ON_TOPIC: Final = 128 * 1024
"""Bytes of it that the dead-letter topic repeats: such a record must itself fit into a topic."""
_MAX_HEADERS: Final = 64


async def set_aside(tx: Tx, refusal: Refusal, *, group: str) -> None:
    """Write the dead letter: a row, a record on the service's dead-letter topic, and for strangers' input an entry.

    Doing it twice for the same place changes nothing.
    """
    record, error = refusal.record, refusal.error
    place = record.place
    letter_id = content_event_id("dead-letter", group, place.topic, str(place.partition), str(place.offset))
    value = record.value or b""
    headers = record.headers[:_MAX_HEADERS]
    packed = pack_headers([(name[:256], raw[:1024] if raw is not None else None) for name, raw in headers])
    reason = printable(str(error))
    digest = sha256_hex(value)
    inserted = await tx.connection.fetchval(
        SQL["insert_dead_letter"],
        UUID(letter_id),
        place.topic,
        place.partition,
        place.offset,
        record.key[:1024] if record.key is not None else None,
        error.code,
        reason,
        value[:MAX_VALUE],
        digest,
        len(value),
        packed,
        refusal.attempts,
    )
    if inserted is None:
        return
    key = record.key.decode("utf-8", "replace")[:256].replace("\x00", "\ufffd") if record.key is not None else None
    letter = DeadLetter(
        group=group,
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        key=key,
        code=error.code,
        reason=reason,
        value=base64.b64encode(value[:MAX_ON_TOPIC]).decode(),
        value_sha256=digest,
        value_size=len(value),
        truncated=len(value) > MAX_ON_TOPIC,
        attempts=refusal.attempts,
    )
    topic = topics.dead_letter_topic(tx.service)
    tx.send(
        topic.wire_name(tx.topic_prefix),
        CloudEvent(
            id=letter_id,
            source=f"/muniment/{tx.service}",
            type=topic.type,
            data=letter.model_dump_json(exclude_none=True).encode(),
            time=rfc3339(tx.now),
            extensions={"correlationid": letter_id, "partitionkey": place.topic},
        ),
    )
    if refusal.route is not None and refusal.route.refused_as is not None:
        cause = Cause(
            kind="event",
            id=letter_id,
            topic=place.topic,
            partition=place.partition,
            offset=place.offset,
            sha256=digest,
        )
        await _audit(tx, refusal.route.refused_as, error, cause)


async def _audit(tx: Tx, action: str, error: MunimentError, cause: Cause) -> None:
    """The entry of a stranger's refused event, unless it is one of too many of this minute, which share one.

    Each has its dead letter all the same. Whoever may write to the topic can send what is refused as fast as Kafka
    takes it, and an entry is kept for ever.
    """
    operator, authenticated_by = error.author or (UNSIGNED, "unsigned")
    letters = f"dead-letters/{tx.service}"
    if not await count_refusal(
        tx,
        operator=operator,
        authenticated_by=authenticated_by,
        operation=f"event {cause.topic}",
        code=error.code,
        resource=letters,
    ):
        return
    tx.audit(
        action=action,
        resource=f"{letters}/{cause.id}",
        operator=operator,
        authenticated_by=cast("Authentication", authenticated_by),
        refused=True,
        reason=printable(f"{error.code}: {error}"),
        cause=cause,
    )
