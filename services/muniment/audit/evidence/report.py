"""The pack's readable report: one HTML file without scripts and references, made from the pack's own entries alone.

The verifier makes it again from the entries by code of its own, and compares: a change here needs the same one in
`muniment.verifier.retold` (a test holds them together).
"""

from __future__ import annotations

import html
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Final, Self

from muniment.audit.evidence.question import Facts

MOVES: Final = frozenset({"baseline.promoted", "baseline.rolled_back", "baseline.reverted"})
DEPLOYED: Final = "deployment.reported"
COMMITS: Final = frozenset({"version.committed", "release.published"})
APPROVALS: Final = frozenset(
    {"version.approved", "version.checked", "version.signature_checked", "candidate.committed", "candidate.refused"}
)
POLICY: Final = frozenset({"contract.changed", "branch.protected", "track.changed"})
EXCEPTIONS: Final = frozenset(
    {
        "version.handed_out",
        "version.deleted",
        "integrity.violated",
        "integrity.restored",
        "baseline.diverged",
        "baseline.rolled_back",
        "validation.rejected",
        "publication.refused",
        "commit.rejected",
    }
)
_HEAD: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Evidence: {model}</title>
<style>
body {{ font: 14px/1.5 sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border: 1px solid #999; padding: 2px 6px; text-align: left; vertical-align: top; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>Evidence: {model}</h1>
<p>From the audit log {origin}, size {size}, root {root}.</p>
<p>Entries of the model from {since} to {until}: index {first} to before {end}. What is marked "earlier" tells how
things stood before. Each row is an entry of this pack: entries/N.json, proven by receipts/N.tlog-proof.</p>
"""
_ENTRY: Final = ("Entry", "Time", "Operator", "Action", "Note", "Resource", "Changes", "Reason")
_SECTIONS: Final[Sequence[tuple[str, str, Sequence[str]]]] = (
    ("production", "What ran in production", ("Entry", "From", "Until", "Version", "Operator", "Action", "Reason")),
    ("deployments", "Deployments", _ENTRY),
    ("versions", "Versions and releases", _ENTRY),
    ("approvals", "Approvals and checks", _ENTRY),
    ("policy", "Rules that changed", _ENTRY),
    ("exceptions", "Exceptions", _ENTRY),
    ("all", "Who did what", _ENTRY),
)
# Characters that are not seen, or that turn the text around them. A fixed list: what counts as printable differs
# between versions of Unicode, and the report must not.
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_LONGEST: Final = 300
_IN_MEMORY: Final = 1024 * 1024
_CHUNK: Final = 256 * 1024


class Report:
    """Takes entries in their order, then gives the file. Rows wait in temporary files."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._files: dict[str, IO[bytes]] = {
            name: tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # reason: closed by __exit__
            for name, _, _ in _SECTIONS
        }
        self._baseline: list[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def take(self, index: int, entry: Mapping[str, Any], manifest: str | None) -> None:
        """Take an entry; `manifest`: where in the pack the manifest is that it names, None if the store has none."""
        action, refused = entry["action"], entry.get("outcome") == "refused"
        earlier = index < self._facts.first
        row = _row(_cells(index, entry, _note(entry, manifest, earlier=earlier, refused=refused)))
        self._files["all"].write(row)
        if refused or action in EXCEPTIONS:
            self._files["exceptions"].write(row)
        if refused:
            return
        for name, wanted in (
            ("deployments", {DEPLOYED}),
            ("versions", COMMITS),
            ("approvals", APPROVALS),
            ("policy", POLICY),
        ):
            if action in wanted:
                self._files[name].write(row)
        if action in MOVES:
            self._move(index, entry)

    def content(self) -> tuple[int, Iterator[bytes]]:
        """The file: its size in bytes, and its pieces. Nothing can be taken afterwards."""
        if self._baseline is not None:
            self._files["production"].write(_row(self._baseline))
            self._baseline = None
        parts: list[bytes | IO[bytes]] = [self._head()]
        for name, title, columns in _SECTIONS:
            head = "".join(f"<th>{column}</th>" for column in columns)
            parts += [f"<h2>{title}</h2>\n<table>\n<tr>{head}</tr>\n".encode(), self._files[name], b"</table>\n"]
        parts.append(b"</body>\n</html>\n")
        size = sum(len(one) if isinstance(one, bytes) else one.seek(0, 2) for one in parts)
        return size, _pieces(parts)

    def _head(self) -> bytes:
        facts = self._facts
        since, until = facts.since or "the beginning", facts.until or "the checkpoint"
        texts = {
            "model": facts.model,
            "origin": facts.origin,
            "size": str(facts.size),
            "root": facts.root,
            "since": since,
            "until": until,
            "first": str(facts.first),
            "end": str(facts.end),
        }
        return _HEAD.format(**{name: _shown(text) for name, text in texts.items()}).encode()

    def _move(self, index: int, entry: Mapping[str, Any]) -> None:
        """The baseline moved: what stood until now ends here."""
        time = entry.get("event_time", "")
        if self._baseline is not None:
            self._baseline[2] = time
            self._files["production"].write(_row(self._baseline))
        version = next((one.get("after") for one in entry["changes"] if one["path"] == "pointers/baseline"), None)
        reason, operator = entry.get("reason", ""), entry["operator"]
        self._baseline = [str(index), time, "", _value(version), operator, entry["action"], reason]


def _note(entry: Mapping[str, Any], manifest: str | None, *, earlier: bool, refused: bool) -> str:
    words = [word for word, holds in (("earlier", earlier), ("refused", refused)) if holds]
    if entry["action"] in COMMITS and not refused:
        words.append(manifest or "manifest not in the store")
    return ", ".join(words)


def _cells(index: int, entry: Mapping[str, Any], note: str) -> list[str]:
    changes = "; ".join(
        f"{one['path']}: {_value(one.get('before'))} -> {_value(one.get('after'))}" for one in entry["changes"]
    )
    return [
        str(index),
        entry.get("event_time", ""),
        entry["operator"],
        entry["action"],
        note,
        entry["resource"],
        changes,
        entry.get("reason", ""),
    ]


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    )
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _row(cells: Sequence[str]) -> bytes:
    return f"<tr>{''.join(f'<td>{_shown(cell)}</td>' for cell in cells)}</tr>\n".encode()


def _shown(text: str) -> str:
    return html.escape(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def _pieces(parts: Sequence[bytes | IO[bytes]]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
            continue
        part.seek(0)
        while chunk := part.read(_CHUNK):
            yield chunk
