"""Scores of what moves in front of the background of a fixed camera."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foreframe.evaluation.metrics.pair import Pair, PerFrame, Sum
from foreframe.evaluation.metrics.scorecard import Score
from foreframe.evaluation.metrics.sums import gradient_magnitude, ratio

FRAMES = 10  # of the past, for the background
THRESHOLD = 0.1  # of the range: a pixel that deviates by more is moving
AT_REST = 0.85  # of the background's contrast: where less stays in place, the camera moves
FLAT = 0.01  # contrast of a flat area, so that it counts too


def background_of(past: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b 1 c h w"]:
    """The median of the last ten past frames; NaN for clips of a moving camera.

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


def _deviations(pair: Pair) -> tuple[Float[Tensor, "b t h w"], Float[Tensor, "b t h w"]]:
    """Deviations of moving pixels of forecast and truth, 0 for all other pixels."""
    assert pair.background is not None
    valid: Bool[Tensor, "b t h w"] = pair.valid.all(dim=2)
    each = (_deviation(frames, pair.background) for frames in (pair.P, pair.Y))
    forecast, truth = (d.where((d > THRESHOLD) & valid, 0) for d in each)
    return forecast, truth


def _mass(which: int) -> Sum:
    return lambda pair: pair.of(_deviations)[which].sum(dim=(2, 3))


def _area(which: int) -> Sum:
    return lambda pair: pair.of(_deviations)[which].gt(0).sum(dim=(2, 3)).float()


def _hits(pair: Pair) -> PerFrame:
    forecast, truth = pair.of(_deviations)
    return ((forecast > 0) & (truth > 0)).sum(dim=(2, 3)).float()


def _frames(pair: Pair) -> PerFrame:
    """1 for a frame of a fixed camera with any value, 0 for others."""
    assert pair.background is not None
    known = pair.valid.all(dim=2) & ~pair.background.isnan().any(dim=2)
    return known.flatten(2).any(dim=2).float()


AREA, MASS = (_area(0), _area(1)), (_mass(0), _mass(1))

MOVING = {
    "moving_area": Score(ratio, *AREA),
    "moving_mass": Score(ratio, *MASS),
    "moving_csi": Score(lambda hits, P, Y: ratio(hits, P + Y - hits), _hits, *AREA),
    "moving_pixels": Score(lambda area: area, AREA[1]),
    "moving_frames": Score(lambda frames: frames, _frames),
}
