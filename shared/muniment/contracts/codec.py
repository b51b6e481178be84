"""From a CloudEvent to its typed payload and back. Refusals name the field, not the library that noticed it."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from muniment.contracts import strict_json
from muniment.contracts.cloudevent import CloudEvent
from muniment.contracts.errors import Rejected
from muniment.contracts.model import Payload
from muniment.contracts.topics import Topic

P = TypeVar("P", bound=Payload)


def payload_of(event: CloudEvent, topic: Topic) -> Payload:
    """The event's data as the topic's payload. Raises `Rejected` (`event_type`, `schema_invalid`, or a JSON code)."""
    if event.type != topic.type:
        raise Rejected("event_type", "the event is of another type", expected=topic.type, actual=event.type)
    return parse(topic.event, strict_json.loads(event.data))


def parse(kind: type[P], value: object) -> P:
    """The JSON value as the payload, or `Rejected` naming the first field at fault.

    The code is the field check's own (`model_name_invalid`, ...) where it has one, else `schema_invalid`.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise refusal(error) from error


def refusal(error: ValidationError) -> Rejected:
    """What a Pydantic error says, as `Rejected`."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the body"
    message = first["msg"].removeprefix("Value error, ")
    code, colon, rest = message.partition(": ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if colon and code.isidentifier() and code == code.lower():
        return Rejected(code, f"{place}: {rest}{more}")
    return Rejected("schema_invalid", f"{place}: {message}{more}", actual=repr(first.get("input"))[:200])
