"""`POST /add-checkpoint` (C2SP tlog-witness) on the standard library's HTTP server."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from muniment.verifier.keys import VerifierKey
from muniment.witness.domain import MAX_REQUEST, TEXT, Refused, RequestError, judge, origin_of, parse_submission
from muniment.witness.state import WitnessState

_AT_ONCE: Final = 32
_TIMEOUT_S: Final = 10.0


class Witness:
    """Answers requests one after another: what was seen is compared and replaced as one step."""

    def __init__(self, state: WitnessState, logs: Sequence[VerifierKey], now: Callable[[], float] = time.time) -> None:
        self._state = state
        self._logs = tuple(logs)
        self._now = now
        self._one = threading.Lock()

    def add_checkpoint(self, body: bytes) -> Refused | str:
        """The cosignature line for a request's checkpoint, or the refusal. Raises `OSError`: it cannot be recorded."""
        try:
            submission = parse_submission(body)
        except RequestError as error:
            return Refused(400, f"{error.message}: expected {error.expected}\n")
        origin = origin_of(submission)
        if isinstance(origin, Refused):
            return origin
        keys = [key for key in self._logs if key.name == origin]
        with self._one:
            answer = judge(submission, keys, self._state.seen(origin))
            if isinstance(answer, Refused):
                if answer.evidence:
                    self._state.keep_evidence(body, int(self._now()))
                return answer
            self._state.record(answer)
        return self._state.key.cosign(answer.note.text, int(self._now()))


class WitnessServer(ThreadingHTTPServer):
    """Serves one witness. Bounded: bytes of a request, seconds of a connection, connections at once."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], witness: Witness) -> None:
        self.witness = witness
        self.slots = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__(address, _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: WitnessServer
    protocol_version = "HTTP/1.1"
    server_version = "muniment-witness"
    timeout = _TIMEOUT_S

    def do_POST(self) -> None:
        """Take a checkpoint."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/add-checkpoint":
            self._answer(404, "POST /add-checkpoint is all there is\n", close=True)
        elif not length.isascii() or not length.isdigit() or len(length) > 9:
            self._answer(411, "Content-Length is needed\n", close=True)
        elif int(length) > MAX_REQUEST:
            self._answer(413, f"a request has at most {MAX_REQUEST} bytes\n", close=True)
        elif not self.server.slots.acquire(blocking=False):
            self._answer(503, "too many requests at once\n", close=True)
        else:
            try:
                self._take(int(length))
            finally:
                self.server.slots.release()

    def _take(self, length: int) -> None:
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        try:
            answer = self.server.witness.add_checkpoint(body)
        except OSError as error:
            self.log_error("cannot record: %s", error)
            self._answer(500, "the witness cannot record what it sees; nothing was cosigned\n", close=True)
            return
        if isinstance(answer, Refused):
            self._answer(answer.status, answer.body, answer.content_type)
        else:
            self._answer(200, answer)

    def _answer(self, status: int, body: str, content_type: str = TEXT, *, close: bool = False) -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        if close:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(data)

    def log_error(self, format: str, *args: object) -> None:  # noqa: A002  # reason: the standard library's name
        """The same, but for a kept connection on which nothing more came: that is how each of them ends."""
        if not format.startswith("Request timed out"):
            self.log_message(format, *args)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # reason: the standard library's name
        """One line on stderr for each request."""
        sys.stderr.write(f"{self.address_string()} {format % args}\n")
