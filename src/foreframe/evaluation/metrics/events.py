"""Scores of events, such as rain of at least 2 mm/h: detection, false alarms, and distance."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from foreframe.evaluation.metrics.pair import Pair, PerFrame, in_units, in_windows
from foreframe.evaluation.metrics.scorecard import Score
from foreframe.evaluation.metrics.sums import ratio


def event_scores(
    thresholds: Sequence[float], scales: Sequence[int] = (), units: str = ""
) -> dict[str, dict[str, Score]]:
    """Return the scores of each threshold by name: {"2 mm/h": {"csi": ..., "fss 5": ...}}.

    An event is a value >= threshold. With hits H, misses M, false alarms A and correct negatives
    N, counted over pixels (Wilks 2011, ch. 8; Jolliffe & Stephenson):

    - `csi` = H / (H + M + A).
    - `pod` = H / (H + M).
    - `far` = A / (H + A), the ratio, not the rate.
    - `hss` = 2 (H N - M A) / ((H + M)(M + N) + (H + A)(A + N)).
    - `bias` = (H + A) / (H + M), the frequency bias.
    - `events` = H + M, the number of true events.
    - `fss` = 1 - sum (Pf - Po)^2 / sum (Pf^2 + Po^2), with the fractions Pf and Po of forecast and
      true events in each square window of a scale (Roberts & Lean 2008, eq. 2-7).

    Windows are at all positions within the frame, without padding, as in `scores.spatial.fss_2d`.
    Channels are separate fields, counted together. Scores without events or without a window that
    fits are NaN.

    Args:
        thresholds: in the data's units.
        scales: odd sides of the windows of FSS, in pixels.
        units: of the thresholds, for their names, e.g. "mm/h".

    Raises:
        ValueError: a repeated threshold, or a scale that is even or below 1.
    """
    for scale in scales:
        if scale < 1 or scale % 2 == 0:
            raise ValueError(
                f"a scale is the odd side of a window in pixels, not {scale}; take "
                f"{max(1, scale + 1)}"
            )
    named = by_name(thresholds, units)
    return {name: _scores(threshold, scales) for name, threshold in named.items()}


def by_name(thresholds: Sequence[float], units: str = "") -> dict[str, float]:
    """Return thresholds by their names in tables: {"2 mm/h": 2.0}.

    Raises:
        ValueError: a repeated threshold.
    """
    named = {f"{threshold:g} {units}".strip(): threshold for threshold in thresholds}
    if len(named) < len(thresholds):
        raise ValueError(f"thresholds are given once each, not {', '.join(map(str, thresholds))}")
    return named


def _scores(threshold: float, scales: Sequence[int]) -> dict[str, Score]:
    def events(pair: Pair) -> tuple[Bool[Tensor, "b t c h w"], Bool[Tensor, "b t c h w"]]:
        return pair.P.ge(threshold) & pair.valid, pair.Y.ge(threshold) & pair.valid

    def counts(pair: Pair) -> PerFrame:
        """The numbers of hits, misses, false alarms and correct negatives."""
        P, Y = pair.computed(events)
        each = P & Y, ~P & Y, P & ~Y, ~P & ~Y & pair.valid
        return torch.stack([marks.sum(dim=(2, 3, 4)).float() for marks in each])

    def score(formula: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Score:
        return Score(lambda totals: formula(*totals), counted)

    def fractions(scale: int) -> Score:
        def parts(pair: Pair) -> PerFrame:
            marks = (in_windows(each, scale) / scale**2 for each in pair.computed(events))
            Pf, Po = (fraction.where(pair.whole(scale), 0) for fraction in marks)
            each = (Pf - Po).square(), Pf.square() + Po.square()
            return torch.stack([values.sum(dim=(2, 3, 4)) for values in each])

        return Score(lambda totals: 1 - ratio(*totals), in_units(parts))

    counted = in_units(counts)
    return {
        "csi": score(lambda H, M, A, N: ratio(H, H + M + A)),
        "pod": score(lambda H, M, A, N: ratio(H, H + M)),
        "far": score(lambda H, M, A, N: ratio(A, H + A)),
        "hss": score(
            lambda H, M, A, N: ratio(2 * (H * N - M * A), (H + M) * (M + N) + (H + A) * (A + N))
        ),
        "bias": score(lambda H, M, A, N: ratio(H + A, H + M)),
        "events": score(lambda H, M, A, N: H + M),
        **{f"fss {scale}": fractions(scale) for scale in scales},
    }
