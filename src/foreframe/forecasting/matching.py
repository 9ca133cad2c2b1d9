"""What a match does: moving objects as layers, or probability matching, which keeps the ranks of a
forecast and takes the values of another field.

A forecast that is smooth, because the position of a shower is uncertain, has too little heavy rain.
After matching, its strongest pixels are as strong as those of the target (Ebert 2001, Monthly
Weather Review 129, 2461-2480, section 2b, matches the mean of an ensemble to its members).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.forecasting.forecast_options import GUIDE, LAYERS
from foreframe.models import Model
from foreframe.models.layered_motion import Layered

DRY = 0.0  # nothing, on the network's scale and in mm/h


def model_of(model: Model, match: str | None) -> Model:
    """Return the model that makes the forecast: for a match to layers layered motion where it suits
    a clip. It is made once for a model, since its memory is measured once.
    """
    if match != LAYERS:
        return model
    if "layered" not in vars(model):
        vars(model)["layered"] = Layered(model)
    return vars(model)["layered"]


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
    """Match a forecast to the "last" frame or to the "guide".

    A smooth forecast does not show which of neighbouring pixels is the strongest, but the guide
    may. A match to the guide takes the ranks from the mean of both.

    Args:
        match: last or guide.
        forecast: the network's.
        last: the last value seen, NaN at pixels without any; these are ignored and unchanged.
        guide: the forecast of the model's guide, for a match to it.
    """
    ranked = forecast
    if match == GUIDE:
        assert guide is not None
        ranked = ((forecast + guide) / 2).where(forecast > DRY, forecast)
    return _with_values(match, ranked, last, guide).where(~last.isnan().unsqueeze(1), forecast)


def match_members(
    match: str,
    members: Float[Tensor, "b m s c h w"],
    last: Float[Tensor, "b c h w"],
    guide: Float[Tensor, "b s c h w"] | None = None,
) -> Float[Tensor, "b m s c h w"]:
    """Match each member in turn, as `match_to`; each has its own ranks."""
    each = [_with_values(match, member, last, guide) for member in members.unbind(dim=1)]
    return torch.stack(each, dim=1)


def _with_values(
    match: str,
    ranked: Float[Tensor, "b s c h w"],
    last: Float[Tensor, "b c h w"],
    guide: Float[Tensor, "b s c h w"] | None,
) -> Float[Tensor, "b s c h w"]:
    """Return the forecast with the values of the last frame or of the guide. Pixels without any
    past value are unchanged.
    """
    seen = ~last.isnan().unsqueeze(1)
    target = last.unsqueeze(1)
    if match == GUIDE:
        assert guide is not None
        target = guide.where(seen, torch.nan)
    return matched(ranked.where(seen, torch.nan), target).where(seen, ranked)


def _ascending(frames: Float[Tensor, "*n h w"]) -> torch.return_types.sort:
    """The sorted values of each frame (*n,h·w) and their positions; missing values last, as
    infinity.
    """
    flat = frames.flatten(-2)
    return flat.where(~flat.isnan(), torch.inf).sort()


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
