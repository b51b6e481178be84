"""What an evidence pack withholds of the range of indexes that it is about.

Of that range it has the leaf hashes of all entries: which ones are withheld is certain, and whoever holds one of those
entries can show that it was left out. That the withheld ones are of other models, and that nothing just outside the
range belongs to its time, only the whole log shows (`muniment-verify log`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Final

from muniment.verifier.checkpoint import Checkpoint
from muniment.verifier.entry import parse_entry
from muniment.verifier.errors import VerifierError
from muniment.verifier.hashing import leaf_hash
from muniment.verifier.pack import Pack
from muniment.verifier.report import Finding, Report
from muniment.verifier.span import HASH, runs_text, verify_span, withheld

LEAVES: Final = "leaves"
MAX_LEAVES: Final = 262_144
"""A pack of a longer range has no leaf hashes."""
_MOST_RUNS: Final = 100
_MOST_AROUND: Final = 126
Found = Callable[..., None]
"""Takes a finding: place, index, code, message, expected, actual."""


def has_leaves(facts: Mapping[str, Any]) -> bool:
    """Whether a pack about this range has leaf hashes of it."""
    return bool(facts["end"] - facts["first"] <= MAX_LEAVES)


def verify_range(
    pack: Pack,
    report: Report,
    found: Found,
    facts: Mapping[str, Any],
    head: Checkpoint,
    given: Set[int],
    held: Mapping[str, bytes],
) -> None:
    """Which entries of the range the pack withholds (`given` are those it has), and that the leaf hashes of all of them
    are the log's; then where `held` ones are. Raises `ValueError` for held ones where there are no leaf hashes.
    """
    first, end = facts["first"], facts["end"]
    runs = list(withheld(first, end, given))
    report.facts |= {
        "range": f"{first} to before {end}",
        "withheld": sum(stop - start for start, stop in runs),
        "withheld_indexes": runs_text(runs[:_MOST_RUNS]) + (["..."] if len(runs) > _MOST_RUNS else []),
    }
    member = next((one for one in pack.members if one.name == LEAVES), None)
    if not has_leaves(facts):
        if member is not None:
            found(LEAVES, None, "member_added", f"a range of more than {MAX_LEAVES} entries has none")
        report.facts["leaves"] = f"NONE: the range is longer than {MAX_LEAVES} entries"
        if held:
            raise ValueError(f"--entry is for packs with leaf hashes: of at most {MAX_LEAVES} entries' range")
        return
    if member is None:
        return
    try:
        raw = pack.read(member, HASH * (MAX_LEAVES + _MOST_AROUND))
        leaves = verify_span(first, end, head.size, raw, head.root)
    except VerifierError as error:
        report.findings.append(Finding.of(LEAVES, None, error))
        return
    report.facts["leaves"] = len(leaves)
    _ask(report, found, facts, leaves, given, held)


def _ask(
    report: Report,
    found: Found,
    facts: Mapping[str, Any],
    leaves: Sequence[bytes],
    given: Set[int],
    held: Mapping[str, bytes],
) -> None:
    """Where the range has entries that somebody holds. One of the pack's model that is withheld was left out."""
    for name, data in held.items():
        leaf = leaf_hash(data)
        index = facts["first"] + leaves.index(leaf) if leaf in leaves else None
        where = (
            "not in the range"
            if index is None
            else f"entry {index}, " + ("in the pack" if index in given else "withheld")
        )
        report.facts.setdefault("asked", []).append(f"{name}: {where}")
        if index is not None and index not in given:
            model = str(parse_entry(data).get("model"))
            if model.lower() == facts["model"].lower():
                message = f"an entry of {facts['model']} was left out of the pack: {name}"
                found(f"entries/{index}.json", index, "entry_withheld", message, "in the pack", "withheld")
