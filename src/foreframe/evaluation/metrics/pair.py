"""Forecast and truth for scores, with the rule for missing values."""

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Frames = Float[Tensor, "b t c h w"]
PerFrame = Float[Tensor, "b t"]
Sum = Callable[[Any], PerFrame]
"""A number for each frame of a `Pair` (or of `Members`), such as its summed squared error."""


class Pair:
    """Forecasts P and their truth Y, (B,T,C,H,W).

    **Missing values.** Y is NaN where a value is missing. Such values are never scored, whatever P
    is there: `valid` is False, and P and Y are both 0, so that errors are 0. Scores of
    neighbourhoods use those without a missing value (`whole`). Frames without any value have
    `frames` 0. A forecast that is NaN where the truth is not makes every score of its lead time NaN
    (`lost`).

    Args:
        P, Y: on the network's scale, [0,1] for pictures.
        to_units: converts both to the data's units, for `in_units`; without it they are in units
            already.
    """

    def __init__(
        self, P: Frames, Y: Frames, to_units: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        P, Y = P.float(), Y.float()
        self.valid: Bool[Tensor, "b t c h w"] = ~Y.isnan()
        self.gaps = not bool(self.valid.all())
        if self.gaps:
            P, Y = P.where(self.valid, 0), Y.where(self.valid, 0)
        self.P, self.Y, self._to_units = P, Y, to_units
        self._known: dict[Any, Any] = {}

    def of(self, function: Callable[[Any], Any]) -> Any:
        """The value of a function of this pair, cached."""
        if function not in self._known:
            self._known[function] = function(self)
        return self._known[function]

    @cached_property
    def clipped(self) -> "Pair":
        """The pair with the forecast clipped to [0,1]."""
        return self._same_truth(self.P.clamp(0, 1), self.Y)

    @cached_property
    def in_units(self) -> "Pair":
        """The pair in the data's units."""
        if self._to_units is None:
            return self
        P, Y = self._to_units(self.P), self._to_units(self.Y)
        if self.gaps:
            P, Y = P.where(self.valid, 0), Y.where(self.valid, 0)
        return self._same_truth(P, Y)

    def _same_truth(
        self, P: Frames, Y: Frames, to_units: Callable[[Tensor], Tensor] | None = None
    ) -> "Pair":
        other = object.__new__(Pair)
        other.P, other.Y, other.valid, other.gaps = P, Y, self.valid, self.gaps
        other._to_units, other._known = to_units, {}
        return other

    @cached_property
    def lost(self) -> Bool[Tensor, "b t"]:
        """Frames whose forecast is NaN where the truth is not."""
        return self.P.isnan().flatten(2).any(dim=2)

    def whole(self, side: int) -> Bool[Tensor, "b t c rows columns"]:
        """Mask of the square windows of that side without a missing value; empty for smaller
        frames.
        """
        b, t, c, h, w = self.valid.shape
        if min(h, w) < side or not self.gaps:
            room = (max(0, h - side + 1), max(0, w - side + 1))
            return self.valid.new_ones(()).expand(b, t, c, *room)
        return in_windows(self.valid, side) == side**2


def in_windows(marks: Bool[Tensor, "b t c h w"], side: int) -> Float[Tensor, "b t c rows columns"]:
    """The number of marked pixels in each square window in the frame; empty for smaller frames."""
    b, t, c, h, w = marks.shape
    if min(h, w) < side:
        return marks.new_zeros((b, t, c, 0, 0), dtype=torch.float32)
    # Rows, then columns: 2 * side additions per pixel instead of side squared, exact for integers.
    flat = marks.flatten(0, 2).unsqueeze(1).float()
    rows = F.avg_pool2d(flat, (side, 1), stride=1, divisor_override=1)
    counts = F.avg_pool2d(rows, (1, side), stride=1, divisor_override=1)
    return counts.squeeze(1).unflatten(0, (b, t, c))


@cache
def clipped(function: Sum) -> Sum:
    """The sum for the forecast clipped to [0,1]."""
    return lambda pair: pair.clipped.of(function)


@cache
def in_units(function: Sum) -> Sum:
    """The sum in the data's units."""
    return lambda pair: pair.in_units.of(function)
