"""JSON and other text: only told apart from binary files, within bounds."""

from __future__ import annotations

import re
from typing import Final

from muniment.checksum_validator.formats import json_walk
from muniment.checksum_validator.formats.report import Report
from muniment.checksum_validator.formats.source import Source
from muniment.checksum_validator.formats.spec import Format, Limits

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MAX_CONTINUATION: Final = 3


def kind_of(source: Source, limits: Limits, report: Report) -> Format:
    """`json`, `text` or `unknown`. JSON up to `limits.json_bytes` is parsed; of larger ones both ends are looked at."""
    head, tail = source.head, source.tail
    whole = len(head) == source.size
    if not head or not _is_text(head, first=True, last=whole) or not _is_text(tail, first=whole, last=True):
        return "unknown"
    start, end = head.lstrip()[:1], tail.rstrip()[-1:]
    if (start, end) not in {(b"{", b"}"), (b"[", b"]")}:
        return "text"
    if source.size > limits.json_bytes:
        report.facts["checked"] = "both ends"
        return "json"
    try:
        json_walk.SMALL.decode(source.read(0, source.size).decode("utf-8"))
    except (ValueError, RecursionError):
        return "text"
    return "json"


def _is_text(part: bytes, *, first: bool, last: bool) -> bool:
    """Whether a part of a file is UTF-8 without control characters; inner borders may cut a character."""
    if _CONTROL.search(part):
        return False
    start = 0
    while not first and start < _MAX_CONTINUATION and start < len(part) and part[start] & 0xC0 == 0x80:
        start += 1
    try:
        part[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        return not last and error.reason == "unexpected end of data"
    return True
