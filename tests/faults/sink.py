"""A webhook receiver that keeps every call, checks its signature, and sometimes answers 500, by seed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from typing import Self

from standardwebhooks import Webhook, WebhookVerificationError

from .facts import Call

_TROUBLES = 2
"""500s at most for one delivery: the waits between its attempts grow a hundredfold with each."""


class Sink:
    """Listens on a free loopback port. `trouble` is the share of calls that get a 500."""

    def __init__(self, seed: int, trouble: float = 0.1) -> None:
        self.secret = ""
        self.calls: list[Call] = []
        self._random = random.Random(seed)
        self._trouble = trouble
        self._troubled: Counter[str] = Counter()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                delivery = headers["webhook-id"]
                troubled = self._random.random() < self._trouble and self._troubled[delivery] < _TROUBLES
                self._troubled[delivery] += troubled
                status = 500 if troubled else 204
                self.calls.append(self._call(headers, body, status))
                writer.write(f"HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()

    def _call(self, headers: dict[str, str], body: bytes, status: int) -> Call:
        try:
            Webhook(self.secret).verify(body, headers)
            signed = True
        except WebhookVerificationError:
            signed = False
        event = json.loads(body)
        return Call(headers["webhook-id"], event["id"], event.get("correlationid", ""), signed, status)
