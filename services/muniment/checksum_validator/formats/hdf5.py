"""HDF5: its signature, and the marks that Keras leaves in model files. The file's structure is not followed.

Source: HDF5 File Format Specification 3.0, part II (superblock).
"""

from __future__ import annotations

from typing import Final

from muniment.checksum_validator.formats.report import Report
from muniment.checksum_validator.formats.source import CHUNK_BYTES, Source
from muniment.checksum_validator.formats.spec import FormatError, Limits

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_MARGIN: Final = 64


def recognise(source: Source) -> bool:
    """Whether the signature stands where a reader looks: at 0, 512, 1024, 2048, ... as far as the head goes."""
    if source.head.startswith(MAGIC):
        return True
    place = 512
    while place < len(source.head):
        if source.head.startswith(MAGIC, place):
            return True
        place *= 2
    return False


def read(source: Source, limits: Limits, report: Report) -> None:
    """Report the version and what Keras says of itself in the first MiB and at the end. Raises `FormatError`."""
    del limits
    if not source.head.startswith(MAGIC):
        raise FormatError("hdf5_user_block", "bytes precede the HDF5 signature", expected="the signature at byte 0")
    searched = source.head + source.read(len(source.head), CHUNK_BYTES - len(source.head))
    rest = source.size - len(searched)
    seen = searched + (source.read(source.size - min(rest, CHUNK_BYTES // 16), CHUNK_BYTES // 16) if rest else b"")
    keras = b"keras_version" in seen or b"model_config" in seen
    report.facts |= {"superblock_version": source.head[8] if source.size > 8 else None, "keras": keras}
    for found in _mentions(seen):
        report.executable = True
        report.block("keras_code", "a Lambda layer is Python code that runs when the model is loaded", actual=found)
        return
    if keras and rest > CHUNK_BYTES // 16:
        report.warn("hdf5_searched_in_part", "a Keras model larger than what is searched for Lambda layers")


def _mentions(data: bytes) -> list[str]:
    """Where a configuration names a Lambda layer, with a little of its surroundings."""
    places = [data.find(mark) for mark in (b'"Lambda"', b"'Lambda'", b'"__lambda__"')]
    return [
        data[max(0, place - _MARGIN) : place + _MARGIN].decode("ascii", "replace") for place in places if place >= 0
    ]
