"""Which curves a report draws of a scorecard."""

from collections.abc import Mapping
from math import isfinite
from typing import Any


def panels_of(card: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Curves by lead time: of films MSE and SSIM, in units of the last frame's errors too, of
    fields the error in units, and of events their CSI. PSNR would be the curve of the MSE again.
    """

    def panel(of: str, *path: str) -> dict[str, list[float]]:
        series = {}
        for name, scores in card[of].items():
            for key in path:
                scores = scores[key]
            series[name] = scores["per_lead"]
        return series

    if not card.get("units"):
        panels = {
            "MSE (openstl: summed over a frame)": panel("scores", "openstl", "mse"),
            "SSIM (standard: L = 1)": panel("scores", "standard", "ssim"),
        }
        if card.get("relative"):
            panels = {
                "MSE, in units of the last frame's": panel("relative", "mse"),
                "1 - SSIM, in units of the last frame's": panel("relative", "ssim"),
            } | panels
    else:
        panels = {
            f"RMSE in {card['units']}": panel("scores", "physical", "rmse"),
            "MSE on the network's scale (standard)": panel("scores", "standard", "mse"),
        }
    for threshold in next(iter(card.get("events", {}).values()), {}):
        panels[f"CSI at {threshold}"] = panel("events", threshold, "csi")
    return dict(_without_far_off(title, series) for title, series in panels.items())


def _without_far_off(
    title: str, series: dict[str, list[float]]
) -> tuple[str, dict[str, list[float]]]:
    """Black is left out, and the title says so, where it is further from all else at every lead
    time (a temperature of 0, a film of 6 dB) than these are from each other: they would lie on one
    line. The table has it.
    """
    rest = {name: values for name, values in series.items() if name != "black"}
    far = []
    for black, *others in zip(series.get("black", []), *rest.values(), strict=False):
        others = [value for value in others if isfinite(value)]
        if isfinite(black) and len(others) > 1:
            gap = max(black - max(others), min(others) - black)
            far.append(gap > max(others) - min(others))
    if not far or not all(far):
        return title, series
    return f"{title}\nblack is far off, and left out", rest
