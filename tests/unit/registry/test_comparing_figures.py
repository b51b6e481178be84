"""Whole blocks in float32 against float64: how far they may be apart, and what float32 cannot hold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from muniment.registry.comparing.figures import Figures, Sums
from muniment.registry.comparing.narrow import BLOCK, ROW, Narrow

N = BLOCK + 3 * ROW + 77
"""A whole block, a smaller one, and less than a row."""


def raw_of(values: NDArray[np.float64], dtype: str) -> tuple[bytes, NDArray[np.float64]]:
    """The bytes of the values in a dtype, and what they are then."""
    if dtype[0] in "IU":
        whole = values.astype({"I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2"}[dtype])
        return whole.tobytes(), whole.astype(np.float64)
    singles = values.astype(np.float32)
    if dtype == "F32":
        return singles.tobytes(), singles.astype(np.float64)
    if dtype == "F16":
        halves = singles.astype(np.float16)
        return halves.tobytes(), halves.astype(np.float64)
    upper = (singles.view(np.uint32) >> 16).astype(np.uint16)
    return upper.tobytes(), np.left_shift(upper, 16, dtype=np.uint32).view(np.float32).astype(np.float64)


def both(one: NDArray[np.float64], other: NDArray[np.float64], old: str, new: str) -> tuple[Figures, list[float]]:
    """The figures, and the same by long doubles: norm of the change, relative, cosine, largest."""
    sums = Sums(old, new)
    (left, a), (right, b) = raw_of(one, old), raw_of(other, new)
    sums.add(left, right)
    wide, broad = a.astype(np.longdouble), b.astype(np.longdouble)
    change, size = np.sqrt(((broad - wide) ** 2).sum()), np.sqrt((wide**2).sum())
    cosine = (wide * broad).sum() / size / np.sqrt((broad**2).sum())
    return sums.figures(), [float(one) for one in (change, change / size, cosine, np.abs(broad - wide).max())]


@pytest.mark.parametrize("dtypes", [("F32", "F32"), ("BF16", "BF16"), ("F16", "F16"), ("F32", "BF16")])
@pytest.mark.parametrize("apart", [1e-5, 1e-2, 1.0, 300.0])
def test_float32_sums_are_within_a_millionth(dtypes: tuple[str, str], apart: float) -> None:
    random = np.random.default_rng(1)
    one = random.standard_normal(N)
    figures, exact = both(one, one + apart * random.standard_normal(N), *dtypes)
    assert figures.flags == ()
    found = [figures.change_norm, figures.relative_change, figures.cosine, figures.max_change]
    assert found == pytest.approx(exact, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("dtype", ["I8", "U8", "I16", "U16"])
@pytest.mark.parametrize("part", [0.02, 1.0])
def test_integers_are_within_a_millionth_over_their_whole_range(dtype: str, part: float) -> None:
    """`part`: of the range, by which both sides differ at most."""
    random = np.random.default_rng(1)
    least, most = {"I8": (-128, 127), "U8": (0, 255), "I16": (-32_768, 32_767), "U16": (0, 65_535)}[dtype]
    one = random.integers(least, most, N, endpoint=True).astype(np.float64)
    other = np.clip(one + np.round(part * (most - least) * random.uniform(-1, 1, N)), least, most)
    figures, exact = both(one, other, dtype, dtype)
    found = [figures.change_norm, figures.relative_change, figures.cosine, figures.max_change]
    assert (figures.flags, found) == ((), pytest.approx(exact, rel=1e-6, abs=1e-7))


@pytest.mark.parametrize("dtype", ["I8", "U16", "BF16", "F16"])
@pytest.mark.parametrize("at", [0, 1, BLOCK - 1, BLOCK + ROW, N - 78, N - 1])
def test_the_one_element_that_changed_is_found_wherever_it_is(dtype: str, at: int) -> None:
    one = np.zeros(N)
    other = one.copy()
    other[at] = 3
    figures, _ = both(one + 1, other + 1, dtype, dtype)
    assert (figures.change_norm, figures.max_change) == (3, 3)


def test_a_cosine_of_almost_one_keeps_its_digits() -> None:
    random = np.random.default_rng(1)
    one = random.standard_normal(N)
    figures, exact = both(one, one + 1e-4 * random.standard_normal(N), "F32", "F32")
    assert figures.cosine is not None
    assert 1 - figures.cosine == pytest.approx(1 - exact[2], rel=1e-3)


@pytest.mark.parametrize("size", [0.1, 1 / 3, 1.0 + 2**-23])
def test_rounding_that_is_always_the_same_stays_within_the_bound(size: float) -> None:
    one = np.full(N, size)
    figures, exact = both(one, one * 1.7, "F32", "F32")
    found = [figures.change_norm, figures.relative_change, figures.cosine, figures.max_change]
    assert found == pytest.approx(exact, rel=3.1e-5)


@pytest.mark.parametrize("size", [1e-30, 1e-22, 1e25])
def test_what_float32_cannot_square_is_summed_in_float64(size: float) -> None:
    random = np.random.default_rng(1)
    one = size * random.standard_normal(N)
    figures, exact = both(one, one + 0.1 * size * random.standard_normal(N), "F32", "F32")
    found = [figures.change_norm, figures.relative_change, figures.cosine, figures.max_change]
    assert found == pytest.approx(exact, rel=1e-6)


def test_every_finite_float16_is_made_float32_exactly() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    halves = np.concatenate((halves, np.zeros(-len(halves) % ROW, np.float16)))
    found = Narrow("F16")._singles(halves, 0)
    in_pairs = np.concatenate((halves[::2], halves[1::2])).astype(np.float32)
    assert np.array_equal(found.view(np.uint32), in_pairs.view(np.uint32))


def test_float16_with_values_whose_squares_are_large_is_summed_all_the_same() -> None:
    one = np.full(N, 65_504.0)
    figures, exact = both(one, one / 2, "F16", "F16")
    found = [figures.change_norm, figures.relative_change, figures.cosine, figures.max_change]
    assert (figures.flags, found) == ((), pytest.approx(exact, rel=1e-6))


@pytest.mark.parametrize("dtype", ["F32", "F16"])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, BLOCK + 5, N - 1])
def test_one_value_that_is_not_finite_is_told(dtype: str, odd: float, at: int) -> None:
    one = np.ones(N)
    other = one * 2
    other[at] = odd
    sums = Sums(dtype, dtype)
    sums.add(raw_of(one, dtype)[0], raw_of(other, dtype)[0])
    assert sums.figures() == Figures(flags=("to_not_finite",))


def test_equal_pieces_count_for_size_and_cosine() -> None:
    one = np.random.default_rng(1).standard_normal(BLOCK)
    raw, _ = raw_of(one, "F32")
    other, _ = raw_of(2 * one, "F32")
    sums = Sums("F32", "F32")
    sums.add(raw, raw)
    assert not sums.differs
    sums.add(raw, other)
    assert sums.figures().relative_change == pytest.approx(np.sqrt(0.5), rel=1e-6)
    assert sums.figures().cosine == pytest.approx(3 / np.sqrt(10), rel=1e-6)
