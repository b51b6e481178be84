"""Names and ids: what a model, branch, digest, version and publication are called, and how each is checked.

A checker returns the value as its own type, or raises `Rejected` with a stable code; nothing else makes these types.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from typing import Final, NewType

from muniment.contracts.errors import Rejected

ModelName = NewType("ModelName", str)
"""`[A-Za-z0-9][A-Za-z0-9._-]{0,127}`; unique without regard to case."""
BranchName = NewType("BranchName", str)
"""`main` (the master), or words joined by `/` such as `exp/dropout`; at most 128 characters."""
VersionId = NewType("VersionId", str)
"""`sha256:` + 64 lower-case hexadecimal digits: the digest of the version's canonical manifest."""
Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits."""
PublicationId = NewType("PublicationId", str)
"""A UUID in its canonical text form; the correlation id of everything one publication causes."""

MAIN: Final = BranchName("main")

_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BRANCH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PUBLICATION_NAMESPACE: Final = uuid.UUID("3c6bb7a5-4c9f-5d0a-9a55-8f2f5f0d1e11")
# Bidirectional controls can make a text read as something it is not (Unicode TR 36, section 3.2).
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cs"})


def model_name(text: str) -> ModelName:
    """The text as a model name, or `Rejected` with code `model_name_invalid`."""
    if not _MODEL.fullmatch(text) or text.endswith("."):
        raise Rejected(
            "model_name_invalid",
            "the model name is not allowed",
            expected="[A-Za-z0-9][A-Za-z0-9._-]{0,127}, not ending in a dot",
            actual=repr(text[:140]),
        )
    return ModelName(text)


def model_key(name: ModelName) -> str:
    """The form under which a model's name is unique: two names that differ only in case share it."""
    return name.lower()


def branch_name(text: str) -> BranchName:
    """The text as a branch name, or `Rejected` with code `branch_name_invalid`.

    Names that read as another kind of reference (a number, a release, a digest) or as the end of a URL under one are
    refused: branches, pointers and releases of a model share one namespace.
    """
    allowed = len(text) <= 128 and _BRANCH.fullmatch(text) and ".." not in text
    if not allowed or text[0].isdigit() or any(part.endswith(".") for part in text.split("/")):
        raise Rejected(
            "branch_name_invalid",
            "the branch name is not allowed",
            expected="main, or words of [A-Za-z0-9._-] joined by '/', not starting with a digit, e.g. exp/dropout",
            actual=repr(text[:140]),
        )
    if text.lower() in {"baseline", "head", "latest"} or text.rsplit("/", 1)[-1] in {"manifest", "files"}:
        raise Rejected("branch_name_invalid", f"{text!r} is reserved and cannot name a branch", actual=repr(text))
    return BranchName(text)


def pointer_name(text: str) -> BranchName:
    """The text as a pointer's name: `baseline`, or what a branch may be called (one namespace).

    Raises `Rejected` (`branch_name_invalid`).
    """
    return BranchName(text) if text == "baseline" else branch_name(text)


def sha256(text: str) -> Sha256:
    """The text as a SHA-256, or `Rejected` with code `digest_invalid`. A `sha256:` prefix is taken off."""
    digits = text.removeprefix("sha256:")
    if not _SHA256.fullmatch(digits):
        raise Rejected(
            "digest_invalid",
            "the digest is not a SHA-256",
            expected="64 lower-case hexadecimal digits, with or without 'sha256:' before them",
            actual=repr(text[:100]),
        )
    return Sha256(digits)


def version_id(text: str) -> VersionId:
    """The text as a version id, or `Rejected` with code `version_id_invalid`."""
    if not text.startswith("sha256:") or not _SHA256.fullmatch(text[7:]):
        raise Rejected(
            "version_id_invalid",
            "the version id is not allowed",
            expected="sha256: and 64 lower-case hexadecimal digits",
            actual=repr(text[:100]),
        )
    return VersionId(text)


def publication_id_of(source: str, event_id: str) -> PublicationId:
    """The publication that a training-completed event (`source`, `id`) starts: the same event, the same id."""
    return PublicationId(str(uuid.uuid5(_PUBLICATION_NAMESPACE, f"{len(source)}:{source}{event_id}")))


def publication_id(text: str) -> PublicationId:
    """The text as a publication id, or `Rejected` with code `publication_id_invalid`."""
    try:
        canonical = str(uuid.UUID(text))
    except ValueError:
        canonical = ""
    if canonical != text:
        raise Rejected("publication_id_invalid", "a publication id is a UUID", actual=repr(text[:60]))
    return PublicationId(text)


def free_text(text: str, *, limit: int, field: str) -> str:
    """A person's text in NFC, without control or bidirectional characters; `Rejected` (`text_invalid`) otherwise.

    `limit` counts characters after normalisation. Line feeds and tabs are allowed.
    """
    normal = unicodedata.normalize("NFC", text)
    if len(normal) > limit:
        raise Rejected("text_invalid", f"{field} is too long", expected=f"<= {limit} characters", actual=len(normal))
    if normal.isprintable():  # nearly always; and a loop over characters is slow
        return normal
    for character in normal:
        if character in "\n\t":
            continue
        if character in _BIDI or unicodedata.category(character) in {"Cc", "Cs"}:
            raise Rejected(
                "text_invalid",
                f"{field} holds a control or bidirectional character",
                expected="printable text",
                actual=f"U+{ord(character):04X}",
            )
    return normal


def printable(text: str, *, limit: int = 2000) -> str:
    """Any text as free text: NFC, what free text may not hold as U+FFFD, the rest cut off. Never refuses.

    For texts of ours that repeat a stranger's words: an event that tells of a refusal must not itself be refused.
    """
    normal = unicodedata.normalize("NFC", text[: limit * 2])
    kept = (one if one in "\n\t" or unicodedata.category(one) not in _UNPRINTABLE else "\ufffd" for one in normal)
    return "".join(kept)[:limit]
