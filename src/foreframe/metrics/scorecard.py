"""Scores that accumulate: one row a lead time, in two conventions, and no forecast is held."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.metrics.pixel import (
    absolute_error,
    peak_signal_to_noise,
    squared_error,
    values_present,
)
from foreframe.metrics.sharpness import gradient_magnitude
from foreframe.metrics.structural import structural_similarity

SCORES = {
    "standard": ("mse", "mae", "psnr", "ssim", "sharpness"),
    "openstl": ("mse", "mae", "psnr", "ssim"),
}
ROWS = (
    "clips", "frames", "values", "squared", "absolute", "clipped", "psnr",
    "windowed", "ssim_1", "ssim_2", "gradient_P", "gradient_Y",
)  # fmt: skip


class Scorecard:
    """Sums over clips of every score, for each of `steps` lead times.

    Two conventions, of P (forecast) and Y (truth), n frames at a lead time, D = C*H*W values a
    frame:

    - `standard`: MSE and MAE are means a pixel; PSNR = -10 log10 of the mean of all clipped squared
      errors; SSIM with L = 1; sharpness is the summed gradient magnitude of P over that of Y (below
      1: blurred; NaN where Y is flat).
    - `openstl` (OpenSTL, openstl/core/metrics.py): MSE and MAE are **sums** over C,H,W, averaged
      over frames; PSNR is averaged over frames; SSIM has data range L = 2, which reads higher: by
      0.03, or by 0.07 where blurred.

    In both, MSE and MAE are of P as forecast, PSNR, SSIM and sharpness of P clipped to [0,1].

    Y is NaN where a value is missing, and such values never count: `standard` then has sums over
    the values that there are, divided by their number; the sums and PSNR a frame of `openstl` are
    over a frame's own. SSIM has only windows, and sharpness only gradients, without a missing
    value. Frames that are missing as a whole, or have no such window, do not count as frames. A
    forecast that is NaN where the truth is not makes its scores NaN.

    Attributes:
        sums: (rows, steps), float64: sums and, in rows of their own, what they are divided by; they
            add up over batches and ranks.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.sums = torch.zeros(len(ROWS), steps, dtype=torch.float64)

    @torch.no_grad()
    def update(self, P: Float[Tensor, "b t c h w"], Y: Float[Tensor, "b t c h w"]) -> None:
        """Add a batch of forecasts (B,steps,C,H,W) and their truth, which may have missing values
        (NaN).
        """
        if P.shape != Y.shape or P.shape[1] != self.steps:
            raise ValueError(
                f"a scorecard of {self.steps} steps takes two alike, not {tuple(P.shape)} and "
                f"{tuple(Y.shape)}"
            )
        P, Y = P.float(), Y.float()
        seen = P.clamp(0, 1)
        values = values_present(Y)
        there = values > 0
        clipped = squared_error(seen, Y)
        ssim_1, ssim_2 = (structural_similarity(seen, Y, data_range=L) for L in (1.0, 2.0))
        # NaN for want of a window does not count; NaN from a forecast that is no number does.
        windowed = ~ssim_1.isnan() | clipped.isnan()
        slope = gradient_magnitude(Y)
        outside = slope.isnan()
        rows = {
            "clips": torch.ones_like(clipped),
            "frames": there.to(clipped.dtype),
            "values": values,
            "squared": squared_error(P, Y),
            "absolute": absolute_error(P, Y),
            "clipped": clipped,
            "psnr": peak_signal_to_noise(clipped / values).where(there, 0),
            "windowed": windowed.to(clipped.dtype),
            "ssim_1": ssim_1.where(windowed, 0),
            "ssim_2": ssim_2.where(windowed, 0),
            "gradient_P": gradient_magnitude(seen).masked_fill(outside, 0).sum(dim=(2, 3, 4)),
            "gradient_Y": slope.masked_fill(outside, 0).sum(dim=(2, 3, 4)),
        }
        # On the CPU: not every device has float64.
        self.sums += torch.stack([rows[name] for name in ROWS]).cpu().double().sum(dim=1)

    @property
    def clips(self) -> int:
        return int(self.sums[ROWS.index("clips"), 0])

    def table(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{convention: {score: {"overall": number, "per_lead": [number a lead time]}}}; NaN where
        nothing was there to score.

        Raises:
            ValueError: before any update.
        """
        if self.clips == 0:
            raise ValueError("this scorecard is empty: update it with at least one batch")
        whole, leads = _scores(self.sums.sum(dim=1)), _scores(self.sums)
        return {
            convention: {
                score: {
                    "overall": whole[convention][score].item(),
                    "per_lead": leads[convention][score].tolist(),
                }
                for score in scores
            }
            for convention, scores in SCORES.items()
        }


def _scores(sums: Tensor) -> dict[str, dict[str, Tensor]]:
    """Every score from sums whose first axis is ROWS."""
    of = dict(zip(ROWS, sums, strict=True))
    a_frame = {name: of[name] / of["frames"] for name in ("squared", "absolute", "clipped", "psnr")}
    D = of["values"] / of["frames"]
    return {
        "standard": {
            "mse": a_frame["squared"] / D,
            "mae": a_frame["absolute"] / D,
            "psnr": peak_signal_to_noise(a_frame["clipped"] / D),
            "ssim": of["ssim_1"] / of["windowed"],
            "sharpness": (of["gradient_P"] / of["gradient_Y"]).where(
                of["gradient_Y"] > 0, torch.nan
            ),
        },
        "openstl": {
            "mse": a_frame["squared"],
            "mae": a_frame["absolute"],
            "psnr": a_frame["psnr"],
            "ssim": of["ssim_2"] / of["windowed"],
        },
    }
