"""The curves of a report."""

from collections.abc import Mapping
from typing import Any

from foreframe.visuals.curves import Series
from foreframe.visuals.tables import has_ratios, heading

RIGHT = "as it should be"


def panels_of(card: Mapping[str, Any]) -> dict[str, Series]:
    """Return curves by lead time: MSE and SSIM of films, also relative to persistence, RMSE of
    fields in units, and CSI of events. PSNR would repeat the MSE.

    The baseline black is included only if it is the reference or the best baseline. Otherwise its
    error is so large that all other curves would coincide.
    """
    scores, panels = card["scores"], dict[str, dict[str, Any]]()
    if card["units"]:
        title = f"RMSE in {card['units']}"
        panels[title] = {name: of["physical"]["rmse"] for name, of in scores.items()}
    else:
        for score in card["relative"].get(card["reference"], ()) if has_ratios(card) else ():
            title = f"{heading(score)}, in units of the last frame's"
            panels[title] = {name: of[score] for name, of in card["relative"].items()}
        title = "MSE (openstl: summed over a frame)"
        panels[title] = {name: of["openstl"]["mse"] for name, of in scores.items()}
        title = "SSIM (standard: L = 1)"
        panels[title] = {name: of["standard"]["ssim"] for name, of in scores.items()}
    for threshold in card["events"].get(card["reference"], ()):
        title = f"CSI at {threshold}"
        panels[title] = {name: of[threshold]["csi"] for name, of in card["events"].items()}
    first = {card["reference"], *card["best_baseline"].values()}
    names = [name for name in scores if name != "black" or name in first]
    return {title: {name: of[name]["per_lead"] for name in names} for title, of in panels.items()}


def panels_of_members(card: Mapping[str, Any]) -> tuple[dict[str, Series], dict[str, str]]:
    """Return curves of ensembles, and the axes of panels that are not by lead time: CRPS and spread
    over error by lead time, the rank histogram, and a reliability diagram for each threshold.
    """
    ensembles = {name: of["scores"] for name, of in card["ensemble"].items() if name != "seed"}
    convention = "physical" if card["units"] else "standard"

    def by_lead(score: str) -> dict[str, Any]:
        return {name: of[convention][score]["per_lead"] for name, of in ensembles.items()}

    level = [1.0] * card["future"]
    ranks, crps = dict[str, Any](), "fair CRPS" + (f", {card['units']}" if card["units"] else "")
    for name, of in ensembles.items():
        counts = of["standard"]["rank_histogram_varied"]["overall"]
        chance = sum(counts) / len(counts) or 1
        ranks[name] = {k / (len(counts) - 1): n / chance for k, n in enumerate(counts)}
    panels: dict[str, Series] = {
        crps: by_lead("fair_crps"),
        "spread over the error of the mean": by_lead("spread_skill") | {RIGHT: level},
        "rank of the truth, over chance": ranks | {RIGHT: {0: 1.0, 1: 1.0}},
    }
    xlabels = {"rank of the truth, over chance": "share of members below the truth"}
    for threshold in card["events"].get(card["reference"], ()):
        title, diagram = f"{threshold}: how often it came", dict[str, Any]()
        for name, of in ensembles.items():
            said, came = (of[threshold][key]["overall"] for key in ("probabilities", "frequencies"))
            diagram[name] = dict(zip(said, came, strict=True))
        panels[title] = diagram | {RIGHT: {0: 0.0, 1: 1.0}}
        xlabels[title] = "probability that members gave"
    return panels, xlabels
