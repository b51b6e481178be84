"""Keyless signatures (Sigstore), verified by sigstore-python without a network. An extra: `muniment[sigstore]`.

A keyless signature is by a certificate that lived for minutes, issued for an identity that somebody has proved to an
OpenID Connect issuer. That it was signed in those minutes is proved by a transparency log's entry in the bundle. What
must be known beforehand is Sigstore's trusted root (its authorities and logs), and which identities are believed.

Specs: Sigstore protobuf-specs `sigstore_trustroot.proto`; the client specification's verification steps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from muniment.contracts.errors import Misconfigured
from muniment.contracts.oms.trust import NotTrusted

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.verify import Verifier


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is believed: an e-mail address or a URI, as one issuer has vouched for it.

    `*` in `identity` stands for any text, so that a workflow is believed for every tag:
    `https://github.com/ORG/REPO/.github/workflows/release.yml@refs/tags/*`. An issuer is exact.
    """

    issuer: str
    identity: str

    def meant(self, names: Sequence[str]) -> str | None:
        """The first of a certificate's names that this is; the identity itself where it is exact."""
        if "*" not in self.identity:
            return self.identity
        pattern = re.compile(".*".join(re.escape(part) for part in self.identity.split("*")), re.DOTALL)
        return next((name for name in names if pattern.fullmatch(name)), None)


class SigstoreVerifier:
    """Verifies bundles against one trusted root and the identities that are believed."""

    def __init__(self, root: Path, identities: Sequence[Identity]) -> None:
        """`root`: Sigstore's `trusted_root.json`. Raises `Misconfigured` (`sigstore_missing`, `sigstore_root_invalid`).

        Nothing is asked of a network, here or later.
        """
        try:
            from sigstore.models import TrustedRoot
            from sigstore.verify import Verifier
        except ImportError as error:
            raise Misconfigured(
                "sigstore_missing",
                "keyless signatures are to be verified, and the library for that is not installed",
                expected="sigstore-python",
                hint="pip install 'muniment[sigstore]'",
            ) from error
        try:
            self._verifier: Verifier = Verifier(trusted_root=TrustedRoot.from_file(str(root)))
        except Exception as error:  # the library has no common error, and each means a file that cannot be used
            raise Misconfigured(
                "sigstore_root_invalid",
                f"{root} cannot be used as Sigstore's trusted root: {str(error)[:300]}",
                expected="a trusted_root.json, media type application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                actual=type(error).__name__,
                hint="cosign initialize keeps it at ~/.sigstore/root/tuf-repo-cdn.sigstore.dev/targets/",
            ) from error
        self._identities = tuple(identities)

    def signer_of(self, raw: bytes) -> str:
        """Who has signed a bundle, as `IDENTITY (ISSUER)`. `raw`: its JSON, which the caller has read already.

        Raises `NotTrusted`: `identity_unknown` (it claims to be by somebody else), `keyless_untrusted` (it does not
        prove what it claims).
        """
        from sigstore.models import Bundle
        from sigstore.verify.policy import Identity as Policy

        try:
            bundle = Bundle.from_json(raw)
            names = _names(bundle.signing_certificate)
        except Exception as error:  # a stranger's bytes: whatever the library makes of them, it is no proof
            raise _unproved(error) from error
        believed = [(one, name) for one in self._identities if (name := one.meant(names)) is not None]
        for one, name in believed:
            policy = Policy(identity=name, issuer=one.issuer)
            try:
                policy.verify(bundle.signing_certificate)
            except Exception:  # noqa: BLE001, S112  # reason: a stranger's certificate, whatever it raises: not this one
                continue
            try:
                self._verifier.verify_dsse(bundle, policy)
            except Exception as error:  # as above
                raise _unproved(error) from error
            return f"{name} ({one.issuer})"[:1000]
        raise NotTrusted(
            "identity_unknown",
            "the keyless signature claims an identity that is not trusted",
            expected=f"one of {len(self._identities)} trusted identities, from its issuer",
            actual=", ".join(names)[:300] or "none",
            hint="trust it: MUNIMENT_REGISTRY__SIGNATURES__IDENTITIES",
        )


def _names(certificate: Certificate) -> list[str]:
    """The e-mail addresses and URIs that a certificate is for."""
    from cryptography.x509 import RFC822Name, SubjectAlternativeName, UniformResourceIdentifier

    found = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    return [*found.get_values_for_type(RFC822Name), *found.get_values_for_type(UniformResourceIdentifier)]


def _unproved(error: Exception) -> NotTrusted:
    return NotTrusted(
        "keyless_untrusted",
        "the keyless signature does not prove who made it, and when",
        expected="a certificate and a log entry under the trusted root",
        actual=f"{type(error).__name__}: {error}"[:300],
        hint="is the trusted root of the Sigstore that it was signed with, and recent enough?",
    )
