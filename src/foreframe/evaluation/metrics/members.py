"""Members of an ensemble and their truth, as every score of ensembles sees them."""

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

    They are also the `Pair` of the members' mean, P, and the truth: what scores a forecast scores
    the mean. Missing values are as there: X is 0 too where Y is missing. A frame of which any
    member is NaN where the truth is not is `lost`.

    Args:
        X, Y: on the network's scale, [0,1] for pictures.
        to_units: takes both to the data's own units, for `in_units`, where the mean is that of the
            members in units; without it they are there.
        keys: one for each clip, for what is drawn at random; those of clips 0 to B - 1 by default.
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
        """The members of each value, from the lowest to the highest."""
        return self.X.sort(dim=1).values

    @cached_property
    def each(self) -> list[Pair]:
        """Every member and the truth, as the scores of one forecast see them."""
        return [self._same_truth(x, self.Y, self._to_units) for x in self.X.unbind(dim=1)]

    @cached_property
    def clipped(self) -> "Members":
        """The members clipped to [0,1], and the mean of these."""
        return self._with(self.X.clamp(0, 1), self.Y)

    @cached_property
    def in_units(self) -> "Members":
        """All in the data's own units."""
        if self._to_units is None:
            return self
        X, Y = self._to_units(self.X), self._to_units(self.Y)
        if self.gaps:
            X, Y = X.where(self.valid.unsqueeze(1), 0), Y.where(self.valid, 0)
        return self._with(X, Y)

    def _with(self, X: Ensemble, Y: Frames) -> "Members":
        """Others in their place, without missing values: what is valid stays."""
        other = object.__new__(Members)
        other.X, other.P, other.Y, other.keys = X, X.mean(dim=1), Y, self.keys
        other.valid, other.gaps = self.valid, self.gaps
        other._to_units, other._known = None, {}
        return other


@cache
def of_each(function: Sum) -> Sum:
    """What is summed of one forecast, of each member: the mean over them."""

    def mean(members: Members) -> PerFrame:
        return torch.stack([pair.of(function) for pair in members.each]).mean(dim=0)

    return mean
