"""Reading a manifest without the libraries that build one: its id, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from muniment.contracts import strict_json
from muniment.contracts.canonical import sha256_hex
from muniment.contracts.errors import Conflict, MunimentError, Rejected
from muniment.contracts.file_path import file_path
from muniment.contracts.ids import sha256

MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file as the manifest names it."""

    path: str
    size: int
    sha256: str
    format: str


@dataclass(frozen=True, slots=True)
class ManifestText:
    """A manifest's canonical text, the id it has, and what it says."""

    id: str
    text: bytes
    content: dict[str, Any]
    files: tuple[ManifestFile, ...]


def read_manifest(text: bytes, *, expected_id: str | None = None) -> ManifestText:
    """The manifest in a text.

    Raises `Conflict` (`manifest_mismatch`) if its digest is not the expected id, and `MunimentError`
    (`manifest_invalid`) if it is no manifest; a path that leaves the version is refused before it is used.
    """
    actual = f"sha256:{sha256_hex(text)}"
    if expected_id is not None and actual != expected_id:
        raise Conflict(
            "manifest_mismatch",
            "the manifest is not the one the version is named after",
            expected=expected_id,
            actual=actual,
            hint="do not use these files; tell the operator of the registry",
        )
    try:
        content = strict_json.loads(text, max_bytes=MAX_BYTES)
        files = tuple(
            ManifestFile(file_path(item["path"]), int(item["size"]), str(sha256(item["sha256"])), str(item["format"]))
            for item in content["files"]
        )
        model = content["model"]
    except (Rejected, KeyError, TypeError, ValueError, AttributeError) as error:
        raise MunimentError("manifest_invalid", f"the text is no manifest: {error}") from error
    if not isinstance(model, str) or len({file.path.casefold() for file in files}) != len(files):
        raise MunimentError("manifest_invalid", "the manifest names no model, or one path twice")
    return ManifestText(actual, text, content, files)
