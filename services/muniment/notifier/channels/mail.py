"""E-mail through the operator's own SMTP server (RFC 5321): a text and an HTML part, one recipient a subscription.

The server is a setting, so the guard for addresses that users name does not apply to it. No text of an event is in a
header but the subject, which is plain ASCII or base64 by construction. `Message-ID` is made from the
delivery's id and so the same over all attempts: what came twice is one message to most readers.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, formataddr
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from muniment.contracts.errors import Misconfigured, MunimentError, Rejected, Transient
from muniment.notifier.channels import Message, Request, merged
from muniment.notifier.channels.notice import Notice, check_title, notice_of
from muniment.notifier.posting import Answer
from muniment.runtime.settings import SmtpSettings

if TYPE_CHECKING:
    import aiosmtplib

_KNOWN: Final = frozenset({"email", "title"})
_POLICY: Final = SMTP_POLICY.clone(cte_type="7bit", utf8=False)
_QUIT_S: Final = 1.0
_LINE: Final = 900
_WORD_BYTES: Final = 45
"""In base64 with its frame, that is an encoded word of 72 characters; 75 are allowed."""
# A mailbox of RFC 5321 without quoted local parts, comments and address literals.
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(
    rf"(?=.{{3,254}}\Z)[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-](?:\.?[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]){{0,63}}@{_LABEL}(?:\.{_LABEL})*\Z"
)


@dataclass(frozen=True, slots=True)
class MailChannel:
    """Sends notices by e-mail. A connection for each message."""

    smtp: SmtpSettings
    links_to: str | None = None
    tls: ssl.SSLContext | None = None
    """How the server is verified; None: by the system's authorities, or `smtp.cafile`."""

    def checked(self, given: Mapping[str, Any], owner: UUID, stored: Mapping[str, Any]) -> dict[str, Any]:
        """`{"email", "title"}`. Raises `Rejected` (`email_invalid`, `email_domain_not_allowed`, ...)."""
        if self.smtp.host is None:
            raise Rejected(
                "channel_unavailable",
                "there is no mail server here",
                hint="an operator sets MUNIMENT_NOTIFIER__SMTP__HOST and MUNIMENT_NOTIFIER__SMTP__SENDER",
            )
        config = merged(given, stored, _KNOWN)
        config["email"] = mailbox(config.get("email"))
        if self.smtp.domains and (domain := config["email"].rpartition("@")[2].lower()) not in self.smtp.domains:
            raise Rejected(
                "email_domain_not_allowed",
                "mails do not go to that domain",
                expected=", ".join(sorted(self.smtp.domains)),
                actual=domain,
                hint="an operator allows domains with MUNIMENT_NOTIFIER__SMTP__DOMAINS",
            )
        if "title" in config:
            check_title(config["title"])
        return config

    def shown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Only where it goes: the domain. An address is a person's, and an audit log keeps it for ever."""
        domain = str(config.get("email")).rpartition("@")[2]
        return {"email": f"…@{domain}", **({"title": config["title"]} if "title" in config else {})}

    def new_secret(self, config: Mapping[str, Any]) -> str | None:
        """None: signatures of mail are the mail server's."""
        return None

    def request(self, message: Message, at: datetime) -> Request:
        """The mail as it goes over the wire. Raises `Misconfigured` when there is no mail server."""
        if self.smtp.host is None or self.smtp.sender is None:
            raise Misconfigured("channel_unavailable", "there is no mail server", hint="set MUNIMENT_NOTIFIER__SMTP__*")
        notice = notice_of(json.loads(message.body), links_to=self.links_to, title=message.config.get("title"))
        sender, recipient = self.smtp.sender, mailbox(message.config.get("email"))
        raw = mail_of(notice, sender=sender, recipient=recipient, delivery=message.delivery_id, at=at)
        return Request(
            url=f"smtp://{self.smtp.host}:{self.smtp.port}",
            headers={"MAIL FROM": sender, "RCPT TO": recipient},
            body=raw.decode("ascii"),
            method="SMTP",
        )

    async def send(self, request: Request) -> Answer:
        """Hand it to the server; the answer's status is the server's reply code (250 is success).

        Raises `Transient` (`smtp_failed`). A refusal for good of the recipient or of the message is an
        answer that says so.
        """
        import aiosmtplib  # here: a deployment without mail does not pay for it

        client = aiosmtplib.SMTP(
            hostname=self.smtp.host,
            port=self.smtp.port,
            username=self.smtp.username,
            password=self.smtp.password.get_secret_value() if self.smtp.password else None,
            use_tls=self.smtp.security == "tls",
            start_tls=self.smtp.security == "starttls",  # never "if offered": whoever is between could take that away
            tls_context=self._tls_context(),
            local_hostname=request.headers["MAIL FROM"].rpartition("@")[2],
            timeout=None,
        )
        try:
            await client.connect()
            _, text = await client.sendmail(
                request.headers["MAIL FROM"], [request.headers["RCPT TO"]], request.body.encode("ascii")
            )
            with contextlib.suppress(aiosmtplib.SMTPException, TimeoutError):  # it has the mail already
                async with asyncio.timeout(_QUIT_S):
                    await client.quit()
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _refusal(error.recipients[0])
        except aiosmtplib.SMTPDataError as error:
            return _refusal(error)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise _failed(error) from error
        finally:
            client.close()
        return Answer(250, {}, text.encode())

    def _tls_context(self) -> ssl.SSLContext | None:
        if self.smtp.security == "none":
            return None
        return self.tls or ssl.create_default_context(cafile=str(self.smtp.cafile) if self.smtp.cafile else None)


