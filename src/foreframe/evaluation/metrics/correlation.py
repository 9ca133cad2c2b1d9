"""Pearson's correlation of forecast and truth, independent of scale."""

import torch
from torch import Tensor

from foreframe.evaluation.metrics.pair import Pair, PerFrame

FLAT = 1e-6  # share of the mean square: a smaller variance is rounding of float32


def forecasts(pair: Pair) -> PerFrame:
    """Sum over C,H,W of P."""
    return pair.P.sum(dim=(2, 3, 4))


def truths(pair: Pair) -> PerFrame:
    """Sum over C,H,W of Y."""
    return pair.Y.sum(dim=(2, 3, 4))


def forecast_squares(pair: Pair) -> PerFrame:
    """Sum over C,H,W of P^2."""
    return pair.P.square().sum(dim=(2, 3, 4))


def truth_squares(pair: Pair) -> PerFrame:
    """Sum over C,H,W of Y^2."""
    return pair.Y.square().sum(dim=(2, 3, 4))


def products(pair: Pair) -> PerFrame:
    """Sum over C,H,W of PY."""
    return (pair.P * pair.Y).sum(dim=(2, 3, 4))


SUMS = (forecasts, truths, forecast_squares, truth_squares, products)


def pearson(n: Tensor, P: Tensor, Y: Tensor, PP: Tensor, YY: Tensor, PY: Tensor) -> Tensor:
    """cov(P,Y) / (sd(P) sd(Y)) over n values, from their sums; NaN where either is flat."""
    var_P, var_Y = PP / n - (P / n) ** 2, YY / n - (Y / n) ** 2
    varied = (var_P > FLAT * PP / n) & (var_Y > FLAT * YY / n)
    cov = PY / n - P * Y / n**2
    return (cov / (var_P * var_Y).sqrt()).where(varied, torch.nan)
