"""A Kafka topic of the subscriber's own: the event goes on as it came, in CloudEvents' binary mode, under the same id.

Which topics may be named is a setting, and never those of the service's own prefix. The topic must exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from muniment.adapters.kafka import Outgoing
from muniment.adapters.kafka_guest import GuestPublisher
from muniment.contracts.cloudevent import decode, encode
from muniment.contracts.errors import Misconfigured, Rejected
from muniment.notifier.channels import Message, Request, merged
from muniment.notifier.posting import Answer

_KNOWN: Final = frozenset({"topic"})
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SCHEME: Final = "kafka:"


@dataclass(frozen=True, slots=True)
class KafkaChannel:
    """Produces events to topics that subscribers own."""

    publisher: GuestPublisher | None
    prefixes: frozenset[str]
    """Beginnings of names that may be written to; none: the channel is off."""
    forbidden: frozenset[str]
    """Beginnings of names that are the service's own."""

    def checked(self, given: Mapping[str, Any], owner: UUID, stored: Mapping[str, Any]) -> dict[str, Any]:
        """`{"topic"}`. Raises `Rejected` (`topic_not_allowed`)."""
        config = merged(given, stored, _KNOWN)
        return {"topic": self._allowed(config.get("topic"))}

    def shown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The topic's name."""
        return dict(config)

    def new_secret(self, config: Mapping[str, Any]) -> str | None:
        """None: who may write is the broker's business."""
        return None

    def request(self, message: Message, at: datetime) -> Request:
        """The record. Raises `Rejected` when settings no longer allow the topic."""
        topic = self._allowed(message.config.get("topic"))
        event = decode([("content-type", b"application/cloudevents+json")], message.body.encode())
        headers, value = encode(event)
        return Request(
            url=f"{_SCHEME}{topic}",
            headers={
                **{name: raw.decode() for name, raw in headers},
                "muniment-delivery-id": str(message.delivery_id),
            },
            body=value.decode(),
            method="PRODUCE",
        )

    async def send(self, request: Request) -> Answer:
        """Produce it; the answer says where it lies. Raises `Rejected` (`topic_unknown`) and `Transient`."""
        if self.publisher is None:
            raise Misconfigured("channel_unavailable", "there is no Kafka connection for subscribers' topics")
        key = request.headers.get("ce_partitionkey")
        record = Outgoing(
            topic=request.url.removeprefix(_SCHEME),
            key=None if key is None else key.encode(),
            value=request.body.encode(),
            headers=[(name, value.encode()) for name, value in request.headers.items()],
        )
        place = await self.publisher.publish(record)
        said = {"topic": record.topic, "partition": place.partition, "offset": place.offset}
        return Answer(200, {}, json.dumps(said).encode())

    def _allowed(self, topic: object) -> str:
        if (
            isinstance(topic, str)
            and _NAME.fullmatch(topic)
            and any(topic.startswith(prefix) and topic != prefix for prefix in self.prefixes)
            and not any(topic.startswith(prefix) for prefix in self.forbidden)
        ):
            return topic
        raise Rejected(
            "topic_not_allowed",
            "that topic is not one to write to",
            expected=" or ".join(f"{prefix}NAME" for prefix in sorted(self.prefixes)) or "none: the channel is off",
            actual=repr(topic)[:100],
            hint="an operator allows beginnings of names with MUNIMENT_NOTIFIER__TOPIC_PREFIXES",
        )
