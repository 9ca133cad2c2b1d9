"""Structural similarity (Wang et al. 2004, IEEE TIP 13(4)), with scikit-image's defaults: uniform
window, sample covariance, K1 = 0.01, K2 = 0.03, only where the whole window fits.
"""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.metrics.pair import Frames, Pair, PerFrame, Sum

WINDOW = 7  # pixels


def structural_similarity(P: Frames, Y: Frames, data_range: float = 1.0) -> PerFrame:
    """Mean SSIM of each frame, channels averaged. NaN where frames are smaller than the window.

    Only windows without a missing value of Y (NaN) count, and only channels with such a window; NaN
    for a frame without any.

    Args:
        P, Y: forecast and truth. P may hold anything where Y is missing.
        data_range: L. 1 for values in [0,1]; the `openstl` convention has 2 (see `SCORES`).
    """
    return _similarity(Pair(P, Y), data_range)


def frames_with_windows(pair: Pair) -> PerFrame:
    """1 for a frame with a window that misses no value, 0 for one without."""
    return pair.whole(WINDOW).flatten(2).any(dim=2).float()


@cache
def similarity(data_range: float) -> Sum:
    """The SSIM of each frame, the forecast clipped to [0,1]; 0 for a frame without a window."""

    def ssim(pair: Pair) -> PerFrame:
        return _similarity(pair.clipped, data_range).where(pair.of(frames_with_windows) > 0, 0)

    return ssim


def _similarity(pair: Pair, data_range: float) -> PerFrame:
    b, t, c, h, w = pair.P.shape
    if min(h, w) < WINDOW:
        return pair.P.new_full((b, t), torch.nan)
    product, squares, covariance, variances = pair.of(_moments)
    C1, C2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    ssim = ((product + C1) * (covariance + C2)) / ((squares + C1) * (variances + C2))
    ssim = ssim.unflatten(0, (b, t, c))
    if not pair.gaps:
        return ssim.mean(dim=(3, 4)).mean(dim=2)
    whole = pair.whole(WINDOW)
    windows = whole.sum(dim=(3, 4))
    per_channel = ssim.where(whole, 0).sum(dim=(3, 4)) / windows
    return per_channel.where(windows > 0, 0).sum(dim=2) / (windows > 0).sum(dim=2)


def _moments(pair: Pair) -> tuple[Float[Tensor, "n rows columns"], ...]:
    """2 µx µy, µx² + µy², 2 cov(x,y) and var x + var y of each window; they need no data range."""
    b, t, c, h, w = pair.P.shape
    x, y = pair.P.reshape(b * t * c, 1, h, w), pair.Y.reshape(b * t * c, 1, h, w)
    pooled = F.avg_pool2d(torch.cat([x, y, x * x, y * y, x * y], dim=1), WINDOW, stride=1)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = pooled.unbind(dim=1)
    sample = WINDOW**2 / (WINDOW**2 - 1)
    var_x, var_y = sample * (mean_xx - mean_x**2), sample * (mean_yy - mean_y**2)
    cov = sample * (mean_xy - mean_x * mean_y)
    return 2 * mean_x * mean_y, mean_x**2 + mean_y**2, 2 * cov, var_x + var_y
