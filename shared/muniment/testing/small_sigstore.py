"""A Sigstore of one's own, in memory: an authority, a certificate log and a transparency log of two entries.

What it makes has the forms of the real one: certificates with an embedded SCT (RFC 6962), `dsse` entries of Rekor v1
with their promise, their proof and a signed checkpoint, a trusted root. The public library verifies it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from muniment.contracts.canonical import canonical_json
from muniment.contracts.oms.bundle import MEDIA_TYPE, PAYLOAD_TYPE, pae

_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_SCTS = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_NAME = "log.small.example"


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_public(key)).digest()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class SmallSigstore:
    """Begins at `start`; certificates live for ten minutes."""

    start: datetime
    authority: ec.EllipticCurvePrivateKey = field(default_factory=_key)
    certificate_log: ec.EllipticCurvePrivateKey = field(default_factory=_key)
    log: ec.EllipticCurvePrivateKey = field(default_factory=_key)

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "small authority")])
        self.root = (
            self._certificate(name, self.authority, self.start, timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.authority.public_key()), critical=False)
            .sign(self.authority, hashes.SHA256())
        )

    def trusted_root(self) -> dict[str, Any]:
        """What `trusted_root.json` says of it."""
        since = {"start": self.start.strftime("%Y-%m-%dT%H:%M:%SZ")}

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            public = {"rawBytes": _base64(_public(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since}
            return {
                "baseUrl": "https://log.invalid",
                "hashAlgorithm": "SHA2_256",
                "publicKey": public,
                "logId": {"keyId": _base64(_id(key))},
            }

        chain = {"certificates": [{"rawBytes": _base64(self.root.public_bytes(Encoding.DER))}]}
        authority = {
            "subject": {"organization": "small", "commonName": "small authority"},
            "uri": "https://authority.invalid",
        }
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.log)],
            "certificateAuthorities": [{**authority, "certChain": chain, "validFor": since}],
            "ctlogs": [log(self.certificate_log)],
            "timestampAuthorities": [],
        }

    def sign(
        self, payload: bytes, *, identity: str, issuer: str, at: datetime, logged_at: datetime | None = None
    ) -> dict[str, Any]:
        """The bundle of a payload signed at a moment, which the log has at `logged_at` (the same moment)."""
        key = _key()
        certificate = self._leaf(key, identity, issuer, at)
        signature = _sign(key, pae(payload))
        pem = certificate.public_bytes(Encoding.PEM)
        envelope = {
            "payload": _base64(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": _base64(signature), "keyid": ""}],
        }
        body = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": _digest(json.dumps(envelope).encode()),
                "payloadHash": _digest(payload),
                "signatures": [{"signature": _base64(signature), "verifier": _base64(pem)}],
            },
        }
        return {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {
                "certificate": {"rawBytes": _base64(certificate.public_bytes(Encoding.DER))},
                "tlogEntries": [self._entry(canonical_json(body), logged_at or at)],
            },
            "dsseEnvelope": envelope,
        }

    def _entry(self, body: bytes, at: datetime) -> dict[str, Any]:
        sibling = hashlib.sha256(b"\0another entry").digest()
        root = hashlib.sha256(b"\1" + hashlib.sha256(b"\0" + body).digest() + sibling).digest()
        note = f"{_NAME}\n2\n{_base64(root)}\n"
        checkpoint = f"{note}\n\N{EM DASH} {_NAME} {_base64(_id(self.log)[:4] + _sign(self.log, note.encode()))}\n"
        promised = {
            "body": _base64(body),
            "integratedTime": int(at.timestamp()),
            "logID": _id(self.log).hex(),
            "logIndex": 0,
        }
        proof = {"logIndex": "0", "treeSize": "2", "rootHash": _base64(root), "hashes": [_base64(sibling)]}
        return {
            "logIndex": "0",
            "logId": {"keyId": _base64(_id(self.log))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(int(at.timestamp())),
            "inclusionPromise": {"signedEntryTimestamp": _base64(_sign(self.log, canonical_json(promised)))},
            "inclusionProof": {**proof, "checkpoint": {"envelope": checkpoint}},
            "canonicalizedBody": _base64(body),
        }

    def _leaf(self, key: ec.EllipticCurvePrivateKey, identity: str, issuer: str, at: datetime) -> x509.Certificate:
        name = x509.UniformResourceIdentifier(identity) if "://" in identity else x509.RFC822Name(identity)
        builder = (
            self._certificate(x509.Name([]), key, at, timedelta(minutes=10))
            .add_extension(_usage(sign=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, issuer.encode()), critical=False)
        )
        before = builder.sign(self.authority, hashes.SHA256()).tbs_certificate_bytes
        return builder.add_extension(self._timestamps(before, at), critical=False).sign(self.authority, hashes.SHA256())

    def _timestamps(self, certificate: bytes, at: datetime) -> x509.UnrecognizedExtension:
        """The SCT list over the certificate without it (RFC 6962, section 3.2 and 3.3): at most 123 bytes."""
        moment = struct.pack("!Q", int(at.timestamp() * 1000))
        entry = _id(self.authority) + len(certificate).to_bytes(3, "big") + certificate
        signature = _sign(self.certificate_log, b"\0\0" + moment + b"\0\1" + entry + b"\0\0")
        one = b"\0" + _id(self.certificate_log) + moment + b"\0\0\4\3" + struct.pack("!H", len(signature)) + signature
        listed = struct.pack("!HH", len(one) + 2, len(one)) + one
        return x509.UnrecognizedExtension(_SCTS, b"\4" + bytes([len(listed)]) + listed)

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, since: datetime, lasting: timedelta
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "small authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(since + lasting)
        )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not sign,
        crl_sign=not sign,
        encipher_only=False,
        decipher_only=False,
    )


def _digest(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}
