"""The mail server of the soak: each trouble as a client meets it, and what the server has kept after it."""

from __future__ import annotations

import asyncio
import smtplib

import pytest

from muniment.testing.smtp_sink import SmtpSink

TEXT = "X-Muniment-Delivery-Id: one\r\nSubject: s\r\n\r\nbody\r\n\r\nmore\r\n"


def hand_over(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.sendmail("a@example.org", ["b@example.org"], TEXT)


@pytest.mark.parametrize(
    ("trouble", "error", "kept"),
    [
        (None, None, 1),
        ("cut", (smtplib.SMTPServerDisconnected, ConnectionError), 0),
        ("451 not now", smtplib.SMTPDataError, 0),
        ("kept, then cut", (smtplib.SMTPServerDisconnected, ConnectionError), 1),
    ],
)
async def test_a_trouble_is_met_once_with_the_headers_of_the_message(
    trouble: str | None, error: type[Exception] | tuple[type[Exception], ...] | None, kept: int
) -> None:
    asked: list[bytes] = []

    def decide(headers: bytes) -> str | None:
        asked.append(headers)
        return trouble

    async with SmtpSink(trouble=decide) as sink:
        if error is None:
            await asyncio.to_thread(hand_over, sink.port)
        else:
            with pytest.raises(error):
                await asyncio.to_thread(hand_over, sink.port)
        assert len(sink.mails) == kept
    assert asked == [b"X-Muniment-Delivery-Id: one\r\nSubject: s\r\n"]
