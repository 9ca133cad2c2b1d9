"""Pixelwise errors: sums over the values of a frame, and scores of sums."""

import torch
from torch import Tensor

from foreframe.evaluation.metrics.pair import Pair, PerFrame


def values(pair: Pair) -> PerFrame:
    """The number of values that are not missing."""
    return pair.valid.sum(dim=(2, 3, 4)).float()


def frames(pair: Pair) -> PerFrame:
    """1 for a frame with any value, 0 for a missing frame."""
    return (pair.of(values) > 0).float()


def squared_error(pair: Pair) -> PerFrame:
    """Sum over C,H,W of (P-Y)^2."""
    return (pair.P - pair.Y).square().sum(dim=(2, 3, 4))


def absolute_error(pair: Pair) -> PerFrame:
    """Sum over C,H,W of |P-Y|."""
    return (pair.P - pair.Y).abs().sum(dim=(2, 3, 4))


def error(pair: Pair) -> PerFrame:
    """Sum over C,H,W of P-Y."""
    return (pair.P - pair.Y).sum(dim=(2, 3, 4))


def peak_signal_to_noise(pair: Pair) -> PerFrame:
    """PSNR of each frame for a peak of 1, in dB; infinite if perfect, 0 if missing."""
    mse = pair.clipped.of(squared_error) / pair.of(values)
    return (-10 * mse.log10()).where(pair.of(frames) > 0, 0)


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below; NaN for below = 0."""
    return (above / below).where(below != 0, torch.nan)


def root_ratio(above: Tensor, below: Tensor) -> Tensor:
    """The root of `ratio`."""
    return ratio(above, below).sqrt()


def decibels(above: Tensor, below: Tensor) -> Tensor:
    """-10 log10 of a mean squared error for a peak of 1, in dB."""
    return -10 * ratio(above, below).log10()


def listed(*totals: Tensor) -> Tensor:
    """The totals as a list for each lead time."""
    return torch.stack(totals)


def ratios(*totals: Tensor) -> Tensor:
    """The list of `ratio` between the first and the second half of the totals."""
    half = len(totals) // 2
    return ratio(torch.stack(totals[:half]), torch.stack(totals[half:]))
