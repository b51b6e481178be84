"""What each channel takes as its settings, and what it stores and shows of them."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from muniment.contracts.errors import Conflict, Misconfigured, Rejected
from muniment.notifier.addresses import AddressPolicy
from muniment.notifier.channels import Channel, Message
from muniment.notifier.channels.all import channels_of
from muniment.notifier.channels.mail import MailChannel
from muniment.notifier.outbound import Outbound
from muniment.notifier.sealing import Sealer
from muniment.runtime.settings import IngestSettings, NotifierSettings, Settings, SmtpSettings

from .events import LONG, available, hostile

OWNER = uuid.UUID(int=7)
SEALER = Sealer(b"k" * 32)
TOKEN = "T000/B000/verysecret"
SMTP = SmtpSettings(host="mail.example.org", sender="muniment@example.org")
SETTINGS = Settings(
    notifier=NotifierSettings(smtp=SMTP, public_url="https://models.example.org"),
    ingest=IngestSettings(topic_accounts={"subscriber.intake": "trainer"}),
)


def channels(settings: Settings = SETTINGS) -> dict[str, Channel]:
    return dict(channels_of(settings, Outbound(AddressPolicy(), connections=1), SEALER, None))


GIVEN: dict[str, dict[str, Any]] = {
    "webhook": {"url": "https://hooks.example.org/a"},
    "slack": {"url": f"https://hooks.slack.com/services/{TOKEN}"},
    "teams": {"url": f"https://flows.example.org/workflows/{TOKEN}?sig=verysecret"},
    "email": {"email": "ada@example.org"},
    "kafka": {"topic": "subscriber.deployer"},
}


@pytest.mark.parametrize("name", ["slack", "teams"])
def test_a_url_that_is_a_secret_is_sealed_and_masked_and_still_called(name: str) -> None:
    channel = channels()[name]
    config = channel.checked({**GIVEN[name], "title": "{model}!"}, OWNER, {})
    assert "verysecret" not in json.dumps(config)
    assert "verysecret" not in json.dumps(channel.shown(config))
    assert set(channel.shown(config)) == {"shown_url", "title"}
    request = channel.request(Message(uuid.UUID(int=1), OWNER, config, json.dumps(available()), ()), datetime.now(UTC))
    assert request.url == GIVEN[name]["url"]
    assert "verysecret" not in str(request.shown_url)
    assert "digits!" in request.body
    # Another title keeps the URL; another subscription cannot open it.
    again = channel.checked({"title": None}, OWNER, config)
    assert again == {key: config[key] for key in ("sealed_url", "shown_url")}
    with pytest.raises(Misconfigured) as caught:
        channel.request(Message(uuid.UUID(int=1), uuid.UUID(int=8), config, "{}", ()), datetime.now(UTC))
    assert caught.value.code == "secret_unreadable"


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("webhook", {}, "url_invalid"),
        ("webhook", {"url": "https://x.example/", "topic": "t"}, "setting_unknown"),
        ("webhook", {"url": "https://x.example/", "title": "t"}, "setting_unknown"),
        ("webhook", {"url": "https://x.example/", "format": "mlflow", "signing": "ed25519"}, "setting_conflict"),
        ("slack", {}, "url_invalid"),
        ("slack", {"url": "http://hooks.slack.com/x"}, "url_invalid"),
        ("slack", {"url": "https://169.254.169.254/latest"}, "address_refused"),
        ("slack", {"url": "https://x.example/", "signing": "hmac"}, "setting_unknown"),
        ("slack", {"url": "https://x.example/", "title": "{secret}"}, "template_invalid"),
        ("slack", {"url": "https://x.example/", "sealed_url": "x"}, None),
        ("teams", {"url": "https://[::ffff:10.0.0.1]/"}, "address_refused"),
        ("email", {"email": "a@x.example, b@x.example"}, "email_invalid"),
        ("email", {"email": "a@x.example", "title": "{"}, "template_invalid"),
        ("kafka", {}, "topic_not_allowed"),
        ("kafka", {"topic": "subscriber."}, "topic_not_allowed"),
        ("kafka", {"topic": "muniment.version-available.v1"}, "topic_not_allowed"),
        ("kafka", {"topic": "subscriber.intake"}, "topic_not_allowed"),
        ("kafka", {"topic": "other.deployer"}, "topic_not_allowed"),
        ("kafka", {"topic": "subscriber.a b"}, "topic_not_allowed"),
        ("kafka", {"topic": "subscriber." + "a" * 250}, "topic_not_allowed"),
    ],
)
def test_settings_that_a_channel_could_never_use_are_refused(
    name: str, given: dict[str, Any], code: str | None
) -> None:
    channel = channels()[name]
    if code is None:  # the API never hands that name on; a sealed URL is always the one that was given
        assert channel.checked(given, OWNER, {})["sealed_url"] != "x"
        return
    with pytest.raises(Rejected) as caught:
        channel.checked(given, OWNER, {})
    assert caught.value.code == code


def test_what_is_not_set_up_says_so() -> None:
    bare = channels(Settings(notifier=NotifierSettings(topic_prefixes=frozenset())))
    for name, given, code in (
        ("email", GIVEN["email"], "channel_unavailable"),
        ("kafka", GIVEN["kafka"], "topic_not_allowed"),
    ):
        with pytest.raises(Rejected) as caught:
            bare[name].checked(given, OWNER, {})
        assert caught.value.code == code
    message = Message(uuid.UUID(int=1), OWNER, GIVEN["email"], json.dumps(available()), ())
    with pytest.raises(Misconfigured):
        bare["email"].request(message, datetime.now(UTC))


def test_mails_can_be_kept_to_some_domains() -> None:
    channel = MailChannel(SMTP.model_copy(update={"domains": frozenset({"example.org"})}))
    assert channel.checked({"email": "ada@EXAMPLE.org"}, OWNER, {}) == {"email": "ada@EXAMPLE.org"}
    for address in ("ada@evil.example", "ada@example.org.evil.example", "ada@sub.example.org"):
        with pytest.raises(Rejected) as caught:
            channel.checked({"email": address}, OWNER, {})
        assert caught.value.code == "email_domain_not_allowed"


def test_apprise_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.notifier.channels.apprise.find_spec", lambda name: None)
    with pytest.raises(Rejected) as caught:
        channels()["apprise"].checked({"url": "discord://id/token"}, OWNER, {})
    assert caught.value.code == "channel_unavailable"
    assert "muniment[apprise]" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1/",
        "mailto://user:pass@evil.example",
        "file:///etc/passwd",
        "discord://id/token?template=/etc/passwd",
        "discord://id/token, json://127.0.0.1",
        "discord://id/token json://127.0.0.1",
        "discord://id/token\njson://127.0.0.1",
        "DISCORD://id/token",
        "discord:id",
        "",
        "discord://" + "a" * 3000,
    ],
)
def test_apprise_takes_one_url_of_an_allowed_service_without_options(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.notifier.channels.apprise.find_spec", lambda name: object())
    channel = channels()["apprise"]
    with pytest.raises(Rejected) as caught:
        channel.checked({"url": url}, OWNER, {})
    assert caught.value.code == "url_invalid"
    config = channel.checked({"url": "discord://id/verysecret"}, OWNER, {})
    assert "verysecret" not in json.dumps(config)
    assert config["shown_url"].startswith("discord://… (sha256 ")


def test_a_kind_of_signature_stays() -> None:
    webhook = channels()["webhook"]
    config = webhook.checked({**GIVEN["webhook"], "signing": "ed25519"}, OWNER, {})
    assert config == {**GIVEN["webhook"], "signing": "ed25519"}
    assert str(webhook.new_secret(config)).startswith("whsk_")
    assert webhook.checked({"url": "https://hooks.example.org/b"}, OWNER, config)["signing"] == "ed25519"
    with pytest.raises(Conflict):
        webhook.checked({"signing": "hmac"}, OWNER, config)
    with pytest.raises(Rejected):
        webhook.checked({"format": "mlflow"}, OWNER, config)
    plain = webhook.checked({**GIVEN["webhook"], "format": "cloudevents", "signing": "hmac"}, OWNER, {})
    assert plain == GIVEN["webhook"]  # as it was stored before there was a choice


@pytest.mark.parametrize("name", ["slack", "teams", "email"])
@pytest.mark.parametrize("event", [available(), hostile(), hostile(LONG * 20)])
def test_every_attempt_of_a_delivery_says_the_same(name: str, event: dict[str, Any]) -> None:
    channel = channels()[name]
    config = channel.checked(GIVEN[name], OWNER, {})
    message = Message(uuid.UUID(int=1), OWNER, config, json.dumps(event), ())
    at = datetime(2026, 11, 23, tzinfo=UTC)
    request = channel.request(message, at)
    assert request == channel.request(message, at)
    assert len(request.body.encode()) < 64 * 1024
    assert channel.new_secret(config) is None
    assert "https://models.example.org/api/v1/models/" in request.body.replace("=\r\n", "")


def test_an_address_is_told_to_the_audit_log_by_its_domain_alone() -> None:
    assert MailChannel(SMTP).shown({"email": "ada@example.org"}) == {"email": "…@example.org"}


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "mail.example.org"},
        {"sender": "muniment@example.org"},
        {"host": "mail.example.org", "sender": "m@example.org", "username": "u"},
        {"host": "m", "sender": "m@example.org", "username": "u", "password": "p", "security": "none"},
        {"host": "m", "sender": "Muniment <m@example.org>"},
        {"host": "m", "sender": "m@example.org\r\nBcc: x"},
    ],
)
def test_settings_of_a_mail_server_that_cannot_be_meant(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SmtpSettings.model_validate(fields)
