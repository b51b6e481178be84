"""What surrounds every request: id, size limit, the problem if it fails, headers, metrics, log line.

One pure ASGI middleware instead of several: each wrapper costs every request, and they all need the same four facts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, reset_contextvars

from muniment.runtime.http.problems import REQUEST_ID, log_problem, problem_of
from muniment.runtime.http.requests import request_id_from, too_large
from muniment.runtime.metrics import Metrics

log = structlog.get_logger(__name__)

HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""Headers of every answer that does not set them itself: an API's answers are data, never pages, never kept."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Envelope:
    """The middleware. `route_names` gives the metrics label of a route object by its `id`, `route_limits` its largest
    body where that is not `max_body_bytes`.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        route_names: dict[int, str],
        max_body_bytes: int,
        route_limits: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._route_names = route_names
        self._max_body_bytes = max_body_bytes
        self._route_limits = route_limits
        self._observers: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = scope[REQUEST_ID] = request_id_from(scope["headers"])
        context = bind_contextvars(request_id=request_id)
        status = 0

        async def send_enveloped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_headers(message.get("headers", ()), request_id)
            await send(message)

        try:
            try:
                await self._app(scope, self._capped(scope, receive), send_enveloped)
            except Exception as error:
                problem = problem_of(error)
                log_problem(problem, error, scope)
                if status:  # too late to say so; the server cuts the connection, and so it is seen
                    raise
                await problem.response(request_id)(scope, receive, send_enveloped)
        finally:
            self._observe(scope, status, time.perf_counter() - started)
            reset_contextvars(**context)

    def _capped(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that stops a body above the limit, and one that is declared to be so before its first byte.

        It refuses when the body is asked for, not before: who asks decides what a refusal leaves behind, and a stranger
        is told that he is one. A server holds a body to its declared length.
        """
        declared: bytes | None = None
        chunked = False
        for name, value in scope["headers"]:
            if name == b"content-length":
                declared = value
            elif name == b"transfer-encoding":
                chunked = True
        small = declared is not None and declared.isdigit() and int(declared[:20]) <= self._max_body_bytes
        if small or (declared is None and not (chunked or scope.get("http_version", "1.1") >= "2")):
            return receive
        size = 0

        async def capped() -> Message:
            nonlocal size
            # The route is known by now: it is what asks.
            limit = self._route_limits.get(id(scope.get("route")), self._max_body_bytes)
            if declared is not None and (not declared.isdigit() or int(declared[:20]) > limit):
                raise too_large(limit, declared[:20].decode("latin-1"))
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise too_large(limit, f"> {limit}")
            return message

        return capped

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"  # a label must not be a stranger's choice
        route = self._route_names.get(id(scope.get("route")), "unmatched")
        key = (method, route, status)
        observers = self._observers.get(key)
        if observers is None:
            observers = self._observers[key] = (
                self._metrics.http_requests.labels(method, route, str(status)),
                self._metrics.http_duration.labels(method, route),
            )
        observers[0].inc()
        observers[1].observe(seconds)
        write = log.info if status in {401, 403} else log.debug
        write("request", method=method, path=scope["path"][:500], status=status, seconds=round(seconds, 4))


def _with_headers(given: Any, request_id: str) -> list[tuple[bytes, bytes]]:
    headers = list(given)
    names = {name for name, _ in headers}
    headers.extend(header for header in HEADERS if header[0] not in names)
    headers.append((b"x-request-id", request_id.encode()))
    return headers
