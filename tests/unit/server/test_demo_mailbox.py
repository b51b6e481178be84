"""The demo's mailbox, spoken to by the standard library's client."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage

from muniment.server.demo.mailbox import Mailbox


def test_a_mail_is_kept_as_it_came_and_dots_are_unstuffed() -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "muniment@example.org", "models@example.org", "digits 1"
    mail.set_content("one\n.two\n..three\n")
    with Mailbox() as mailbox:
        port = int(mailbox.settings["MUNIMENT_NOTIFIER__SMTP__PORT"])
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.send_message(mail)
        kept = mailbox.until("digits 1", seconds=5)
    assert kept.endswith(b"\r\n\r\none\r\n.two\r\n..three\r\n")
