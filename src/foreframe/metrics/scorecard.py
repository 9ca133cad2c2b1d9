"""Scores that accumulate: one row a lead time, in two conventions, and no forecast is held."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.metrics.pixel import absolute_error, peak_signal_to_noise, squared_error
from foreframe.metrics.structural import structural_similarity

CONVENTIONS = ("standard", "openstl")
SCORES = ("mse", "mae", "psnr", "ssim")


class Scorecard:
    """Sums over clips of every score, for each of `steps` lead times.

    Two conventions, of P (forecast) and Y (truth), n frames at a lead time, D = C*H*W values a frame:

    - `standard`: MSE and MAE are means a pixel; PSNR = -10 log10 of the mean of all clipped squared errors; SSIM with L = 1.
    - `openstl` (OpenSTL, openstl/core/metrics.py): MSE and MAE are **sums** over C,H,W, averaged over frames; PSNR is averaged
      over frames; SSIM has data range L = 2, which reads 0.01 to 0.03 higher.

    In both, MSE and MAE are of P as forecast, PSNR and SSIM of P clipped to [0,1].
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.values_a_frame = 0
        # rows: frames, squared error, absolute error, clipped squared error, psnr a frame, ssim L=1, ssim L=2
        self.sums = torch.zeros(7, steps, dtype=torch.float64)

    @torch.no_grad()
    def update(self, P: Float[Tensor, "b t c h w"], Y: Float[Tensor, "b t c h w"]) -> None:
        """Add a batch of forecasts (B,steps,C,H,W) and their truth."""
        if P.shape != Y.shape or P.shape[1] != self.steps:
            raise ValueError(f"a scorecard of {self.steps} steps takes two alike, not {tuple(P.shape)} and {tuple(Y.shape)}")
        P, Y = P.float(), Y.float()
        self.values_a_frame = P[0, 0].numel()
        seen = P.clamp(0, 1)
        clipped = squared_error(seen, Y)
        rows = [
            torch.ones_like(clipped),
            squared_error(P, Y),
            absolute_error(P, Y),
            clipped,
            peak_signal_to_noise(clipped / self.values_a_frame),
            structural_similarity(seen, Y, data_range=1.0),
            structural_similarity(seen, Y, data_range=2.0),
        ]
        self.sums += torch.stack(rows).cpu().double().sum(dim=1)  # on the CPU: not every device has float64

    @property
    def clips(self) -> int:
        return int(self.sums[0, 0])

    def table(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{convention: {score: {"overall": number, "per_lead": [number a lead time]}}}.

        Raises:
            ValueError: before any update.
        """
        if self.clips == 0:
            raise ValueError("this scorecard is empty: update it with at least one batch")
        D = self.values_a_frame
        per_lead = self.sums / self.sums[0]
        overall = self.sums.sum(dim=1) / self.sums[0].sum()

        def scores(mean: Tensor) -> dict[str, dict[str, Tensor]]:
            _, squared, absolute, clipped, psnr, ssim_1, ssim_2 = mean
            return {
                "standard": {
                    "mse": squared / D,
                    "mae": absolute / D,
                    "psnr": peak_signal_to_noise(clipped / D),
                    "ssim": ssim_1,
                },
                "openstl": {"mse": squared, "mae": absolute, "psnr": psnr, "ssim": ssim_2},
            }

        whole, leads = scores(overall), scores(per_lead)
        return {
            convention: {
                score: {"overall": whole[convention][score].item(), "per_lead": leads[convention][score].tolist()}
                for score in SCORES
            }
            for convention in CONVENTIONS
        }
