"""Matches, which change a forecast so that it resembles data. Packages contribute them by the
entry points `foreframe.matches`; the core has only `none`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.extras import of_package
from foreframe.forecasting.forecast_options import NONE
from foreframe.models import Model


@dataclass(frozen=True)
class Match:
    """A match, which may replace the model, the values or both. This one is `none`.

    Args:
        row: the end of the name of its row in scorecards, such as "matched to last".
        about: what it does, in the history of a file.
        model: takes a model, and returns the model that makes the forecast.
        values: takes a forecast (B,S,C,H,W) on the network's scale, the last value seen (B,C,H,W),
            NaN at pixels without any, the guide's forecast or None, and whether the forecast is a
            member; returns the forecast with other values.
        guided: whether `values` need the forecast of the model's guide.
        inputs: whether the model may have inputs.
    """

    row: str = ""
    about: str = ""
    model: Callable[[Model], Model] | None = None
    values: Callable[[Tensor, Tensor, Tensor | None, bool], Tensor] | None = None
    guided: bool = False
    inputs: bool = True


def match_of(name: str | None) -> Match:
    """Return the match of this name; None is `none`."""
    match: Match = Match() if name in (None, NONE) else of_package("matches", str(name))
    return match


def model_of(model: Model, match: str | None) -> Model:
    """Return the model that makes the forecast. A match makes it once for a model, since its memory
    is measured once.
    """
    made, name = match_of(match).model, f"for {match}"
    if made is None:
        return model
    if name not in vars(model):
        vars(model)[name] = made(model)
    return vars(model)[name]


def matched(
    match: str | None,
    forecasts: Float[Tensor, "b n s c h w"],
    last: Float[Tensor, "b c h w"],
    guide: Float[Tensor, "b s c h w"] | None,
    members: bool,
) -> Float[Tensor, "b n s c h w"]:
    """Return the forecasts of each clip, members or a single one, with the values of the match."""
    values = match_of(match).values
    if values is None:
        return forecasts
    each = [values(forecast, last, guide, members) for forecast in forecasts.unbind(dim=1)]
    return torch.stack(each, dim=1)
