"""Errors in the data's units against numpy, over what is there, in any number of batches."""

import numpy as np
import pytest
import torch

from foreframe.evaluation.metrics import SCORES, Scorecard

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
def test_errors_equal_numpy_over_what_is_there(score: str) -> None:
    card = Scorecard(3, {"physical": SCORES["physical"]})
    for k in range(0, 5, 2):
        forecast, truth = (torch.from_numpy(part[k : k + 2]).float() for part in (FORECAST, TRUTH))
        card.update(forecast, truth)
    scored, expected = card.table()["physical"][score], EXPECTED[score]
    assert scored["overall"] == pytest.approx(expected(ERROR), rel=1e-4)
    assert scored["per_lead"] == pytest.approx(
        [expected(ERROR[:, lead]) for lead in range(3)], rel=1e-4
    )
    assert expected(ERROR) > 0.5  # not zero by chance


def test_values_go_to_units_before_they_are_compared() -> None:
    """By a scaling that bends, so that errors do not scale alike; gaps stay gaps."""
    forecast, truth = (torch.from_numpy(part).float() / 100 for part in (FORECAST, TRUTH))
    card = Scorecard(3, {"physical": SCORES["physical"]}, torch.exp)
    card.update(forecast, truth)
    error = np.exp(FORECAST / 100) - np.exp(TRUTH / 100)
    assert card.table()["physical"]["bias"]["overall"] == pytest.approx(np.nanmean(error), rel=1e-4)
