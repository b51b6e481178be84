"""A mail server of one mailbox on loopback: as much of RFC 5321 as it takes to be handed a message."""

from __future__ import annotations

import socketserver
import threading
from dataclasses import dataclass, field

_LINE = 64 * 1024
_REPLIES = {"EHLO": "250 mailbox", "HELO": "250 mailbox", "MAIL": "250 ok", "RCPT": "250 ok", "RSET": "250 ok"}


@dataclass
class Mailbox:
    """Keeps each message as it came."""

    mails: list[bytes] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)
    _server: socketserver.ThreadingTCPServer | None = None

    def __enter__(self) -> Mailbox:
        mailbox = self

        class Talk(socketserver.StreamRequestHandler):
            timeout = 60

            def handle(self) -> None:
                self._reply("220 mailbox")
                while line := self.rfile.readline(_LINE):
                    verb = line[:4].decode("ascii", "replace").strip().upper()
                    if verb == "DATA":
                        self._reply("354 go on")
                        mailbox._keep(self._data())
                        self._reply("250 kept")
                    elif verb == "QUIT":
                        self._reply("221 bye")
                        return
                    else:
                        self._reply(_REPLIES.get(verb, "502 unknown"))

            def _data(self) -> bytes:
                lines = []
                while (line := self.rfile.readline(_LINE)) not in (b".\r\n", b""):
                    lines.append(line.removeprefix(b"."))
                return b"".join(lines)

            def _reply(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode("ascii"))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talk)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None  # noqa: S101  # reason: entered before
        self._server.shutdown()
        self._server.server_close()

    @property
    def settings(self) -> dict[str, str]:
        """The environment in which a notifier sends its mails here."""
        assert self._server is not None  # noqa: S101  # reason: entered before
        return {
            "MUNIMENT_NOTIFIER__SMTP__HOST": "127.0.0.1",
            "MUNIMENT_NOTIFIER__SMTP__PORT": str(self._server.server_address[1]),
            "MUNIMENT_NOTIFIER__SMTP__SECURITY": "none",
            "MUNIMENT_NOTIFIER__SMTP__SENDER": "muniment@example.org",
        }

    def until(self, text: str, seconds: float = 30) -> bytes:
        """The first message that holds this text, once it has come. Raises `TimeoutError`."""

        def found() -> bytes | None:
            return next((mail for mail in self.mails if text.encode() in mail), None)

        with self._arrived:
            if not self._arrived.wait_for(lambda: found() is not None, timeout=seconds):
                raise TimeoutError(f"no mail with {text!r} within {seconds} s")
            mail = found()
        assert mail is not None  # noqa: S101  # reason: waited for above
        return mail

    def _keep(self, mail: bytes) -> None:
        with self._arrived:
            self.mails.append(mail)
            self._arrived.notify_all()
