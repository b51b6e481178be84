"""The events of committed bytes that are found damaged, and of good bytes with the same digest in their place again."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from muniment.contracts.events import ObjectLocation, VersionName
from muniment.contracts.model import (
    ByteCount,
    FilePathField,
    Line,
    ModelNameField,
    Payload,
    Sha256Field,
    Timestamp,
    Word,
)

MAX_NAMED: Final = 1_000
"""Files that one event names; `more` counts the others."""

DamageCode = Literal["bytes_damaged", "bytes_missing", "bytes_unreadable"]
"""Other bytes than were committed; none; or the store answers for other objects and fails each read of this one."""


class HeldFile(Payload):
    """A file whose bytes these are: of a version, or of a release (then `version` is what it was made of)."""

    path: FilePathField
    version: VersionName
    release: Word | None = None


class IntegrityViolated(Payload):
    """Committed bytes are no longer what was committed: every version and release that holds them is damaged.

    One event for each model that holds them. `location` is where they lie; `expected` and `actual` are digest and size.
    """

    model: ModelNameField
    operator: Word
    code: DamageCode
    sha256: Sha256Field
    size: ByteCount
    location: ObjectLocation
    expected: Line
    actual: Line
    hint: Line
    files: Annotated[tuple[HeldFile, ...], Field(max_length=MAX_NAMED)]
    more: ByteCount = 0
    found_at: Timestamp


class IntegrityRestored(Payload):
    """Good bytes with the same digest are in place again, at `location`; the damaged ones were at `previous`.

    The two are the same where the store itself has got them back.
    """

    model: ModelNameField
    operator: Word
    sha256: Sha256Field
    size: ByteCount
    location: ObjectLocation
    previous: ObjectLocation
    files: Annotated[tuple[HeldFile, ...], Field(max_length=MAX_NAMED)]
    more: ByteCount = 0
    restored_at: Timestamp
