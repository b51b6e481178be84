"""Log lines for people (console) or machines (JSON), with the context they belong to, and without secrets.

Lines of the standard library's loggers take the same way. Context (`service`, `request_id`, `correlation_id`, `model`)
is bound with `structlog.contextvars`. On the hot path nothing is logged at info for one event or request.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
STARS: Final = "***"

_SECRET_NAME: Final = re.compile(r"token|secret|password|authorization", re.IGNORECASE)
# API tokens and webhook secrets, passwords in URLs, signatures of presigned URLs.
_SECRET_TEXT: Final = re.compile(
    r"(?P<kind>mnt_|whsec_)[A-Za-z0-9+/=_-]{4,}"
    r"|(?P<user>://[^/\s:@\"']*:)[^/\s@\"']+(?=@)"
    r"|(?P<signed>X-Amz-(?:Signature|Security-Token|Credential)=)[^&\s\"']+",
    re.IGNORECASE,
)
_MARKS: Final = ("mnt_", "whsec_", "://", "x-amz-")
_MAX_NESTING: Final = 8
_QUIET: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "faststream", "aiokafka", "asyncio", "urllib3", "httpx2")


class _Forgiving:
    """A stream whose failure costs the line and nothing else: a full disk under the log must not stop the work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it, or lose it."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """The same."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        """As the stream says."""
        return self._stream.isatty()


def mask(text: str) -> str:
    """The text with stars for whatever in it has the shape of a secret."""
    lower = text.lower()
    if not any(mark in lower for mark in _MARKS):
        return text
    return _SECRET_TEXT.sub(lambda found: (found["kind"] or found["user"] or found["signed"]) + STARS, text)


def configure(
    level: Level = "info", form: Literal["auto", "console", "json"] = "auto", *, to: TextIO | None = None
) -> None:
    """Set up logging for the process, once, at its start, to stderr. `auto`: console on a terminal, else JSON lines."""
    stream = cast("TextIO", _Forgiving(to if to is not None else sys.stderr))
    colours = form != "json" and stream.isatty()
    lines = "console" if form == "console" or (form == "auto" and stream.isatty()) else "json"
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _hide_secrets,
    ]
    render = _masked(_json() if lines == "json" else _console(colours))
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-1], structlog.stdlib.add_logger_name, _hide_secrets],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _QUIET:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(max(threshold, logging.WARNING))
    # It tells an error for every moment in which a new partition has no leader, and then tries again.
    logging.getLogger("aiokafka.consumer.fetcher").setLevel(logging.CRITICAL)


def _json() -> Processor:
    # In ASCII: no separator of Unicode's can break a line in two, no lone surrogate can keep it from being written.
    return structlog.processors.JSONRenderer(default=repr)


def _console(colours: bool) -> Processor:
    # The traceback is text by now, so that it could be searched for secrets.
    return structlog.dev.ConsoleRenderer(
        colors=colours, pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
    )


def _masked(render: Processor) -> Processor:
    """The renderer, and stars over what is left in the finished line: in messages, tracebacks and nested values."""

    def masked(logger: WrappedLogger, name: str, event: EventDict) -> str:
        return mask(str(render(logger, name, event)))

    return masked


def _hide_secrets(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    _hide(event, _MAX_NESTING)
    return event


def _hide(fields: MutableMapping[str, Any], depth: int) -> None:
    for name, value in fields.items():
        if _SECRET_NAME.search(str(name)) and name != "event":
            fields[name] = STARS
        elif isinstance(value, dict):
            fields[name] = copy = dict(value)  # the caller's own value stays as it is
            if depth:
                _hide(copy, depth - 1)
            else:
                fields[name] = STARS
        elif isinstance(value, list | tuple) and any(isinstance(part, dict) for part in value):
            holder = {str(place): part for place, part in enumerate(value)}
            _hide(holder, depth - 1) if depth else holder.update(dict.fromkeys(holder, STARS))
            fields[name] = list(holder.values())
