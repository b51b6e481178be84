"""A release's manifest: canonical JSON of what was released and where its bytes are. Its SHA-256 is the release's id.

Whoever has nothing but the release's bucket needs nothing else: the files' locations and the facts of the version are
in it. Who released it and when is not: the same release of the same version has the same manifest, however often it is
tried; those two are in the record, in the event and in the audit entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from muniment.contracts.canonical import canonical_json
from muniment.contracts.events import VersionFile, VersionName
from muniment.contracts.ids import ModelName
from muniment.contracts.semver import Semver

SCHEMA: Final = "muniment.release/v1"
_OF_THE_VERSION: Final = {"schema", "model", "files"}

Copy = Literal["logical", "physical"]
"""`logical`: the version's own objects, locked for the release; `physical`: copies of them in the track's bucket."""


def release_bytes(
    *,
    model: ModelName,
    release: Semver,
    source: VersionName,
    track: str,
    copy: Copy,
    notes: str | None,
    files: Sequence[VersionFile],
    version_manifest: dict[str, Any],
) -> bytes:
    """The RFC 8785 text. `version_manifest` is the source's: all of it but its files is repeated as `facts`."""
    text: dict[str, Any] = {
        "schema": SCHEMA,
        "model": model,
        "release": str(release),
        "source": source.model_dump(mode="json"),
        "track": track,
        "copy": copy,
        "files": sorted((file.model_dump(mode="json") for file in files), key=lambda file: file["path"]),
        "facts": {name: value for name, value in version_manifest.items() if name not in _OF_THE_VERSION},
    }
    if notes is not None:
        text["notes"] = notes
    return canonical_json(text)
