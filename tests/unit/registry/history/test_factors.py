"""Suspicion follows what happened elsewhere, and says no more than that."""

from __future__ import annotations

from typing import Any

from muniment.registry.history.factors import Elsewhere, Factor, Tally, changed_factors, ranked, sentences

DATA = Factor("datasets", "train.digest", "good", "mislabelled")
LR = Factor("hyperparams", "lr", 0.1, 0.2)
NUMPY = Factor("environment.packages", "numpy", "1.0", "2.0")


def tallied(factor: Factor, elsewhere: list[tuple[Any, ...]]) -> Tally:
    tally = Tally(factor)
    for other in elsewhere:
        tally.add(Elsewhere(*other))
    return tally


def test_what_changed_and_nothing_else() -> None:
    before = {"params": {"a": 1, "gone": 2}, "metrics": {"accuracy": 0.9}, "run": {"run_id": "r1"}}
    after = {"params": {"a": True, "new": None}, "metrics": {"accuracy": 0.1}, "run": {"run_id": "r2"}}
    assert changed_factors(before, after) == [
        Factor("params", "a", 1, True),
        Factor("params", "gone", 2, None),
        Factor("params", "new", None, None),
    ]


def test_only_here_is_above_often_without_harm_and_the_same_change_with_harm_is_above_both() -> None:
    harmless = [(number, number + 1, 0.2, 0.3, 0.0, False) for number in range(5)]
    again = [(9, 10, "1.0", "2.0", -0.2, True)]
    found = ranked([tallied(LR, harmless), tallied(DATA, []), tallied(NUMPY, again)])
    assert [one.factor for one in found] == [NUMPY, DATA, LR]
    text = sentences(found, "accuracy going from 0.9 to 0.7 here")
    assert "the very same change, 1 of them regressed" in text[0]
    assert "on this edge alone: consistent with accuracy going from 0.9 to 0.7 here" in text[1]
    assert "less consistent with" in text[2]
    assert "cannot tell them apart" in text[3]
    assert not any("cause" in line for line in text)


def test_a_tensor_group_is_told_without_its_digest_and_the_metric_elsewhere_with_its_edge() -> None:
    layer = tallied(Factor("tensors", "encoder.layer.3", "sha256:aa", "sha256:bb"), [(3, 4, "x", "y", -0.2, True)])
    layer.add(Elsewhere(1, 2, "x", "y", None, None))
    (text,) = sentences([layer], "what was found bad")
    assert text.startswith(
        "tensors.encoder.layer.3.* changed; it changed on 2 other edges, 1 of them regressed, 0 did not"
    )
    assert "of 1 it is not known; from version 3 to 4 the metric went by -0.2: consistent with" in text
    (new,) = sentences([tallied(Factor("tensors", "head", None, "sha256:bb"), [])], "what was found bad")
    assert new.startswith("tensors.head.* are new, on this edge alone")


def test_edges_without_the_metric_weigh_nothing() -> None:
    unknown = [(number, number + 1, 1, 2, None, None) for number in range(5)]
    found = tallied(LR, unknown)
    assert (found.score, found.changed, found.regressed, found.unharmed) == (0.5, 5, 0, 0)
