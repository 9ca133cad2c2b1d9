"""Members of an ensemble and their truth, for scores of ensembles."""

from collections.abc import Callable
from functools import cache, cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foreframe.clips.keyed import further, key_of
from foreframe.evaluation.metrics.pair import Frames, Pair, PerFrame, Sum

Ensemble = Float[Tensor, "b m t c h w"]


class Members(Pair):
    """Members X (B,M,T,C,H,W) and their truth Y (B,T,C,H,W).

    Also the `Pair` of the members' mean, P, and the truth, for scores of a single forecast. Missing
    values are treated as in `Pair`: X is 0 too where Y is missing. A frame is `lost` if any member
    is NaN where the truth is not.

    Args:
        X, Y: on the network's scale, [0,1] for pictures.
        to_units: converts both to the data's units, for `in_units`, with the mean of the members in
            units; without it they are in units already.
        keys: a key of each clip for random draws; by default those of clips 0 to B - 1.
    """

    def __init__(
        self,
        X: Ensemble,
        Y: Frames,
        to_units: Callable[[Tensor], Tensor] | None = None,
        keys: Int[Tensor, " b"] | None = None,
    ) -> None:
        X, missing = X.float(), Y.isnan()
        if missing.any():
            X = X.masked_fill(missing.unsqueeze(1), 0)
        super().__init__(X.mean(dim=1), Y, to_units)
        self.X = X
        keys = further(key_of(0), torch.arange(len(Y))) if keys is None else keys
        self.keys: Int[Tensor, " b"] = keys.to(X.device)

    @cached_property
    def ordered(self) -> Ensemble:
        """The members of each value in ascending order."""
        return self.X.sort(dim=1).values

    @cached_property
    def each(self) -> list[Pair]:
        """Each member paired with the truth."""
        return [self._same_truth(x, self.Y, self._to_units) for x in self.X.unbind(dim=1)]

    @cached_property
    def clipped(self) -> "Members":
        """The members clipped to [0,1], and their mean."""
        return self._with(self.X.clamp(0, 1), self.Y)

    @cached_property
    def in_units(self) -> "Members":
        """Members, mean and truth in the data's units."""
        if self._to_units is None:
            return self
        X, Y = self._to_units(self.X), self._to_units(self.Y)
        if self.gaps:
            X, Y = X.where(self.valid.unsqueeze(1), 0), Y.where(self.valid, 0)
        return self._with(X, Y)

    def _with(self, X: Ensemble, Y: Frames) -> "Members":
        """A copy with other values at the same valid places, without missing values."""
        other = object.__new__(Members)
        other.X, other.P, other.Y, other.keys = X, X.mean(dim=1), Y, self.keys
        other.valid, other.gaps = self.valid, self.gaps
        other._to_units, other._known = None, {}
        return other


@cache
def of_each(function: Sum) -> Sum:
    """The mean over members of a sum of a single forecast."""

    def mean(members: Members) -> PerFrame:
        return torch.stack([pair.of(function) for pair in members.each]).mean(dim=0)

    return mean
