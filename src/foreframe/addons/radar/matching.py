"""Probability matching: the ranks of a forecast with the values of another field, the matches
`last` and `guide`.

A forecast that is smooth, because the position of a shower is uncertain, has too little heavy rain.
After matching, its strongest pixels are as strong as those of the target (Ebert 2001, Monthly
Weather Review 129, 2461-2480, section 2b, matches the mean of an ensemble to its members).
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.forecasting.matches import Match

DRY = 0.0  # nothing, on the network's scale and in mm/h


def matched(
    forecast: Float[Tensor, "b s c h w"], target: Float[Tensor, "b _ c _ _"]
) -> Float[Tensor, "b s c h w"]:
    """Replace the values of each frame by its target's, rank by rank, for each clip, lead time and
    channel.

    A value with k of n values below it becomes the quantile k / (n - 1) of the target (linear, as
    `numpy.quantile`); with equally many values on both sides this permutes the target's values.
    Equal values stay equal, by their mean rank. Dry pixels (0 or less) stay dry: if the target has
    more rain than the forecast has wet pixels, its lightest is left out; if it has less, the
    lightest of the forecast dries up. Missing values (NaN) stay; they are ignored in the target. A
    frame without a target is unchanged.

    Args:
        forecast: on any scale on which dry is 0.
        target: on the same scale, of any size: a frame for each lead time, or a single frame.
    """
    goal, _ = _ascending(target)
    leads = zip(
        forecast.unbind(1), goal.expand(-1, forecast.shape[1], -1, -1).unbind(1), strict=True
    )
    # One lead time after the other: ranks are long integers, and big frames have many.
    return torch.stack([_frame(frame, values) for frame, values in leads], dim=1)


def to_last(
    forecast: Float[Tensor, "b s c h w"],
    last: Float[Tensor, "b c h w"],
    guide: Float[Tensor, "b s c h w"] | None = None,
    member: bool = False,
) -> Float[Tensor, "b s c h w"]:
    """Return the forecast with the values of the last frame. Arguments as of `Match`."""
    return _with_values(forecast, last.unsqueeze(1), last)


def to_guide(
    forecast: Float[Tensor, "b s c h w"],
    last: Float[Tensor, "b c h w"],
    guide: Float[Tensor, "b s c h w"] | None,
    member: bool = False,
) -> Float[Tensor, "b s c h w"]:
    """Return the forecast with the values of the guide's. Arguments as of `Match`.

    A smooth forecast does not show which of neighbouring pixels is the strongest, but the guide
    may. Its ranks are therefore those of the mean of both. A member has its own ranks.
    """
    assert guide is not None
    ranked, seen = forecast, ~last.isnan().unsqueeze(1)
    if not member:
        ranked = ((forecast + guide) / 2).where(forecast > DRY, forecast)
    return _with_values(ranked, guide.where(seen, torch.nan), last).where(seen, forecast)


LAST = Match("matched to last", "matched to the last frame", values=to_last)
GUIDE = Match("matched to guide", "matched to its guide", values=to_guide, guided=True)


def _with_values(
    ranked: Float[Tensor, "b s c h w"],
    target: Float[Tensor, "b _ c h w"],
    last: Float[Tensor, "b c h w"],
) -> Float[Tensor, "b s c h w"]:
    """Return the values of the target by rank. Pixels without any past value are unchanged."""
    seen = ~last.isnan().unsqueeze(1)
    return matched(ranked.where(seen, torch.nan), target).where(seen, ranked)


def _ascending(frames: Float[Tensor, "*n h w"]) -> tuple[Tensor, Tensor]:
    """The sorted values of each frame (*n,h·w) and their positions; missing values last, as
    infinity.
    """
    flat = frames.flatten(-2)
    flat = flat.where(~flat.isnan(), torch.inf)
    if flat.device.type != "cpu" or flat.dtype != torch.float32:
        values, order = flat.sort()
        return values, order
    # NumPy sorts integers in a fifth of the time. Their high bits have the order of the values, the
    # low bits are the positions.
    bits = flat.contiguous().view(torch.int32)
    keys = (bits ^ (bits >> 31 & 0x7FFFFFFF)).long() << 32 | torch.arange(flat.shape[-1])
    order = torch.from_numpy(np.sort(keys.numpy())) & 0xFFFFFFFF
    return flat.gather(-1, order), order


def _frame(
    frame: Float[Tensor, "b c h w"], goal: Float[Tensor, "b c _"]
) -> Float[Tensor, "b c h w"]:
    values, order = _ascending(frame)
    n, m = (x.isfinite().sum(dim=-1, keepdim=True) for x in (values, goal))
    # Twice the mean rank of equal values; whole numbers, so that equal sizes give the very values.
    place, size = torch.arange(values.shape[-1], device=values.device), values.shape[-1]
    differs = values.diff() != 0
    first = place[1:].where(differs, 0).cummax(dim=-1).values
    last = place[:-1].where(differs, size - 1).flip(-1).cummin(dim=-1).values.flip(-1)
    ranks = F.pad(first, (1, 0)) + F.pad(last, (0, 1), value=size - 1)
    steps = 2 * (n - 1).clamp(min=1)
    at = ranks * (m - 1).clamp(min=0)
    below = (at // steps).minimum((m - 1).clamp(min=0))
    above = (below + 1).minimum((m - 1).clamp(min=0))
    low, high = goal.gather(-1, below), goal.gather(-1, above)
    new = torch.lerp(low, high, (at % steps / steps).to(low.dtype))
    new = new.where(values > DRY, new.minimum(values))
    new = torch.empty_like(values).scatter(-1, order, new).view_as(frame)
    return new.where(~frame.isnan() & (m > 0).unsqueeze(-1), frame)
