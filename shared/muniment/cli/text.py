"""Words and numbers for people: sizes, times, columns, colours. Nothing here writes."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal, TextIO

_STYLES: Final = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def printable(value: Any) -> str:
    """A value as text that cannot steer a terminal: control and bidirectional characters become U+FFFD."""
    text = value if isinstance(value, str) else str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs"} else "\ufffd"
        for character in text
    )


def styled(text: str, style: Literal["red", "green", "yellow", "bold", "dim"], stream: TextIO) -> str:
    """The text in a colour, where the stream is a terminal and NO_COLOR is not set."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def size(count: float) -> str:
    """Bytes in binary units: `312.0 MiB`."""
    number = float(count)
    for unit in _UNITS:
        if number < 1024 or unit == _UNITS[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """Seconds as `0.7s`, `42s`, `3m05s`, `2h04m`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def reproduction(item: Mapping[str, Any] | None) -> str | None:
    """What a version repeats, or what repeats it, and how the two compare: `digits/5 (identical)`."""
    if item is None:
        return None
    by = f", judged by {cell(item['judged_by'])}" if item.get("judged_by") else ""
    return f"{cell(item.get('model'))}/{item['number']} ({item['outcome']}{by})"


def differences(item: Mapping[str, Any] | None) -> list[str]:
    """In what a version differs from the one that it repeats: a line a field, from there to here."""
    found = (item or {}).get("differences") or {}
    lines = [
        f"{cell(one['path'])}: {cell(one.get('original', '(nothing)'))} -> {cell(one.get('reproduction', '(nothing)'))}"
        + ("" if one.get("within") is None else " (within bounds)" if one["within"] else " (out of bounds)")
        for one in found.get("items", ())
    ]
    return [*lines, f"{found['left_out']} more"] if found.get("left_out") else lines


def short(digest: str | None) -> str:
    """A version id with 12 digits: still a reference that the server understands."""
    if digest is None:
        return ""
    return digest[: len("sha256:") + 12] if digest.startswith("sha256:") else digest


def moment(text: str | None) -> str:
    """An RFC 3339 time to the second: `2026-11-23 18:40:05Z`."""
    if not text:
        return ""
    date, _, rest = text.partition("T")
    return f"{date} {rest[:8]}Z" if rest else text


def cell(value: Any) -> str:
    """A value in a table or after a name."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}={cell(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value)
    return printable(value)


def some(value: Mapping[str, Any] | None, most: int = 50) -> str | None:
    """A mapping's first fields, and how many more there are."""
    if not value or len(value) <= most:
        return cell(value) if value else None
    return f"{cell(dict(islice(value.items(), most)))}, and {len(value) - most} more: --json shows all"


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table with two spaces between columns; line feeds in cells become spaces."""
    table = [list(header), *([item.replace("\n", " ") for item in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(item.ljust(width) for item, width in zip(row, widths, strict=True)).rstrip() for row in table]


def pairs(facts: Iterable[tuple[str, Any]]) -> list[str]:
    """Lines of `name  value`; what is empty is left out."""
    shown = [(name, cell(value)) for name, value in facts]
    shown = [(name, text) for name, text in shown if text]
    width = max((len(name) for name, _ in shown), default=0)
    return [f"{name:<{width}}  {text}" for name, text in shown]
