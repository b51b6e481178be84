"""When a tolerance is broken, since when, and when it holds again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from muniment.registry.divergence import Place, Standing, follow, line_of
from muniment.registry.tolerances import Tolerance

TOLERANCE = Tolerance.model_validate({"metric": "m", "absolute": 0.1, "hysteresis": 0.5})
REFERENCE = 1.0  # so 0.9 is the limit, and 0.95 what recovers
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: float, number: int = 1) -> Place:
    return Place(number, BEGAN + timedelta(seconds=second))


def one_by_one(values: list[float]) -> tuple[list[bool], Standing | None]:
    standing, turned = None, []
    for second, value in enumerate(values):
        standing, turns = follow(TOLERANCE, REFERENCE, standing, [(at(second), value)])
        turned += [turn.recovered for turn in turns]
    return turned, standing


@given(st.lists(st.floats(0.901, 0.949)))
def test_noise_within_the_band_turns_nothing(noise: list[float]) -> None:
    assert one_by_one(noise)[0] == []
    assert one_by_one([0.8, *noise])[0] == [False]


@given(st.lists(st.floats(0.8, 1.1), max_size=60))
def test_turns_alternate_and_are_no_more_than_the_crossings_of_the_band(values: list[float]) -> None:
    turned, _ = one_by_one(values)
    outside = [value >= 0.95 for value in values if value < 0.9 or value >= 0.95]
    crossings = sum(before != after for before, after in zip([True, *outside], outside, strict=False))
    assert turned == [bool(n % 2) for n in range(len(turned))]
    assert len(turned) <= crossings


@given(st.lists(st.floats(0.8, 1.1), max_size=60), st.randoms())
def test_a_batch_ends_as_its_points_one_by_one_and_in_any_order_would(values: list[float], random: object) -> None:
    points = [(at(second), value) for second, value in enumerate(values)]
    random.shuffle(points)  # type: ignore[attr-defined]  # reason: hypothesis gives a random.Random
    standing, turns = follow(TOLERANCE, REFERENCE, None, points)
    turned, wanted = one_by_one(values)
    assert standing == wanted
    assert len(turns) <= 2
    assert [turn.recovered for turn in turns] == turned[len(turned) - len(turns) :]
    assert bool(len(turns) % 2) == bool(standing and standing.broken), "what is told fits how it ended"


def test_what_comes_late_moves_the_beginning_back_within_its_stretch_alone() -> None:
    standing, _ = follow(TOLERANCE, REFERENCE, None, [(at(0), 0.8), (at(10), 1.0), (at(20), 0.8)])
    assert standing is not None
    assert standing.first == at(20)
    standing, turns = follow(TOLERANCE, REFERENCE, standing, [(at(15), 0.7), (at(17), 0.85), (at(18), 1.0)])
    assert (standing and standing.first, turns) == (at(15), [])
    standing, turns = follow(TOLERANCE, REFERENCE, standing, [(at(5), 0.7)])
    assert (standing and standing.first, turns) == (at(15), []), "before it recovered: another stretch"


@given(st.lists(st.floats(0.7921, 0.8079)))
def test_noise_around_a_bound_turns_once_while_the_baselines_value_is_not_known(noise: list[float]) -> None:
    bound = Tolerance.model_validate({"metric": "m", "bound": 0.8})  # 0.808 recovers
    points = [(at(second), value) for second, value in enumerate([0.7, *noise])]
    standing, turns = follow(bound, None, None, points)
    assert [turn.recovered for turn in turns] == [False]
    _, turns = follow(bound, None, standing, [(at(len(points)), 0.8081)])
    assert [turn.recovered for turn in turns] == [True]


def test_without_a_limit_nothing_is_judged() -> None:
    assert follow(TOLERANCE, None, None, [(at(0), 0.1)]) == (None, [])


def test_which_measurements_the_baseline_is_concerned_with() -> None:
    assert line_of(3, "exp/a", "observation", baseline=3) == "baseline"
    assert line_of(4, "main", "evaluation", baseline=3) == "main"
    assert line_of(4, "main", "observation", baseline=3) is None
    assert line_of(4, "exp/a", "evaluation", baseline=3) is None
    assert line_of(2, "main", "evaluation", baseline=3) is None
