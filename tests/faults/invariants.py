"""I1 to I8 over the facts of a run. Pure; the tree's hashing is RFC 6962 written anew, shared with no writer."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .facts import Facts


@dataclass(frozen=True)
class Violation:
    """What does not hold, and for which publication (or other key)."""

    key: str
    what: str


@dataclass
class Finding:
    """One invariant: what was counted, and what contradicts it."""

    name: str
    counted: str
    violations: list[Violation] = field(default_factory=list)


def judge(facts: Facts) -> list[Finding]:
    """All invariants, in order."""
    return [rule(facts) for rule in RULES]


def every_acknowledged_has_one_end(facts: Facts) -> Finding:
    """I1: what was acknowledged ends as exactly one version, rejection or dead letter: the expected one."""
    versions = Counter(version.publication_id for version in facts.versions)
    dead = Counter(facts.dead)
    ends: Counter[str] = Counter()
    bad = []
    for one in facts.acknowledged:
        found = {
            "version": versions[one.key],
            "rejection": int(one.key in facts.rejected),
            "dead letter": dead[one.key],
        }
        ends.update({name: bool(count) for name, count in found.items()})
        # A malformed record whose send had to be repeated lies on the topic twice, and each has its letter.
        right = found[one.end] >= 1 and sum(bool(count) for count in found.values()) == 1
        if not right or versions[one.key] > 1:
            bad.append(Violation(one.key, f"expected one {one.end}, found {found}"))
    counted = (
        f"acknowledged {len(facts.acknowledged)} = versions {ends['version']} + "
        f"rejections {ends['rejection']} + dead letters {ends['dead letter']}"
    )
    return Finding("I1", counted, bad)


def one_row_each(facts: Facts) -> Finding:
    """I2: one row for each (model, number), version id and publication; numbers without gaps."""
    bad = []
    for name, keys in (
        ("number", [f"{v.model}/{v.number}" for v in facts.versions]),
        ("version id", [v.id for v in facts.versions]),
        ("publication", [v.publication_id for v in facts.versions]),
    ):
        bad += [Violation(key, f"{count} rows for one {name}") for key, count in Counter(keys).items() if count > 1]
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for version in facts.versions:
        numbers[version.model].append(version.number)
    bad += [
        Violation(model, f"numbers have a gap: {sorted(found)}")
        for model, found in numbers.items()
        if set(found) != set(range(1, max(found) + 1))
    ]
    return Finding("I2", f"versions {len(facts.versions)} of models {len(numbers)}", bad)


def bytes_are_kept(facts: Facts) -> Finding:
    """I3: the bytes under each version-id have the recorded digest and are locked for as long as recorded."""
    bad = []
    for one in facts.stored:
        if one.actual_sha256 != one.sha256:
            bad.append(Violation(one.name, f"recorded {one.sha256}, read {one.actual_sha256}"))
        elif one.locked_until is None or one.locked_until < one.promised_until:
            bad.append(Violation(one.name, f"locked until {one.locked_until}, promised {one.promised_until}"))
    return Finding("I3", f"objects {len(facts.stored)} re-hashed", bad)


def one_leaf_each(facts: Facts) -> Finding:
    """I4: each audit request has exactly one leaf, and no leaf is without a request."""
    leaves = Counter(entry.event_id for entry in facts.entries)
    wanted = set(facts.requested)
    bad = [Violation(key, "no audit entry") for key in wanted - leaves.keys()]
    bad += [Violation(key, "an audit entry nobody asked for") for key in leaves.keys() - wanted]
    bad += [Violation(key, f"{count} audit entries") for key, count in leaves.items() if count > 1]
    return Finding("I4", f"requests {len(wanted)} = leaves {len(facts.entries)}", bad)


def heads_are_consistent(facts: Facts) -> Finding:
    """I5: indexes have no gap, and every root ever stored is the root of the leaves up to its size."""
    entries = sorted(facts.entries, key=lambda entry: entry.index)
    bad = [
        Violation(entry.event_id, f"index {entry.index} in place {place}")
        for place, entry in enumerate(entries)
        if entry.index != place
    ]
    roots = _roots([hashlib.sha256(b"\x00" + entry.data).digest() for entry in entries])
    bad += [
        Violation(entry.event_id, f"the root at index {place} is not that of the leaves")
        for place, entry in enumerate(entries)
        if entry.root != roots[place + 1]
    ]
    for head in facts.heads:
        if head.size >= len(roots) or head.root != roots[head.size]:
            bad.append(Violation(f"head {head.size}", f"root {head.root.hex()} is not that of the first leaves"))
    return Finding("I5", f"heads {len(facts.heads)} over leaves {len(entries)}", bad)


def everybody_heard(facts: Facts) -> Finding:
    """I6: each outward event reached the sink with a good signature, under one webhook id over all attempts."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    good: set[str] = set()
    bad = []
    for call in facts.calls:
        ids[call.event].add(call.webhook_id)
        if not call.signed:
            bad.append(Violation(call.correlation, f"webhook {call.webhook_id}: bad signature"))
        elif call.status < 300:
            good.add(call.event)
    bad += [
        Violation(flow, f"event {event} never reached the webhook")
        for event, flow in facts.announced.items()
        if event not in good
    ]
    bad += [
        Violation(event, f"{len(found)} webhook ids for one event") for event, found in ids.items() if len(found) > 1
    ]
    return Finding("I6", f"events {len(facts.announced)} heard in calls {len(facts.calls)}", bad)


