"""Sharpness of frames: hedged forecasts are blurred, which pixel errors do not show."""

from jaxtyping import Float
from torch import Tensor

from foreframe.evaluation.metrics.pair import Frames, Pair, PerFrame


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
