"""From a CloudEvent to its typed payload and back. Refusals name the field, not the library that noticed it."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from functools import lru_cache
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

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
    if len(event.data) <= _SMALL:
        return _read_once(topic.event, event.data)
    return _read(topic.event, event.data)


def _read(kind: type[Payload], data: bytes) -> Payload:
    return parse(kind, strict_json.loads(data))


_SMALL: Final = 4096
_read_once: Final = lru_cache(maxsize=256)(_read)
"""Services of one process take the same records within moments of each other: they share a payload, which is frozen."""


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
    errors = error.errors(include_url=False)
    inside = {one["loc"][:depth] for one in errors for depth in range(len(one["loc"]))}
    errors = [one for one in errors if one["loc"] not in inside]  # a list that lost an item is then found too short
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    first = errors[0]
    # A field of several types fails once for each; what a check of ours says of it is the better story.
    field = [one for one in errors if one["loc"][:-1] == first["loc"][:-1]]
    found = next((one for one in field if _own(one) is not None), first)
    place = ".".join(str(part) for part in found["loc"] if not str(part).startswith("function-after[")) or "the body"
    if (own := _own(found)) is not None:
        told = f"{place}: {own.message}{more}"
        return Rejected(own.code, told, expected=own.expected, actual=own.actual, hint=own.hint)
    message = found["msg"].removeprefix("Value error, ")
    code, colon, rest = message.partition(": ")
    if colon and code.isidentifier() and code == code.lower():
        return Rejected(code, f"{place}: {rest}{more}")
    expected, actual = expectation(found)
    return Rejected("schema_invalid", f"{place}: {message}{more}", expected=expected, actual=actual)


def expectation(details: Mapping[str, Any]) -> tuple[str | None, str]:
    """What Pydantic expected, where it says so, and what it found: a size for what is too long, else the value."""
    given, limits = details.get("input"), details.get("ctx", {})
    match details["type"]:
        case "too_long" | "too_short" as kind:
            most = f"at most {limits['max_length']}" if kind == "too_long" else f"at least {limits['min_length']}"
            return f"{most} items", f"{len(given)} items" if isinstance(given, Sized) else repr(given)[:200]
        case "string_too_long":
            return f"at most {limits['max_length']} characters", f"{len(str(given))} characters"
        case "missing":
            return "a value", "nothing"
        case "extra_forbidden":
            return "no field of this name", repr(given)[:200]
    _, should, expected = details["msg"].partition("nput should be ")
    return expected if should else None, repr(given)[:200]


def _own(details: ErrorDetails) -> Rejected | None:
    """The refusal of a field's check, as `contracts.model` has wrapped it."""
    cause = getattr(details.get("ctx", {}).get("error"), "__cause__", None)
    return cause if isinstance(cause, Rejected) else None
