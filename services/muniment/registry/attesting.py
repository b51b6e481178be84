"""What the registry signs itself, on demand: an OMS bundle over a version's files, and its provenance.

Nothing is kept: statements are made of the version's row and its manifest, and signatures are deterministic, so each
asking gives the same bytes for as long as the key is the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import asyncpg

from muniment.contracts.canonical import canonical_json, sha256_hex
from muniment.contracts.errors import NotFound
from muniment.contracts.model import rfc3339
from muniment.contracts.oms.judging import PROVENANCE_FILE, signature_path
from muniment.contracts.oms.keys import SigningKey
from muniment.contracts.oms.statement import FileDigest, statement_bytes
from muniment.ports.blobs import BlobStore
from muniment.registry.deleting import bytes_gone
from muniment.registry.provenance import Attested, provenance_bytes
from muniment.registry.references import find_version
from muniment.registry.release_records import version_files
from muniment.registry.signatures import signature_bytes

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attesting:
    """Signs statements about versions."""

    pool: asyncpg.Pool[Any]
    blobs: BlobStore
    key: SigningKey
    builder_id: str

    def key_facts(self) -> Json:
        """The public half of the registry's key."""
        return {
            "hint": self.key.hint,
            "algorithm": "ecdsa-p256-sha256",
            "public_key": self.key.public_key.decode(),
            "builder_id": self.builder_id,
        }

    async def attest(self, ref: str) -> Json:
        """What is attested of what a reference names; a release has its version's, whose files it has.

        `signature` is over the version's files, `provenance` says how they came to be, and `provenance_signature` is
        over the file `provenance.sigstore.json` with its canonical text: a tool that knows models' signatures and no
        provenance verifies it by that.
        Raises `Gone` (`version_deleted`), but not for a release: that outlives its version.
        """
        row = await self._there(ref)
        manifest = json.loads(row["manifest"])
        files = [FileDigest(file["path"], file["sha256"], file["size"]) for file in manifest["files"]]
        version = Attested(
            row["model"],
            row["number"],
            row["id"],
            str(row["publication_id"]),
            row["operator"],
            rfc3339(row["committed_at"]),
            manifest,
        )
        provenance = self.key.sign(provenance_bytes(version, self.builder_id))
        text = canonical_json(provenance)
        as_file = FileDigest(PROVENANCE_FILE, sha256_hex(text), len(text))
        return {
            "model": row["model"],
            "number": row["number"],
            "id": row["id"],
            "key": self.key_facts(),
            "signature": self.key.sign(statement_bytes(row["model"], files)),
            "provenance": provenance,
            "provenance_signature": self.key.sign(statement_bytes(row["model"], [as_file])),
        }

    async def published_signature(self, ref: str) -> bytes:
        """The signature's file of a version. Raises `NotFound` (`signature_not_found`), `Gone` (`version_deleted`)."""
        row = await self._there(ref)
        files = await version_files(self.pool, row)
        path = signature_path((file.path, file.role) for file in files)
        if path is None:
            raise NotFound(
                "signature_not_found",
                f"{row['model']}/{row['number']} was published without a signature",
                expected="a file model.sig, or one with the role signature",
                hint="the registry's own: muniment versions attest REF",
            )
        return await signature_bytes(self.blobs, next(file for file in files if file.path == path))

    async def _there(self, ref: str) -> asyncpg.Record:
        row = await find_version(self.pool, ref)
        if row["deleted_at"] is not None and row["release"] is None:
            raise bytes_gone(row)
        return row