def nothing_locked_in_vain(facts: Facts) -> Finding:
    """I7: every locked object belongs to a version: what nobody refers to could not be swept."""
    bad = [Violation(name, "locked, and no version refers to it") for name in facts.locked_strangers]
    return Finding("I7", f"locked objects without a version {len(bad)}", bad)


def nothing_is_stuck(facts: Facts) -> Finding:
    """I8: nothing is open any more."""
    bad = [Violation(name, f"{count} still open") for name, count in facts.unsettled.items() if count]
    return Finding("I8", f"queues {len(facts.unsettled)} empty", bad)


RULES: tuple[Callable[[Facts], Finding], ...] = (
    every_acknowledged_has_one_end,
    one_row_each,
    bytes_are_kept,
    one_leaf_each,
    heads_are_consistent,
    everybody_heard,
    nothing_locked_in_vain,
    nothing_is_stuck,
)


def _roots(leaves: Sequence[bytes]) -> list[bytes]:
    """The tree's root at each size from 0 on. Keeps the roots of the full subtrees from left to right."""
    roots, peaks = [hashlib.sha256(b"").digest()], list[tuple[int, bytes]]()
    for leaf in leaves:
        peaks.append((1, leaf))
        while len(peaks) > 1 and peaks[-1][0] == peaks[-2][0]:
            (size, right), (_, left) = peaks.pop(), peaks.pop()
            peaks.append((2 * size, hashlib.sha256(b"\x01" + left + right).digest()))
        root = peaks[-1][1]
        for _, left in reversed(peaks[:-1]):
            root = hashlib.sha256(b"\x01" + left + root).digest()
        roots.append(root)
    return roots


def told(findings: Sequence[Finding], facts: Facts, seed: int) -> str:
    """For people: the counts, and each violation with its publication's whole history."""
    lines = [f"seed {seed} (MUNIMENT_FAULT_SEED={seed} replays it)"]
    for finding in findings:
        lines.append(f"{finding.name} {'FAILED' if finding.violations else 'holds'}: {finding.counted}")
        for violation in finding.violations[:20]:
            lines.append(f"    {violation.key}: {violation.what}")
            lines += [f"        {one.what}" for one in facts.history if one.flow == violation.key]
        if len(finding.violations) > 20:
            lines.append(f"    and {len(finding.violations) - 20} more")
    return "\n".join(lines)
