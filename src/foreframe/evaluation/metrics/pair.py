"""Forecast and truth, as every score sees them. The rule for missing values stands here."""

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
"""A number for each frame of a `Pair` (or of `Members`), such as its summed squared error: what
scores are made of.
"""


class Pair:
    """Forecasts P and their truth Y, (B,T,C,H,W).

    **Missing values.** Y is NaN where a value is missing. Such a value counts for no score,
    whatever P has there: `valid` is False, and P and Y are both 0, so that their errors are.
    Scores of neighbourhoods count those without a missing value (`whole`). Frames without anything
    that counts have `frames` 0. A forecast that is NaN where the truth is not makes every score of
    its lead time NaN (`lost`).

    Args:
        P, Y: on the network's scale, [0,1] for pictures.
        to_units: takes both to the data's own units, for `in_units`; without it they are there.
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
        """What `function` says of this pair, computed once."""
        if function not in self._known:
            self._known[function] = function(self)
        return self._known[function]

    @cached_property
    def clipped(self) -> "Pair":
        """The forecast clipped to [0,1]."""
        return self._same_truth(self.P.clamp(0, 1), self.Y)

    @cached_property
    def in_units(self) -> "Pair":
        """Both in the data's own units."""
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
        """Which square windows of that side lie in the frame and miss no value; none in a smaller
        frame.
        """
        b, t, c, h, w = self.valid.shape
        if min(h, w) < side or not self.gaps:
            room = (max(0, h - side + 1), max(0, w - side + 1))
            return self.valid.new_ones(()).expand(b, t, c, *room)
        return in_windows(self.valid, side) == side**2


def in_windows(marks: Bool[Tensor, "b t c h w"], side: int) -> Float[Tensor, "b t c rows columns"]:
    """How many pixels are marked in each square window that lies wholly in the frame; no window at
    all in smaller frames.
    """
    b, t, c, h, w = marks.shape
    if min(h, w) < side:
        return marks.new_zeros((b, t, c, 0, 0), dtype=torch.float32)
    # Rows, then columns: 2 * side additions a pixel instead of side squared, and exact, since these
    # are whole numbers.
    flat = marks.flatten(0, 2).unsqueeze(1).float()
    rows = F.avg_pool2d(flat, (side, 1), stride=1, divisor_override=1)
    counts = F.avg_pool2d(rows, (1, side), stride=1, divisor_override=1)
    return counts.squeeze(1).unflatten(0, (b, t, c))


@cache
def clipped(function: Sum) -> Sum:
    """The same sum of the forecast clipped to [0,1]."""
    return lambda pair: pair.clipped.of(function)


@cache
def in_units(function: Sum) -> Sum:
    """The same sum in the data's own units."""
    return lambda pair: pair.in_units.of(function)
