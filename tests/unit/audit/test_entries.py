"""What an entry says, how large it can be, and how a batch extends the log."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.audit.domain import MAX_LEAF, VALUE_LIMITS, Head, Request, build_entry, extend
from muniment.audit.merkle import Frontier, leaf_hash, root_of
from muniment.contracts.canonical import canonical_json, sha256_hex
from muniment.contracts.codec import parse
from muniment.contracts.errors import Rejected
from muniment.contracts.events import AuditLogged, AuditRequested

NOW = datetime(2026, 5, 17, 12, 30, 1, 250, tzinfo=UTC)
EMPTY = Head(Frontier(), datetime.fromtimestamp(0, UTC))


def request(event_id: str = "e-1", correlation: str | None = "flow-1", **changes: Any) -> Request:
    """A valid request; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "action": "version.committed",
        "service": "registry",
        "operator": "muniment|alice",
        "authenticated_by": "token",
        "model": "digits",
        "resource": "models/digits/versions/3",
        "changes": [{"path": "branches/main", "before": "sha256:aa", "after": "sha256:bb"}],
        "cause": {"kind": "event", "id": "c-1", "topic": "t", "partition": 2, "offset": 7},
        "occurred_at": "2026-05-17T14:30:00+02:00",
    }
    return Request(event_id, correlation, parse(AuditRequested, {**fields, **changes}))


def changed(*values: Any) -> list[dict[str, Any]]:
    return [{"path": f"field/{number}", "after": value} for number, value in enumerate(values)]


def test_an_entry_is_the_canonical_text_of_all_that_was_asked() -> None:
    entry, data = build_entry(request(), NOW)
    assert json.loads(data) == entry
    assert canonical_json(entry) == data
    assert entry == {
        "v": 1,
        "event_id": "e-1",
        "correlation": "flow-1",
        "action": "version.committed",
        "outcome": "done",
        "service": "registry",
        "operator": "muniment|alice",
        "authenticated_by": "token",
        "model": "digits",
        "resource": "models/digits/versions/3",
        "changes": [{"path": "branches/main", "before": "sha256:aa", "after": "sha256:bb"}],
        "cause": {"kind": "event", "id": "c-1", "topic": "t", "partition": 2, "offset": 7},
        "event_time": "2026-05-17T12:30:00.000000Z",
        "log_time": "2026-05-17T12:30:01.000250Z",
    }


def test_what_is_not_known_is_left_out() -> None:
    entry, _ = build_entry(
        request(correlation=None, model=None, changes=changed("x"), cause={"kind": "schedule", "id": "s"}), NOW
    )
    assert not entry.keys() & {"correlation", "model", "reason"}
    assert entry["cause"] == {"kind": "schedule", "id": "s"}
    assert entry["changes"] == [{"path": "field/0", "after": "x"}]


def test_a_large_value_is_given_by_its_digest_and_a_small_one_whole() -> None:
    limit = VALUE_LIMITS[0]
    whole, large = "x" * (limit - 2), "x" * (limit - 1)  # two bytes are the quotes
    entry, _ = build_entry(request(changes=changed(whole, large)), NOW)
    text = canonical_json(large)
    assert [change["after"] for change in entry["changes"]] == [
        whole,
        {"value_sha256": sha256_hex(text), "value_size": len(text)},
    ]


def test_a_value_cannot_pass_for_the_digest_of_another() -> None:
    forged = {"value_sha256": "0" * 64, "value_size": 5000}
    entry, _ = build_entry(request(changes=changed(forged)), NOW)
    assert entry["changes"][0]["after"] == {
        "value_sha256": sha256_hex(canonical_json(forged)),
        "value_size": len(canonical_json(forged)),
    }


def test_many_changes_keep_every_path_and_the_small_values() -> None:
    values = ["y" * 700] * 60 + ["small"] * 40
    entry, data = build_entry(
        request(changes=[{"path": f"p/{n}", "before": v, "after": v} for n, v in enumerate(values)]), NOW
    )
    assert len(data) <= MAX_LEAF
    assert [change["path"] for change in entry["changes"]] == [f"p/{number}" for number in range(100)]
    assert all(change["after"]["value_size"] == 702 for change in entry["changes"][:60])
    assert all(change["after"] == "small" for change in entry["changes"][60:])


