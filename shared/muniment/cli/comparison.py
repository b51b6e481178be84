"""Comparisons of versions as tables, for a terminal and in Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.cli.text import cell, columns, printable, short, size

_LONGEST: Final = 48
_ABSENT: Final = "-"
_TENSOR: Final = ("TENSOR", "STATUS", "DTYPE", "SHAPE", "CHANGE", "RELATIVE", "COSINE", "LARGEST", "REMARKS")


@dataclass(frozen=True, slots=True)
class _Table:
    title: str
    header: Sequence[str]
    rows: list[list[str]]
    remarks: list[str] = field(default_factory=list)


def as_text(answer: Mapping[str, Any]) -> str:
    """Aligned columns under a title for each section that has rows."""
    blocks = []
    for table in _tables(answer):
        lines = columns(table.header, table.rows) if table.rows else []
        blocks.append("\n".join([table.title, *(f"  {line}" for line in [*lines, *table.remarks])]))
    return "\n\n".join(blocks) or "nothing differs"


def as_markdown(answer: Mapping[str, Any]) -> str:
    """The same as Markdown tables."""
    blocks = []
    for table in _tables(answer):
        lines = [f"### {table.title}", ""]
        if table.rows:
            lines += [_markdown_row(table.header), "|" + " --- |" * len(table.header), *map(_markdown_row, table.rows)]
        for remark in table.remarks:
            lines += ["", remark]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "Nothing differs."


def changed_names(answer: Mapping[str, Any]) -> list[str]:
    """`section/name` of each row."""
    names = [f"{section}/{row['name']}" for section, rows in answer["sections"].items() for row in rows]
    tensors = (answer.get("tensors") or {}).get("rows", ())
    return names + [f"tensors/{row['name']}" for row in tensors]


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = (item.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;") for item in cells)
    return f"| {' | '.join(escaped)} |"


def _tables(answer: Mapping[str, Any]) -> Iterator[_Table]:
    versions = [
        f"{version['model']}/{version['number']}" + (" (deleted)" if version.get("deleted") else "")
        for version in answer["versions"]
    ]
    for section, rows in answer["sections"].items():
        if rows:
            total = answer["cut"].get(section)
            remarks = [f"the first {len(rows)} of {total} are shown"] if total else []
            yield _Table(section, ["NAME", *versions], [_row(section, row) for row in rows], remarks)
    tensors = answer.get("tensors")
    if tensors and "skipped" in tensors:
        yield _Table("tensors", _TENSOR, [], ["not compared: a version was deleted"])
    elif tensors and (tensors["rows"] or tensors["counts"]):
        yield _Table("tensors", _TENSOR, [_tensor(row) for row in tensors["rows"]], _summary(tensors))


def _row(section: str, row: Mapping[str, Any]) -> list[str]:
    deltas = row.get("deltas") or [None] * len(row["values"])
    changes = row.get("changes") or [None] * len(row["values"])
    cells = [printable(row["name"])]
    for value, present, delta, change in zip(row["values"], row["present"], deltas, changes, strict=True):
        text = _value(section, value) if present else _ABSENT
        if delta:
            text += f" ({delta:+.6g}{f', {change}' if change else ''})"
        cells.append(text)
    return cells


def _value(section: str, value: Any) -> str:
    if section == "files":
        return f"{value['sha256'][:12]}, {size(value['size'])}"
    if section == "datasets":
        return _cut(", ".join(short(one.get("digest")) or cell(one) for one in value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return "null" if value is None else _cut(cell(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _tensor(row: Mapping[str, Any]) -> list[str]:
    dtype, shape = (_sides(row, name) for name in ("dtype", "shape"))
    figures = (row[name] for name in ("change_norm", "relative_change", "cosine", "max_change"))
    numbers = ["" if value is None else f"{value:.6g}" for value in figures]
    remarks = ", ".join(flag.replace("_", " ") for flag in row["flags"])
    return [printable(row["name"]), row["status"], dtype, shape, *numbers, remarks]


def _sides(row: Mapping[str, Any], name: str) -> str:
    """`F32`, or `F32 to BF16` where it is another one."""
    told = [_shape(side[name]) if name == "shape" else side[name] for side in (row["from"], row["to"]) if side]
    return " to ".join(dict.fromkeys(told))


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _summary(tensors: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(tensors["counts"].items()))
    same = f"; {tensors['same_files']} files are the same" if tensors["same_files"] else ""
    lines = [f"{counts or 'none'}{same}; {size(tensors['bytes_read'])} read"]
    if tensors["cut"]:
        lines.append(f"the first {len(tensors['rows'])} of {tensors['cut']} are shown")
    return lines
