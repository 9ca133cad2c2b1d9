"""How sharp frames are: forecasts that hedge between futures blur, and pixel errors do not tell."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def gradient_magnitude(X: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
    """sqrt(dx^2 + dy^2) with forward differences, for each pixel that has a neighbour below and one
    to the right.

    NaN elsewhere: in the last row and column, and where one of the three values is missing (NaN).
    """
    here = X[..., :-1, :-1]
    magnitude = ((X[..., :-1, 1:] - here).square() + (X[..., 1:, :-1] - here).square()).sqrt()
    return F.pad(magnitude, (0, 1, 0, 1), value=float("nan"))


def sharpness(X: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t"]:
    """The mean gradient magnitude of each frame, over the places that have one; NaN for frames
    without any.

    sharpness(forecast) / sharpness(truth) < 1 tells blur. Where the truth has missing values,
    compare at the same places: `sharpness(P + 0 * Y)`.
    """
    return gradient_magnitude(X).nanmean(dim=(2, 3, 4))
