"""Scores of events, such as rain of at least 2 mm/h: did it come, was it forecast, and how near."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

COUNTS = ("hits", "misses", "false alarms", "correct negatives")


class EventScorecard:
    """Counts of events over clips, for each of `steps` lead times and each threshold; an event is a
    value >= threshold.

    With hits H, misses M, false alarms A and correct negatives N, counted over pixels (Wilks 2011,
    ch. 8; Jolliffe & Stephenson):

    - `csi` = H / (H + M + A), `pod` = H / (H + M), `far` = A / (H + A), which is the ratio, not the
      rate
    - `hss` = 2 (H N - M A) / ((H + M)(M + N) + (H + A)(A + N))
    - `bias` = (H + A) / (H + M), the frequency bias
    - `fss` = 1 - sum (Pf - Po)^2 / sum (Pf^2 + Po^2), where Pf and Po are the fractions of forecast
      and true events in each square window of a scale (Roberts & Lean 2008, eq. 2-7); sums run over
      windows and clips

    Windows lie wholly in the frame, one at each place where they do: nothing is padded, as in
    `scores.spatial.fss_2d`. Channels are fields of their own, counted together. Everything is NaN
    where it is undefined: no event, or no window that fits.

    Truth is NaN where a value is missing: such pixels never count, and FSS takes only windows that
    hold none. A forecast that is NaN where the truth is not makes its counts NaN.

    Args:
        steps: lead times.
        thresholds: in the data's units.
        scales: odd sides of the windows of FSS, in pixels.
        units: of the thresholds, for the table, e.g. "mm/h".

    Attributes:
        sums: (rows, steps, thresholds), float64: clips, the four counts, and two sums a scale; they
            add up over batches and ranks.

    Raises:
        ValueError: no threshold, the same one twice, or a scale that is even or below 1.
    """

    def __init__(
        self, steps: int, thresholds: Sequence[float], scales: Sequence[int] = (), units: str = ""
    ) -> None:
        self.steps, self.thresholds, self.scales, self.units = (
            steps,
            tuple(thresholds),
            tuple(scales),
            units,
        )
        self.names = [f"{threshold:g} {units}".strip() for threshold in self.thresholds]
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(
                "an event scorecard needs thresholds, each once, not "
                f"{', '.join(self.names) or 'none'}"
            )
        for scale in self.scales:
            if scale < 1 or scale % 2 == 0:
                raise ValueError(
                    f"a scale is the odd side of a window in pixels, not {scale}; take "
                    f"{max(1, scale + 1)}"
                )
        self.sums = torch.zeros(
            1 + len(COUNTS) + 2 * len(self.scales), steps, len(self.names), dtype=torch.float64
        )

    @torch.no_grad()
    def update(self, P: Float[Tensor, "b t c h w"], Y: Float[Tensor, "b t c h w"]) -> None:
        """Add a batch of forecasts (B,steps,C,H,W) and their truth, both in the data's units."""
        if P.shape != Y.shape or P.shape[1] != self.steps:
            raise ValueError(
                f"an event scorecard of {self.steps} steps takes two alike, not {tuple(P.shape)} "
                f"and {tuple(Y.shape)}"
            )
        P, Y = P.float(), Y.float()
        there = ~Y.isnan()
        lost = (P.isnan() & there).flatten(2).any(dim=2)
        # Windows without a missing value.
        whole = [_in_windows(~there, scale) == 0 for scale in self.scales]
        for k, threshold in enumerate(self.thresholds):
            f, o = P.ge(threshold) & there, Y.ge(threshold)  # NaN is no event
            events = [torch.ones_like(f[:, :, 0, 0, 0])]
            events += [cell.sum(dim=(2, 3, 4)) for cell in (f & o, ~f & o, f & ~o, ~f & ~o & there)]
            for scale, kept in zip(self.scales, whole, strict=True):
                Pf, Po = (_in_windows(one, scale) / scale**2 for one in (f, o))
                for term in ((Pf - Po).square(), Pf.square() + Po.square()):
                    events.append(term.masked_fill(~kept, 0).sum(dim=(2, 3, 4)))
            # On the CPU: not every device has float64.
            rows = torch.stack([row.cpu().double() for row in events])
            rows[1:].masked_fill_(lost.cpu(), torch.nan)
            self.sums[:, :, k] += rows.sum(dim=1)

    @property
    def clips(self) -> int:
        return int(self.sums[0, 0, 0])

    def table(self) -> dict[str, dict[str, Any]]:
        """{"2 mm/h": {"csi" | "pod" | "far" | "hss" | "bias" | "events": {"overall", "per_lead"},
        "fss": {"5": {the same}}}}.

        `events` is how many pixels of the truth were one, so that scores of few are read with care.
        Plain values.

        Raises:
            ValueError: before any update.
        """
        if self.clips == 0:
            raise ValueError("this event scorecard is empty: update it with at least one batch")
        table: dict[str, dict[str, Any]] = {}
        for k, name in enumerate(self.names):
            whole, leads = _scores(self.sums[:, :, k].sum(dim=1)), _scores(self.sums[:, :, k])
            scored = {
                score: {"overall": whole[score].item(), "per_lead": leads[score].tolist()}
                for score in whole
            }
            fss = {
                str(scale): scored.pop(f"fss {place}") for place, scale in enumerate(self.scales)
            }
            table[name] = {**scored, "fss": fss}
        return table


def _scores(sums: Tensor) -> dict[str, Tensor]:
    """Every score from sums whose first axis is the rows of EventScorecard."""
    _, H, M, A, N, *fractions = sums

    def ratio(above: Tensor, below: Tensor) -> Tensor:
        return (above / below).where(below != 0, torch.nan)

    scores = {
        "csi": ratio(H, H + M + A),
        "pod": ratio(H, H + M),
        "far": ratio(A, H + A),
        "hss": ratio(2 * (H * N - M * A), (H + M) * (M + N) + (H + A) * (A + N)),
        "bias": ratio(H + A, H + M),
        "events": H + M,
    }
    for place in range(len(fractions) // 2):
        scores[f"fss {place}"] = 1 - ratio(fractions[2 * place], fractions[2 * place + 1])
    return scores


def _in_windows(marks: Bool[Tensor, "b t c h w"], side: int) -> Float[Tensor, "b t c rows columns"]:
    """How many pixels are marked in each square window that lies wholly in the frame; no window at
    all in smaller frames.
    """
    b, t, c, h, w = marks.shape
    if min(h, w) < side:
        return marks.new_zeros((b, t, c, 0, 0), dtype=torch.float32)
    # Rows, then columns: 2 * side additions a pixel instead of side squared, and exact, since these
    # are whole numbers.
    flat = marks.flatten(0, 2).unsqueeze(1).float()
    rows = F.avg_pool2d(flat, (side, 1), stride=1, divisor_override=1)
    return (
        F.avg_pool2d(rows, (1, side), stride=1, divisor_override=1)
        .squeeze(1)
        .unflatten(0, (b, t, c))
    )
