"""Whom to believe: public keys, and roots that certificates must lead to. Who signed a bundle, by them.

A certificate must be valid, with its whole chain, at the moment that is asked about: nothing in a bundle without a
transparency log proves that it was signed earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from muniment.contracts.errors import Rejected
from muniment.contracts.oms.bundle import MAX_CHAIN, Bundle, SignatureMalformed, pae
from muniment.contracts.oms.keys import key_hint

_HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
# What a certificate from a stranger may make the parser raise.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class SignatureWrong(Rejected):
    """The signature is not of the payload by the key that it claims (`signature_wrong`)."""


class NotTrusted(Rejected):
    """Nothing is wrong with the signature, as far as can be seen, but whoever made it is not believed."""


class Keyless(Protocol):
    """Verifies keyless signatures (Sigstore)."""

    def signer_of(self, raw: bytes) -> str:
        """Who has signed a bundle, of which the JSON is given. Raises `NotTrusted`, and nothing else."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Trusted public keys by their hint, trusted root certificates, and who verifies keyless signatures, if anybody."""

    keys: Mapping[str, ec.EllipticCurvePublicKey] = field(default_factory=dict)
    roots: tuple[x509.Certificate, ...] = ()
    keyless: Keyless | None = None

    @classmethod
    def of(cls, keys: Iterable[bytes] = (), roots: Iterable[bytes] = (), keyless: Keyless | None = None) -> Trust:
        """From PEM texts: a public key in each of `keys`, certificates in each of `roots`.

        Raises `Rejected` (`trusted_key_invalid`, `trusted_root_invalid`).
        """
        read = [_public_key(pem) for pem in keys]
        return cls({key_hint(key): key for key in read}, tuple(one for pem in roots for one in _roots(pem)), keyless)

    def signer_of(self, bundle: Bundle, at: datetime) -> str:
        """Who signed a bundle: the hint of a key, the subject of a certificate, or a keyless signer's identity.

        Raises `SignatureWrong`, `SignatureMalformed`, and `NotTrusted` (`key_unknown`, `key_unsupported`,
        `certificate_not_for_signing`, `chain_untrusted`, `keyless_unsupported`, `identity_unknown`,
        `keyless_untrusted`).
        """
        if bundle.method == "key":
            return self._key_of(bundle)
        if bundle.method == "certificate":
            return self._subject_of(bundle, at)
        return self._identity_of(bundle)

    def _identity_of(self, bundle: Bundle) -> str:
        try:
            key = x509.load_der_x509_certificate(bundle.chain[0]).public_key()
        except _UNREADABLE as error:
            raise _unreadable() from error
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _HASHES and not _signed(bundle, key):
            raise _wrong("a signature by the certificate in the bundle")
        if self.keyless is None:
            raise NotTrusted(
                "keyless_unsupported",
                "keyless (Sigstore) signatures are not verified here",
                expected="a signature by a key or a certificate, or settings for keyless ones",
                actual="keyless",
                hint="pip install 'muniment[sigstore]' and set MUNIMENT_REGISTRY__SIGNATURES__SIGSTORE_ROOT and "
                "MUNIMENT_REGISTRY__SIGNATURES__IDENTITIES, or use the public tool: model_signing verify sigstore",
            )
        return self.keyless.signer_of(bundle.raw)

    def _key_of(self, bundle: Bundle) -> str:
        if bundle.hint is not None and bundle.hint not in self.keys:
            raise NotTrusted(
                "key_unknown",
                "the signature is by a key that is not trusted",
                expected=f"one of {len(self.keys)} trusted keys",
                actual=bundle.hint,
                hint="trust its public key: MUNIMENT_REGISTRY__SIGNATURES__TRUSTED_KEYS",
            )
        # Older signatures name no key. Then nobody says which is right, so a failure says nothing against the bytes.
        tried = self.keys if bundle.hint is None else {bundle.hint: self.keys[bundle.hint]}
        for hint, key in tried.items():
            if _signed(bundle, key):
                return hint
        if bundle.hint is None:
            raise NotTrusted(
                "key_unknown",
                "the signature names no key, and it is by none that is trusted",
                expected=f"one of {len(self.keys)} trusted keys",
                actual="another",
            )
        raise _wrong(f"a signature by key {bundle.hint}")

    def _subject_of(self, bundle: Bundle, at: datetime) -> str:
        try:
            leaf, *others = [x509.load_der_x509_certificate(der) for der in bundle.chain]
            key, subject = leaf.public_key(), leaf.subject.rfc4514_string()[:1000]
            may_sign = _may_sign(leaf.extensions)
        except _UNREADABLE as error:
            raise _unreadable() from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
            raise NotTrusted(
                "key_unsupported",
                "the certificate's key is of a kind that OMS does not have",
                expected="EC on P-256, P-384 or P-521",
                actual=type(key).__name__,
            )
        if not _signed(bundle, key):
            raise _wrong(f"a signature by {subject}")
        if not may_sign:
            raise NotTrusted(
                "certificate_not_for_signing",
                f"the certificate of {subject} is not for signing",
                expected="key usage digitalSignature, or extended key usage codeSigning",
            )
        self._check_chain(leaf, others, subject, at)
        return subject

    def _check_chain(self, leaf: x509.Certificate, others: list[x509.Certificate], subject: str, at: datetime) -> None:
        why = "no root is trusted"
        if self.roots:
            try:
                _verifier(self.roots, at).verify(leaf, others)
                return
            except VerificationError as error:
                why = str(error)[:300]
            except _UNREADABLE as error:
                why = f"a certificate cannot be read: {type(error).__name__}"
        raise NotTrusted(
            "chain_untrusted",
            f"the certificate of {subject} does not lead to a trusted root",
            expected=f"a chain, valid at {at.isoformat()}, to one of {len(self.roots)} roots",
            actual=why,
            hint="trust its root: MUNIMENT_REGISTRY__SIGNATURES__TRUSTED_ROOTS",
        )


