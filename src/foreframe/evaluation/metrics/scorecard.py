"""Scores from sums for each lead time, which are added up batch by batch."""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.processes import all_gather
from foreframe.evaluation.metrics.pair import Frames, Pair, Sum

STRETCH = 2**26  # bytes: large frames are scored a few lead times at a time
COPIES = 8  # of these lead times during scoring


class Score:
    """A score, computed from sums over frames.

    Args:
        value: the score as a function of the totals of `sums`, in their order.
        sums: functions of a `Pair` that return a number for each frame (B,T), or several numbers,
            such as a histogram (n,B,T). Sums that scores share are computed once.
        perfect: the score of a perfect forecast, for scores that rank forecasters.
        side: the shortest side of a frame with this score, in pixels.
    """

    def __init__(
        self, value: Callable[..., Tensor], *sums: Sum, perfect: float | None = None, side: int = 0
    ) -> None:
        self.value, self.sums, self.perfect, self.side = value, sums, perfect, side


Scores = Mapping[str, Mapping[str, Score]]
"""Scores by convention and name, as in `foreframe.evaluation.metrics.SCORES`."""


class Scorecard:
    """Scores of forecasts by lead time.

    Args:
        steps: number of lead times.
        scores: the scores to compute.
        to_units: converts values to the data's units, for scores in units.

    Attributes:
        clips: number of scored clips.
        sums: the total of each function of the scores, (...,steps), float64.
    """

    def __init__(
        self, steps: int, scores: Scores, to_units: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.steps, self.scores, self._to_units = steps, scores, to_units
        every = [score for named in scores.values() for score in named.values()]
        nothing = torch.zeros(steps, dtype=torch.float64)
        self.sums = {function: nothing for score in every for function in score.sums}
        self.clips = 0
        self._by_clip: list[list[Tensor]] = []

    @torch.no_grad()
    def update(
        self, P: Frames, Y: Frames, background: Float[Tensor, "b 1 c h w"] | None = None
    ) -> None:
        """Add a batch of forecasts and their truth, which may have missing values (see `Pair`).

        Raises:
            ValueError: wrong shapes.
        """
        if P.shape != Y.shape or P.shape[1] != self.steps:
            raise ValueError(
                f"forecast and truth must both be (B,{self.steps},C,H,W), not {tuple(P.shape)} and "
                f"{tuple(Y.shape)}"
            )
        # At least two lead times: torch adds up a single one in another order.
        some = max(1, self.steps // max(2, STRETCH // (COPIES * P[:, :1].nbytes)))
        stretches = zip(P.tensor_split(some, dim=1), Y.tensor_split(some, dim=1), strict=True)
        self._add(Pair(*each, self._to_units, background=background) for each in stretches)

    def _add(self, pairs: Iterable[Pair]) -> None:
        """Add a batch of clips, divided along the lead times."""
        parts = [[self._frames(pair, function) for function in self.sums] for pair in pairs]
        sums = [torch.cat(each, dim=-1) for each in zip(*parts, strict=True)]
        self.clips += sums[0].shape[-2]
        self._set_sums([self.sums.values(), [each.sum(dim=-2) for each in sums]])
        self._by_clip.append([each.sum(dim=-1) for each in sums])

    def _frames(self, pair: Pair, function: Sum) -> Float[Tensor, "*numbers b t"]:
        sums = pair.computed(function).masked_fill(pair.lost, torch.nan)
        return sums.cpu().double()  # some devices lack float64

    def _set_sums(self, parts: Iterable[Iterable[Tensor]]) -> None:
        totals = (reduce(torch.add, each) for each in zip(*parts, strict=True))
        self.sums = dict(zip(self.sums, totals, strict=True))

    def gather(self) -> None:
        """Add the sums of all processes, in their order; each process calls this."""
        parts = all_gather((self.clips, [*self.sums.values()], self._by_clip))
        self.clips = sum(clips for clips, _, _ in parts)
        self._set_sums(sums for _, sums, _ in parts)
        self._by_clip = [batch for _, _, batches in parts for batch in batches]

    def by_clip(self, convention: str, score: str) -> Float[Tensor, "sums *numbers clips"]:
        """The sums of a score over all lead times, for each clip."""
        batches = (dict(zip(self.sums, batch, strict=True)) for batch in self._by_clip)
        wanted = self.scores[convention][score].sums
        return torch.cat([torch.stack([batch[k] for k in wanted]) for batch in batches], dim=-1)

    def table(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return {convention: {score: {"overall": number, "per_lead": [number by lead time]}}},
        with lists instead of numbers for histograms. A score without values is NaN.

        Raises:
            ValueError: no clip was added.
        """
        if self.clips == 0:
            raise ValueError("this scorecard is empty: update it with at least one batch")
        return {
            convention: {name: self._entry(score) for name, score in named.items()}
            for convention, named in self.scores.items()
        }

    def _entry(self, score: Score) -> dict[str, Any]:
        totals = [self.sums[function] for function in score.sums]
        return {
            "overall": score.value(*(total.sum(dim=-1) for total in totals)).tolist(),
            "per_lead": score.value(*totals).movedim(-1, 0).tolist(),
        }
