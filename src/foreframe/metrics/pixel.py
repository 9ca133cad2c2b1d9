"""Errors pixel by pixel, one number a frame. P is the forecast, Y the truth, both in [0,1]."""

from jaxtyping import Float
from torch import Tensor

Frames = Float[Tensor, "b t c h w"]
PerFrame = Float[Tensor, "b t"]


def squared_error(P: Frames, Y: Frames) -> PerFrame:
    """Sum over C,H,W of (P-Y)^2."""
    return (P - Y).square().sum(dim=(2, 3, 4))


def absolute_error(P: Frames, Y: Frames) -> PerFrame:
    """Sum over C,H,W of |P-Y|."""
    return (P - Y).abs().sum(dim=(2, 3, 4))


def peak_signal_to_noise(mse: Tensor) -> Tensor:
    """-10 log10(mse) in dB, for a mean squared error a pixel where the peak is 1; infinite for a perfect frame."""
    return -10 * mse.log10()
