"""Scores of ensembles: how good members are, and whether they say rightly how sure they are. What
they are made of, beside `spectra.py` and `reliability.py`, and their scorecard.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cache
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.clips.keyed import further, key_of
from foreframe.evaluation.metrics.correlation import truths
from foreframe.evaluation.metrics.events import by_name, event_scores
from foreframe.evaluation.metrics.members import Members, of_each
from foreframe.evaluation.metrics.pair import PerFrame, Sum, clipped, in_units
from foreframe.evaluation.metrics.pixel import (
    decibels,
    error,
    frames,
    ratio,
    root_ratio,
    squared_error,
    values,
)
from foreframe.evaluation.metrics.reliability import probability_scores, rank_histograms
from foreframe.evaluation.metrics.scorecard import Score, Scorecard, Scores
from foreframe.evaluation.metrics.sharpness import slope_of_forecast, slope_of_truth, summed_slope
from foreframe.evaluation.metrics.spectra import WAVELENGTHS, spectral_scores

POOL = 8  # pixels: of the energy score


def scores_of_ensemble(
    members: int,
    units: str = "",
    thresholds: Sequence[float] = (),
    scales: Sequence[int] = (),
) -> dict[str, dict[str, Score]]:
    """Every score of ensembles of M members by its convention and name: `standard` on the network's
    scale, `physical` in the data's units, where there are any, and one for each threshold.

    With members x_i, their mean P and the truth Y, of each value, and means over all values of all
    clips at once:

    - `crps` = mean |x_i - Y| - sum_ij |x_i - x_j| / (2 M^2), the integral of the squared difference
      of the members' distribution and the truth's step (Hersbach 2000; Gneiting & Raftery 2007,
      eq. 21). It is better the more members there are.
    - `fair_crps`: with 2 M (M - 1) in place of 2 M^2: what it is of many members, expected from few
      (Ferro 2014). Where M is 1, both are the mean absolute error.
    - `spread` = sqrt((M+1)/M * the mean variance over members, with M - 1), `rmse_of_mean` =
      sqrt(mean (P-Y)^2), `spread_skill` = the first over the second: 1 where members differ from
      each other as they do from the truth, below where they are too sure (Fortin et al. 2014).
      NaN where M is 1.
    - `energy`: the fair energy score, mean |x_i - Y| - sum_ij |x_i - x_j| / (2 M (M - 1)), of whole
      frames as vectors: an ensemble whose values are right one by one but do not belong together is
      worse (Gneiting & Raftery 2007, eq. 22). Frames are average-pooled by 8x8 pixels before, of
      values that are known, since of single pixels distances are noise; |.| is the root of the mean
      square over pools, not of the sum, so that frames of all sizes compare. The mean is over
      frames.
    - `sharpness`, `sharpness_of_mean`: summed gradient magnitudes of the members, averaged, and of
      the mean, over those of Y. Members are clipped to [0,1].
    - `ink`, `ink_bias`: of a frame's sum, the standard deviation over members, with M - 1, and that
      of P less that of Y; over that of Y. Where things only move, both are 0.
    - the histograms of `rank_histograms` and the spectra of `spectral_scores`.
    - `best_of_n_mse (optimistic)`, `best_of_n_psnr (optimistic)`: of the member of each clip that
      is nearest to the truth over all its frames; for the second clipped to [0,1]. Nobody knows
      beforehand which one that is, and it is better the more members there are.

    Of a threshold T, in the data's units:

    - `tail_crps`, `fair_tail_crps`: both of max(x, T) and max(Y, T), the threshold-weighted CRPS
      that counts what is above T alone (Gneiting & Ranjan 2011; Allen et al. 2023).
    - those of `probability_scores`.
    - `csi`, `bias` and, for each of the scales, `fss N`: what `event_scores` has of one forecast,
      counted over all members; so each of them is a forecast by itself here.

    Missing values never count (see `Members`).

    Raises:
        ValueError: fewer than 1 member, a threshold that is given twice, or a scale that is even or
            below 1.
    """
    if members < 1:
        raise ValueError(f"an ensemble has at least 1 member, not {members}")
    standard = {
        **_scores_of_values(lambda function: function),
        "energy": Score(ratio, energy, frames),
        "sharpness": Score(ratio, slope_of_members, slope_of_truth),
        "sharpness_of_mean": Score(ratio, slope_of_forecast, slope_of_truth),
        "ink": Score(ratio, ink_deviation, truths),
        "ink_bias": Score(ratio, error, truths),
        **rank_histograms(members),
        **spectral_scores(),
        "best_of_n_mse (optimistic)": Score(ratio, least_squared_error, values),
        "best_of_n_psnr (optimistic)": Score(decibels, clipped(least_squared_error), values),
    }
    of_one = event_scores(thresholds, scales, units)
    by_threshold = {
        name: {
            "tail_crps": Score(ratio, in_units(crps(T)), values),
            "fair_tail_crps": Score(ratio, in_units(crps(T, fair=True)), values),
            **probability_scores(T, members),
            **{
                score: Score(of.value, *map(of_each, of.sums))
                for score, of in of_one[name].items()
                if score in ("csi", "bias") or score.startswith("fss ")
            },
        }
        for name, T in by_name(thresholds, units).items()
    }
    physical = {"physical": _scores_of_values(in_units)} if units else {}
    return {"standard": standard} | physical | by_threshold


def _scores_of_values(on: Callable[[Sum], Sum]) -> dict[str, Score]:
    """Scores of single values, on the scale that `on` takes sums to."""
    return {
        "crps": Score(ratio, on(crps()), values),
        "fair_crps": Score(ratio, on(crps(fair=True)), values),
        "spread": Score(root_ratio, on(variance), values),
        "rmse_of_mean": Score(root_ratio, on(squared_error), values),
        "spread_skill": Score(root_ratio, on(variance), on(squared_error)),
    }


@cache
def crps(above: float = -inf, fair: bool = False) -> Sum:
    """Sum over C,H,W of the CRPS of max(x, above)."""

    def of(members: Members) -> PerFrame:
        errors, differences = members.of(_errors_and_differences(above))
        return errors - differences * (_fairness(members) if fair else 1)

    return of


@cache
def _errors_and_differences(above: float) -> Callable[[Members], tuple[PerFrame, PerFrame]]:
    def both(members: Members) -> tuple[PerFrame, PerFrame]:
        X, Y = members.ordered.clamp(min=above), members.Y.clamp(min=above)
        errors = (X - Y.unsqueeze(1)).abs().mean(dim=1)
        # Of sorted members, sum_ij |x_i - x_j| / 2 = sum over the gaps between neighbours of how
        # many pairs have it between them. No pair is formed, and nothing cancels out.
        m = X.shape[1]
        left = torch.arange(1, m, device=X.device)
        pairs = (left * (m - left)).view(-1, 1, 1, 1, 1) / m**2
        differences = (X.diff(dim=1) * pairs).sum(dim=1)
        return errors.sum(dim=(2, 3, 4)), differences.sum(dim=(2, 3, 4))

    return both


def _fairness(members: Members) -> float:
    """From a mean over all M^2 pairs to that over those of two different members."""
    m = members.X.shape[1]
    return m / max(1, m - 1)  # a single member differs from none: 0 either way


def variance(members: Members) -> PerFrame:
    """Sum over C,H,W of (M+1)/M times the unbiased variance over members; NaN where M is 1."""
    m = members.X.shape[1]
    if m == 1:
        return members.Y.new_full(members.Y.shape[:2], torch.nan)
    return (m + 1) / m * members.X.var(dim=1).sum(dim=(2, 3, 4))


def energy(members: Members) -> PerFrame:
    """The fair energy score of each frame, average-pooled; 0 for one that is missing."""
    known = _pooled(members.valid.float())  # (b t pools)
    X = (_pooled(members.X) / known.unsqueeze(1).clamp(min=1)).transpose(1, 2)  # (b t m pools)
    Y = (_pooled(members.Y) / known.clamp(min=1)).unsqueeze(2)
    errors = (X - Y).norm(dim=3).mean(dim=2)
    # By products of matrices, as cdist does it otherwise, small distances would be lost.
    distances = torch.cdist(X, X, compute_mode="donot_use_mm_for_euclid_dist").mean(dim=(2, 3))
    pools = (known > 0).sum(dim=2).clamp(min=1)
    return (errors - _fairness(members) * distances / 2) / pools.sqrt()


def _pooled(x: Float[Tensor, "*frames c h w"]) -> Float[Tensor, "*frames pools"]:
    """Sums over squares of `POOL` pixels, smaller ones at the right and at the bottom."""
    flat = x.flatten(0, -4)
    sums = F.avg_pool2d(flat, POOL, ceil_mode=True, divisor_override=1)
    return sums.flatten(1).unflatten(0, x.shape[:-3])


def slope_of_members(members: Members) -> PerFrame:
    """Sum of the gradient magnitudes of each member, clipped to [0,1]; the mean over members."""
    slopes = [summed_slope(members, x) for x in members.clipped.X.unbind(dim=1)]
    return torch.stack(slopes).mean(dim=0)


def ink_deviation(members: Members) -> PerFrame:
    """The standard deviation over members of their sums over C,H,W; NaN where M is 1."""
    if members.X.shape[1] == 1:
        return members.Y.new_full(members.Y.shape[:2], torch.nan)
    return members.X.sum(dim=(3, 4, 5)).std(dim=1)


def least_squared_error(members: Members) -> PerFrame:
    """Sum over C,H,W of (x-Y)^2, of the member for which it is least over all lead times."""
    errors = (members.X - members.Y.unsqueeze(1)).square().sum(dim=(3, 4, 5))
    best = errors.sum(dim=2).argmin(dim=1)
    return errors[torch.arange(len(best), device=best.device), best]


class EnsembleScorecard(Scorecard):
    """The scores of `scores_of_ensemble` over clips, for each of `steps` lead times.

    Args:
        steps: lead times.
        members: how many, M.
        units: of the data, for the scores in these.
        thresholds: of events, in the data's units.
        to_units: takes values to the data's own units.
        seed: of what is drawn where members equal the truth.
        only: names of the scores that are asked for; all by default.
        scales: odd sides in pixels for the fractions skill score of members.
    """

    def __init__(
        self,
        steps: int,
        members: int,
        units: str = "",
        thresholds: Sequence[float] = (),
        to_units: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        only: Collection[str] = (),
        scales: Sequence[int] = (),
    ) -> None:
        scores: Scores = {
            convention: {name: of[name] for name in only or of}
            for convention, of in scores_of_ensemble(members, units, thresholds, scales).items()
        }
        super().__init__(steps, scores, to_units)
        self.units = units
        self.members, self._key, self._seen = members, key_of(seed), 0

    @torch.no_grad()
    def update(self, X: Tensor, Y: Tensor, clips: Sequence[int] | None = None) -> None:
        """Add a batch of members and their truth, which may have missing values (see `Members`).

        Args:
            X: (B,M,steps,C,H,W).
            Y: (B,steps,C,H,W).
            clips: the number of each clip, which its draws are keyed by; counted from 0 over all
                updates by default. Processes that share clips give the numbers of their own.

        Raises:
            ValueError: other shapes, or another number of clips.
        """
        expected = (*Y.shape[:1], self.members, *Y.shape[1:])
        if Y.ndim != 5 or Y.shape[1] != self.steps or X.shape != expected:
            raise ValueError(
                f"members must be (B,{self.members},{self.steps},C,H,W) and their truth "
                f"(B,{self.steps},C,H,W), not {tuple(X.shape)} and {tuple(Y.shape)}"
            )
        numbers = range(self._seen, self._seen + len(Y)) if clips is None else clips
        if len(numbers) != len(Y):
            raise ValueError(f"{len(Y)} clips have as many numbers, not {len(numbers)}")
        keys = further(self._key, torch.tensor(list(numbers), dtype=torch.int64))
        self._add(Members(X, Y, self._to_units, keys))
        self._seen += len(Y)

    def summary(self) -> dict[str, Any]:
        """{"members", "clips", "units" (of `physical`), "wavelengths" (of the spectra, in pixels),
        "scores": the table}, plain values; raises as `table` does.
        """
        return {
            "members": self.members,
            "clips": self.clips,
            "units": self.units,
            "wavelengths": list(WAVELENGTHS),
            "scores": self.table(),
        }


def ensemble_scores(
    members: Tensor,
    truth: Tensor,
    units: str = "",
    thresholds: Sequence[float] = (),
    to_units: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
    scales: Sequence[int] = (),
) -> dict[str, Any]:
    """All scores of an ensemble at once: members (B,M,T,C,H,W) and their truth (B,T,C,H,W), on the
    network's scale, NaN where the truth is missing.

    Returns:
        `EnsembleScorecard.summary`; its other arguments are explained there.

    Raises:
        ValueError: other shapes, no clip at all, a threshold that is given twice, or a scale that
            is even or below 1.
    """
    if members.ndim != 6:
        raise ValueError(f"members must be (B,M,T,C,H,W), not {tuple(members.shape)}")
    m, steps = members.shape[1:3]
    card = EnsembleScorecard(steps, m, units, thresholds, to_units, seed, scales=scales)
    card.update(members, truth)
    return card.summary()