def mailbox(text: object) -> str:
    """One plain address. Raises `Rejected` (`email_invalid`)."""
    if not isinstance(text, str) or not _ADDRESS.fullmatch(text):
        raise Rejected(
            "email_invalid",
            "that is not an e-mail address",
            expected="one NAME@DOMAIN in ASCII",
            actual=repr(text)[:100],
        )
    return text


def mail_of(notice: Notice, *, sender: str, recipient: str, delivery: UUID, at: datetime) -> bytes:
    """The message (RFC 5322) in 7-bit ASCII with CRLF: headers, a text part and an HTML part."""
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = formataddr(("Muniment", sender))
    mail["To"] = recipient
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = f"<{delivery}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    mail["X-Muniment-Delivery-Id"] = str(delivery)
    mail.set_content(_as_text(notice), cte="quoted-printable")
    mail.add_alternative(_as_html(notice), subtype="html", cte="quoted-printable")
    mail.set_boundary(f"=_{delivery.hex}")
    return _subject(notice.title) + mail.as_bytes()


def _subject(title: str) -> bytes:
    """The subject's header line, in encoded words (RFC 2047) unless it is plain.

    Not by `email.message`: it reads encoded words that someone wrote into a name, and moves spaces when it folds.
    """
    if title.isascii() and title.isprintable() and "=?" not in title and len(title) <= _LINE:
        return f"Subject: {title}\r\n".encode("ascii")
    words, word = [], b""
    for character in title:
        raw = character.encode("utf-8", errors="replace")
        if len(word) + len(raw) > _WORD_BYTES:
            words.append(word)
            word = b""
        word += raw
    encoded = (f"=?utf-8?b?{base64.b64encode(part).decode()}?=" for part in (*words, word))
    return ("Subject: " + "\r\n ".join(encoded) + "\r\n").encode("ascii")


def _as_text(notice: Notice) -> str:
    lines = [notice.title, ""]
    if notice.text:
        lines += [notice.text, ""]
    lines += [f"{label}: {value}" for label, value in notice.facts]
    if notice.links:
        lines += ["", *(f"{label}: {url}" for label, url in notice.links)]
    return "\n".join(lines) + "\n"


def _as_html(notice: Notice) -> str:
    def cells(label: str, value: str) -> str:
        return f"<tr><th align='left'>{html.escape(label)}</th><td>{html.escape(value)}</td></tr>"

    links = "".join(f"<a href='{html.escape(url)}'>{html.escape(label)}</a> " for label, url in notice.links)
    return (
        f"<!doctype html><html><body><h2>{html.escape(notice.title)}</h2>\n"
        + (f"<p>{html.escape(notice.text)}</p>\n" if notice.text else "")
        + "<table>\n"
        + "\n".join(cells(label, value) for label, value in notice.facts)
        + f"\n</table>\n<p>{links}</p></body></html>\n"
    )


def _refusal(error: aiosmtplib.SMTPResponseException) -> Answer:
    """What the server said of this recipient or message: 5xx is for good (RFC 5321 section 4.2.1)."""
    return Answer(error.code, {}, str(error.message).encode(), permanent=500 <= error.code < 600)


def _failed(error: Exception) -> MunimentError:
    """The server or our settings for it: nothing about this recipient."""
    said = f"{getattr(error, 'code', '')} {getattr(error, 'message', error)}".strip()
    return Transient("smtp_failed", f"the mail server did not take it: {said[:300]}")
