"""Scores of events, such as rain of at least 2 mm/h: detection, false alarms, and distance."""

from collections.abc import Sequence

from torch import Tensor

from foreframe.evaluation.metrics.pair import Pair, PerFrame, Sum, in_units, in_windows
from foreframe.evaluation.metrics.scorecard import Score
from foreframe.evaluation.metrics.sums import ratio


def event_scores(
    thresholds: Sequence[float], scales: Sequence[int] = (), units: str = ""
) -> dict[str, dict[str, Score]]:
    """The scores of each threshold, by name: {"2 mm/h": {"csi": ..., "fss 5": ...}}.

    An event is a value >= threshold. With hits H, misses M, false alarms A and correct negatives
    N, counted over pixels (Wilks 2011, ch. 8; Jolliffe & Stephenson):

    - `csi` = H / (H + M + A), `pod` = H / (H + M), `far` = A / (H + A), which is the ratio, not the
      rate
    - `hss` = 2 (H N - M A) / ((H + M)(M + N) + (H + A)(A + N))
    - `bias` = (H + A) / (H + M), the frequency bias
    - `events` = H + M: number of true events, since scores of few are uncertain
    - `fss` = 1 - sum (Pf - Po)^2 / sum (Pf^2 + Po^2), where Pf and Po are the fractions of forecast
      and true events in each square window of a scale (Roberts & Lean 2008, eq. 2-7)

    Windows are at all positions within the frame, without padding, as in `scores.spatial.fss_2d`.
    Channels are separate fields, counted together. Undefined scores are NaN: without events, or
    without a window that fits.

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
    """Thresholds by their names in tables: {"2 mm/h": 2.0}.

    Raises:
        ValueError: a repeated threshold.
    """
    named = {f"{threshold:g} {units}".strip(): threshold for threshold in thresholds}
    if len(named) < len(thresholds):
        raise ValueError(f"thresholds are given once each, not {', '.join(map(str, thresholds))}")
    return named


def _scores(threshold: float, scales: Sequence[int]) -> dict[str, Score]:
    def events(pair: Pair) -> tuple[Tensor, Tensor]:
        return pair.P.ge(threshold) & pair.valid, pair.Y.ge(threshold) & pair.valid

    def count(forecast: bool, observed: bool) -> Sum:
        """The number of valid values with these events."""

        def counted(pair: Pair) -> PerFrame:
            f, o = pair.of(events)
            matches = (f == forecast) & (o == observed) & pair.valid
            return matches.sum(dim=(2, 3, 4)).float()

        return in_units(counted)

    def fractions(scale: int) -> tuple[Sum, Sum]:
        def both(pair: Pair) -> tuple[Tensor, Tensor]:
            Pf, Po = (in_windows(marks, scale) / scale**2 for marks in pair.of(events))
            whole = pair.whole(scale)
            return Pf.where(whole, 0), Po.where(whole, 0)

        def gap(pair: Pair) -> PerFrame:
            Pf, Po = pair.of(both)
            return (Pf - Po).square().sum(dim=(2, 3, 4))

        def reference(pair: Pair) -> PerFrame:
            Pf, Po = pair.of(both)
            return (Pf.square() + Po.square()).sum(dim=(2, 3, 4))

        return in_units(gap), in_units(reference)

    H, M, A, N = count(True, True), count(False, True), count(True, False), count(False, False)
    return {
        "csi": Score(lambda H, M, A: ratio(H, H + M + A), H, M, A),
        "pod": Score(lambda H, M: ratio(H, H + M), H, M),
        "far": Score(lambda H, A: ratio(A, H + A), H, A),
        "hss": Score(_heidke, H, M, A, N),
        "bias": Score(lambda H, M, A: ratio(H + A, H + M), H, M, A),
        "events": Score(lambda H, M: H + M, H, M),
        **{
            f"fss {s}": Score(lambda gap, below: 1 - ratio(gap, below), *fractions(s))
            for s in scales
        },
    }


def _heidke(H: Tensor, M: Tensor, A: Tensor, N: Tensor) -> Tensor:
    return ratio(2 * (H * N - M * A), (H + M) * (M + N) + (H + A) * (A + N))
