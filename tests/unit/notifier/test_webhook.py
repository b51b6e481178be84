"""Signatures, secrets at rest, bodies and URLs."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from muniment.contracts.cloudevent import CloudEvent, decode
from muniment.contracts.errors import Misconfigured, Rejected
from muniment.notifier.addresses import LOOPBACK, AddressPolicy
from muniment.notifier.channels.signing import new_private_key, public_key_of, signed_headers
from muniment.notifier.domain import structured_json
from muniment.notifier.outbound import target_of
from muniment.notifier.sealing import Sealer, load_key, new_secret

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OWNER = uuid.UUID(int=7)
PUBLIC = AddressPolicy()
DEVELOPMENT = AddressPolicy(LOOPBACK)


def test_the_signature_of_the_published_example() -> None:
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        '{"test": 2432232314}',
        [SECRET],
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_zone_of_the_clock_does_not_change_the_signature() -> None:
    moment = datetime.fromtimestamp(1614265330, timezone(timedelta(hours=5, minutes=30)))
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", moment, '{"test": 2432232314}', [SECRET])
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_during_rotation_either_secret_verifies() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    body = '{"model": "größe"}'
    headers = signed_headers(uuid.uuid4(), datetime.now(UTC), body, [new, old])
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        Webhook(secret).verify(body.encode(), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(body.encode(), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(json.dumps(json.loads(body)).encode(), headers)  # another spelling is another body


def test_an_ed25519_signature_verifies_with_the_public_key_alone() -> None:
    old, new = new_private_key(), new_private_key()
    body, moment = '{"model": "größe"}', datetime.fromtimestamp(1614265330, UTC)
    headers = signed_headers("d-1", moment, body, [new, old])
    items = headers["webhook-signature"].split(" ")
    assert [item.partition(",")[0] for item in items] == ["v1a", "v1a"]
    signed = f"d-1.1614265330.{body}".encode()
    for secret, item in zip((new, old), items, strict=True):
        public = public_key_of(secret)
        assert public is not None
        assert public.startswith("whpk_")
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public[5:], validate=True))
        signature = base64.b64decode(item.partition(",")[2], validate=True)
        key.verify(signature, signed)
        with pytest.raises(InvalidSignature):
            key.verify(signature, signed + b" ")
    assert len({old, new, public_key_of(old), public_key_of(new)}) == 4


def test_the_ed25519_key_is_the_seed_of_rfc_8032() -> None:
    # Section 7.1, test 1: the secret key, and the public key that belongs to it.
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert public_key_of("whsk_" + base64.b64encode(seed).decode()) == "whpk_" + base64.b64encode(public).decode()
    assert public_key_of(SECRET) is None
    assert public_key_of(None) is None


def test_secrets_are_random_and_of_the_standard_form() -> None:
    secrets = {new_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert all(len(Webhook(secret)._whsecret) == 32 and secret.startswith("whsec_") for secret in secrets)


def test_a_sealed_secret_opens_for_its_owner_under_its_key_only() -> None:
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal(SECRET, OWNER)
    assert SECRET.encode() not in sealed
    assert SECRET[6:].encode() not in sealed
    assert sealed != sealer.seal(SECRET, OWNER)
    assert sealer.open(sealed, OWNER) == SECRET
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for broken, owner, key in (
        (sealed, uuid.UUID(int=8), b"k" * 32),
        (sealed, OWNER, b"x" * 32),
        (flipped, OWNER, b"k" * 32),
        (b"", OWNER, b"k" * 32),
    ):
        with pytest.raises(Misconfigured) as caught:
            Sealer(key).open(broken, owner)
        assert caught.value.code == "secret_unreadable"
        assert SECRET not in str(caught.value)


def test_the_key_file_is_made_once_for_us_alone(tmp_path: Path) -> None:
    key = load_key(None, tmp_path)
    file = tmp_path / "secrets" / "notifier.key"
    assert len(key) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_key(None, tmp_path) == key
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("text", ["", "short", "AAAA", "é" * 44, "A" * 43])
def test_a_key_that_is_none_is_refused_without_being_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        load_key(SecretStr(text), tmp_path)
    assert caught.value.code == "secret_key_invalid"
    assert not text or text not in str(caught.value)


def test_the_body_is_the_event_with_its_data_untouched() -> None:
    data = '{"model": "größe", "metrics": {"a": 1e-7, "b": 1.10}, "n": 12345678901234}'
    event = CloudEvent(
        id="e1",
        source="/muniment/registry",
        type="muniment.version-available.v1",
        data=data.encode(),
        time="2026-11-23T12:00:00.000000Z",
        dataschema="/schemas/version-available.v1.json",
        extensions={"partitionkey": "größe", "correlationid": "c1"},
    )
    body = structured_json(event)
    assert data in body
    assert json.loads(body) == {
        "specversion": "1.0",
        "id": "e1",
        "source": "/muniment/registry",
        "type": "muniment.version-available.v1",
        "time": "2026-11-23T12:00:00.000000Z",
        "dataschema": "/schemas/version-available.v1.json",
        "datacontenttype": "application/json",
        "partitionkey": "größe",
        "correlationid": "c1",
        "data": json.loads(data),
    }
    again = decode([("content-type", b"application/cloudevents+json")], body.encode())
    assert (again.id, again.type, again.extensions) == (event.id, event.type, event.extensions | {})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "//example.com/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://",
        "https:///path",
        "https://user:pass@example.com/",
        "https://user@example.com/",
        "https://@example.com/",
        "https://example.com\\@evil.example/",
        "https://evil.example\\.example.com/",
        "https://example.com/#fragment",
        "https://example.com/#",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:http/",
        "https://exa mple.com/",
        "https://example.com/a\nb",
        "https://example.com\t/",
        "https://[fe80::1%25eth0]/",
        "https://[::1",
        "https://-/",
        "https://example.com/" + "a" * 2048,
        "http://example.com/",
        "HTTP://example.com/",
    ],
)
def test_urls_that_are_no_webhook_are_refused(url: str) -> None:
    with pytest.raises(Rejected) as caught:
        target_of(url, PUBLIC)
    assert caught.value.code == "url_invalid"


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]:8443/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00:ec2::254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://0.0.0.0/",
    ],
)
def test_addresses_written_out_are_judged_at_once(url: str) -> None:
    with pytest.raises(Rejected) as caught:
        target_of(url, PUBLIC)
    assert caught.value.code == "address_refused"


@pytest.mark.parametrize(
    ("url", "policy", "expected"),
    [
        ("https://example.com", PUBLIC, ("https", "example.com", 443, "/", "example.com")),
        (
            "https://EXAMPLE.com:8443/a%20b?q=1",
            PUBLIC,
            ("https", "example.com", 8443, "/a%20b?q=1", "example.com:8443"),
        ),
        ("https://example.com/a@b", PUBLIC, ("https", "example.com", 443, "/a@b", "example.com")),
        ("https://example.com?to=a@b", PUBLIC, ("https", "example.com", 443, "/?to=a@b", "example.com")),
        ("https://bücher.example/", PUBLIC, ("https", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example")),
        (
            "https://[2606:4700:4700::1111]/",
            PUBLIC,
            ("https", "2606:4700:4700::1111", 443, "/", "[2606:4700:4700::1111]"),
        ),
        ("http://127.0.0.1:9000/x", DEVELOPMENT, ("http", "127.0.0.1", 9000, "/x", "127.0.0.1:9000")),
        ("http://localhost:9000/x", DEVELOPMENT, ("http", "localhost", 9000, "/x", "localhost:9000")),
    ],
)
def test_targets(url: str, policy: AddressPolicy, expected: tuple[Any, ...]) -> None:
    target = target_of(url, policy)
    assert (target.scheme, target.host, target.port, target.path, target.authority) == expected
    assert target_of(target.url, policy) == target


def test_a_refused_url_is_told_without_its_query() -> None:
    with pytest.raises(Rejected) as caught:
        target_of("http://example.com/hook?token=hunter2", PUBLIC)
    assert "hunter2" not in str(caught.value)
