"""Probability matching: a forecast keeps its ranks and takes the values of another field.

A forecast that is smooth, because nobody knows where a shower will be, has too little heavy rain.
Matched, its strongest pixels are as strong as those of what was seen (Ebert 2001, Monthly Weather
Review 129, 2461-2480, section 2b, who matches the mean of an ensemble to its members).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.clips.data_options import GUIDE

DRY = 0.0  # nothing, on the network's scale and in mm/h


def matched(
    forecast: Float[Tensor, "b s c h w"], target: Float[Tensor, "b _ c _ _"]
) -> Float[Tensor, "b s c h w"]:
    """Each frame's ranks with the values of its target, for each clip, lead time and channel.

    Of n values the one with k below it becomes the quantile k / (n - 1) of the target's values,
    linear between two of them (`numpy.quantile`): with as many values on both sides, the target's
    own. Equal values stay equal, by the mean of their ranks. Nothing that is dry (0 or less) gets
    wet: where the target has more rain than the forecast has places for, its lightest is left out;
    where it has less, the lightest of the forecast dries up. Missing values (NaN) stay, and those
    of the target take no part; a frame without any target stays as it is.

    Args:
        forecast: on any scale on which dry is 0.
        target: on the same one, of any size: a frame for each lead time, or one for all.
    """
    goal = _ascending(target).values
    leads = zip(
        forecast.unbind(1), goal.expand(-1, forecast.shape[1], -1, -1).unbind(1), strict=True
    )
    # One lead time after the other: ranks are long integers, and big frames have many.
    return torch.stack([_frame(frame, values) for frame, values in leads], dim=1)


def match_to(
    match: str,
    forecast: Float[Tensor, "b s c h w"],
    last: Float[Tensor, "b c h w"],
    guide: Float[Tensor, "b s c h w"] | None = None,
) -> Float[Tensor, "b s c h w"]:
    """A forecast matched to the "last" frame or to the "guide".

    Args:
        match: of `foreframe.clips.data_options.Match`.
        forecast: of the network.
        last: the last value seen, NaN where there never was one; such pixels take no part and stay
            as they are.
        guide: what the model's guide forecasts, where that is matched to.
    """
    seen = ~last.isnan().unsqueeze(1)
    target = last.unsqueeze(1)
    if match == GUIDE:
        assert guide is not None
        target = guide.where(seen, torch.nan)
    return matched(forecast.where(seen, torch.nan), target).where(seen, forecast)


def match_members(
    match: str,
    members: Float[Tensor, "b m s c h w"],
    last: Float[Tensor, "b c h w"],
    guide: Float[Tensor, "b s c h w"] | None = None,
) -> Float[Tensor, "b m s c h w"]:
    """Each member as `match_to` has it, one after the other."""
    matched = [match_to(match, member, last, guide) for member in members.unbind(dim=1)]
    return torch.stack(matched, dim=1)


def _ascending(frames: Float[Tensor, "*n h w"]) -> torch.return_types.sort:
    """The values of each frame (*n,h·w) and where they come from, the missing ones last, as
    infinity.
    """
    flat = frames.flatten(-2)
    return flat.where(~flat.isnan(), torch.inf).sort()


def _frame(
    frame: Float[Tensor, "b c h w"], goal: Float[Tensor, "b c _"]
) -> Float[Tensor, "b c h w"]:
    own, order = _ascending(frame)
    n, m = (x.isfinite().sum(dim=-1, keepdim=True) for x in (own, goal))
    # Twice the mean rank of equal values; whole numbers, so that equal sizes give the very values.
    place, size = torch.arange(own.shape[-1], device=own.device), own.shape[-1]
    differs = own.diff() != 0
    first = place[1:].where(differs, 0).cummax(dim=-1).values
    last = place[:-1].where(differs, size - 1).flip(-1).cummin(dim=-1).values.flip(-1)
    ranks = F.pad(first, (1, 0)) + F.pad(last, (0, 1), value=size - 1)
    steps = 2 * (n - 1).clamp(min=1)
    at = ranks * (m - 1).clamp(min=0)
    below = (at // steps).minimum((m - 1).clamp(min=0))
    above = (below + 1).minimum((m - 1).clamp(min=0))
    low, high = goal.gather(-1, below), goal.gather(-1, above)
    new = torch.lerp(low, high, (at % steps / steps).to(low.dtype))
    new = new.where(own > DRY, new.minimum(own))
    new = torch.empty_like(own).scatter(-1, order, new).view_as(frame)
    return new.where(~frame.isnan() & (m > 0).unsqueeze(-1), frame)
