"""The Sigstore bundle (v0.3, JSON) around one DSSE envelope: how it is read, strictly and bounded, and written.

Specs: Sigstore protobuf-specs `sigstore_bundle.proto`, DSSE v1.0.0 (`protocol.md`), OMS 1.0.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from muniment.contracts import strict_json
from muniment.contracts.errors import Rejected

MAX_BUNDLE: Final = 4 * 1024 * 1024
"""Bytes of a signature file: more than a statement over as many files as a version may have needs."""
MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_CHAIN: Final = 10
_MAX_CERTIFICATE: Final = 64 * 1024
_MAX_SIGNATURE: Final = 1024

Method = Literal["key", "certificate", "keyless"]


class SignatureMalformed(Rejected):
    """A signature file that cannot be read (`signature_malformed`). The only error that reading one raises."""

    def __init__(self, message: str, *, expected: object = None, actual: object = None) -> None:
        super().__init__(
            "signature_malformed",
            message,
            expected=expected,
            actual=actual,
            hint="sign the model again with the public tool model-signing (OMS 1.0)",
        )


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a signature file says, none of it believed yet.

    `hint` names the key (method `key`: SHA-256 of its PEM text, in hexadecimal; older files have none); `chain` is the
    signer's certificates in DER, its own first. `payload` is what was signed, `signature` the signature's bytes, `raw`
    the whole file.
    """

    method: Method
    hint: str | None
    chain: tuple[bytes, ...]
    payload: bytes
    signature: bytes
    raw: bytes


def pae(payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding of an in-toto payload."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def parse_bundle(raw: bytes) -> Bundle:
    """Read a signature file. Raises `SignatureMalformed`, and nothing else."""
    bundle = members(loads(raw, MAX_BUNDLE), "the bundle")
    if bundle.get("mediaType") != MEDIA_TYPE:
        raise SignatureMalformed("the bundle is of another type", expected=MEDIA_TYPE, actual=bundle.get("mediaType"))
    envelope = members(bundle.get("dsseEnvelope"), "dsseEnvelope")
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        raise SignatureMalformed(
            "the envelope holds something else", expected=PAYLOAD_TYPE, actual=envelope.get("payloadType")
        )
    signatures = items(envelope.get("signatures"), "signatures", most=1)
    material = members(bundle.get("verificationMaterial"), "verificationMaterial")
    method, hint, chain = _material(material)
    return Bundle(
        method=method,
        hint=hint,
        chain=chain,
        payload=_bytes(envelope.get("payload"), "payload", MAX_BUNDLE),
        signature=_bytes(members(signatures[0], "signatures[0]").get("sig"), "sig", _MAX_SIGNATURE),
        raw=raw,
    )


def key_bundle(payload: bytes, signature: bytes, hint: str) -> dict[str, Any]:
    """The bundle of a payload that a key has signed, as JSON-ready values."""
    return {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }


def loads(raw: bytes, most: int) -> Any:
    """The JSON value of a text of at most `most` bytes. Raises `SignatureMalformed`."""
    try:
        return strict_json.loads(raw, max_bytes=most)
    except Rejected as error:
        raise SignatureMalformed(error.message, expected=error.expected, actual=error.actual) from error


def members(value: Any, name: str) -> Mapping[str, Any]:
    """The value as an object. Raises `SignatureMalformed`."""
    if not isinstance(value, dict):
        raise SignatureMalformed(f"{name} is no object", expected="a JSON object", actual=type(value).__name__)
    return value


def items(value: Any, name: str, *, most: int) -> Sequence[Any]:
    """The value as a list of 1 to `most` items. Raises `SignatureMalformed`."""
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        actual = f"{len(value)} items" if isinstance(value, list) else type(value).__name__
        raise SignatureMalformed(f"{name} is not as it must be", expected=f"a list of 1 to {most}", actual=actual)
    return value


def text(value: Any, name: str, *, most: int = 4096) -> str:
    """The value as a text of 1 to `most` characters. Raises `SignatureMalformed`."""
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        actual = f"{len(value)} characters" if isinstance(value, str) else type(value).__name__
        raise SignatureMalformed(f"{name} is not as it must be", expected=f"1 to {most} characters", actual=actual)
    return value


def _material(material: Mapping[str, Any]) -> tuple[Method, str | None, tuple[bytes, ...]]:
    logged = bool(material.get("tlogEntries"))  # a transparency log's entries: only keyless signatures have them
    kinds = [name for name in ("publicKey", "x509CertificateChain", "certificate") if material.get(name) is not None]
    if len(kinds) != 1:
        raise SignatureMalformed(
            "the verification material is not as it must be",
            expected="one of publicKey, x509CertificateChain, certificate",
            actual=", ".join(kinds) or "none",
        )
    given = members(material[kinds[0]], kinds[0])
    if kinds == ["publicKey"]:
        hint = given.get("hint")
        return "key", text(hint, "hint", most=256) if hint else None, ()
    if kinds == ["certificate"]:
        return "keyless", None, (_certificate(given),)
    found = items(given.get("certificates"), "certificates", most=MAX_CHAIN)
    chain = tuple(_certificate(members(one, "certificates[]")) for one in found)
    return "keyless" if logged else "certificate", None, chain


def _certificate(given: Mapping[str, Any]) -> bytes:
    return _bytes(given.get("rawBytes"), "rawBytes", _MAX_CERTIFICATE)


def _bytes(value: Any, name: str, most: int) -> bytes:
    encoded = text(value, name, most=most * 4 // 3 + 4)
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureMalformed(f"{name} is no base64", expected="base64 (RFC 4648, section 4)") from error
    if not data:
        raise SignatureMalformed(f"{name} is empty", expected=f"1 to {most} bytes", actual="0 bytes")
    return data
