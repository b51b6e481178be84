"""A mail server on a real socket that keeps what it is handed: as much of RFC 5321 as a client of ours speaks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as it was handed over. `data` is unstuffed, with CRLF."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    encrypted: bool
    login: tuple[str, str] | None


@dataclass
class SmtpSink:
    """Listens on a free loopback port. With `tls` it offers STARTTLS, or speaks TLS at once (`implicit`)."""

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    replies: dict[str, str] = field(default_factory=dict)
    """What to answer instead, by command (`RCPT`, `DATA`, `.` for the end of the data): `550 no such mailbox`."""
    trouble: Callable[[bytes], str | None] = lambda _: None
    """Asked with each message's headers: None takes it, `cut` ends the connection there, `kept, then cut` when it is
    taken and before it is said; anything else is answered at the end of the data, and it is not taken."""
    silent: frozenset[str] = frozenset()
    """Commands that get no answer."""
    mails: list[Mail] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls if self.implicit else None)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await _Talk(self, reader, writer, encrypted=self.implicit).run()
        writer.transport.abort()


@dataclass
class _Talk:
    """One connection."""

    sink: SmtpSink
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    encrypted: bool
    login: tuple[str, str] | None = None
    sender: str = ""
    recipients: list[str] = field(default_factory=list)

    async def run(self) -> None:
        await self._say("220 sink")
        while True:
            line = (await self.reader.readuntil(b"\r\n")).decode("ascii").rstrip("\r\n")
            self.sink.commands.append(line)
            verb = line[:4].upper()
            if verb in self.sink.silent:
                await asyncio.Event().wait()
            if verb in self.sink.replies:
                await self._say(self.sink.replies[verb])
            elif verb == "EHLO":
                offered = ["AUTH PLAIN", "8BITMIME"]
                if self.sink.tls is not None and not self.encrypted:
                    offered.append("STARTTLS")
                await self._say(*(f"250-{word}" for word in ["sink", *offered]), "250 SIZE 10000000")
            elif verb == "STAR" and self.sink.tls is not None:
                await self._say("220 go on")
                await self.writer.start_tls(self.sink.tls)
                self.encrypted = True
            elif verb == "AUTH":
                _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
                self.login = (user, password)
                await self._say("235 welcome")
            elif verb == "MAIL":
                self.sender, self.recipients = _path(line), []
                await self._say("250 ok")
            elif verb == "RCPT":
                self.recipients.append(_path(line))
                await self._say("250 ok")
            elif verb == "DATA":
                await self._data()
            elif verb == "QUIT":
                await self._say("221 bye")
                return
            else:
                await self._say("502 unknown")

    async def _data(self) -> None:
        await self._say("354 go on")
        lines: list[bytes] = []
        trouble = None
        while (line := await self.reader.readuntil(b"\r\n")) != b".\r\n":
            if line == b"\r\n" and b"\r\n" not in lines:
                trouble = self.sink.trouble(b"".join(lines))
                if trouble == "cut":
                    raise ConnectionAbortedError
            lines.append(line.removeprefix(b"."))
        reply = self.sink.replies.get(".", "250 kept")
        kept = trouble in (None, "kept, then cut")
        if kept and reply.startswith("2"):
            mail = Mail(self.sender, tuple(self.recipients), b"".join(lines), self.encrypted, self.login)
            self.sink.mails.append(mail)
        if trouble == "kept, then cut":
            raise ConnectionAbortedError
        await self._say(reply if kept or trouble is None else trouble)

    async def _say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode("ascii"))
        await self.writer.drain()


def _path(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]
