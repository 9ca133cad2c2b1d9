"""The paired bootstrap against closed forms, and how often its interval holds the truth."""

import numpy as np
import pytest
import torch

from foreframe.evaluation.metrics.bootstrap import FEWEST, paired_bootstrap
from foreframe.evaluation.metrics.sums import ratio


def parts(errors: np.ndarray, values: np.ndarray | None = None) -> torch.Tensor:
    """Summed squared errors of clips, and how many values these are of."""
    counts = np.ones_like(errors) if values is None else values
    return torch.from_numpy(np.stack([errors * counts, counts]))


@pytest.mark.parametrize("n", [FEWEST, 40])
def test_a_constant_offset_is_never_a_tie(n: int) -> None:
    """However much clips differ, each is worse by the same."""
    errors = np.random.default_rng(0).gamma(1, 10, n)
    got = paired_bootstrap(parts(errors + 0.01), parts(errors), ratio, range(n))
    assert got["difference"] == pytest.approx(0.01)
    assert (got["low"], got["high"]) == pytest.approx((0.01, 0.01))
    assert not got["tie"]
    other = paired_bootstrap(parts(errors), parts(errors + 0.01), ratio, range(n))
    assert other["high"] == pytest.approx(-0.01)
    assert not other["tie"]


def test_scores_are_of_sums_not_means_of_scores() -> None:
    """A clip with more values weighs more."""
    errors, counts = np.array([1.0, 4.0] * 5), np.array([1.0, 9.0] * 5)
    got = paired_bootstrap(parts(errors, counts), parts(errors * 0 + 1, counts), ratio, range(10))
    assert got["difference"] == pytest.approx((1 + 36) / 10 - 1)


def test_the_interval_is_that_of_the_normal_law() -> None:
    """reference: mean +- 1.96 s / sqrt(n), which many clips tend to."""
    draw = np.random.default_rng(0)
    errors, gap = draw.gamma(2, 5, 1000), draw.normal(0.3, 2, 1000)
    got = paired_bootstrap(parts(errors + gap), parts(errors), ratio, range(1000))
    half = 1.96 * gap.std(ddof=1) / 1000**0.5
    assert got["low"] == pytest.approx(gap.mean() - half, abs=0.15 * half)
    assert got["high"] == pytest.approx(gap.mean() + half, abs=0.15 * half)


def test_few_groups_say_nothing() -> None:
    errors = np.random.default_rng(0).gamma(2, 5, 40)
    groups = [k % (FEWEST - 1) for k in range(40)]
    got = paired_bootstrap(parts(errors + 1), parts(errors), ratio, groups)
    assert (got["low"], got["high"], got["ratio_low"], got["ratio_high"]) == (None,) * 4
    assert got["tie"]
    assert got["difference"] == pytest.approx(1)
    assert got["n"] == FEWEST - 1


@pytest.mark.parametrize(("groups", "each"), [(5, 6), (60, 1)])
def test_the_interval_holds_the_truth_as_often_as_it_says(groups: int, each: int) -> None:
    """95 % of 300 simulated comparisons; clips of one group are alike."""
    draw = np.random.default_rng(5)
    numbers = np.arange(groups).repeat(each)
    covered = 0
    for _ in range(300):
        errors = draw.gamma(4, 1, groups * each)
        gap = 0.2 + draw.normal(0, 0.5, groups)[numbers] + draw.normal(0, 0.2, groups * each)
        got = paired_bootstrap(parts(errors + gap), parts(errors), ratio, numbers.tolist())
        covered += got["low"] <= 0.2 <= got["high"]
    assert 0.9 <= covered / 300 <= 0.99
