"""A pack's report and lists made again from its entries, without the writer's code: what they say must be this.

The shape of both is told in docs/verifying.md, under "The report".
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any, Final

from muniment.verifier.canonical import canonical

_MOVES: Final = ("baseline.promoted", "baseline.rolled_back", "baseline.reverted")
_COMMITS: Final = ("version.committed", "release.published")
_TABLES: Final[dict[str, tuple[str, ...]]] = {
    "Deployments": ("deployment.reported",),
    "Versions and releases": _COMMITS,
    "Approvals and checks": (
        "version.approved",
        "version.checked",
        "version.signature_checked",
        "candidate.committed",
        "candidate.refused",
    ),
    "Rules that changed": ("contract.changed", "branch.protected", "track.changed"),
}
_EXCEPTIONS: Final = (
    "version.handed_out",
    "version.deleted",
    "integrity.violated",
    "integrity.restored",
    "baseline.diverged",
    "baseline.rolled_back",
    "validation.rejected",
    "publication.refused",
    "commit.rejected",
)
_ESCAPED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
_UNSEEN: Final = ((0x0, 0x1F), (0x7F, 0x9F), (0x61C, 0x61C), (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F))
_TABLE: Final = str.maketrans(
    {code: f"\\u{code:04x}" for first, last in (*_UNSEEN, (0xFEFF, 0xFEFF)) for code in range(first, last + 1)}
    | {ord(character): text for character, text in _ESCAPED.items()}
)
_IN_MEMORY: Final = 1024 * 1024


class Retold(ExitStack):
    """Takes a pack's entries in their order. `facts` are those of `pack.json`."""

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__()
        self._facts = facts
        titles = ("What ran in production", *_TABLES, "Exceptions", "Who did what")
        self._rows = {title: self._file() for title in titles}
        self._versions, self._deployments = self._file(), self._file()
        self._standing: list[str] | None = None

    def take(self, index: int, entry: dict[str, Any], manifest: str | None) -> None:
        """An entry, and the name of the manifest that it committed, if the pack has it. Raises `KeyError`,
        `TypeError`, `AttributeError` or `EntryError` for what is no entry of a form that is known.
        """
        action, done = entry["action"], entry.get("outcome") != "refused"
        commits = done and action in _COMMITS
        said = {one["path"]: one.get("after") for one in entry["changes"]}
        note = ["earlier"] * (index < self._facts["first"]) + ["refused"] * (not done)
        note += [manifest or "manifest not in the store"] * commits
        changed = [
            f"{one['path']}: {_value(one.get('before'))} -> {_value(one.get('after'))}" for one in entry["changes"]
        ]
        cells = [
            str(index),
            entry.get("event_time", ""),
            entry["operator"],
            action,
            ", ".join(note),
            entry["resource"],
            "; ".join(changed),
            entry.get("reason", ""),
        ]
        wanted = [title for title, actions in _TABLES.items() if done and action in actions]
        wanted += ["Exceptions"] * (not done or action in _EXCEPTIONS) + ["Who did what"]
        for title in wanted:
            self._rows[title].write(_row(cells))
        if done and action in _MOVES:
            self._end_standing(cells[1])
            version = said.get("pointers/baseline")
            self._standing = [cells[0], cells[1], "", _value(version), cells[2], action, cells[7]]
        if commits:
            told = said.get("version" if action == "version.committed" else "release")
            identity = told if isinstance(told, str) else None
            line = {"index": index, "id": identity, "resource": entry["resource"], "manifest": manifest}
            self._versions.write(canonical(line).encode() + b"\n")
        if done and action == "deployment.reported":
            line = {"index": index, "resource": entry["resource"], "time": entry.get("event_time"), "said": said}
            self._deployments.write(canonical(line).encode() + b"\n")

    def versions(self) -> IO[bytes]:
        """`versions.jsonl` as it must be."""
        self._versions.seek(0)
        return self._versions

    def deployments(self) -> IO[bytes]:
        """`deployments.jsonl` as it must be."""
        self._deployments.seek(0)
        return self._deployments

    def report(self) -> Iterator[bytes]:
        """`report.html` as it must be, line by line."""
        self._end_standing("")
        facts = {name: _shown(str(value)) for name, value in self._facts.items()}
        since = facts["from"] if self._facts["from"] else "the beginning"
        until = facts["to"] if self._facts["to"] else "the checkpoint"
        yield from (
            f"{line}\n".encode()
            for line in (
                "<!doctype html>",
                '<html lang="en">',
                "<head>",
                '<meta charset="utf-8">',
                '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src '
                "'unsafe-inline'\">",
                f"<title>Evidence: {facts['model']}</title>",
                "<style>",
                "body { font: 14px/1.5 sans-serif; margin: 2em; }",
                "table { border-collapse: collapse; width: 100%; }",
                "th, td { border: 1px solid #999; padding: 2px 6px; text-align: left; vertical-align: top; "
                "overflow-wrap: anywhere; }",
                "</style>",
                "</head>",
                "<body>",
                f"<h1>Evidence: {facts['model']}</h1>",
                f"<p>From the audit log {facts['origin']}, size {facts['size']}, root {facts['root']}.</p>",
                f"<p>Entries of the model from {since} to {until}: index {facts['first']} to before {facts['end']}. "
                'What is marked "earlier" tells how',
                "things stood before. Each row is an entry of this pack: entries/N.json, proven by "
                "receipts/N.tlog-proof.</p>",
            )
        )
        for title, rows in self._rows.items():
            moves = title == "What ran in production"
            columns = (
                "Entry From Until Version Operator Action Reason"
                if moves
                else ("Entry Time Operator Action Note Resource Changes Reason")
            )
            head = "".join(f"<th>{column}</th>" for column in columns.split())
            yield f"<h2>{title}</h2>\n".encode()
            yield b"<table>\n"
            yield f"<tr>{head}</tr>\n".encode()
            rows.seek(0)
            yield from rows
            yield b"</table>\n"
        yield b"</body>\n"
        yield b"</html>\n"

    def _end_standing(self, time: str) -> None:
        if self._standing is not None:
            self._standing[2] = time
            self._rows["What ran in production"].write(_row(self._standing))
            self._standing = None

    def _file(self) -> IO[bytes]:
        return self.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY))


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    )
    return text if len(text) <= 300 else text[:300] + "..."


def _row(cells: list[str]) -> bytes:
    return ("<tr>" + "".join(f"<td>{_shown(cell)}</td>" for cell in cells) + "</tr>\n").encode()


def _shown(text: str) -> str:
    return text.translate(_TABLE)
