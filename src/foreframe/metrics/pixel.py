"""Errors pixel by pixel, one number a frame. P is the forecast, Y the truth, both in [0,1].

Y is NaN where a value is missing. Such values never count, whatever P has there; where P alone is
NaN, so is the error.
"""

from jaxtyping import Float
from torch import Tensor

Frames = Float[Tensor, "b t c h w"]
PerFrame = Float[Tensor, "b t"]


def squared_error(P: Frames, Y: Frames) -> PerFrame:
    """Sum over the values of C,H,W that are not missing of (P-Y)^2."""
    return (P - Y).square().masked_fill(Y.isnan(), 0).sum(dim=(2, 3, 4))


def absolute_error(P: Frames, Y: Frames) -> PerFrame:
    """Sum over the values of C,H,W that are not missing of |P-Y|."""
    return (P - Y).abs().masked_fill(Y.isnan(), 0).sum(dim=(2, 3, 4))


def values_present(Y: Frames) -> PerFrame:
    """How many values of C,H,W are not missing."""
    return (~Y.isnan()).sum(dim=(2, 3, 4)).to(Y.dtype)


def peak_signal_to_noise(mse: Tensor) -> Tensor:
    """-10 log10(mse) in dB, for a mean squared error a pixel where the peak is 1; infinite for a
    perfect frame.
    """
    return -10 * mse.log10()
