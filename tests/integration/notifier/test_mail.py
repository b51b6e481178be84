"""E-mail through a real mail server: encrypted, retried, final where the server says so, and nothing sent in clear."""

from __future__ import annotations

import dataclasses
import json
import uuid
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from pydantic import SecretStr

from muniment.notifier.channels.all import channels_of
from muniment.runtime.settings import NotifierSettings, Settings
from muniment.testing.smtp_sink import SmtpSink

from .channel_bench import hostile_event, mail_settings, serving, subscribe, tell_as_it_is, told
from .conftest import PACE, Notifier, available, eventually
from .test_outbound import certificate


async def test_a_mail_arrives_over_tls_once_it_is_taken(notifier: Notifier, tmp_path: Path) -> None:
    server, _ = certificate(tmp_path, "localhost")
    async with SmtpSink(tls=server, replies={"RCPT": "451 greylisted"}) as sink:
        login = {"username": "muniment", "password": SecretStr("hunter2"), "cafile": tmp_path / "cert.pem"}
        async with serving(notifier, smtp=mail_settings(sink, **login), public_url="https://models.example") as api:
            made = await subscribe(api, "email", email="ada@example.org")
            await api.running.tell(available(3))
            [refused] = await eventually(notifier.attempts)
            assert refused["status"] == 451
            sink.replies.clear()
            await notifier.settled("delivered")
            await tell_as_it_is(api, made["id"], hostile_event())
            await notifier.settled("delivered", "delivered")
            trial = (await api.call("POST", f"/subscriptions/{made['id']}/test")).json()
            everything = json.dumps(trial) + await told(api, made)
        first, nasty, tried = sink.mails
        assert {(mail.sender, mail.recipients, mail.encrypted, mail.login) for mail in sink.mails} == {
            ("muniment@example.org", ("ada@example.org",), True, ("muniment", "hunter2"))
        }
        mail = message_from_bytes(first.data, policy=default)
        delivery = await notifier.pool.fetchval("SELECT id FROM delivery ORDER BY event_seq LIMIT 1")
        assert mail["Message-ID"] == f"<{delivery}@example.org>"
        assert mail["Subject"] == "digits 3 is available"
        assert [part.get_content_type() for part in mail.walk()][1:] == ["text/plain", "text/html"]
        bad = message_from_bytes(nasty.data, policy=default)
        assert bad["Bcc"] is None
        assert "<b>" not in str(bad.get_payload(1))
        assert tried.data.decode() == trial["request"]["body"]
        assert (trial["request"]["method"], trial["answer"]["status"]) == ("SMTP", 250)
        assert "hunter2" not in everything
        assert "ada@example.org" not in json.dumps(await api.audit())


@pytest.mark.parametrize(
    ("replies", "silent", "state", "status", "error"),
    [
        ({"RCPT": "550 no such mailbox"}, frozenset(), "dead", 550, None),
        ({".": "554 not that"}, frozenset(), "dead", 554, None),
        ({"MAIL": "550 not from you"}, frozenset(), "pending", None, "smtp_failed"),
        ({"EHLO": "421 busy", "HELO": "421 busy"}, frozenset(), "pending", None, "smtp_failed"),
        ({}, frozenset({"DATA"}), "pending", None, "timeout"),
    ],
)
async def test_a_mail_that_is_not_taken(
    notifier: Notifier, replies: dict[str, str], silent: frozenset[str], state: str, status: int, error: str
) -> None:
    async with SmtpSink(replies=replies, silent=silent) as sink:
        smtp = mail_settings(sink, security="none")
        pace = dataclasses.replace(PACE, retry_scale=1.0)
        own = Settings(notifier=NotifierSettings(smtp=smtp, timeout_s=1.0))
        async with notifier.running(
            pace, channels=lambda webhook: channels_of(own, webhook.outbound, webhook.sealer, None)
        ) as running:
            await notifier.pool.execute(
                "INSERT INTO subscription (id, name, channel, config, filter, owner, created_at, updated_at)"
                " VALUES ($1, 'm', 'email', '{\"email\": \"ada@example.org\"}', '{}', 'o', now(), now())",
                uuid.uuid4(),
            )
            await running.tell(available())
            [attempt] = await eventually(notifier.attempts)
            assert (attempt["status"], attempt["error"]) == (status, error)
            await notifier.settled(state)
        assert sink.mails == []


async def test_a_password_is_not_sent_to_a_server_without_tls(notifier: Notifier) -> None:
    async with SmtpSink() as sink:
        smtp = mail_settings(sink, username="u", password=SecretStr("hunter2"))
        async with serving(notifier, smtp=smtp) as api:
            made = await subscribe(api, "email", email="ada@example.org")
            trial = (await api.call("POST", f"/subscriptions/{made['id']}/test")).json()
            assert (trial["delivered"], trial["error"]) == (False, "smtp_failed")
        assert not [line for line in sink.commands if line.startswith(("AUTH", "MAIL"))]
