"""Listening: where it starts and goes on, what it keeps, and when it gives up."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import Misconfigured, MunimentError, Rejected, Transient
from muniment.sdk import AsyncClient, Client
from muniment.sdk.broker import find_broker
from muniment.sdk.cursor_file import CursorFile
from muniment.sdk.kafka_place import Offsets, cursor_of, offsets_of, start_offsets
from muniment.testing.fake_registry import FakeRegistry, Hangup


def event(number: int) -> dict[str, Any]:
    data = {"model": "digits", "number": number}
    return {"type": "muniment.version-available.v1", "id": f"e{number}", "source": "/r", "time": "t", "data": data}


@pytest.fixture(autouse=True)
def quick(client: Client) -> None:
    client._sleep = lambda _seconds: None


def test_events_come_from_the_beginning_or_after_a_cursor(registry: FakeRegistry, client: Client) -> None:
    registry.events = [event(1), event(2), event(3)]
    assert [item.id for item in client.events("beginning", follow=False)] == ["e1", "e2", "e3"]
    [second, third] = client.events(1, follow=False)
    assert (second.cursor, second.model, second.data["number"], second.kind) == ("2", "digits", 2, "version-available")
    assert third.cloudevent == event(3)
    assert [item.id for item in client.events(cursor=second.cursor, follow=False)] == ["e3"]


def test_following_starts_at_the_end_and_goes_on_by_last_event_id(registry: FakeRegistry, client: Client) -> None:
    registry.events = [event(1)]
    asked: list[str | None] = []

    def another_comes(request: httpx2.Request) -> None:
        asked.append(request.headers.get("last-event-id"))
        if len(asked) == 2:
            registry.events.append(event(2))

    registry.intercept = another_comes
    assert [item.id for item in islice(client.events(), 1)] == ["e2"]
    assert asked == [None, "1"], "the place that the first, empty answer named is gone on from"


def test_filters_are_sent(registry: FakeRegistry, client: Client) -> None:
    seen: list[list[tuple[str, str]]] = []
    registry.intercept = lambda request: seen.append(request.url.params.multi_items())
    found = client.events(
        "beginning",
        follow=False,
        model="dig*",
        type=["version-available", "release-published"],
        branch="exp/*",
        stability="stable",
        track="production",
        tags={"env": "prod", "reviewed": None},
        metrics=["accuracy>=0.95"],
    )
    assert list(found) == []
    assert sorted(seen[0]) == sorted(
        [
            ("type", "release-published"),
            ("type", "version-available"),
            ("tag", "env=prod"),
            ("tag", "reviewed"),
            ("metric", "accuracy >= 0.95"),
            ("model", "dig*"),
            ("branch", "exp/*"),
            ("stability", "stable"),
            ("track", "production"),
            ("since", "beginning"),
            ("follow", "false"),
        ]
    )


@pytest.mark.parametrize("wrong", [{"type": "audit-log"}, {"metrics": ["accuracy"]}, {"stability": "solid"}])
def test_what_could_never_match_is_refused_at_once(client: Client, wrong: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as caught:
        next(client.events(**wrong))
    assert caught.value.code == "filter_invalid"


@pytest.mark.parametrize("wrong", ["tomorrow", "2026-01-01T00:00:00", "-1", "1.5", "kafka."])
def test_a_start_that_cannot_be_read_is_refused(client: Client, wrong: str) -> None:
    with pytest.raises(Rejected):
        next(client.events(wrong))


def test_a_restart_of_the_server_is_ridden_out(registry: FakeRegistry, client: Client) -> None:
    registry.events = [event(1)]
    down = iter([True] * 20)

    def be_down(_: httpx2.Request) -> None:
        if next(down, False):
            raise Hangup

    registry.intercept = be_down
    assert [item.id for item in islice(client.events("beginning"), 1)] == ["e1"]


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_an_answer_cut_off_anywhere_is_gone_on_from(registry: FakeRegistry, client: Client, cut: int) -> None:
    registry.events = [event(1), event(2)]
    whole = registry._stream(httpx2.Request("GET", "http://x/?since=beginning")).content
    first = [True]

    def cut_off(request: httpx2.Request) -> httpx2.Response | None:
        if not first:
            return None
        first.clear()
        headers = {"content-type": "text/event-stream", "content-length": str(len(whole) + 1)}
        return httpx2.Response(200, content=whole[:cut], headers=headers)

    registry.intercept = cut_off
    assert [item.id for item in client.events("beginning", follow=False)] == ["e1", "e2"]


def test_patience_has_an_end(registry: FakeRegistry, client: Client) -> None:
    def be_down(_: httpx2.Request) -> None:
        raise Hangup

    registry.intercept = be_down
    with pytest.raises(Transient):
        next(client.events(patience=-1.0))


def test_a_page_that_is_no_stream_is_told_and_not_asked_for_again(registry: FakeRegistry, client: Client) -> None:
    registry.intercept = lambda _: httpx2.Response(200, text="<html>")
    with pytest.raises(MunimentError) as caught:
        next(client.events())
    assert caught.value.code == "answer_unexpected"


def test_the_place_is_kept_after_each_event_that_was_handled(
    registry: FakeRegistry, client: Client, tmp_path: Path
) -> None:
    registry.events = [event(number) for number in range(1, 4)]
    place = tmp_path / "place"
    for item in client.events("beginning", cursor=place, follow=False):
        assert place.read_text() == f"{item.data['number'] - 1}\n", "not before it is handled"
        if item.id == "e2":
            break
    assert [item.id for item in client.events(cursor=place, limit=1)] == ["e2"]
    assert place.read_text() == "2\n", "the last of a limited number is handled when the next is asked for"
    assert [item.id for item in client.events(cursor=place, follow=False)] == ["e3"]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["place"], "nothing is left beside it"


@pytest.mark.parametrize("text", ["", "x", "-1", "1 2", "kafka.", "12\n13"])
def test_a_damaged_cursor_file_is_told_and_left_alone(client: Client, tmp_path: Path, text: str) -> None:
    place = tmp_path / "place"
    place.write_text(text)
    with pytest.raises(Rejected) as caught:
        next(client.events(cursor=place))
    assert caught.value.code == "cursor_invalid"
    assert place.read_text() == text


def test_a_write_that_fails_leaves_the_old_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = CursorFile(tmp_path / "place")
    file.save("1")

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        file.save("2")
    assert file.load() == "1"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["place"]


async def test_events_from_asyncio(registry: FakeRegistry) -> None:
    registry.events = [event(1), event(2)]
    async with AsyncClient(registry.url, "t") as client:
        assert [item.id async for item in client.events("beginning", follow=False)] == ["e1", "e2"]


async def test_a_cursor_belongs_to_what_it_was_made_over(registry: FakeRegistry) -> None:
    async with AsyncClient(registry.url, "t") as client:
        kafka = cursor_of({("muniment.version-available.v1", 0): 3})
        with pytest.raises(Rejected) as caught:
            await anext(client.events(cursor=kafka, over="http"))
        assert caught.value.code == "cursor_invalid"
        with pytest.raises(Misconfigured) as unknown:
            await anext(client.events(cursor=kafka))
        assert unknown.value.code == "broker_unknown"


def test_a_broker_that_does_not_answer_is_not_chosen(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_broker({}) is None
    found = find_broker({"MUNIMENT_KAFKA__BOOTSTRAP": "b:1", "MUNIMENT_KAFKA__TOPIC_PREFIX": "x."})
    assert found is not None
    assert found.topic_prefix == "x."
    with pytest.raises(Misconfigured):
        find_broker({"MUNIMENT_KAFKA__BOOTSTRAP": "b:1", "MUNIMENT_KAFKA__SECURITY_PROTOCOL": "TLS"})


async def test_http_is_the_way_where_the_broker_is_away(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNIMENT_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    registry.events = [event(1)]
    async with AsyncClient(registry.url, "t") as client:
        assert [item.id async for item in client.events("beginning", follow=False)] == ["e1"]


PLACES = st.dictionaries(
    st.tuples(st.sampled_from(["muniment.a.v1", "m.b", "ü"]), st.integers(0, 50)), st.integers(0, 2**63 - 1), min_size=1
)


@given(PLACES)
def test_a_cursor_over_kafka_means_its_offsets(offsets: Offsets) -> None:
    assert offsets_of(cursor_of(offsets)) == offsets


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: "kafka." + raw.hex()))
def test_any_other_text_is_refused(text: str) -> None:
    try:
        found = offsets_of(text)
    except Rejected as error:
        assert error.code == "cursor_invalid"
    else:
        assert offsets_of(cursor_of(found)) == found


def test_a_cursor_is_held_against_what_the_topics_keep() -> None:
    first, end = {("a", 0): 5, ("a", 1): 2}, {("a", 0): 9, ("a", 1): 4}
    assert start_offsets({("a", 0): 5}, first, end) == {("a", 0): 5, ("a", 1): 2}, "a new partition from its start"
    for cursor, code in (
        ({("a", 0): 4, ("a", 1): 2}, "cursor_gone"),
        ({("a", 0): 10, ("a", 1): 2}, "cursor_unknown"),
        ({("b", 0): 1}, "cursor_unknown"),
    ):
        with pytest.raises(Rejected) as caught:
            start_offsets(cursor, first, end)
        assert caught.value.code == code
