"""Errors in the data's own units."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class PhysicalScorecard:
    """Sums over clips of errors in the data's own units (kelvin, mm/h), for each of `steps` lead
    times, over n values of truth Y that are not missing (NaN) and forecasts P of them:

    - `rmse` = sqrt(sum (P-Y)^2 / n), over all values of all clips at once
    - `mae` = sum |P-Y| / n
    - `bias` = sum (P-Y) / n: above 0 where forecasts are too high

    Attributes:
        sums: (4, steps), float64: values, squared, absolute and signed errors; they add up over
            batches and ranks.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.sums = torch.zeros(4, steps, dtype=torch.float64)

    @torch.no_grad()
    def update(self, P: Float[Tensor, "b t c h w"], Y: Float[Tensor, "b t c h w"]) -> None:
        """Add a batch of forecasts (B,steps,C,H,W) and their truth, both in the data's units."""
        if P.shape != Y.shape or P.shape[1] != self.steps:
            raise ValueError(
                f"a scorecard of {self.steps} steps takes two alike, not {tuple(P.shape)} and "
                f"{tuple(Y.shape)}"
            )
        there = ~Y.isnan()
        error = torch.where(there, P.float() - Y.float(), 0.0)
        rows = torch.stack([there.float(), error.square(), error.abs(), error])
        self.sums += rows.sum(dim=(3, 4, 5)).cpu().double().sum(dim=1)

    def table(self) -> dict[str, dict[str, Any]]:
        """{"rmse" | "mae" | "bias": {"overall": number, "per_lead": [a number a lead time]}}; NaN
        for want of any.
        """
        whole, leads = self.sums.sum(dim=1), self.sums
        scored: dict[str, dict[str, Any]] = {}
        for name, row in (("rmse", 1), ("mae", 2), ("bias", 3)):
            overall, per_lead = whole[row] / whole[0], leads[row] / leads[0]
            if name == "rmse":
                overall, per_lead = overall.sqrt(), per_lead.sqrt()
            scored[name] = {"overall": overall.item(), "per_lead": per_lead.tolist()}
        return scored
