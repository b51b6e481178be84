"""Files of measurements: JSON lines, or CSV with a header. Read as they are sent, each bad row named."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

from muniment.cli.failures import Usage

FIELDS: Final = ("metric", "value", "unit", "dataset", "slice", "at")


def points(path: Path) -> Iterator[dict[str, Any]]:
    """The measurements of a `.csv` file, or of any other file as JSON lines. Raises `Usage`, naming the row."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from _csv(file) if path.suffix.lower() == ".csv" else _json_lines(file)
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{path} cannot be read: {error}", expected="UTF-8: JSON lines, or CSV with a header") from error


def _json_lines(file: TextIO) -> Iterator[dict[str, Any]]:
    for row, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Usage(
                f"line {row} is no JSON object", expected='{"metric": NAME, "value": NUMBER}', actual=line[:100]
            )
        yield value


def _csv(file: TextIO) -> Iterator[dict[str, Any]]:
    rows = csv.DictReader(file)
    names = rows.fieldnames or []
    if not {"metric", "value"} <= set(names) <= set(FIELDS):
        expected = f"metric,value and any of {','.join(FIELDS[2:])}"
        raise Usage("the header of the CSV file is not understood", expected=expected, actual=",".join(names)[:200])
    try:
        for cells in rows:
            value = _number(cells["value"])
            if value is None or None in cells:
                raise Usage(
                    f"line {rows.line_num} is not understood", expected="a number and no more cells than the header"
                )
            yield {**{name: cells[name] for name in names if cells[name]}, "value": value}
    except csv.Error as error:
        raise Usage(f"line {rows.line_num} is no CSV: {error}") from error


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
