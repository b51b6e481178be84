"""Evidence packs for tests: made whole, taken apart by an ordinary tar reader, and put together again with changes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from typing import Any

from muniment.audit.evidence.archive import Sums, member
from muniment.audit.evidence.question import Facts
from muniment.audit.evidence.records import committed_id, deployment_line, version_line
from muniment.audit.evidence.report import Report

from .naive import ORIGIN, Signer, Tree, checkpoint, leaf, receipt

MANIFEST = b'{"files":[],"model":"digits","schema":"muniment.manifest/v1"}'
VERSION = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
HOSTILE = "<script>alert(1)</script>\u202e&\"'\x00\x1b[2J"


def told(index: int, action: str, resource: str, *changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An entry as the audit service writes it."""
    return {
        "v": 1,
        "event_id": f"e-{index}",
        "action": action,
        "outcome": "done",
        "service": "registry",
        "operator": "muniment|alice",
        "authenticated_by": "token",
        "model": "digits",
        "resource": f"models/digits/{resource}",
        "changes": list(changes),
        "cause": {"kind": "request", "id": f"r-{index}"},
        "event_time": f"2026-05-17T12:00:{index:02d}Z",
        "log_time": f"2026-05-17T12:00:{index:02d}Z",
        **more,
    }


def story() -> list[dict[str, Any]]:
    """A log of two models: one version, its way to production and out of it, and what went wrong."""
    moved = {"path": "pointers/baseline", "after": VERSION}
    return [
        told(
            0, "version.committed", "versions/1", {"path": "version", "after": VERSION}, {"path": "number", "after": 1}
        ),
        told(1, "baseline.promoted", "pointers/baseline", moved, reason=HOSTILE),
        told(2, "version.committed", "versions/1", {"path": "version", "after": "sha256:" + "0" * 64}, model="other"),
        told(3, "version.approved", "versions/1", {"path": "approvals/muniment|bob", "after": True}),
        told(4, "baseline.promoted", "pointers/baseline", outcome="refused", reason="gate_shut: metric accuracy"),
        told(5, "version.handed_out", "versions/1", {"path": "force", "after": True}),
        told(
            6,
            "deployment.reported",
            "deployments/prod/argo",
            {"path": "deployments/prod/argo", "after": {"version": VERSION, "state": "running"}},
        ),
        told(7, "integrity.violated", "versions/1", {"path": "files/<b>", "before": "a" * 64, "after": "b" * 64}),
        told(8, "contract.changed", "contract", {"path": "tolerances", "after": {"accuracy": 0.25, "x": [1, None]}}),
        told(9, "baseline.rolled_back", "pointers/baseline", {"path": "pointers/baseline", "before": VERSION}),
    ]


def encoded(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def make_pack(
    entries: Sequence[dict[str, Any]] | None = None,
    *,
    first: int = 3,
    signer: Signer | None = None,
    without: int | None = None,
) -> bytes:
    """A pack of the model digits from entry `first` on, with entries 0 and 1 as what stood before. `without`: its maker
    leaves an entry out, and lets everything else fit.
    """
    log = story() if entries is None else list(entries)
    data = [encoded(one) for one in log]
    tree = Tree([leaf(one) for one in data])
    root = tree.root(0, len(data))
    note = checkpoint(len(data), root, signer or Signer())
    since = log[first]["log_time"]
    facts = Facts("digits", since, None, first, len(data), ORIGIN, len(data), root.hex())
    sums = Sums()
    parts = [
        sums.small("pack.json", facts.text()),
        sums.small("checkpoint", note),
        sums.small("keys", f"{(signer or Signer()).vkey}\n".encode()),
        sums.small("leaves", span(tree, data, first)),
    ]
    versions = deployments = b""
    given: set[str] = set()
    with Report(facts) as report:
        for index, entry in enumerate(log):
            if entry["model"] != "digits" or index == without:
                continue
            parts.append(sums.small(f"entries/{index}.json", data[index]))
            parts.append(sums.small(f"receipts/{index}.tlog-proof", receipt(tree, index, note)))
            name = None
            if entry["action"] == "version.committed" and committed_id(entry) == VERSION:
                name = f"manifests/{VERSION.removeprefix('sha256:')}.json"
                if name not in given:
                    parts.append(sums.small(name, MANIFEST))
                    given.add(name)
            report.take(index, entry, name)
            versions += version_line(index, entry, name) or b""
            deployments += deployment_line(index, entry) or b""
        parts += [sums.small("versions.jsonl", versions), sums.small("deployments.jsonl", deployments)]
        size, chunks = report.content()
        parts += sums.streamed("report.html", size, chunks)
    return b"".join([*parts, sums.end()])


def span(tree: Tree, data: Sequence[bytes], first: int) -> bytes:
    """The leaf hashes from `first` to the end, and the roots of the complete subtrees before them, largest first."""
    before, start = b"", 0
    for bit in reversed(range(first.bit_length())):
        if first & (1 << bit):
            before += tree.root(start, start + (1 << bit))
            start += 1 << bit
    return b"".join(leaf(one) for one in data[first:]) + before


Members = list[tuple[str, bytes]]


def taken_apart(pack: bytes) -> Members:
    """The members, as any tar reader gives them."""
    with tarfile.open(fileobj=io.BytesIO(pack)) as archive:
        return [(one.name, found.read()) for one in archive if (found := archive.extractfile(one)) is not None]


def put_together(members: Members, *, new_sums: bool = True) -> bytes:
    """A pack of these members; `new_sums`: a forger makes the list of digests anew."""
    files = [(name, content) for name, content in members if name != "SHA256SUMS"]
    listed = dict(members).get("SHA256SUMS", b"")
    if new_sums:
        listed = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files).encode()
    return b"".join([*(member(name, content) for name, content in files), member("SHA256SUMS", listed), bytes(1024)])
