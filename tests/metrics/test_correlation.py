"""Correlation against numpy, over the values that are known, in any number of batches."""

import math

import numpy as np
import pytest
import torch

from foreframe.evaluation.metrics import SCORES, Scorecard


def correlation(P: torch.Tensor, Y: torch.Tensor, batch: int = 5) -> dict:
    card = Scorecard(P.shape[1], {"standard": {"correlation": SCORES["standard"]["correlation"]}})
    for k in range(0, len(P), batch):
        card.update(P[k : k + batch], Y[k : k + batch])
    return card.table()["standard"]["correlation"]


def test_it_is_that_of_numpy() -> None:
    draw = torch.Generator().manual_seed(0)
    Y = torch.rand(5, 3, 2, 6, 7, generator=draw)
    P = 0.3 * Y + 0.1 * torch.rand(Y.shape, generator=draw) + 0.5
    Y[torch.rand(Y.shape, generator=draw) < 0.2] = torch.nan
    got = correlation(P, Y, batch=2)
    for lead in (slice(None), 0, 1, 2):
        p, y = P[:, lead].double().numpy(), Y[:, lead].double().numpy()
        known = np.isfinite(y)
        expected = np.corrcoef(p[known], y[known])[0, 1]
        ours = got["overall"] if isinstance(lead, slice) else got["per_lead"][lead]
        assert ours == pytest.approx(expected, rel=1e-4)
        assert 0.5 < expected < 0.99


def test_a_line_is_one_and_a_flat_forecast_is_nothing() -> None:
    Y = torch.rand(2, 1, 1, 9, 9)
    assert correlation(0.5 * Y + 0.2, Y)["overall"] == pytest.approx(1, abs=1e-5)
    assert correlation(1 - Y, Y)["overall"] == pytest.approx(-1, abs=1e-5)
    for flat in (0.0, 0.7, 1 / 3):
        assert math.isnan(correlation(torch.full_like(Y, flat), Y)["overall"])
        assert math.isnan(correlation(Y, torch.full_like(Y, flat))["overall"])
