"""Server-sent events read from bytes as they come (WHATWG HTML, 9.2.6), cut anywhere. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from muniment.contracts.errors import MunimentError

MAX_EVENT: Final = 16 * 1024 * 1024
"""Bytes of one event, or of what has come of it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One event. `id` is the last one that was sent, `event` the name (`message` by default).

    `data` is None where nothing but an id came: a reader's place then moves, and there is nothing to do.
    """

    id: str
    data: str | None
    event: str = "message"


@dataclass(slots=True)
class SseParser:
    """Bytes in, events out. `retry_ms` is what the server asks for; `id` lasts from event to event."""

    id: str = ""
    retry_ms: int | None = None
    _rest: bytearray = field(default_factory=bytearray)
    _data: list[str] = field(default_factory=list)
    _size: int = 0
    _event: str = ""
    _moved: bool = False
    _after_cr: bool = False
    _begun: bool = False

    def feed(self, chunk: bytes) -> Iterator[Sent]:
        """The events that end within these bytes. Raises `MunimentError` (`stream_event_too_large`)."""
        for line in self._lines(chunk):
            sent = self._line(line)
            if sent is not None:
                yield sent

    def _lines(self, chunk: bytes) -> Iterator[str]:
        """Whole lines; they end in CR LF, LF or CR, and a CR at the end of a piece may have its LF in the next."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        start = 0
        while True:
            lf, cr = chunk.find(b"\n", start), chunk.find(b"\r", start)
            ends = [place for place in (lf, cr) if place >= 0]
            if not ends:
                self._rest += chunk[start:]
                self._check(len(self._rest))
                return
            end = min(ends)
            line = bytes(self._rest) + chunk[start:end]
            self._rest.clear()
            start = end + 1
            if end == cr:
                if start == len(chunk):
                    self._after_cr = True
                elif chunk[start : start + 1] == b"\n":
                    start += 1
            yield self._text(line)

    def _text(self, line: bytes) -> str:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line.decode("utf-8", "replace")

    def _line(self, line: str) -> Sent | None:
        if not line:
            return self._dispatched()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(value) + 1
            self._check(self._size)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self.id = value
            self._moved = True
        elif name == "retry" and value.isascii() and value.isdecimal():
            self.retry_ms = int(value[:9])
        return None

    def _dispatched(self) -> Sent | None:
        data = "\n".join(self._data) if self._data else None
        event, moved = self._event or "message", self._moved
        self._data, self._size, self._event, self._moved = [], 0, "", False
        if data is None and not moved:
            return None
        return Sent(self.id, data, event)

    def _check(self, size: int) -> None:
        if size > MAX_EVENT:
            raise MunimentError(
                "stream_event_too_large", "an event of the stream is too large", expected=f"<= {MAX_EVENT} B"
            )
