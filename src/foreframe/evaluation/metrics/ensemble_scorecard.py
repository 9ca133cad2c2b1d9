"""Scores of ensembles, and their scorecard."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from foreframe.clips.keyed import further, key_of
from foreframe.evaluation.metrics import sums
from foreframe.evaluation.metrics.events import by_name, event_scores
from foreframe.evaluation.metrics.pair import Members, PerFrame, Sum, in_units, of_each
from foreframe.evaluation.metrics.reliability import all_ranks, probability_scores, varied_ranks
from foreframe.evaluation.metrics.scorecard import Score, Scorecard, Scores
from foreframe.evaluation.metrics.spectra import WAVELENGTHS, spectral_scores


def scores_of_ensemble(
    members: int,
    units: str = "",
    thresholds: Sequence[float] = (),
    scales: Sequence[int] = (),
) -> dict[str, dict[str, Score]]:
    """Return all scores of ensembles of M members by convention and name: `standard` on the
    network's scale, `physical` in the data's units, if any, and a convention for each threshold.

    With members x_i, their mean P and the truth Y, and means over all values of all clips:

    - `crps` = mean |x_i - Y| - sum_ij |x_i - x_j| / (2 M^2), the integral of the squared difference
      of the members' distribution and the truth's step (Hersbach 2000; Gneiting & Raftery 2007,
      eq. 21). It improves with the number of members.
    - `fair_crps`: 2 M (M - 1) replaces 2 M^2, which estimates the CRPS of many members (Ferro
      2014). For M = 1, both are the mean absolute error.
    - `spread` = sqrt((M+1)/M * the mean variance over members, with M - 1), `rmse_of_mean` =
      sqrt(mean (P-Y)^2), `spread_skill` = `spread` / `rmse_of_mean`: 1 if members differ from each
      other as from the truth, below 1 if they are overconfident (Fortin et al. 2014). NaN for
      M = 1.
    - `sharpness`, `sharpness_of_mean`: the mean over members of their summed gradient magnitudes,
      and the summed gradient magnitude of P, relative to Y. Members are clipped to [0,1].
    - `ink`, `ink_bias`: the standard deviation over members, with M - 1, of a frame's sum, and the
      sum of P minus the sum of Y, relative to the sum of Y. Both are 0 if objects only move.
    - the histograms of `all_ranks` and `varied_ranks`, and the spectra of `spectral_scores`.

    For a threshold T, in the data's units:

    - the scores of `probability_scores`.
    - `csi`, `bias` and, for each scale, `fss N`: the scores of `event_scores`, counted over all
      members as separate forecasts.

    Missing values are never scored (see `Members`).

    Raises:
        ValueError: fewer than 1 member, a repeated threshold, or a scale that is even or below 1.
    """
    if members < 1:
        raise ValueError(f"an ensemble has at least 1 member, not {members}")
    standard = {
        **_scores_of_values(lambda function: function),
        "sharpness": Score(sums.ratio, slope_of_members, sums.slope_of_truth),
        "sharpness_of_mean": Score(sums.ratio, sums.slope_of_forecast, sums.slope_of_truth),
        "ink": Score(sums.ratio, ink_deviation, sums.truths),
        "ink_bias": Score(sums.ratio, sums.error, sums.truths),
        "rank_histogram": Score(sums.total, all_ranks),
        "rank_histogram_varied": Score(sums.total, varied_ranks),
        **spectral_scores(),
    }
    events = event_scores(thresholds, scales, units)
    by_threshold = {
        name: {
            **probability_scores(T, members),
            **{
                key: Score(score.value, *map(of_each, score.sums))
                for key, score in events[name].items()
                if key in ("csi", "bias") or key.startswith("fss ")
            },
        }
        for name, T in by_name(thresholds, units).items()
    }
    physical = {"physical": _scores_of_values(in_units)} if units else {}
    return {"standard": standard} | physical | by_threshold


def _scores_of_values(on: Callable[[Sum], Sum]) -> dict[str, Score]:
    """Scores of single values; `on` converts sums to the scale."""
    return {
        "crps": Score(sums.ratio, on(crps), sums.values),
        "fair_crps": Score(sums.ratio, on(fair_crps), sums.values),
        "spread": Score(sums.root_ratio, on(variance), sums.values),
        "rmse_of_mean": Score(sums.root_ratio, on(sums.squared_error), sums.values),
        "spread_skill": Score(sums.root_ratio, on(variance), on(sums.squared_error)),
    }


def crps(members: Members) -> PerFrame:
    """Sum over C,H,W of the CRPS."""
    errors, differences = members.computed(_errors_and_differences)
    return errors - differences


def fair_crps(members: Members) -> PerFrame:
    """Sum over C,H,W of the fair CRPS."""
    errors, differences = members.computed(_errors_and_differences)
    return errors - differences * _fairness(members)


def _errors_and_differences(members: Members) -> tuple[PerFrame, PerFrame]:
    X, Y = members.ordered, members.Y
    errors = (X - Y.unsqueeze(1)).abs().mean(dim=1)
    # For sorted members, sum_ij |x_i - x_j| / 2 is the sum of the gaps between neighbours, each
    # times the number of pairs that span it. No pair is formed, and nothing cancels out.
    m = X.shape[1]
    left = torch.arange(1, m, device=X.device)
    pairs = (left * (m - left)).view(-1, 1, 1, 1, 1) / m**2
    differences = (X.diff(dim=1) * pairs).sum(dim=1)
    return errors.sum(dim=(2, 3, 4)), differences.sum(dim=(2, 3, 4))


def _fairness(members: Members) -> float:
    """The factor from a mean over all M^2 pairs to that over pairs of different members."""
    m = members.X.shape[1]
    return m / max(1, m - 1)  # the sum is 0 for a single member


def variance(members: Members) -> PerFrame:
    """Sum over C,H,W of (M+1)/M times the unbiased variance over members; NaN for M = 1."""
    m = members.X.shape[1]
    if m == 1:
        return members.Y.new_full(members.Y.shape[:2], torch.nan)
    return (m + 1) / m * members.X.var(dim=1).sum(dim=(2, 3, 4))


def slope_of_members(members: Members) -> PerFrame:
    """Sum of the gradient magnitudes of each member, clipped to [0,1]; the mean over members."""
    slopes = [sums.summed_slope(members, x) for x in members.clipped.X.unbind(dim=1)]
    return torch.stack(slopes).mean(dim=0)


def ink_deviation(members: Members) -> PerFrame:
    """The standard deviation over members of their sums over C,H,W; NaN for M = 1."""
    if members.X.shape[1] == 1:
        return members.Y.new_full(members.Y.shape[:2], torch.nan)
    return members.X.sum(dim=(3, 4, 5)).std(dim=1)


class EnsembleScorecard(Scorecard):
    """The scores of `scores_of_ensemble` over clips, for each of `steps` lead times.

    Args:
        steps: lead times.
        members: number of members, M.
        units: units of the data, for the scores of `physical`.
        thresholds: thresholds of events, in the data's units.
        to_units: converts values to the data's units.
        seed: seed of the draws between members that equal the truth.
        only: names of the scores to compute; all by default.
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
            convention: {name: named[name] for name in only or named}
            for convention, named in scores_of_ensemble(members, units, thresholds, scales).items()
        }
        super().__init__(steps, scores, to_units)
        self.units, self.members, self._key = units, members, key_of(seed)

    @torch.no_grad()
    def update(  # type: ignore[override]  # ensembles have no background
        self, X: Tensor, Y: Tensor, clips: Sequence[int] | None = None
    ) -> None:
        """Add a batch of members and their truth, which may have missing values (see `Members`).

        Args:
            X: (B,M,steps,C,H,W).
            Y: (B,steps,C,H,W).
            clips: the number of each clip, the key of its draws; by default counted from 0 over all
                updates. Required if processes share the clips.

        Raises:
            ValueError: wrong shapes.
        """
        expected = (*Y.shape[:1], self.members, *Y.shape[1:])
        if Y.ndim != 5 or Y.shape[1] != self.steps or X.shape != expected:
            raise ValueError(
                f"members must be (B,{self.members},{self.steps},C,H,W) and their truth "
                f"(B,{self.steps},C,H,W), not {tuple(X.shape)} and {tuple(Y.shape)}"
            )
        numbers = range(self.clips, self.clips + len(Y)) if clips is None else clips
        keys = further(self._key, torch.tensor(list(numbers), dtype=torch.int64))
        self._add([Members(X, Y, self._to_units, keys)])

    def summary(self) -> dict[str, Any]:
        """Return {"members", "clips", "units" (of `physical`), "wavelengths" (of the spectra, in
        pixels), "scores": the table}, plain values; raises as `table`.
        """
        return {
            "members": self.members,
            "clips": self.clips,
            "units": self.units,
            "wavelengths": list(WAVELENGTHS),
            "scores": self.table(),
        }


def ensemble_scores(members: Tensor, truth: Tensor, *options: Any, **more: Any) -> dict[str, Any]:
    """Compute all scores of an ensemble: members (B,M,T,C,H,W) and truth (B,T,C,H,W), on the
    network's scale, with NaN for missing values of the truth.

    Args:
        options, more: the arguments of `EnsembleScorecard` after the number of members.

    Returns:
        `EnsembleScorecard.summary`.

    Raises:
        ValueError: wrong shapes, no clip, a repeated threshold, or a scale that is even or below 1.
    """
    if members.ndim != 6:
        raise ValueError(f"members must be (B,M,T,C,H,W), not {tuple(members.shape)}")
    m, steps = members.shape[1:3]
    card = EnsembleScorecard(steps, m, *options, **more)
    card.update(members, truth)
    return card.summary()
