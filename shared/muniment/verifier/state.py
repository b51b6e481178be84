"""What a reader of a living log remembers: the checkpoint it last verified, and the tree's unfinished tiles."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from muniment.verifier.checkpoint import Opened, Trust, open_checkpoint
from muniment.verifier.errors import StateError, Unreadable, VerifierError
from muniment.verifier.source import read_file
from muniment.verifier.tree import TileTree

_VERSION: Final = 1
_MAX: Final = 2 * 1024 * 1024


def load_state(path: Path, trust: Trust) -> tuple[Opened, TileTree] | None:
    """The checkpoint that was verified last, and its tree; None if nothing was. Its signature is verified again.

    Raises `StateError` (not this program's, or changed), `CheckpointError`, `NoteError`, `Unreadable`.
    """
    if not path.exists():
        return None
    try:
        saved: dict[str, Any] = json.loads(read_file(path, _MAX))
        opened = open_checkpoint(saved["checkpoint"].encode(), Trust(trust.log))
        tree = TileTree(opened.checkpoint.size, [[bytes.fromhex(one) for one in level] for level in saved["pending"]])
        known = saved["v"] == _VERSION
    except (VerifierError, Unreadable):
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StateError(
            "state_malformed", f"{path} is not a state that this program wrote: {error!r}", expected="version 1"
        ) from error
    if not known:
        raise StateError("state_malformed", f"{path} is of another version", expected=_VERSION, actual=saved["v"])
    if tree.root() != opened.checkpoint.root:
        raise StateError(
            "state_changed",
            f"{path} was changed: its hashes are not those of its checkpoint",
            expected=opened.checkpoint.root.hex(),
            actual=tree.root().hex(),
        )
    return opened, tree


def save_state(path: Path, opened: Opened, tree: TileTree) -> None:
    """Remember a verified checkpoint: all of it or, after a crash, what was there before. Raises `Unreadable`."""
    note = opened.checkpoint.note.raw.decode()
    document = {"v": _VERSION, "checkpoint": note, "pending": [[one.hex() for one in level] for level in tree.pending]}
    try:
        write_durably(path, json.dumps(document).encode())
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or error}") from error


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file so that its bytes are on disk when this returns, and never half of them. Raises `OSError`."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
