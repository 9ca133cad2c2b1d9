"""Scores that accumulate as sums for each lead time; forecasts are not kept."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.processes import all_gather
from foreframe.evaluation.metrics.pair import Frames, Pair, Sum

STRETCH, COPIES = 2**28, 8  # bytes of lead times that are scored at a time; their copies meanwhile


class Score:
    """A score, computed from sums over frames.

    Args:
        value: the score of the totals, in the order of `sums`; tensors of equal shape. It returns
            that shape, or with a leading axis for a list, such as a histogram.
        sums: numbers for each frame (B,T), computed from a `Pair`. Sums that scores share are
            computed once. A list has a sum for each of its numbers (`rows`).
        perfect: the score of a perfect forecast, for scores that rank forecasters.
        side: pixels that a frame's shorter side needs for this score.
    """

    def __init__(
        self, value: Callable[..., Tensor], *sums: Sum, perfect: float | None = None, side: int = 0
    ) -> None:
        self.value, self.sums, self.perfect, self.side = value, sums, perfect, side


Scores = Mapping[str, Mapping[str, Score]]
"""Scores by convention and name, as in `foreframe.evaluation.metrics.SCORES`."""


@cache
def _nth(function: Callable[[Any], Tensor], n: int) -> Sum:
    return lambda pair: pair.of(function)[..., n]


def rows(function: Callable[[Any], Tensor], count: int) -> list[Sum]:
    """`count` sums from a function of a pair that returns them all, (B,T,count)."""
    return [_nth(function, n) for n in range(count)]


class Scorecard:
    """Any scores over clips, for each of `steps` lead times.

    Args:
        steps: lead times.
        scores: the scores to compute.
        to_units: converts values to the data's units, for scores in units.

    Attributes:
        sums: (1 + sums, steps), float64: clips, and each sum of the scores; additive over batches
            and ranks.
    """

    def __init__(
        self, steps: int, scores: Scores, to_units: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.steps, self.scores, self._to_units = steps, scores, to_units
        every = [score for named in scores.values() for score in named.values()]
        self._rows = list(dict.fromkeys(row for score in every for row in score.sums))
        self.sums = torch.zeros(1 + len(self._rows), steps, dtype=torch.float64)
        self._by_clip: list[Tensor] = []

    @torch.no_grad()
    def update(
        self, P: Frames, Y: Frames, background: Float[Tensor, "b 1 c h w"] | None = None
    ) -> None:
        """Add a batch of forecasts and their truth, which may have missing values (see `Pair`)."""
        if P.shape != Y.shape or P.shape[1] != self.steps:
            raise ValueError(
                f"forecast and truth must both be (B,{self.steps},C,H,W), not {tuple(P.shape)} and "
                f"{tuple(Y.shape)}"
            )
        # Of large frames a few lead times at a time; never one, whose sums torch adds up otherwise.
        some = max(1, self.steps // max(2, STRETCH // (COPIES * P[:, :1].nbytes)))
        stretches = zip(P.tensor_split(some, dim=1), Y.tensor_split(some, dim=1), strict=True)
        pairs = (Pair(*of, self._to_units, background=background) for of in stretches)
        self._add(torch.cat([self._sums_of(pair) for pair in pairs], dim=2))

    def _sums_of(self, pair: Pair) -> Float[Tensor, "sums b t"]:
        sums = torch.stack([pair.of(row) for row in self._rows])
        return sums.masked_fill(pair.lost, torch.nan)

    def _add(self, rows: Float[Tensor, "sums b t"]) -> None:
        rows = rows.cpu().double()  # on the CPU: not every device has float64
        self.sums[0] += rows.shape[1]
        self.sums[1:] += rows.sum(dim=1)
        self._by_clip.append(rows.sum(dim=2))

    def gather(self) -> None:
        """Add what other processes have scored, whose clips come in the order of processes; each
        calls this.
        """
        parts = all_gather((self.sums, self._by_clip))
        self.sums = torch.stack([sums for sums, _ in parts]).sum(dim=0)
        self._by_clip = [rows for _, batches in parts for rows in batches]

    @property
    def clips(self) -> int:
        return int(self.sums[0, 0])

    def by_clip(self, convention: str, score: str) -> Tensor:
        """(sums, clips): the sums of a score over all lead times, for each clip."""
        rows = [self._rows.index(row) for row in self.scores[convention][score].sums]
        return torch.cat(self._by_clip, dim=1)[rows]

    def table(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{convention: {score: {"overall": number, "per_lead": [number for each lead time]}}},
        plain values; NaN without anything to score. Scores that are lists have a list for a number.

        Raises:
            ValueError: before any update.
        """
        if self.clips == 0:
            raise ValueError("this scorecard is empty: update it with at least one batch")
        return {
            convention: {name: self._entry(score) for name, score in named.items()}
            for convention, named in self.scores.items()
        }

    def _entry(self, score: Score) -> dict[str, Any]:
        totals = self.sums[[1 + self._rows.index(row) for row in score.sums]]
        return {
            "overall": score.value(*totals.sum(dim=1)).tolist(),
            "per_lead": score.value(*totals).movedim(-1, 0).tolist(),
        }