def _signed(bundle: Bundle, key: ec.EllipticCurvePublicKey) -> bool:
    try:
        key.verify(bundle.signature, pae(bundle.payload), ec.ECDSA(_HASHES[key.curve.name]()))
    except InvalidSignature:
        return False
    return True


def _unreadable() -> SignatureMalformed:
    return SignatureMalformed("a certificate cannot be read", expected="X.509 in DER")


def _wrong(expected: str) -> SignatureWrong:
    return SignatureWrong(
        "signature_wrong",
        "the signature is not that of its statement",
        expected=expected,
        actual="another signature, or a statement that was changed",
    )


def _may_sign(extensions: x509.Extensions) -> bool:
    try:
        if extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            return True
    except x509.ExtensionNotFound:
        pass
    try:
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CODE_SIGNING in usages


def _verifier(roots: tuple[x509.Certificate, ...], at: datetime) -> x509.verification.ClientVerifier:
    # Private authorities seldom follow the web's profile. What a chain must have here: issuers that may issue.
    issuers = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_issue)
    )
    return (
        PolicyBuilder()
        .store(Store(list(roots)))
        .time(at)
        .max_chain_depth(MAX_CHAIN)
        .extension_policies(ca_policy=issuers, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )


def _is_authority(_: Policy, __: x509.Certificate, extension: x509.BasicConstraints) -> None:
    if not extension.ca:
        raise ValueError("an issuer is no authority")


def _may_issue(_: Policy, __: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("an issuer's key is not for certificates")


def _public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    actual = "something else"
    try:
        key = load_pem_public_key(pem)
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _HASHES:
            return key
        actual = type(key).__name__
    except _UNREADABLE as error:
        actual = type(error).__name__
    raise Rejected(
        "trusted_key_invalid",
        "a trusted key cannot be used",
        expected="an EC public key on P-256, P-384 or P-521 in PEM",
        actual=actual,
        hint="openssl pkey -in private.pem -pubout",
    )


def _roots(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except _UNREADABLE as error:
        raise Rejected(
            "trusted_root_invalid",
            "a trusted root cannot be read",
            expected="X.509 certificates in PEM",
            actual=type(error).__name__,
        ) from error
