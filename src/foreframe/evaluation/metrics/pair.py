"""Forecast or members and their truth, with the rule for missing values."""

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foreframe.clips.keyed import further, key_of

Frames = Float[Tensor, "b t c h w"]
Ensemble = Float[Tensor, "b m t c h w"]
PerFrame = Float[Tensor, "*numbers b t"]
Sum = Callable[[Any], PerFrame]
"""Numbers for each frame of a `Pair` (or of `Members`), such as its summed squared error."""


class Pair:
    """Forecasts P and their truth Y, (B,T,C,H,W).

    **Missing values.** NaN in Y is a missing value, which is never scored: `valid` is False, and P
    and Y are set to 0, so errors are 0. Scores of neighbourhoods use those without a missing value
    (`whole`). Frames without any value have `frames` 0. If the forecast of a known value is NaN,
    every score of its lead time is NaN (`lost`).

    Args:
        P, Y: on the network's scale, [0,1] for pictures.
        to_units: converts both to the data's units; None if they are in units already.
        valid: marks known values, if P and Y are 0 elsewhere; by default the values that are not
            NaN.
        background: from `moving.background_of`, for scores of motion.
    """

    def __init__(
        self,
        P: Frames,
        Y: Frames,
        to_units: Callable[[Tensor], Tensor] | None = None,
        valid: Bool[Tensor, "b t c h w"] | None = None,
        background: Float[Tensor, "b 1 c h w"] | None = None,
    ) -> None:
        P, Y = P.float(), Y.float()
        self.valid: Bool[Tensor, "b t c h w"] = ~Y.isnan() if valid is None else valid
        self.gaps = not bool(self.valid.all())
        if self.gaps and valid is None:
            P, Y = P.where(self.valid, 0), Y.where(self.valid, 0)
        self.P, self.Y, self._to_units, self.background = P, Y, to_units, background
        self._known: dict[Any, Any] = {}

    def computed(self, function: Callable[[Any], Any]) -> Any:
        """Return a function of this pair, computed once."""
        if function not in self._known:
            self._known[function] = function(self)
        return self._known[function]

    @cached_property
    def clipped(self) -> "Pair":
        """The pair with the forecast clipped to [0,1]."""
        return Pair(self.P.clamp(0, 1), self.Y, valid=self.valid)

    @cached_property
    def in_units(self) -> "Pair":
        """The pair in the data's units."""
        if self._to_units is None:
            return self
        P, Y = (self._to_units(values).where(self.valid, 0) for values in (self.P, self.Y))
        return Pair(P, Y, valid=self.valid)

    @cached_property
    def lost(self) -> Bool[Tensor, "b t"]:
        """Frames whose forecast is NaN where the truth is not."""
        return self.P.isnan().flatten(2).any(dim=2)

    def whole(self, side: int) -> Bool[Tensor, "b t c rows columns"]:
        """Mask of the square windows without a missing value; empty if frames are smaller."""
        b, t, c, h, w = self.valid.shape
        if min(h, w) < side or not self.gaps:
            room = (max(0, h - side + 1), max(0, w - side + 1))
            return self.valid.new_ones(()).expand(b, t, c, *room)
        return in_windows(self.valid, side) == side**2


class Members(Pair):
    """Members X (B,M,T,C,H,W) and their truth Y (B,T,C,H,W).

    They are also a `Pair` of the members' mean, P, and the truth. Missing values are treated as in
    `Pair`, and X is set to 0, too. A frame is `lost` if any member of a known value is NaN.

    Args:
        X, Y, to_units, valid: as in `Pair`. The mean in units is computed from members in units.
        keys: a key of each clip for random draws; by default the keys of clips 0 to B - 1.
    """

    def __init__(
        self,
        X: Ensemble,
        Y: Frames,
        to_units: Callable[[Tensor], Tensor] | None = None,
        keys: Int[Tensor, " b"] | None = None,
        valid: Bool[Tensor, "b t c h w"] | None = None,
    ) -> None:
        if valid is None and Y.isnan().any():
            X = X.masked_fill(Y.isnan().unsqueeze(1), 0)
        self.X: Ensemble = X.float()
        super().__init__(self.X.mean(dim=1), Y, to_units, valid)
        keys = further(key_of(0), torch.arange(len(Y))) if keys is None else keys
        self.keys: Int[Tensor, " b"] = keys.to(X.device)

    @cached_property
    def ordered(self) -> Ensemble:
        """The members of each value in ascending order."""
        return self.X.sort(dim=1).values

    @cached_property
    def each(self) -> list[Pair]:
        """Each member paired with the truth."""
        return [Pair(x, self.Y, self._to_units, self.valid) for x in self.X.unbind(dim=1)]

    @cached_property
    def clipped(self) -> "Members":
        """The members clipped to [0,1], and their mean."""
        return Members(self.X.clamp(0, 1), self.Y, keys=self.keys, valid=self.valid)

    @cached_property
    def in_units(self) -> "Members":
        """Members, mean and truth in the data's units."""
        if self._to_units is None:
            return self
        X = self._to_units(self.X).where(self.valid.unsqueeze(1), 0)
        Y = self._to_units(self.Y).where(self.valid, 0)
        return Members(X, Y, keys=self.keys, valid=self.valid)


def in_windows(marks: Bool[Tensor, "b t c h w"], side: int) -> Float[Tensor, "b t c rows columns"]:
    """Return the number of marked pixels in each square window; empty for smaller frames."""
    b, t, c, h, w = marks.shape
    if min(h, w) < side:
        return marks.new_zeros((b, t, c, 0, 0), dtype=torch.float32)
    # Rows, then columns: 2 * side additions per pixel instead of side**2. Integers stay exact.
    flat = marks.flatten(0, 2).unsqueeze(1).float()
    rows = F.avg_pool2d(flat, (side, 1), stride=1, divisor_override=1)
    counts = F.avg_pool2d(rows, (1, side), stride=1, divisor_override=1)
    return counts.squeeze(1).unflatten(0, (b, t, c))


@cache
def clipped(function: Sum) -> Sum:
    """The sum for the forecast clipped to [0,1]."""
    return lambda pair: pair.clipped.computed(function)


@cache
def in_units(function: Sum) -> Sum:
    """The sum in the data's units."""
    return lambda pair: pair.in_units.computed(function)


@cache
def of_each(function: Sum) -> Sum:
    """The mean over members of a sum of a single forecast."""

    def mean(members: Members) -> PerFrame:
        return torch.stack([pair.computed(function) for pair in members.each]).mean(dim=0)

    return mean
