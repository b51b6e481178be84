"""Compressed files. joblib compresses pickles and decompresses them unasked, so each is looked into.

What begins as a pickle inside is followed to its end, decompressed piece by piece; lz4, zstd and joblib's oldest form
cannot be opened here, and are said to be executable because nothing shows that they are not.
"""

from __future__ import annotations

from typing import Final

from muniment.checksum_validator.formats import pickles
from muniment.checksum_validator.formats.forward import Forward
from muniment.checksum_validator.formats.pickle_state import Tally
from muniment.checksum_validator.formats.report import Report
from muniment.checksum_validator.formats.source import Source
from muniment.checksum_validator.formats.spec import FormatError, Limits

_MAGIC: Final = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x78\x01", "zlib"),
    (b"\x78\x5e", "zlib"),
    (b"\x78\x9c", "zlib"),
    (b"\x78\xda", "zlib"),
)
_CLOSED: Final = ((b"\x04\x22\x4d\x18", "lz4"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"ZF0x", "joblib before 0.10"))
_UNBOUNDED: Final = 1 << 62
_PEEK: Final = 512


def recognise(source: Source) -> bool:
    """Whether the file begins as a compressed one, and its first bytes can be decompressed."""
    kind = _encoding(source.head)
    if not kind:
        return any(source.head.startswith(magic) for magic, _ in _CLOSED)
    try:
        return bool(_open(source, kind).read(0, _PEEK))
    except FormatError as error:
        # Few bytes prove little: a safetensors header of 93 bytes begins as lzma does, some text as zlib.
        return kind in {"bzip2", "xz"} or error.code == "decompression_memory"


def read(source: Source, limits: Limits, report: Report) -> None:
    """Tell what is inside; follow it where it is a pickle. Raises `FormatError`."""
    kind = _encoding(source.head)
    if not kind:
        closed = next(name for magic, name in _CLOSED if source.head.startswith(magic))
        report.facts["compression"] = closed
        report.executable = True
        report.warn("compression_unread", f"{closed} cannot be looked into; it may hold a pickle")
        return
    report.facts["compression"] = kind
    peek = _open(source, kind).read(0, _PEEK)
    if not pickles.may_be_pickle(peek, _UNBOUNDED) or not pickles.is_pickle(_open(source, kind), _UNBOUNDED):
        return
    report.format = "joblib"
    tally = Tally(limits)
    stream = _open(source, kind)
    try:
        end = pickles.follow(stream, 0, _UNBOUNDED, tally, report, tail=True)
    finally:
        pickles.judge(tally, report)
    stream.drain()
    if stream.position != end:
        raise FormatError(
            "pickle_trailing_bytes",
            "bytes follow the pickle inside: it may be another file as well",
            expected=f"{end} B",
            actual=f"{stream.position} B",
        )


def _encoding(head: bytes) -> str | None:
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def _open(source: Source, kind: str) -> Forward:
    return Forward(source, 0, source.size, encoding=kind, several=True)
