"""Structural similarity (Wang et al. 2004, IEEE TIP 13(4)), with scikit-image's defaults: uniform
window, sample covariance, K1 = 0.01, K2 = 0.03, windows within the frame. Multi-scale structural
similarity with the Gaussian window of its paper. LPIPS by torchmetrics.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from foreframe.base.extras import needed
from foreframe.evaluation.metrics.pair import Pair, PerFrame, Sum
from foreframe.evaluation.metrics.scorecard import Score
from foreframe.evaluation.metrics.sums import ratio, whole_frames

WINDOW = 7  # pixels
RANGES = 1.0, 2.0  # L of the conventions `standard` and `openstl`
SCALES = 0.0448, 0.2856, 0.3001, 0.2363, 0.1333  # weights of the frame, its half, ... its 16th
SMALLEST = 161  # pixels: the Gaussian window does not fit the 16th of a shorter side
GAUSSIAN = torch.exp(-(torch.arange(-5.0, 6) ** 2) / (2 * 1.5**2))
STRETCH_OF_MAPS, HELD = 2**28, 20  # bytes of maps at a time; maps of each image
STRIP = 2**16  # pixels: larger images are scored in strips whose maps fit the processor's cache


def multiscale_similarity(pair: Pair) -> PerFrame:
    """MS-SSIM of each frame, averaged over channels, with the forecast clipped to [0,1] and L = 1
    (Wang, Simoncelli & Bovik 2003, Asilomar Conference on Signals, Systems and Computers, eq. 7).
    0 for frames with a missing value.

    A negative mean contrast has no real power and counts as 0, as usual. Frames have at least
    `SMALLEST` pixels a side.
    """
    images = (frames.flatten(0, 2).split(1) for frames in (pair.clipped.P, pair.Y))
    each = [_over_scales(x[None], y[None]) for x, y in zip(*images, strict=True)]
    of_frames = torch.stack(each).view(pair.Y.shape[:3]).mean(dim=2)
    return of_frames.where(pair.computed(whole_frames) > 0, 0)


def frames_with_windows(pair: Pair) -> PerFrame:
    """Return 1 for each frame with a window without missing values, 0 for others."""
    whole = pair.whole(WINDOW)
    whole = whole if pair.gaps else whole[..., :1, :1]  # all are equal
    return whole.flatten(2).any(dim=2).float()


@cache
def similarity(data_range: float) -> Sum:
    """SSIM of each frame, averaged over channels, with the forecast clipped to [0,1].

    Only windows without a missing value count, and only channels with such a window. 0 for frames
    without any.
    """

    def ssim(pair: Pair) -> PerFrame:
        both = pair.clipped.computed(_similarities)
        return both[RANGES.index(data_range)].where(pair.computed(frames_with_windows) > 0, 0)

    return ssim


def _similarities(pair: Pair) -> list[PerFrame]:
    """SSIM for each of `RANGES`, a few images at a time, because each requires many maps."""
    b, t, c, h, w = pair.P.shape
    if min(h, w) < WINDOW:
        return [pair.P.new_zeros(b, t) for _ in RANGES]
    images = [frames.reshape(-1, 1, h, w) for frames in (pair.P, pair.Y)]
    images += [pair.whole(WINDOW).flatten(0, 2)] if pair.gaps else []
    # At least two images: torch adds up a single one in another order.
    stretches = max(1, len(images[0]) // max(2, STRETCH_OF_MAPS // (4 * HELD * h * w)))
    parts = [
        torch.stack(_means(*part))
        for part in zip(*(image.tensor_split(stretches) for image in images), strict=True)
    ]
    of_images = torch.cat(parts, dim=1).unflatten(1, (b, t, c))
    if not pair.gaps:
        return list(of_images.mean(dim=3))
    counts = images[2].flatten(1).any(dim=1).view(b, t, c)
    return list(of_images.where(counts, 0).sum(dim=3) / counts.sum(dim=2))


def _means(
    x: Float[Tensor, "n 1 h w"],
    y: Float[Tensor, "n 1 h w"],
    whole: Bool[Tensor, "n rows columns"] | None = None,
) -> list[Float[Tensor, " n"]]:
    """The mean SSIM over the windows of each image, for each of `RANGES`; NaN without a window."""
    sample, total = WINDOW**2 / (WINDOW**2 - 1), x.new_zeros(len(RANGES), len(x))
    for rows in _strips(x, WINDOW):
        p, q = x[:, :, rows], y[:, :, rows]
        pooled = _sums_of_windows(torch.cat([p, q, p * p, q * q, p * q], dim=1), [1] * WINDOW)
        mean_x, mean_y, mean_xx, mean_yy, mean_xy = (pooled / WINDOW**2).unbind(dim=1)
        var_x, var_y = sample * (mean_xx - mean_x**2), sample * (mean_yy - mean_y**2)
        covariance = 2 * sample * (mean_xy - mean_x * mean_y)
        product, squares, variances = 2 * mean_x * mean_y, mean_x**2 + mean_y**2, var_x + var_y
        for k, data_range in enumerate(RANGES):
            C1, C2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
            ssim = ((product + C1) * (covariance + C2)) / ((squares + C1) * (variances + C2))
            if whole is not None:
                ssim = ssim.where(whole[:, rows.start : rows.stop - WINDOW + 1], 0)
            total[k] += ssim.sum(dim=(1, 2))
    h, w = (side - WINDOW + 1 for side in x.shape[2:])
    return list(total / (h * w if whole is None else whole.sum(dim=(1, 2))))


def _strips(image: Float[Tensor, "n 1 h w"], side: int) -> Iterator[slice]:
    """Rows of an image in strips that contain each window of `side` rows once."""
    h, w = image.shape[2:]
    step = max(side, STRIP // w)
    return (slice(top, min(h, top + step + side - 1)) for top in range(0, h - side + 1, step))


def _over_scales(x: Float[Tensor, "1 1 h w"], y: Float[Tensor, "1 1 h w"]) -> Float[Tensor, ""]:
    """The product of contrasts at all scales and luminance at the coarsest, with their weights."""
    weights, C1, C2 = (GAUSSIAN / GAUSSIAN.sum()).tolist(), 0.01**2, 0.03**2
    similarity = x.new_ones(())
    for k, exponent in enumerate(SCALES, 1):
        total = x.new_zeros(())
        for rows in _strips(x, len(weights)):
            p, q = x[:, :, rows], y[:, :, rows]
            pooled = _sums_of_windows(torch.cat([p, q, p * p + q * q, p * q], dim=1), weights)
            mean_x, mean_y, mean_squares, mean_xy = pooled.unbind(dim=1)
            product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
            here = (2 * (mean_xy - product) + C2) / (mean_squares - squares + C2)
            if k == len(SCALES):
                here = here * (2 * product + C1) / (squares + C1)
            total = total + here.sum()
        count = math.prod(side - len(weights) + 1 for side in x.shape[2:])
        similarity = similarity * (total / count).clamp(min=0) ** exponent
        x, y = _halved(x), _halved(y)
    return similarity


def _halved(image: Float[Tensor, "1 1 h w"]) -> Float[Tensor, "1 1 _ _"]:
    """As `avg_pool2d` by 2 with ceil_mode, in a tenth of its time."""
    h, w = image.shape[2:]
    image = F.pad(image, (0, w % 2, 0, h % 2), mode="replicate")
    rows = image[..., ::2, :] + image[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def _sums_of_windows(maps: Float[Tensor, "n k h w"], weights: Sequence[float]) -> Tensor:
    """The weighted sum of each window, (n,k,rows,columns): along rows, then along columns. With 7
    weights these are 14 additions instead of the 49 of `avg_pool2d`, in a tenth of its time.
    """
    for axis in (2, 3):
        count = maps.shape[axis] - len(weights) + 1
        total = weights[0] * maps.narrow(axis, 0, count)
        for k, weight in enumerate(weights[1:], 1):
            total.add_(maps.narrow(axis, k, count), alpha=weight)
        maps = total
    return maps


def lpips(net: str, channels: int, side: int) -> Score:
    """Return the score LPIPS (Zhang, Isola, Efros, Shechtman & Wang 2018, CVPR): the mean distance
    of frames in the features of a classification network. 0 is perfect.

    Frames with a missing value do not count. The forecast is clipped to [0,1]. A grey frame becomes
    three equal channels.

    Args:
        net: "alex" or "vgg", whose weights torchvision downloads once.
        channels, side: of the frames; their shorter side in pixels.

    Raises:
        ValueError: torchvision or torchmetrics is missing, the weights cannot be downloaded, or
            frames are no pictures or too small.
    """
    if channels not in (1, 3) or side < 32:  # AlexNet reduces smaller pictures to nothing
        raise ValueError("lpips requires films of 1 or 3 channels, and 32 pixels or more a side")
    needed("torchvision", "lpips", f"lpips {net}")
    module = needed("torchmetrics.image.lpip", "lpips", f"lpips {net}")
    try:
        network = module.LearnedPerceptualImagePatchSimilarity(net).net
    except OSError as error:
        raise ValueError(f"lpips {net}: its weights cannot be downloaded ({error})") from error

    def distance(pair: Pair) -> PerFrame:
        network.to(pair.P.device)
        P, Y = (X.expand(-1, -1, 3, -1, -1).flatten(0, 1) for X in (pair.clipped.P, pair.Y))
        # One clip at a time: the maps of large frames fill the memory.
        each = [network(*two, normalize=True) for two in zip(P.split(1), Y.split(1), strict=True)]
        of_frames = torch.stack(each).view(pair.P.shape[:2])
        return of_frames.where(pair.computed(whole_frames) > 0, 0)

    return Score(ratio, distance, whole_frames)
