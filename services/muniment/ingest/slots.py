"""Which objects a publisher is to upload, and in which pieces. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.contracts.errors import TooLarge
from muniment.contracts.events import DeclaredFile, ObjectLocation, StagedFile
from muniment.contracts.ids import Sha256

MAX_PARTS: Final = 10_000
"""Parts of one upload at most (S3), and parts of one publication: each has its URL in one answer."""
MAX_PART: Final = 5 * 1024**3
"""Bytes of one part, or of one PUT, at most (S3)."""
_MIB: Final = 1024**2


@dataclass(frozen=True, slots=True)
class PlannedUpload:
    """One object to upload. `part_size` None: in one PUT."""

    sha256: Sha256
    size: int
    key: str
    part_size: int | None

    @property
    def parts(self) -> int:
        """How many parts it has; 0 for one PUT."""
        return parts_of(self.size, self.part_size) if self.part_size else 0


UPLOADS: Final = "blobs/sha256/"
"""What the keys of all uploads begin with."""


def upload_key(sha256: str) -> str:
    """Where the bytes of a digest are put: every upload of them is a version-id of this key."""
    return f"{UPLOADS}{sha256[:2]}/{sha256}"


def parts_of(size: int, part_size: int) -> int:
    """How many parts of `part_size` bytes make `size` bytes."""
    return max(1, math.ceil(size / part_size))


def plan(missing: Sequence[DeclaredFile], *, single_put_max: int, part_size: int) -> tuple[PlannedUpload, ...]:
    """The uploads for files whose bytes are missing; files with one digest share one.

    Files up to `single_put_max` bytes go up in one PUT, larger ones in parts of `part_size` bytes, or of as many more
    whole MiB as it takes for the publication to have at most `MAX_PARTS`. Raises `TooLarge` (`publication_bytes`).
    """
    distinct = {file.sha256: file for file in missing}
    large = [file.size for file in distinct.values() if file.size > single_put_max]
    # Each file has less than one part more than its share, so this many bytes a part keep all within the limit.
    needed = math.ceil(sum(large) / (MAX_PARTS - len(large))) if large else 0
    size = max(part_size, math.ceil(needed / _MIB) * _MIB)
    if large and size > MAX_PART:
        raise TooLarge(
            "publication_bytes",
            "the publication has more bytes than can be uploaded at once",
            expected=f"<= {MAX_PART * (MAX_PARTS - len(large))} B",
            actual=f"{sum(large)} B",
            hint="write the files into a landing bucket and publish their locations",
        )
    return tuple(
        PlannedUpload(file.sha256, file.size, upload_key(file.sha256), size if file.size > single_put_max else None)
        for file in distinct.values()
    )


def staged_uploads(
    files: Sequence[DeclaredFile], pinned: Sequence[StagedFile], uploaded: Mapping[Sha256, ObjectLocation]
) -> tuple[StagedFile, ...]:
    """Every declared file with its location, in the declared order. `uploaded` tells locations by digest."""
    known = {file.path: file for file in pinned}
    return tuple(known.get(file.path) or staged(file, uploaded[file.sha256]) for file in files)


def staged(file: DeclaredFile, location: ObjectLocation) -> StagedFile:
    """An uploaded file."""
    return StagedFile(
        path=file.path,
        sha256=file.sha256,
        size=file.size,
        location=location,
        origin="upload",
        format=file.format,
        role=file.role,
    )
