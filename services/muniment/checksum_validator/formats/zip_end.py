"""Where a zip file ends, and where its central directory is: every place where a reader could look for it.

Source: PKWARE APPNOTE 6.3.10, 4.3.14 to 4.3.16.
"""

from __future__ import annotations

import struct
from typing import Final

from muniment.checksum_validator.formats.source import Source
from muniment.checksum_validator.formats.spec import FormatError, Limits

CENTRAL_MAGIC: Final = b"PK\x01\x02"
_END_MAGIC: Final = b"PK\x05\x06"
_END64_MAGIC: Final = b"PK\x06\x06"
_LOCATOR_MAGIC: Final = b"PK\x06\x07"
_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_SENTINEL16: Final = 0xFFFF
_SENTINEL32: Final = 0xFFFFFFFF
_MAX_CANDIDATES: Final = 8


def end_records(source: Source) -> list[int]:
    """Where readers could find the end of an archive: end records that point to a directory, last one first."""
    found: list[int] = []
    at = source.tail.rfind(_END_MAGIC)
    tried = 0
    while at >= 0:
        tried += 1
        place = source.tail_start + at
        if tried > _MAX_CANDIDATES or _leads_somewhere(source, place):
            found.append(place)
        if tried > _MAX_CANDIDATES:
            break
        at = source.tail.rfind(_END_MAGIC, 0, at)
    return found


def _leads_somewhere(source: Source, place: int) -> bool:
    record = source.read(place, _END.size)
    if len(record) < _END.size:
        return False
    _, _, _, _, count, size, offset, comment = _END.unpack(record)
    if count == 0 and size == 0:
        return bool(place + _END.size + comment == source.size)
    if place >= _LOCATOR.size and source.read(place - _LOCATOR.size, 4) == _LOCATOR_MAGIC:
        return True
    return any(0 <= start <= place and source.read(start, 4) == CENTRAL_MAGIC for start in {place - size, offset})


def directory(source: Source, limits: Limits) -> tuple[int, int, int]:
    """Where the central directory begins and ends, and how many entries it has."""
    places = end_records(source)
    if not places:
        raise FormatError("zip_no_end", "the archive has no end record", hint="the file is cut off")
    if len(places) > 1:
        raise FormatError("zip_ambiguous", "the archive has more than one end record", expected=1, actual=len(places))
    place = places[0]
    _, disk, start_disk, here, count, size, offset, comment = _END.unpack(source.read(place, _END.size))
    if place + _END.size + comment != source.size:
        raise FormatError(
            "zip_trailing_bytes",
            "the archive does not end where its end record says",
            expected=f"{place + _END.size + comment} B",
            actual=f"{source.size} B",
        )
    end = place
    if place >= _LOCATOR.size and source.read(place - _LOCATOR.size, 4) == _LOCATOR_MAGIC:
        end, count64, size64, offset64 = _directory64(source, place - _LOCATOR.size)
        for short, long, sentinel in (
            (count, count64, _SENTINEL16),
            (here, count64, _SENTINEL16),
            (size, size64, _SENTINEL32),
            (offset, offset64, _SENTINEL32),
        ):
            if short not in {long, sentinel}:
                raise FormatError(
                    "zip64_disagrees", "the zip and zip64 end records disagree", expected=long, actual=short
                )
        here, count, size, offset = count64, count64, size64, offset64
    if disk or start_disk or here != count:
        raise FormatError("zip_split", "archives over several disks are not taken")
    if count > limits.archive_members:
        raise FormatError("zip_too_many", "too many members", expected=f"<= {limits.archive_members}", actual=count)
    if offset + size != end:
        raise FormatError(
            "zip_prefix",
            "the directory is not where the end record says: something was put before or into the archive",
            expected=f"{offset + size} B",
            actual=f"{end} B",
        )
    return offset, end, count


def _directory64(source: Source, place: int) -> tuple[int, int, int, int]:
    """The zip64 end record before its locator: where it is, and count, size and offset of the directory."""
    _, disk, record, disks = _LOCATOR.unpack(source.read(place, _LOCATOR.size))
    raw = source.read(record, _END64.size) if record + _END64.size == place else b""
    if len(raw) != _END64.size or not raw.startswith(_END64_MAGIC) or disk or disks > 1:
        raise FormatError("zip64_disagrees", "the zip64 end record is not where its locator says", actual=record)
    _, length, _, _, disk, start_disk, here, count, size, offset = _END64.unpack(raw)
    if disk or start_disk or here != count or length != _END64.size - 12:
        raise FormatError("zip64_disagrees", "the zip64 end record contradicts itself")
    return record, count, size, offset
