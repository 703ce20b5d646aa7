"""Ridge regression with a bounded number of centres: every row counts, and what is left out is really left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.backends.ondevice.ridge import fit_ridge

PENALTY = 0.08


def gaussian(points: np.ndarray, centres: list[int]):
    def kernel(places):
        gaps = points[list(places)][:, None] - points[centres][None]
        return np.exp(-0.5 * (gaps**2).sum(axis=2))

    return kernel


def sample(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2))


def test_with_every_row_a_centre_it_is_kernel_ridge_regression() -> None:
    points, wanted = sample(40, seed=1)
    kernel = gaussian(points, list(range(40)))
    weights, _ = fit_ridge(kernel, range(40), wanted, np.ones(40), PENALTY)
    square = kernel(range(40))
    assert square @ weights == pytest.approx(square @ np.linalg.solve(square + PENALTY * np.eye(40), wanted), abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 29), st.integers(2, 30), st.integers(1, 5), st.integers(0, 1000))
def test_the_value_without_a_row_is_that_of_a_fit_without_it(left: int, centres: int, count: int, seed: int) -> None:
    points, wanted = sample(30, seed)
    counts = np.ones(30)
    counts[left] = count
    kernel = gaussian(points, list(range(centres)))
    _, without = fit_ridge(kernel, range(centres), wanted, counts, PENALTY)
    counts[left] = 0
    weights, _ = fit_ridge(kernel, range(centres), wanted, counts, PENALTY)
    assert without[left] == pytest.approx((kernel([left]) @ weights)[0], abs=1e-4)


def test_a_row_that_counts_thrice_weighs_as_three_rows() -> None:
    points, wanted = sample(20, seed=2)
    thrice = np.r_[0:20, 4, 4]
    counts = np.ones(20)
    counts[4] = 3
    once, _ = fit_ridge(gaussian(points, list(range(8))), range(8), wanted, counts, PENALTY)
    spelled, _ = fit_ridge(gaussian(points[thrice], list(range(8))), range(8), wanted[thrice], np.ones(22), PENALTY)
    assert once == pytest.approx(spelled, abs=1e-6)


@pytest.mark.parametrize("count", [1, 3, 10_000])
def test_rows_that_all_are_centres_weigh_as_often_as_they_count(count: int) -> None:
    points, wanted = sample(40, seed=5)
    counts = np.ones(40)
    counts[:7] = count
    kernel = gaussian(points, list(range(40)))
    weights, _ = fit_ridge(kernel, range(40), wanted, counts, PENALTY)
    square = kernel(range(40))
    told = square @ np.linalg.solve(square + PENALTY * np.diag(1 / counts), wanted)
    assert square @ weights == pytest.approx(told, abs=1e-3)


def test_a_row_that_is_no_centre_still_changes_the_fit() -> None:
    points, wanted = sample(1200, seed=3)
    kernel = gaussian(points, list(range(50)))
    before, _ = fit_ridge(kernel, range(50), wanted, np.ones(1200), PENALTY)
    wanted[1199] += 100
    after, _ = fit_ridge(kernel, range(50), wanted, np.ones(1200), PENALTY)
    assert np.abs(kernel([1199]) @ (after - before)).min() > 0.1


def test_centres_that_look_the_same_are_fitted_too() -> None:
    points, wanted = sample(10, seed=4)
    points[:5] = points[5:]
    weights, without = fit_ridge(gaussian(points, list(range(10))), range(10), wanted, np.ones(10), PENALTY)
    assert np.isfinite(weights).all()
    assert np.isfinite(without).all()
