"""A place in several topics at once, as a cursor: for each partition the offset of the record that comes next. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Final

from muniment.contracts.errors import Rejected

Offsets = dict[tuple[str, int], int]
"""(topic, partition) -> the offset to read next."""
PREFIX: Final = "kafka."
_MAX_OFFSET: Final = 2**63 - 1


def cursor_of(offsets: Mapping[tuple[str, int], int]) -> str:
    """The cursor that means these offsets."""
    topics: dict[str, dict[str, int]] = {}
    for (topic, partition), offset in sorted(offsets.items()):
        topics.setdefault(topic, {})[str(partition)] = offset
    text = json.dumps(topics, separators=(",", ":")).encode()
    return PREFIX + base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def offsets_of(cursor: str) -> Offsets:
    """What a cursor means. Raises `Rejected` (`cursor_invalid`)."""
    raw = cursor.removeprefix(PREFIX)
    try:
        topics = json.loads(base64.b64decode(raw + "=" * (-len(raw) % 4), altchars=b"-_", validate=True))
        offsets = {
            (topic, int(partition)): offset
            for topic, partitions in topics.items()
            for partition, offset in partitions.items()
        }
        sound = raw != cursor and all(
            type(offset) is int and 0 <= offset <= _MAX_OFFSET and partition >= 0
            for (_, partition), offset in offsets.items()
        )
    except (ValueError, AttributeError, TypeError, RecursionError, binascii.Error) as error:
        raise _invalid(cursor) from error
    if not sound or not offsets:
        raise _invalid(cursor)
    return offsets


def _invalid(cursor: str) -> Rejected:
    return Rejected(
        "cursor_invalid",
        "this is no cursor over Kafka",
        expected="kafka.… as an event's cursor says",
        actual=repr(cursor[:80]),
        hint="a cursor from HTTP goes on over HTTP; or start again with a time or `beginning`",
    )


def start_offsets(cursor: Offsets, first: Mapping[tuple[str, int], int], end: Mapping[tuple[str, int], int]) -> Offsets:
    """Where to go on in the partitions there are now, of which `first` and `end` are the offsets kept.

    A partition that was added since is read from its first record. Raises `Rejected`: `cursor_gone` where records
    after the cursor are no longer kept, `cursor_unknown` where it is of other topics or another cluster.
    """
    known = {topic for topic, _ in cursor}
    wanted = {topic for topic, _ in first}
    if missing := sorted(wanted - known):
        raise Rejected(
            "cursor_unknown",
            "the cursor does not know a topic that is asked for",
            expected=", ".join(missing),
            actual=", ".join(sorted(known)),
            hint="a cursor goes on with the event types it was made with; start again with a time or `beginning`",
        )
    offsets = {place: cursor.get(place, first[place]) for place in first}
    for (topic, partition), offset in sorted(offsets.items()):
        place = (topic, partition)
        if offset > end[place]:
            raise Rejected(
                "cursor_unknown",
                "the cursor lies behind the end of a topic: it is of another cluster, or the topic was made anew",
                expected=f"<= {end[place]} in {topic}/{partition}",
                actual=offset,
                hint="start again with a time or `beginning`",
            )
        if offset < first[place]:
            raise Rejected(
                "cursor_gone",
                "events after this cursor are no longer kept",
                expected=f">= {first[place]} in {topic}/{partition}",
                actual=offset,
                hint="start again with `beginning`; what came between is in the registry and the audit log",
            )
    return offsets
