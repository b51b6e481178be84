"""Fetch sessions against a broker by the book: it always has in mind exactly what the consumer wants, whatever fails."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v4, FetchResponse_v11
from hypothesis import given
from hypothesis import strategies as st

from muniment.adapters.kafka_fetch import Session

TODAY = {1: (4, 17)}
"""What a broker of today says of its versions of fetch requests."""
Wanted = dict[tuple[str, int], int]


def whole(wanted: Wanted) -> FetchRequest:
    """The request as aiokafka makes it."""
    topics: dict[str, list[tuple[int, int, int]]] = {}
    for (topic, partition), offset in wanted.items():
        topics.setdefault(topic, []).append((partition, offset, 1000))
    return FetchRequest(500, 1, 52_428_800, 0, list(topics.items()))


@dataclass
class Broker:
    """Takes requests as KIP-227 has it, and has sessions in mind."""

    places: int = 1
    sessions: dict[int, tuple[int, Wanted]] = field(default_factory=dict)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(7))

    def take(self, struct: Any) -> tuple[FetchResponse_v11, Wanted]:
        """The answer, and what it is for."""
        named = {(topic, one[0]): one[2] for topic, parts in struct.topics for one in parts}
        if struct.session_epoch > 0:
            epoch, mind = self.sessions.get(struct.session_id, (None, {}))
            if epoch is None:
                return FetchResponse_v11(0, 70, 0, []), {}
            if epoch != struct.session_epoch:
                return FetchResponse_v11(0, 71, 0, []), {}
            gone = {(topic, partition) for topic, parts in struct.forgotten_topics_data for partition in parts}
            assert gone <= mind.keys()
            mind = {place: offset for place, offset in mind.items() if place not in gone} | named
            self.sessions[struct.session_id] = epoch + 1, mind
            return self._answer(struct.session_id, mind), mind
        assert struct.session_epoch == 0
        assert not struct.forgotten_topics_data
        self.sessions.pop(struct.session_id, None)
        if len(self.sessions) >= self.places:
            return self._answer(0, named), named
        made = next(self._ids)
        self.sessions[made] = 1, named
        return self._answer(made, named), named

    def _answer(self, session_id: int, mind: Wanted) -> FetchResponse_v11:
        topics: dict[str, list[Any]] = {}
        for topic, partition in mind:
            topics.setdefault(topic, []).append((partition, 0, 9, 9, 0, [], -1, b""))
        return FetchResponse_v11(0, 0, session_id, list(topics.items()))


places = st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 3))
steps = st.tuples(
    st.dictionaries(places, st.integers(0, 5)),
    st.sampled_from(["fine", "fine", "fine", "never arrives", "answer is lost", "sessions are gone", "no place"]),
)


@given(st.lists(steps, max_size=30))
def test_the_broker_answers_for_what_is_wanted_whatever_fails_before(history: list[tuple[Wanted, str]]) -> None:
    broker, session = Broker(), Session()
    for wanted, fate in history:
        broker.places = 0 if fate == "no place" else 1
        if fate == "sessions are gone":
            broker.sessions.clear()
        struct = session.next(whole(wanted)).prepare(TODAY)
        if fate == "never arrives":
            session.lost()
            continue
        answer, mind = broker.take(struct)
        if fate == "answer is lost":
            session.lost()
            continue
        refused = bool(answer.error_code)
        session.answered(answer)
        if refused:  # the next one says everything
            assert fate == "sessions are gone"
            assert session.next(whole(wanted)).prepare(TODAY).session_epoch == 0
            session.lost()
        else:
            assert mind == wanted


@given(st.dictionaries(places, st.integers(0, 5), min_size=1), st.data())
def test_only_what_changed_is_named(wanted: Wanted, data: st.DataObject) -> None:
    broker, session = Broker(), Session()
    session.answered(broker.take(session.next(whole(wanted)).prepare(TODAY))[0])
    moved = data.draw(st.sampled_from(sorted(wanted)))
    struct = session.next(whole({**wanted, moved: 6})).prepare(TODAY)
    assert (struct.session_id, struct.session_epoch) == (7, 1)
    assert [(topic, [(one[0], one[2]) for one in parts]) for topic, parts in struct.topics] == [
        (moved[0], [(moved[1], 6)])
    ]
    assert struct.forgotten_topics_data == []
    session.answered(broker.take(struct)[0])
    still = session.next(whole({**wanted, moved: 6})).prepare(TODAY)
    assert (still.topics, still.session_epoch) == ([], 2)


@pytest.mark.parametrize("newest", [4, 5, 6])
def test_a_broker_from_before_sessions_is_asked_for_everything_each_time(newest: int) -> None:
    session = Session()
    for _ in range(3):
        struct = session.next(whole({("a", 0): 1, ("b", 1): 2})).prepare({1: (0, newest)})
        assert newest == struct.API_VERSION
        assert struct.encode() == whole({("a", 0): 1, ("b", 1): 2}).prepare({1: (0, newest)}).encode()
        session.answered(FetchResponse_v4(0, []))


def test_an_answer_for_what_was_not_asked_for_is_left_out() -> None:
    session = Session()
    session.next(whole({("a", 0): 1}))
    answer = FetchResponse_v11(0, 0, 7, [("a", [(0, 0, 9, 9, 0, [], -1, b""), (1, 0, 9, 9, 0, [], -1, b"")])])
    session.answered(answer)
    assert [(topic, [one[0] for one in parts]) for topic, parts in answer.topics] == [("a", [0])]


def test_the_epoch_begins_again_behind_the_last_one() -> None:
    broker, session = Broker(), Session()
    session.answered(broker.take(session.next(whole({("a", 0): 1})).prepare(TODAY))[0])
    session.epoch = 2**31 - 1
    broker.sessions[7] = 2**31 - 1, {("a", 0): 1}
    session.answered(broker.take(session.next(whole({("a", 0): 1})).prepare(TODAY))[0])
    assert (session.id, session.epoch) == (7, 1)


def test_after_an_error_everything_is_named_whatever_session_the_answer_gives() -> None:
    session = Session()
    session.next(whole({("a", 0): 1}))
    session.answered(FetchResponse_v11(0, 0, 7, []))
    assert session.next(whole({("a", 0): 1})).prepare(TODAY).session_epoch == 1
    session.answered(FetchResponse_v11(0, 56, 7, []))
    struct = session.next(whole({("a", 0): 1})).prepare(TODAY)
    assert (struct.session_id, struct.session_epoch, len(struct.topics)) == (0, 0, 1)
