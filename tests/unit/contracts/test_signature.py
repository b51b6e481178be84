"""Signatures of events: only the key's owner makes one, one signature has one spelling, and none fits another event."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.cloudevent import CloudEvent, signed_bytes
from muniment.contracts.errors import Rejected, Unauthenticated
from muniment.contracts.signature import (
    Signature,
    key_id,
    parse,
    public_key_of_pem,
    render,
    sign,
    verify,
)

# RFC 8032, section 7.1, test 1: the secret key and its public key.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
KID = "21fe31dfa154a261"  # sha256sum of the public key, its first 16 digits


def pem_of(key: Any) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return bytes(key.private_bytes(*form))


def public_pem_of(key: Any) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return bytes(key.public_key().public_bytes(*form))


KEY = Ed25519PrivateKey.from_private_bytes(SEED)
EVENT = CloudEvent(
    id="run-1",
    source="/pipelines/nightly",
    type="muniment.training-completed.v1",
    data=b'{"model": "digits", "accuracy": 0.5}',
    time="2026-11-23T10:00:00.000000Z",
    subject="models/digits",
    extensions={"partitionkey": "digits", "traceparent": "00-abc-def-01"},
)


def test_a_signature_of_ours_is_verified() -> None:
    header = sign(EVENT, pem_of(KEY))
    signature = parse(header)
    assert signature.kid == KID == key_id(PUBLIC)
    verify(EVENT, signature, PUBLIC)


def test_the_header_has_the_documented_form_so_that_others_can_make_it() -> None:
    expected = b"v1;kid=" + KID.encode() + b";" + base64.b64encode(KEY.sign(signed_bytes(EVENT)))
    assert sign(EVENT, pem_of(KEY)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"id": "run-2"},
        {"source": "/pipelines/other"},
        {"type": "muniment.model-trained.v1"},
        {"data": b'{"model": "digits", "accuracy": 0.6}'},
        {"time": "2026-11-23T10:00:00.000001Z"},
        {"time": None},
        {"subject": "models/other"},
        {"dataschema": "/schemas/x"},
        {"extensions": {"partitionkey": "other"}},
        {"extensions": {"partitionkey": "digits", "more": "1"}},
        {"extensions": {}},
    ],
)
def test_a_changed_event_does_not_fit_its_signature(change: dict[str, Any]) -> None:
    signature = parse(sign(EVENT, pem_of(KEY)))
    with pytest.raises(Unauthenticated) as caught:
        verify(dataclasses.replace(EVENT, **change), signature, PUBLIC)
    assert caught.value.code == "signature_invalid"


@pytest.mark.parametrize(
    "change",
    [
        {"data": b'{ "accuracy":0.50, "model":"digits" }'},
        {"extensions": {"partitionkey": "digits"}},
        {"extensions": {"traceparent": "00-other-01", "tracestate": "a=b", "partitionkey": "digits"}},
    ],
)
def test_what_a_broker_may_rewrite_changes_nothing(change: dict[str, Any]) -> None:
    verify(dataclasses.replace(EVENT, **change), parse(sign(EVENT, pem_of(KEY))), PUBLIC)


def test_another_key_does_not_pass_for_the_claimed_one() -> None:
    other = Ed25519PrivateKey.generate()
    forged = Signature(KID, other.sign(signed_bytes(EVENT)))
    with pytest.raises(Unauthenticated) as caught:
        verify(EVENT, forged, PUBLIC)
    assert caught.value.code == "signature_invalid"
    # Nor does a right signature under an id that is not the key's.
    right = parse(sign(EVENT, pem_of(KEY)))
    with pytest.raises(Unauthenticated):
        verify(EVENT, Signature("0" * 16, right.value), PUBLIC)


GOOD = render(Signature(KID, bytes(64)))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"v1",
        b"v1;kid=;",
        GOOD[:-1],
        GOOD + b"\n",
        b" " + GOOD,
        GOOD + b";" + GOOD,
        GOOD.replace(b"v1", b"v2"),
        GOOD.replace(b"v1", b"V1"),
        GOOD.replace(KID.encode(), KID.upper().encode()),
        GOOD.replace(KID.encode(), KID[:-1].encode()),
        GOOD.replace(KID.encode(), (KID + "0").encode()),
        GOOD.replace(b"A==", b"B=="),  # the same 64 bytes to a careless decoder
        GOOD.replace(b"AAAA", b"AA-_"),
        GOOD.replace(b"AAAA", b"AA\nA"),
        GOOD[:-2] + b"AA",
        b"\xff" * 112,
        b"v1;kid=" + KID.encode() + b";" + b"A" * 1_000_000,
    ],
)
def test_any_other_header_is_malformed(raw: bytes) -> None:
    with pytest.raises(Unauthenticated) as caught:
        parse(raw)
    assert caught.value.code == "signature_malformed"
    assert len(caught.value.actual or "") < 600


@given(st.binary(max_size=300) | st.binary(max_size=120).map(lambda tail: b"v1;kid=0123456789abcdef;" + tail))
def test_no_bytes_do_anything_but_parse_or_be_refused(raw: bytes) -> None:
    try:
        signature = parse(raw)
    except Unauthenticated:
        return
    assert render(signature) == raw


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=64, max_size=64))
def test_a_signature_comes_back_as_it_went(kid: bytes, value: bytes) -> None:
    signature = Signature(kid.hex(), value)
    assert parse(render(signature)) == signature


def test_a_public_key_in_pem_is_read() -> None:
    assert public_key_of_pem(public_pem_of(KEY)) == PUBLIC


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"not a key",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        public_pem_of(ed448.Ed448PrivateKey.generate()),
        public_pem_of(rsa.generate_private_key(65537, 2048)),
        public_pem_of(KEY) * 100,
        base64.b64encode(PUBLIC),
    ],
    ids=["empty", "text", "garbage", "ed448", "rsa", "huge", "raw"],
)
def test_another_public_key_is_refused(pem: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        public_key_of_pem(pem)
    assert caught.value.code == "public_key_invalid"


def test_a_private_key_sent_by_mistake_is_called_one_and_not_repeated() -> None:
    with pytest.raises(Rejected) as caught:
        public_key_of_pem(pem_of(KEY))
    assert caught.value.code == "public_key_invalid"
    assert caught.value.actual == "a private key"
    assert base64.b64encode(SEED).decode()[:20] not in str(caught.value)


@pytest.mark.parametrize(
    "pem",
    [b"", b"not a key", public_pem_of(KEY), pem_of(ed448.Ed448PrivateKey.generate())],
    ids=["empty", "text", "public", "ed448"],
)
def test_signing_with_something_else_than_a_private_key_says_so(pem: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        sign(EVENT, pem)
    assert caught.value.code == "private_key_invalid"
    assert caught.value.__cause__ is None
