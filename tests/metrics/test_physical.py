"""Errors in the data's units against numpy, over what is there, in any number of batches."""

import numpy as np
import pytest
import torch

from foreframe.metrics.physical import PhysicalScorecard

DRAW = np.random.default_rng(3)
FORECAST = DRAW.normal(281, 4, (5, 3, 2, 6, 7))
TRUTH = np.where(DRAW.random(FORECAST.shape) < 0.2, np.nan, DRAW.normal(280, 4, FORECAST.shape))
ERROR = FORECAST - TRUTH  # a forecast that is too warm has a bias above 0
EXPECTED = {
    "rmse": lambda errors: np.sqrt(np.nanmean(errors**2)),
    "mae": lambda errors: np.nanmean(np.abs(errors)),
    "bias": np.nanmean,
}


@pytest.mark.parametrize("score", EXPECTED)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_errors_equal_numpy_over_what_is_there(score: str, batch: int) -> None:
    card = PhysicalScorecard(3)
    for k in range(0, 5, batch):
        forecast, truth = (
            torch.from_numpy(part[k : k + batch]).float() for part in (FORECAST, TRUTH)
        )
        card.update(forecast, truth)
    scored, expected = card.table()[score], EXPECTED[score]
    assert scored["overall"] == pytest.approx(expected(ERROR), rel=1e-4)
    assert scored["per_lead"] == pytest.approx(
        [expected(ERROR[:, lead]) for lead in range(3)], rel=1e-4
    )
    assert expected(ERROR) > 0.5  # not zero by chance


def test_other_steps_than_it_was_made_for() -> None:
    with pytest.raises(ValueError, match="3 steps takes two alike"):
        PhysicalScorecard(3).update(torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 2, 1, 4, 4))
