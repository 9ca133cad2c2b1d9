"""The curves of a report."""

from collections.abc import Mapping
from typing import Any


def panels_of(card: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Curves by lead time: for films MSE and SSIM, also relative to persistence, for fields
    RMSE in units and MSE, for events CSI. PSNR would repeat the MSE.

    Black is included only as the reference or the best baseline: for temperatures or films its
    error is so large that all other curves would coincide.
    """
    first = {card["reference"], *card["best_baseline"].values()}
    names = [name for name in card["scores"] if name != "black" or name in first]

    def panel(table: str, *path: str) -> dict[str, list[float]]:
        series = {}
        for name in names:
            scores = card[table][name]
            for key in path:
                scores = scores[key]
            series[name] = scores["per_lead"]
        return series

    panels = {}
    if card["units"]:
        panels[f"RMSE in {card['units']}"] = panel("scores", "physical", "rmse")
        panels["MSE on the network's scale (standard)"] = panel("scores", "standard", "mse")
    else:
        if card["relative"]:
            panels["MSE, in units of the last frame's"] = panel("relative", "mse")
            panels["1 - SSIM, in units of the last frame's"] = panel("relative", "ssim")
        panels["MSE (openstl: summed over a frame)"] = panel("scores", "openstl", "mse")
        panels["SSIM (standard: L = 1)"] = panel("scores", "standard", "ssim")
    for threshold in next(iter(card["events"].values()), {}):
        panels[f"CSI at {threshold}"] = panel("events", threshold, "csi")
    return panels
