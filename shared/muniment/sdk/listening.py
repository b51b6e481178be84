"""Listening to events without I/O: what is asked for, what comes of the bytes, and when to try again.

`Client` and `AsyncClient` drive a `Listening` each in their way; the place in the feed, reconnecting and errors are
decided here once.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlencode

from muniment.contracts.errors import MunimentError, Rejected, Transient
from muniment.contracts.event_filter import Filter, filter_of
from muniment.sdk.cursor_file import CursorFile, cursor_text
from muniment.sdk.exchange import Request, Unanswered
from muniment.sdk.kafka_place import PREFIX
from muniment.sdk.problems import problem_of, unanswered
from muniment.sdk.records import Event
from muniment.sdk.sse import Sent, SseParser

HEARTBEAT_S: Final = 15.0
"""The server says something at least so often."""
MAX_PROBLEM: Final = 256 * 1024
_LONGEST_PAUSE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Moved:
    """Nothing to do up to this cursor."""

    cursor: str


Item = Event | Moved


def backoff() -> Iterator[float]:
    """Pauses between tries in seconds, for ever: rising, with jitter, and bounded."""
    pause = 0.25
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311  # reason: jitter is no secret
        pause = min(pause * 2, _LONGEST_PAUSE_S)


class Asked:
    """What a caller of `events` wants: a filter, a start, and where the cursor is kept."""

    def __init__(
        self,
        since: str | int | datetime | None,
        cursor: str | int | os.PathLike[str] | None,
        filters: Mapping[str, Any],
        limit: int | None,
    ) -> None:
        """A cursor comes before `since`. Raises `Rejected` (`filter_invalid`, `cursor_invalid`, `since_invalid`)."""
        types = filters.get("type") or ()
        fields = {
            "types": [types] if isinstance(types, str) else list(types),
            "tags": _tags(filters.get("tags") or ()),
            "metrics": list(filters.get("metrics") or ()),
        }
        plain = {name: filters.get(name) for name in ("model", "branch", "stability", "track")}
        self.wanted: Filter = filter_of({**fields, **plain})
        self.file = CursorFile(Path(cursor)) if isinstance(cursor, os.PathLike) else None
        kept = self.file.load() if self.file is not None else None if cursor is None else cursor_text(str(cursor))
        self.start: str | datetime | None = kept if kept is not None else _since(since)
        self.limit = limit
        self._kept = kept

    def handled(self, item: Item) -> None:
        """Keep the place after what has been handled."""
        if self.file is not None and item.cursor != self._kept:
            self.file.save(item.cursor)
            self._kept = item.cursor


def over_of(start: object) -> Literal["kafka", "http"] | None:
    """Where a start can be gone on from, where that is not both: a cursor belongs to what it was made over."""
    if isinstance(start, int):
        return "http"
    if not isinstance(start, str):
        return None
    return "kafka" if start.startswith(PREFIX) else "http" if start.isdecimal() else None


class Listening:
    """A stream of events over HTTP, from connection to connection."""

    def __init__(self, asked: Asked, *, follow: bool, patience: float) -> None:
        if over_of(asked.start) == "kafka":
            raise Rejected(
                "cursor_invalid",
                "this cursor was made over Kafka",
                expected="a cursor from HTTP",
                hint="go on over Kafka (over='kafka'), or start again with a time or `beginning`",
            )
        self._fields = asked.wanted.fields()
        self._since = asked.start
        self._follow = follow
        self._patience = patience
        self._cursor: str | None = None
        self._parser = SseParser()
        self._pauses = backoff()
        self._answered = time.monotonic()
        self.finished = False
        """The server has said that there is no more (`follow` is off)."""

    def request(self) -> Request:
        """The request of the next connection."""
        self._parser = SseParser()
        query: list[tuple[str, str]] = []
        for name, words in (("type", "types"), ("tag", "tags"), ("metric", "metrics")):
            query += [(name, word) for word in self._fields.get(words, ())]
        query += [
            (name, self._fields[name]) for name in ("model", "branch", "stability", "track") if name in self._fields
        ]
        headers = {"Accept": "text/event-stream"}
        if self._cursor is not None:
            headers["Last-Event-ID"] = self._cursor
        elif self._since is not None:
            query.append(("since", self._since if isinstance(self._since, str) else self._since.isoformat()))
        if not self._follow:
            query.append(("follow", "false"))
        target = "/api/v1/events/stream" + (f"?{urlencode(query)}" if query else "")
        return Request("notifier", "GET", target, headers=headers, wait=2 * HEARTBEAT_S)

    def received(self, chunk: bytes) -> Iterator[Item]:
        """What these bytes bring. Raises `MunimentError` (`answer_unexpected`, `stream_event_too_large`)."""
        self._answered = time.monotonic()
        self._pauses = backoff()
        for sent in self._parser.feed(chunk):
            if sent.id:
                self._cursor = sent.id
            if sent.event == "end":
                self.finished = True
            elif sent.event == "message" and sent.id:
                yield Moved(sent.id) if sent.data is None else _event(sent)

    def lost(self, error: Unanswered) -> float:
        """The connection failed: seconds until the next. Raises `Transient` when that has gone on for too long."""
        if time.monotonic() - self._answered > self._patience:
            raise unanswered(error.url, error.reason) from error
        return next(self._pauses)

    def ended(self) -> float:
        """The connection came to its end, as each does some time: seconds until the next."""
        return next(self._pauses)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> float:
        """The answer is no stream: seconds until it is asked for again. Raises what the server answered with."""
        error = problem_of(status, headers.get("content-type", ""), body)
        if not isinstance(error, Transient) or time.monotonic() - self._answered > self._patience:
            raise error
        told = headers.get("retry-after", "")
        return max(next(self._pauses), min(float(told[:4]), 60.0) if told.isdecimal() else 0.0)

    @staticmethod
    def is_stream(status: int, headers: Mapping[str, str]) -> bool:
        """Whether an answer is a stream of events. Raises `MunimentError` (`answer_unexpected`) for another 2xx."""
        if status >= 400:
            return False
        if status == 200 and headers.get("content-type", "").startswith("text/event-stream"):
            return True
        raise MunimentError(
            "answer_unexpected",
            "the server's answer is no stream of events",
            expected="HTTP 200, text/event-stream",
            actual=f"HTTP {status}, {headers.get('content-type', 'no content type')}",
            hint="is the URL that of a Muniment server?",
        )


def _event(sent: Sent) -> Event:
    try:
        return Event.of_cloudevent(json.loads(sent.data or ""), sent.id)
    except ValueError as error:
        raise MunimentError(
            "answer_unexpected", "an event of the stream is no JSON", actual=f"{len(sent.data or '')} characters"
        ) from error


def _since(since: str | int | datetime | None) -> str | datetime | None:
    if since is None or since == "":
        return None
    if isinstance(since, datetime):
        return since.astimezone(UTC) if since.tzinfo else _no_since(since.isoformat())
    text = str(since)
    if text == "beginning" or text.isdecimal() or text.startswith(PREFIX):
        return text if text == "beginning" else cursor_text(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _no_since(text)
    return moment.astimezone(UTC) if moment.tzinfo else _no_since(text)


def _no_since(text: str) -> datetime:
    raise Rejected(
        "since_invalid",
        "the start cannot be read",
        expected="a time with its offset (2026-01-02T03:04:05Z), a cursor, or beginning",
        actual=repr(text[:80]),
    )


def _tags(tags: Mapping[str, str | None] | Iterable[str]) -> list[str]:
    if isinstance(tags, Mapping):
        return [name if value is None else f"{name}={value}" for name, value in tags.items()]
    return list(tags)
