"""Sums over the values of a frame, and scores of such sums."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.evaluation.metrics.pair import Frames, Pair, PerFrame, Sum

FLAT = 1e-6  # share of the mean square: a smaller variance is rounding of float32


def values(pair: Pair) -> PerFrame:
    """The number of values that are not missing."""
    return pair.valid.sum(dim=(2, 3, 4)).float()


def frames(pair: Pair) -> PerFrame:
    """Return 1 for each frame with a value, 0 for missing frames."""
    return (pair.computed(values) > 0).float()


def whole_frames(pair: Pair) -> PerFrame:
    """Return 1 for each frame without a missing value, 0 for others."""
    return pair.valid.flatten(2).all(dim=2).float()


def summed(values_of: Callable[[Pair], Tensor]) -> Sum:
    """The sum over C,H,W of values of a pair."""
    return lambda pair: values_of(pair).sum(dim=(2, 3, 4))


error = summed(lambda pair: pair.P - pair.Y)
squared_error = summed(lambda pair: (pair.P - pair.Y).square())
absolute_error = summed(lambda pair: (pair.P - pair.Y).abs())
truths = summed(lambda pair: pair.Y)


def moments(pair: Pair) -> PerFrame:
    """The sums of `pearson`, (5,B,T)."""
    P, Y = pair.P, pair.Y
    each = P, Y, P.square(), Y.square(), P * Y
    return torch.stack([values.sum(dim=(2, 3, 4)) for values in each])


def peak_signal_to_noise(pair: Pair) -> PerFrame:
    """PSNR of each frame for a peak of 1, in dB; infinite if perfect, 0 if missing."""
    mse = pair.clipped.computed(squared_error) / pair.computed(values)
    return (-10 * mse.log10()).where(pair.computed(frames) > 0, 0)


def cross_entropy(pair: Pair) -> PerFrame:
    """Sum over C,H,W of -Y ln P - (1 - Y) ln(1 - P), both clipped to [0,1] and each logarithm at
    least -100, in nats.
    """
    P, Y = pair.clipped.P, pair.Y.clamp(0, 1)
    logarithms = P.log().clamp(min=-100), (-P).log1p().clamp(min=-100)
    return -(Y * logarithms[0] + (1 - Y) * logarithms[1]).sum(dim=(2, 3, 4))


def gradient_magnitude(X: Frames) -> Float[Tensor, "b t c rows columns"]:
    """sqrt(dx^2 + dy^2) with forward differences, for pixels with neighbours below and to the
    right.
    """
    here = X[..., :-1, :-1]
    return ((X[..., :-1, 1:] - here).square() + (X[..., 1:, :-1] - here).square()).sqrt()


def slope_of_forecast(pair: Pair) -> PerFrame:
    """Sum of the gradient magnitudes of P, clipped to [0,1]."""
    return summed_slope(pair, pair.clipped.P)


def slope_of_truth(pair: Pair) -> PerFrame:
    """Sum of the gradient magnitudes of Y."""
    return summed_slope(pair, pair.Y)


def summed_slope(pair: Pair, X: Frames) -> PerFrame:
    """Sum over C,H,W of the gradient magnitudes of X where the truth has no missing value."""
    slope = gradient_magnitude(X)
    if pair.gaps:  # a gradient needs all three values
        valid = pair.valid
        slope = slope.where(valid[..., :-1, :-1] & valid[..., :-1, 1:] & valid[..., 1:, :-1], 0)
    return slope.sum(dim=(2, 3, 4))


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below; NaN for below = 0."""
    return (above / below).where(below != 0, torch.nan)


def root_ratio(above: Tensor, below: Tensor) -> Tensor:
    """The root of `ratio`."""
    return ratio(above, below).sqrt()


def decibels(above: Tensor, below: Tensor) -> Tensor:
    """-10 log10 of a mean squared error for a peak of 1, in dB."""
    return -10 * ratio(above, below).log10()


def total(totals: Tensor) -> Tensor:
    """The sum itself, for counts and histograms."""
    return totals


def pearson(n: Tensor, totals: Tensor) -> Tensor:
    """cov(P,Y) / (sd(P) sd(Y)) of n values, from `moments`; NaN if P or Y is flat."""
    P, Y, PP, YY, PY = totals
    var_P, var_Y = PP / n - (P / n) ** 2, YY / n - (Y / n) ** 2
    varied = (var_P > FLAT * PP / n) & (var_Y > FLAT * YY / n)
    cov = PY / n - P * Y / n**2
    return (cov / (var_P * var_Y).sqrt()).where(varied, torch.nan)
