"""What an OMS signature is over: an in-toto Statement v1 that lists each file of a model with its digest.

The statement's one subject has the SHA-256 over the files' digests, in the order of the list. Its serialization says
how files became digests (`files`: each whole; `shards`: in pieces of a size), and which paths were left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from muniment.contracts.canonical import canonical_json
from muniment.contracts.manifest import MAX_FILES
from muniment.contracts.oms.bundle import MAX_BUNDLE, SignatureMalformed, items, loads, members, text

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_MAX_RESOURCES: Final = 2 * MAX_FILES
_HEX: Final = re.compile(r"(?:[0-9a-f]{2}){16,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHARD: Final = re.compile(r"(.+):(0|[1-9][0-9]{0,15}):([1-9][0-9]{0,15})", re.DOTALL)
GIT_PATHS: Final = (".git", ".gitattributes", ".github", ".gitignore")
"""What signers leave out unless told otherwise."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file: path below the model's folder, SHA-256 in hexadecimal, size in bytes (None: not said)."""

    path: str
    sha256: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that is consistent in itself. `unsupported` says what of it cannot be held against whole files."""

    name: str
    files: tuple[FileDigest, ...]
    ignored: tuple[str, ...] = ()
    unsupported: str | None = None


def statement_bytes(name: str, files: Iterable[FileDigest]) -> bytes:
    """The canonical text (RFC 8785) of the statement over these files: equal files give equal bytes."""
    listed = sorted(files, key=lambda file: file.path)
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": _root(file.sha256 for file in listed)}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": [],
                },
                "resources": [{"name": file.path, "algorithm": "sha256", "digest": file.sha256} for file in listed],
            },
        }
    )


def parse_statement(payload: bytes) -> Statement:
    """Read a signed payload. Raises `SignatureMalformed`, and nothing else."""
    statement = members(loads(payload, MAX_BUNDLE), "the statement")
    for field, expected in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if statement.get(field) != expected:
            raise SignatureMalformed(
                f"the statement's {field} is another", expected=expected, actual=statement.get(field)
            )
    subject = members(items(statement.get("subject"), "subject", most=1)[0], "subject[0]")
    root = members(subject.get("digest"), "subject[0].digest").get("sha256")
    predicate = members(statement.get("predicate"), "predicate")
    serialization = members(predicate.get("serialization"), "serialization")
    resources = [_resource(one) for one in items(predicate.get("resources"), "resources", most=_MAX_RESOURCES)]
    counted = _root(digest for _, _, digest in resources)
    if root != counted:
        raise SignatureMalformed("the statement is not consistent in itself", expected=counted, actual=root)
    files, unsupported = _files(serialization, resources)
    name = subject.get("name")
    return Statement(name if isinstance(name, str) else "", files, _ignored(serialization), unsupported)


def _root(digests: Iterable[str]) -> str:
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def _resource(value: Any) -> tuple[str, str, str]:
    one = members(value, "resources[]")
    digest = text(one.get("digest"), "digest", most=128)
    if not _HEX.fullmatch(digest):
        raise SignatureMalformed("a digest is not as it must be", expected="hexadecimal", actual=digest[:80])
    return text(one.get("name"), "name"), text(one.get("algorithm"), "algorithm", most=100), digest


def _ignored(serialization: Mapping[str, Any]) -> tuple[str, ...]:
    paths = serialization.get("ignore_paths") or []
    if not isinstance(paths, list) or len(paths) > _MAX_RESOURCES:
        raise SignatureMalformed("ignore_paths is not as it must be", expected=f"a list of at most {_MAX_RESOURCES}")
    return tuple(text(path, "ignore_paths[]") for path in paths)


def _files(
    serialization: Mapping[str, Any], resources: Sequence[tuple[str, str, str]]
) -> tuple[tuple[FileDigest, ...], str | None]:
    method, hashed = serialization.get("method"), serialization.get("hash_type")
    if method not in ("files", "shards") or hashed != "sha256":
        return (), f"{str(method)[:40]} with {str(hashed)[:40]}"
    found: list[FileDigest] = []
    for name, algorithm, digest in resources:
        size: int | None = None
        if method == "shards":
            shard = _SHARD.fullmatch(name)
            if shard is None:
                raise SignatureMalformed("a shard's name is not as it must be", expected="PATH:START:END", actual=name)
            # Only a file of one shard has its own digest in the list.
            if shard[2] != "0":
                return (), f"shards, {shard[1][:200]} in several"
            name, size = shard[1], int(shard[3])
        elif algorithm != "sha256":
            raise SignatureMalformed("a file is hashed otherwise", expected="sha256", actual=algorithm)
        if not _SHA256.fullmatch(digest):
            raise SignatureMalformed("a digest is not as it must be", expected="64 hexadecimal digits", actual=digest)
        found.append(FileDigest(name, digest, size))
    if len({file.path for file in found}) != len(found):
        raise SignatureMalformed("the statement names a file twice", expected="each file once")
    return tuple(found), None
