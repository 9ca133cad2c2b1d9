"""Calibration of ensembles: ranks of the truth, and reliability of probabilities."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from foreframe.clips.keyed import further, uniforms
from foreframe.evaluation.metrics.pair import Members, PerFrame, in_units
from foreframe.evaluation.metrics.scorecard import Score
from foreframe.evaluation.metrics.sums import ratio, values

MOST_BINS = 11  # of a reliability diagram: 0, .1, ... 1
LEVEL = 1 / 255  # of an 8-bit picture: smaller differences are invisible

Bins = Int[Tensor, "b t c h w"]
PerValue = Float[Tensor, "b t c h w"]
Counts = Float[Tensor, "bins b t"]


def all_ranks(members: Members) -> Counts:
    """Count the values whose truth has 0, 1, ... M members below it. The M + 1 counts are equal if
    truth and members have the same distribution (Hamill 2001).

    Truth and members are clipped to [0,1]. If members equal the truth, its rank among them is
    drawn, keyed by the clip and the position of the value.
    """
    return _counts(members.computed(_ranks), members.valid, members.X.shape[1] + 1)


def varied_ranks(members: Members) -> Counts:
    """As `all_ranks`, without values whose truth and members are within a level of 8 bits.

    In constant areas, such as the black around digits, forecasts of 0.0001 are right and yet never
    below the truth. Truth and members enter the selection equally, so equal distributions give
    equal counts here, too.
    """
    X, Y = members.X.clamp(0, 1), members.Y.clamp(0, 1)
    spans = torch.maximum(X.amax(dim=1), Y) - torch.minimum(X.amin(dim=1), Y)
    valid = members.valid & (spans >= LEVEL)
    return _counts(members.computed(_ranks), valid, members.X.shape[1] + 1)


def _ranks(members: Members) -> Bins:
    """Return the number of members below the truth, with ties broken at random."""
    X, Y = members.X.clamp(0, 1), members.Y.clamp(0, 1).unsqueeze(1)
    below, ties = (X < Y).sum(dim=1), (X == Y).sum(dim=1)
    frame = below.shape[1:]
    places = torch.arange(frame.numel(), device=X.device).view(frame)
    draw = uniforms(further(members.keys.view(-1, 1, 1, 1, 1), places))
    return below + (draw * (ties + 1)).long()


def probability_scores(threshold: float, members: int) -> dict[str, Score]:
    """Scores of the probability k/M if k of M members are >= threshold, in the data's units:

    - `brier`: mean of (k/M - o)^2; o is 1 if the event occurred, otherwise 0
    - `fair_brier`: less k (M - k) / (M^2 (M - 1)), independent of the number of members (Ferro
      2014); `brier` for M = 1
    - `probabilities`, `frequencies`, `cases`: a reliability diagram. For each bin, the mean
      probability, the frequency of the event, and the number of values. A bin is a value of k;
      with more than 10 members, the probabilities nearest to 0, .1, ... 1.
    """
    bins = min(members + 1, MOST_BINS)

    def probability(ensemble: Members) -> PerValue:
        return ensemble.X.ge(threshold).float().mean(dim=1)

    def occurred(ensemble: Members) -> PerValue:
        return ensemble.Y.ge(threshold).float()

    def squared_error(ensemble: Members) -> PerFrame:
        off = (ensemble.computed(probability) - occurred(ensemble)).square()
        return off.where(ensemble.valid, 0).sum(dim=(2, 3, 4))

    def fair_squared_error(ensemble: Members) -> PerFrame:
        p = ensemble.computed(probability).where(ensemble.valid, 0)
        chance = (p * (1 - p)).sum(dim=(2, 3, 4)) / max(1, members - 1)
        return ensemble.computed(squared_error) - chance

    def in_bins(ensemble: Members) -> Float[Tensor, "3 bins b t"]:
        """Numbers of values, of events, and summed probabilities."""
        p = ensemble.computed(probability)
        bin_of = (p * (bins - 1)).round().long()
        votes = (p * members).round()  # whole numbers add up without rounding
        each = (None, occurred(ensemble), votes)
        counts = torch.stack([_counts(bin_of, ensemble.valid, bins, part) for part in each])
        return counts / counts.new_tensor([1, 1, members]).view(-1, 1, 1, 1)

    binned = in_units(in_bins)
    return {
        "brier": Score(ratio, in_units(squared_error), values),
        "fair_brier": Score(ratio, in_units(fair_squared_error), values),
        "probabilities": Score(lambda counts: ratio(counts[2], counts[0]), binned),
        "frequencies": Score(lambda counts: ratio(counts[1], counts[0]), binned),
        "cases": Score(lambda counts: counts[0], binned),
    }


def _counts(
    bin_of: Bins, marked: Bool[Tensor, "b t c h w"], bins: int, weights: PerValue | None = None
) -> Counts:
    """Return the number of marked values of each frame by bin, or the sum of their weights."""
    b, t = bin_of.shape[:2]
    frame = torch.arange(b * t, device=bin_of.device).view(b, t, 1, 1, 1)
    flat = (frame * bins + bin_of)[marked]
    weights = None if weights is None else weights[marked]
    counts = torch.bincount(flat, weights, minlength=b * t * bins)
    return counts.view(b, t, bins).movedim(-1, 0).float()
