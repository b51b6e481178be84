"""Bisect finds the first bad version, in few tests, whatever the graph looks like."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import Conflict, Rejected
from muniment.registry.history.bisecting import Verdict, next_step, search
from muniment.registry.history.judging import judge, predicate
from muniment.registry.tolerances import Measured

from .strategies import graph_of, parents_of

ACCURACY = Measured("accuracy")


@given(parents_of(60), st.data())
def test_the_first_bad_version_is_found_in_few_tests(parents: dict[int, list[int]], data: st.DataObject) -> None:
    graph = graph_of(parents)
    culprit = data.draw(st.sampled_from(sorted(parents)))
    bad = data.draw(st.sampled_from([one for one in parents if culprit in graph.ancestors([one])]))
    goods = [one for one in graph.ancestors([bad]) if culprit not in graph.ancestors([one])]
    if not goods:
        return
    good = data.draw(st.sampled_from(goods))
    suspects = graph.ancestors([bad]) - graph.ancestors([good])
    found = search(graph, good, bad, lambda one: "bad" if culprit in graph.ancestors([one]) else "good")
    assert found.first_bad == (culprit,)
    tested = [number for number, _ in found.tested]
    assert len(set(tested)) == len(tested)
    assert {good, bad}.isdisjoint(tested)
    if all(len(one) < 2 for one in parents.values()):  # with many merges a test can part off less than a half
        assert len(tested) <= math.ceil(math.log2(len(suspects))) + 1


@given(parents_of(40), st.data())
def test_skips_never_hide_the_culprit(parents: dict[int, list[int]], data: st.DataObject) -> None:
    graph = graph_of(parents)
    culprit = data.draw(st.sampled_from(sorted(parents)))
    bad = data.draw(st.sampled_from([one for one in parents if culprit in graph.ancestors([one])]))
    goods = [one for one in graph.ancestors([bad]) if culprit not in graph.ancestors([one])]
    if not goods:
        return
    broken = data.draw(st.sets(st.sampled_from(sorted(parents))))

    def verdict(number: int) -> Verdict:
        return "skip" if number in broken else "bad" if culprit in graph.ancestors([number]) else "good"

    found = search(graph, max(goods), bad, verdict)
    assert culprit in found.first_bad
    assert len({number for number, _ in found.tested}) == len(found.tested)
    known_bad = {bad, *(number for number, answer in found.tested if answer == "bad")}
    beside = {*found.first_bad} - {culprit}
    assert beside - known_bad <= broken, "only what could not be tested stays beside it"
    assert len(beside & known_bad) <= 1


def test_a_line_is_halved() -> None:
    graph = graph_of({1: [], **{number: [number - 1] for number in range(2, 10_001)}})
    found = search(graph, 1, 10_000, lambda number: "bad" if number >= 7_321 else "good")
    assert found.first_bad == (7_321,)
    assert len(found.tested) <= 14
    step = next_step(graph, [1], 9)
    assert (step.next, step.left, step.steps) == (5, 7, 3)


def test_good_after_bad_is_refused() -> None:
    graph = graph_of({1: [], 2: [1], 3: [2]})
    with pytest.raises(Conflict, match="comes from it") as caught:
        next_step(graph, [3], 2)
    assert caught.value.code == "bisect_bad_before_good"


@pytest.mark.parametrize(
    ("rule", "by", "bad"),
    [("drop", 0.02, {3}), ("rise", 0.02, {4}), ("below", 0.9, {3}), ("above", 0.96, {4})],
)
def test_rules(rule: str, by: float, bad: set[int]) -> None:
    values = {1: 0.95, 2: 0.93, 3: 0.8, 4: 0.98}
    (last,) = bad
    found = judge(predicate(ACCURACY, {rule: by}), values, 1, last)  # type: ignore[dict-item]  # reason: the words of Rule
    assert {number for number, verdict in found.items() if verdict == "bad"} == bad


@pytest.mark.parametrize(
    ("good", "bad", "code"),
    [(3, 3, "bisect_bad_is_good"), (1, 2, "bisect_bad_is_good"), (9, 3, "bisect_metric_missing")],
)
def test_what_the_metric_contradicts(good: int, bad: int, code: str) -> None:
    with pytest.raises(Conflict) as caught:
        judge(predicate(ACCURACY, {"drop": 0.1}), {1: 0.95, 2: 0.93, 3: 0.8}, good, bad)
    assert caught.value.code == code


def test_a_good_version_beyond_the_threshold_is_refused() -> None:
    with pytest.raises(Conflict) as caught:
        judge(predicate(ACCURACY, {"below": 0.9}), {1: 0.8, 2: 0.7}, 1, 2)
    assert caught.value.code == "bisect_good_is_bad"


@pytest.mark.parametrize("given_", [{}, {"drop": 0.1, "below": 1.0}, {"drop": -0.1}, {"below": math.nan}])
def test_just_one_sensible_rule(given_: dict[str, float]) -> None:
    with pytest.raises(Rejected) as caught:
        predicate(ACCURACY, given_)  # type: ignore[arg-type]  # reason: the words of Rule
    assert caught.value.code == "bisect_rule_invalid"
