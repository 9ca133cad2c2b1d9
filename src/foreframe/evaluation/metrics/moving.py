"""Scores of moving pixels in films of a fixed camera."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foreframe.evaluation.metrics.pair import Pair, PerFrame
from foreframe.evaluation.metrics.scorecard import Score
from foreframe.evaluation.metrics.sums import gradient_magnitude, ratio, total

FRAMES = 10  # of the past, for the background
THRESHOLD = 0.1  # of the range: a pixel that deviates by more is moving
AT_REST = 0.85  # share of the background's contrast; the camera moves if less stays in place
FLAT = 0.01  # added to the contrast, so that flat areas count, too


def background_of(past: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b 1 c h w"]:
    """Return the median of the last ten past frames; NaN for clips of a moving camera.

    A camera counts as fixed if pixels with 85 % of the background's contrast, on average over these
    frames, deviate from it by `THRESHOLD` at most. A camera that moves changes the pixels at edges.
    """
    last = past[:, -FRAMES:].float()
    ascending, n = last.sort(dim=1).values, last.shape[1]
    background = (ascending[:, (n - 1) // 2] + ascending[:, n // 2]).unsqueeze(1) / 2
    still = (_deviation(last, background) <= THRESHOLD).float().mean(dim=1)[:, :-1, :-1]
    contrast = gradient_magnitude(background.mean(dim=2, keepdim=True))[:, 0, 0] + FLAT
    at_rest = (contrast * still).nansum(dim=(1, 2)) / contrast.nansum(dim=(1, 2))
    return background.where(at_rest.ge(AT_REST).view(-1, 1, 1, 1, 1), torch.nan)


def _deviation(
    frames: Float[Tensor, "b t c h w"], background: Float[Tensor, "b 1 c h w"]
) -> Float[Tensor, "b t h w"]:
    return (frames - background).abs().mean(dim=2)


def _deviations(pair: Pair) -> Float[Tensor, "2 b t h w"]:
    """Deviations of moving pixels of forecast and truth, 0 for all other pixels."""
    assert pair.background is not None
    valid: Bool[Tensor, "b t h w"] = pair.valid.all(dim=2)
    each = torch.stack([_deviation(frames, pair.background) for frames in (pair.P, pair.Y)])
    return each.where((each > THRESHOLD) & valid, 0)


def _masses(pair: Pair) -> PerFrame:
    return pair.computed(_deviations).sum(dim=(-2, -1))


def _areas(pair: Pair) -> PerFrame:
    return pair.computed(_deviations).gt(0).sum(dim=(-2, -1)).float()


def _hits(pair: Pair) -> PerFrame:
    return pair.computed(_deviations).gt(0).all(dim=0).sum(dim=(-2, -1)).float()


def _frames(pair: Pair) -> PerFrame:
    """Return 1 for each frame of a fixed camera with a value, 0 for others."""
    assert pair.background is not None
    known = pair.valid.all(dim=2) & ~pair.background.isnan().any(dim=2)
    return known.flatten(2).any(dim=2).float()


MOVING = {
    "moving_area": Score(lambda areas: ratio(*areas), _areas),
    "moving_mass": Score(lambda masses: ratio(*masses), _masses),
    "moving_csi": Score(lambda hits, areas: ratio(hits, sum(areas) - hits), _hits, _areas),
    "moving_pixels": Score(lambda areas: areas[1], _areas),
    "moving_frames": Score(total, _frames),
}
