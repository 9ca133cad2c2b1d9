"""Structural similarity (Wang et al. 2004, IEEE TIP 13(4)), with scikit-image's defaults."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def structural_similarity(
    P: Float[Tensor, "b t c h w"],
    Y: Float[Tensor, "b t c h w"],
    data_range: float = 1.0,
    window: int = 7,
) -> Float[Tensor, "b t"]:
    """Mean SSIM of each frame: uniform window, sample covariance, K1 = 0.01, K2 = 0.03, only where
    the whole window fits, channels averaged. NaN where frames are smaller than the window.

    Only windows without a missing value of Y (NaN) count, and only channels with such a window; NaN
    for a frame without any.

    Args:
        P, Y: forecast and truth. P may hold anything where Y is missing.
        data_range: L. 1 for values in [0,1]; the `openstl` convention has 2 (see `Scorecard`).
        window: side of the window in pixels.
    """
    b, t, c, h, w = P.shape
    if min(h, w) < window:
        return P.new_full((b, t), torch.nan)
    missing = Y.isnan()
    gaps = bool(missing.any())
    if gaps:  # any number will do there: windows that hold one are left out below
        P, Y = P.masked_fill(missing, 0), Y.masked_fill(missing, 0)
    x, y = P.reshape(b * t * c, 1, h, w), Y.reshape(b * t * c, 1, h, w)
    pooled = F.avg_pool2d(torch.cat([x, y, x * x, y * y, x * y], dim=1), window, stride=1)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = pooled.unbind(dim=1)
    sample = window**2 / (window**2 - 1)
    var_x, var_y, cov = (
        sample * (mean_xx - mean_x**2),
        sample * (mean_yy - mean_y**2),
        sample * (mean_xy - mean_x * mean_y),
    )
    C1, C2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    ssim = ((2 * mean_x * mean_y + C1) * (2 * cov + C2)) / (
        (mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2)
    )
    if not gaps:
        return ssim.mean(dim=(1, 2)).view(b, t, c).mean(dim=2)
    holes = (
        F.max_pool2d(missing.view(b * t * c, 1, h, w).to(ssim.dtype), window, stride=1).squeeze(1)
        > 0
    )
    windows = (~holes).sum(dim=(1, 2)).view(b, t, c)
    per_channel = ssim.masked_fill(holes, 0).sum(dim=(1, 2)).view(b, t, c) / windows
    return per_channel.masked_fill(windows == 0, 0).sum(dim=2) / (windows > 0).sum(dim=2)