def test_the_last_resort_is_the_digest_of_all_changes() -> None:
    changes = [{"path": "p" * 1990 + str(number), "before": number} for number in range(100)]
    entry, data = build_entry(request(changes=changes), NOW)
    assert len(data) <= MAX_LEAF
    text = canonical_json(changes)
    assert entry["changes"] == []
    assert entry["changes_digest"] == {"value_sha256": sha256_hex(text), "value_size": len(text), "count": 100}


def test_an_entry_of_the_longest_fields_still_fits() -> None:
    wide = "\U0001f9ee"  # four bytes of UTF-8
    line, word = wide * 2000, wide * 256
    largest = request(
        event_id=wide * 256,
        correlation=wide * 1024,
        action=word,
        service=word,
        operator=word,
        model=word,
        resource=line,
        reason=line,
        changes=[{"path": line, "before": line, "after": line}] * 100,
        cause={
            "kind": "request",
            "id": line,
            "topic": word,
            "partition": 2**31,
            "offset": 2**53 - 1,
            "sha256": "a" * 64,
        },
    )
    entry, data = build_entry(largest, NOW)
    assert len(data) <= MAX_LEAF
    assert entry["changes_digest"]["count"] == 100


def test_an_event_id_that_no_index_can_hold_is_refused() -> None:
    with pytest.raises(Rejected) as caught:
        request(event_id="ü" * 513)
    assert caught.value.code == "audit_event_id_too_long"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=2000),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(json_values, json_values), max_size=30))
def test_any_changes_make_a_bounded_entry_that_survives_the_topic(pairs: list[tuple[Any, Any]]) -> None:
    changes = [{"path": f"p/{number}", "before": a, "after": b} for number, (a, b) in enumerate(pairs)]
    asked = request(changes=changes)
    _, (appended,) = extend(EMPTY, [asked], set(), NOW)
    assert len(appended.data) <= MAX_LEAF
    assert build_entry(asked, NOW)[1] == appended.data
    mirrored = AuditLogged.model_validate_json(appended.record())
    assert canonical_json(mirrored.entry) == appended.data
    assert mirrored.leaf_hash == leaf_hash(appended.data).hex()


@pytest.mark.parametrize("value", [2.0**53, -(2.0**60), 1e20, 1e21, 1.0, 0.1, 5e-324])
def test_a_number_that_readers_could_take_for_another_comes_back_from_the_topic(value: float) -> None:
    _, (appended,) = extend(EMPTY, [request(changes=changed(value))], set(), NOW)
    assert canonical_json(json.loads(appended.record())["entry"]) == appended.data


def test_a_batch_gets_the_next_indexes_and_the_roots_of_its_prefixes() -> None:
    head, first = extend(EMPTY, [request(f"a-{number}") for number in range(3)], set(), NOW)
    head, second = extend(head, [request(f"b-{number}") for number in range(4)], set(), NOW)
    entries = [*first, *second]
    assert [entry.index for entry in entries] == list(range(7))
    leaves = [leaf_hash(entry.data) for entry in entries]
    assert [entry.root_hash for entry in entries] == [root_of(leaves[: size + 1]) for size in range(7)]
    assert (head.tree.size, head.tree.root()) == (7, entries[-1].root_hash)
    event = AuditLogged.model_validate_json(entries[4].record())
    assert (event.index, event.tree_size, event.root_hash) == (4, 5, root_of(leaves[:5]).hex())


def test_one_entry_for_an_event_however_often_it_comes() -> None:
    head, _ = extend(EMPTY, [request("known")], set(), NOW)
    batch = [request("known"), request("new"), request("new", reason="again"), request("other")]
    after, entries = extend(head, batch, {"known"}, NOW)
    assert [entry.request.event_id for entry in entries] == ["new", "other"]
    assert entries[0].request is batch[1]
    assert after.tree.size == 3


def test_nothing_new_leaves_the_head_as_it_is() -> None:
    head, _ = extend(EMPTY, [request("known")], set(), NOW)
    assert extend(head, [request("known")], {"known"}, NOW + timedelta(hours=1)) == (head, [])


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20))
def test_log_times_never_go_back_whatever_the_clock_does(offsets: list[int]) -> None:
    head, times, spelled = EMPTY, [], []
    for number, offset in enumerate(offsets):
        now = NOW + timedelta(microseconds=offset)
        head, (entry,) = extend(head, [request(f"e-{number}")], set(), now)
        times.append(entry.log_time)
        spelled.append(entry.entry["log_time"])
        assert entry.log_time >= now
    assert times == sorted(times)
    assert spelled == sorted(spelled)
    assert head.log_time == max(times)
