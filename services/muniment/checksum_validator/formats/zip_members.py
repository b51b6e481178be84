"""The content of a zip member: read forwards, checked at its end."""

from __future__ import annotations

from muniment.checksum_validator.formats.forward import Forward
from muniment.checksum_validator.formats.report import clip
from muniment.checksum_validator.formats.source import Source
from muniment.checksum_validator.formats.spec import FormatError
from muniment.checksum_validator.formats.zip_directory import DEFLATED, Member


def open_member(source: Source, member: Member) -> Forward:
    """The member's content, forwards."""
    encoding = "deflate" if member.method == DEFLATED else ""
    return Forward(source, member.start, member.start + member.packed, encoding=encoding)


def check(stream: Forward, member: Member) -> None:
    """Read a member to its end and compare size and checksum. Raises `FormatError`."""
    stream.drain()
    if stream.position != member.size or stream.crc != member.crc:
        raise FormatError(
            "zip_crc",
            f"member {clip(member.name)!r} is not what the directory says",
            expected=f"{member.size} B, CRC {member.crc:08x}",
            actual=f"{stream.position} B, CRC {stream.crc:08x}",
        )
