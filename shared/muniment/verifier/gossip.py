"""Two checkpoints of one log, seen in two places: do they tell one story?"""

from __future__ import annotations

from typing import Final

from muniment.verifier.checkpoint import Trust, open_checkpoint
from muniment.verifier.errors import CheckpointError, ProofError, TileError
from muniment.verifier.hashing import verify_consistency
from muniment.verifier.proving import Prover
from muniment.verifier.report import Finding, Report
from muniment.verifier.source import Source

HEADER: Final = "muniment proof of misbehaviour v1"
EXPLANATION: Final = """\
One log has signed two different roots for one size. Each note below carries the signature of a key named here, so the
log's keeper cannot deny either. To verify it anew: save each note (between the marks, without them) to a file, then
`muniment-verify gossip A B --key KEY`, or any verifier of C2SP signed notes.
"""


def compare(first: bytes, second: bytes, trust: Trust, tiles: Source | None) -> tuple[Report, str | None]:
    """Hold two checkpoints against each other. The text, if any, is a self-contained proof of misbehaviour.

    Raises `CheckpointError` and `NoteError` for a note that is no checkpoint by a trusted key, `Unreadable`.
    """
    one, other = open_checkpoint(first, trust), open_checkpoint(second, trust)
    if one.checkpoint.origin != other.checkpoint.origin:
        raise CheckpointError(
            "origins_differ",
            "the checkpoints are of two logs and cannot be compared",
            expected=one.checkpoint.origin,
            actual=other.checkpoint.origin,
        )
    old, new = sorted((one, other), key=lambda opened: opened.checkpoint.size)
    report = Report("gossip")
    report.opened(new)
    report.facts["older_size"] = old.checkpoint.size
    if old.checkpoint.size == new.checkpoint.size:
        if old.checkpoint.root == new.checkpoint.root:
            report.facts["shown"] = "both checkpoints have one size and one root"
            return report, None
        report.findings.append(
            Finding(
                "checkpoint",
                None,
                "log_forked",
                f"the log has signed two roots for size {new.checkpoint.size}",
                expected=one.checkpoint.root.hex(),
                actual=other.checkpoint.root.hex(),
            )
        )
        keys = {signer.key.text() for opened in (one, other) for signer in opened.signed_by}
        return report, misbehaviour(sorted(keys), [first, second])
    if tiles is None:
        report.facts["shown"] = "nothing: sizes differ, and without --tiles there is no consistency proof"
        return report, None
    try:
        proof = Prover(tiles, new.checkpoint.size).consistency(old.checkpoint.size, new.checkpoint.size)
        verify_consistency(old.checkpoint.size, new.checkpoint.size, proof, old.checkpoint.root, new.checkpoint.root)
        report.facts["shown"] = f"the log of {new.checkpoint.size} entries begins with that of {old.checkpoint.size}"
    except (ProofError, TileError) as error:
        report.findings.append(Finding.of("checkpoint", None, error))
        report.facts["shown"] = "these tiles do not lead from one to the other: verify the log they are of"
    return report, None


def misbehaviour(keys: list[str], notes: list[bytes]) -> str:
    """A text that shows by itself that the log's keeper has told two stories."""
    parts = [HEADER, "", EXPLANATION, *(f"key {key}" for key in keys)]
    for number, note in enumerate(notes, start=1):
        parts += ["", f"--- note {number} ---", note.decode().removesuffix("\n"), f"--- end of note {number} ---"]
    return "\n".join(parts) + "\n"
