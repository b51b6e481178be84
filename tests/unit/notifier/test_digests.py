"""What a digest says."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.cloudevent import decode
from muniment.notifier.channels.notice import notice_of
from muniment.notifier.digests import DIGEST_TYPE, MAX_LISTED, Gathered, alert_key, digest_body, digest_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


def member(cursor: int, kind: str = "version-available", **data: Any) -> Gathered:
    time, type_ = f"2026-01-01T00:{cursor % 60:02}:00Z", f"muniment.{kind}.v1"
    event = {"id": f"e{cursor}", "type": type_, "time": time, "data": {"model": "digits", **data}}
    return Gathered(uuid.UUID(int=cursor), cursor, kind, "digits", event)


def diverged(cursor: int, **data: Any) -> Gathered:
    return member(cursor, "baseline-diverged", **{"metric": "accuracy", "slice": "night", **data})


def said(members: list[Gathered]) -> dict[str, Any]:
    body = digest_body(ONE, OTHER, "team", members, NOW)
    event = decode([("content-type", b"application/cloudevents+json")], body.encode())
    assert (event.type, event.id) == (DIGEST_TYPE, str(ONE))
    data: dict[str, Any] = json.loads(event.data)
    return data


def test_it_lists_events_in_order_with_their_plain_fields() -> None:
    data = said([member(3, number=1, tags={"a": "b"}, description="x" * 1000), member(7, number=2)])
    assert (data["count"], data["unlisted"], data["from_cursor"], data["through_cursor"]) == (2, 0, 3, 7)
    assert [entry["cursor"] for entry in data["events"]] == [3, 7]
    assert data["events"][0]["data"] == {"model": "digits", "number": 1, "description": "x" * 300}
    assert data["title"] == "2 events for team"


def test_divergences_that_flap_are_one_entry_with_the_last_state() -> None:
    data = said(
        [
            diverged(1, recovered=False, actual=0.1),
            diverged(2, recovered=True),
            diverged(3, slice="day"),
            diverged(4, recovered=False, actual=0.2),
        ]
    )
    assert data["count"] == 4
    assert [(entry["cursor"], entry.get("repeated", 0)) for entry in data["events"]] == [(3, 0), (4, 2)]
    assert data["events"][1]["data"]["actual"] == 0.2


@given(st.lists(st.sampled_from(["plain", "a", "b", "lost"]), min_size=1, max_size=300))
def test_every_event_is_listed_folded_or_counted(kinds: list[str]) -> None:
    members = []
    for cursor, kind in enumerate(kinds, start=1):
        if kind == "plain":
            members.append(member(cursor))
        elif kind == "lost":
            members.append(Gathered(uuid.UUID(int=cursor), cursor, "baseline-diverged", "digits", None))
        else:
            members.append(diverged(cursor, metric=kind))
    data = said(members)
    told = sum(1 + entry.get("repeated", 0) for entry in data["events"])
    assert told + data["unlisted"] == data["count"] == len(members)
    assert len(data["events"]) <= MAX_LISTED
    assert data["events"][-1]["cursor"] == len(members)


def test_people_read_what_it_is() -> None:
    body = digest_body(ONE, OTHER, "team", [member(1), member(2), diverged(3)], NOW)
    notice = notice_of(json.loads(body))
    assert notice.title == "3 events for team"
    assert notice.text == "1 baseline-diverged, 2 version-available"


def test_people_read_each_event_by_the_title_that_it_would_have_had_alone() -> None:
    promoted = {"current": {"number": 2, "id": "sha256:" + "ab" * 32}, "verb": "promote"}
    lost = Gathered(uuid.UUID(int=5), 5, "release-published", "digits", None)
    members = [
        member(1, number=2),
        member(2, "baseline-changed", **promoted),
        diverged(3, recovered=False),
        diverged(4, recovered=False),
        lost,
    ]
    notice = notice_of(json.loads(digest_body(ONE, OTHER, "team", members, NOW)))
    assert notice.facts == (
        ("2026-01-01 00:01Z", "digits 2 is available"),
        ("2026-01-01 00:02Z", "digits: the baseline is version 2 (promote)"),
        ("2026-01-01 00:04Z", "digits: accuracy broke the baseline's tolerance (2 such events)"),
        ("Event", "digits: release-published"),
    )


def test_a_long_digest_tells_people_the_newest_and_how_many_came_before() -> None:
    members = [member(cursor, number=cursor) for cursor in range(1, 151)]
    notice = notice_of(json.loads(digest_body(ONE, OTHER, "team", members, NOW)))
    assert notice.facts[0] == ("Before these", "131 events more")
    assert [title for _, title in notice.facts[1:]] == [f"digits {number} is available" for number in range(132, 151)]


def test_its_id_is_made_from_what_it_tells_of() -> None:
    members = [member(1), member(2)]
    assert digest_id(ONE, members, NOW) == digest_id(ONE, members, NOW)
    others = {
        digest_id(ONE, members[:1], NOW),
        digest_id(OTHER, members, NOW),
        digest_id(ONE, members, NOW.replace(hour=1)),
    }
    assert len(others | {digest_id(ONE, members, NOW)}) == 4


def test_alerts_are_the_same_by_model_metric_slice_and_data_set() -> None:
    def key(**data: Any) -> str | None:
        return alert_key("baseline-diverged", {"model": "digits", "metric": "accuracy", **data})

    assert key() == key(model="Digits", actual=0.3, recovered=True)
    assert len({key(), key(metric="loss"), key(slice="night"), key(dataset="night"), key(model="other")}) == 5
    assert alert_key("version-available", {"model": "digits"}) is None
