"""Which names count as slips of others, and which are names of their own."""

from __future__ import annotations

import pytest

from muniment.cli.near_names import meant


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("mian", ["main", "exp/wide"], "main"),
        ("exp/dropuot", ["exp/dropout", "main"], "exp/dropout"),
        ("exp/dropout2", ["exp/dropout"], None),
        ("exp/X", ["exp/x", "exp/y"], "exp/x"),
        ("Exp/Wide", ["exp/wide"], "exp/wide"),
        ("exp/a", ["exp/b", "main"], None),
        ("exp/lr-1", ["exp/lr-2", "exp/lr-10"], None),
        ("exp/lr1e-3", ["exp/lr1e-4"], None),
        ("exp/wide", ["exp/deep", "main"], None),
        ("mains", ["main"], "main"),
        ("exp/dropot", ["exp/dropout", "exp/dropit"], "exp/dropit"),
        ("anything", [], None),
    ],
)
def test_a_slip_is_near_and_another_name_is_not(name: str, known: list[str], found: str | None) -> None:
    assert meant(name, known) == found
