"""Each invariant of the checker holds on a sound run and is seen to fail on an unsound one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.faults.facts import Acknowledged, Call, Entry, Facts, Head, StoredBytes, Version
from tests.faults.invariants import judge

UNTIL = datetime(2030, 1, 1, tzinfo=UTC)


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def sound() -> Facts:
    """Two versions, a rejection and a dead letter; three leaves, whose roots are written out by hand."""
    a, b, c = (hashlib.sha256(b"\x00" + data).digest() for data in (b"a", b"b", b"c"))
    two, three = node(a, b), node(node(a, b), c)
    return Facts(
        acknowledged=[
            Acknowledged("p1", "m", "version"),
            Acknowledged("p2", "m", "version"),
            Acknowledged("p3", "m", "rejection"),
            Acknowledged("d1", "m", "dead letter"),
        ],
        versions=[Version("p1", "m", 1, "sha256:1"), Version("p2", "m", 2, "sha256:2")],
        rejected={"p3": "digest_mismatch"},
        dead=["d1"],
        announced={"e1": "p1", "e2": "p2", "e3": "p3"},
        stored=[StoredBytes("o1", "x", "x", UNTIL, UNTIL)],
        requested=["r1", "r2", "r3"],
        entries=[Entry(0, "r1", b"a", a), Entry(1, "r2", b"b", two), Entry(2, "r3", b"c", three)],
        heads=[Head(0, hashlib.sha256(b"").digest()), Head(2, two), Head(3, three)],
        calls=[
            Call("w1", "e1", "p1", signed=True, status=500),
            Call("w1", "e1", "p1", signed=True, status=204),
            Call("w2", "e2", "p2", signed=True, status=204),
            Call("w3", "e3", "p3", signed=True, status=204),
        ],
        unsettled={"lag of audit": 0},
    )


def test_a_sound_run_has_no_violation() -> None:
    findings = judge(sound())
    assert [finding.violations for finding in findings] == [[]] * 8
    assert findings[0].counted == "acknowledged 4 = versions 2 + rejections 1 + dead letters 1"


def drop_version(facts: Facts) -> None:
    facts.versions.pop()


def reject_too(facts: Facts) -> None:
    facts.rejected["p1"] = "late"


def lose_letter(facts: Facts) -> None:
    facts.dead.clear()


def same_number(facts: Facts) -> None:
    facts.versions[1] = replace(facts.versions[1], number=1)


def gap(facts: Facts) -> None:
    facts.versions[1] = replace(facts.versions[1], number=3)


def other_bytes(facts: Facts) -> None:
    facts.stored[0] = replace(facts.stored[0], actual_sha256="y")


def short_lock(facts: Facts) -> None:
    facts.stored[0] = replace(facts.stored[0], locked_until=UNTIL - timedelta(seconds=1))


def lose_leaf(facts: Facts) -> None:
    facts.requested.append("r4")


def strange_leaf(facts: Facts) -> None:
    facts.requested.pop()


def twice(facts: Facts) -> None:
    facts.entries[2] = replace(facts.entries[2], event_id="r2")


def other_leaf(facts: Facts) -> None:
    facts.entries[0] = replace(facts.entries[0], data=b"z")


def forked_head(facts: Facts) -> None:
    facts.heads[1] = replace(facts.heads[1], root=bytes(32))


def head_beyond(facts: Facts) -> None:
    facts.heads.append(Head(9, bytes(32)))


def unheard(facts: Facts) -> None:
    facts.calls = [call for call in facts.calls if call.status != 204 or call.event != "e1"]


def forged(facts: Facts) -> None:
    facts.calls[2] = replace(facts.calls[2], signed=False)


def new_id_on_retry(facts: Facts) -> None:
    facts.calls[1] = replace(facts.calls[1], webhook_id="w9")


def stranger(facts: Facts) -> None:
    facts.locked_strangers.append("s3://b/k")


def stuck(facts: Facts) -> None:
    facts.unsettled["lag of audit"] = 1


@pytest.mark.parametrize(
    ("damage", "invariant"),
    [
        (drop_version, "I1"),
        (reject_too, "I1"),
        (lose_letter, "I1"),
        (same_number, "I2"),
        (gap, "I2"),
        (other_bytes, "I3"),
        (short_lock, "I3"),
        (lose_leaf, "I4"),
        (strange_leaf, "I4"),
        (twice, "I4"),
        (other_leaf, "I5"),
        (forked_head, "I5"),
        (head_beyond, "I5"),
        (unheard, "I6"),
        (forged, "I6"),
        (new_id_on_retry, "I6"),
        (stranger, "I7"),
        (stuck, "I8"),
    ],
)
def test_each_invariant_can_fail(damage: Callable[[Facts], None], invariant: str) -> None:
    facts = sound()
    damage(facts)
    assert invariant in [finding.name for finding in judge(facts) if finding.violations]
