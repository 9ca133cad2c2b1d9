"""The files of a report: a scorecard, curves, pictures and a film."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.files import atomic_write
from foreframe.clips.frames import missing_where_unseen
from foreframe.clips.scaling import Scaling
from foreframe.data import chosen
from foreframe.evaluation.card import Scorer
from foreframe.evaluation.member_scores import drawn_for
from foreframe.evaluation.networks import members_of
from foreframe.forecasting.outputs import paint_of
from foreframe.models import BASELINES
from foreframe.visuals import animation, curves_png, gif_bytes, strip, strip_of_members
from foreframe.visuals.colours import PAPER
from foreframe.visuals.curves import Series
from foreframe.visuals.display import png_bytes
from foreframe.visuals.tables import has_ratios, heading

RIGHT = "as it should be"


@torch.inference_mode()
def write_report(
    folder: str | Path, card: Mapping[str, Any], scorer: Scorer, examples: int = 3
) -> list[Path]:
    """Write scorecard.json and curves.png, and strip.png and forecast.gif of evenly spread clips.
    With members, write also ensembles.png with their scores, and members.png of the same clips.

    Args:
        card: from `scorecard`; other entries are written, too.
        scorer: of the card. Pictures show the reference, in the data's units, if any.
        examples: number of clips to show.

    Raises:
        ValueError: a file cannot be written.
    """
    folder, written = Path(folder), []

    def write(name: str, content: bytes) -> None:
        with atomic_write(folder / name) as rough:
            rough.write_bytes(content)
        written.append(folder / name)

    write("scorecard.json", (json.dumps(finite(card), indent=1) + "\n").encode())
    write("curves.png", curves_png(panels_of(card), names=("model", *BASELINES)))
    among, scaling = scorer.clips if scorer.others else None, scorer.forecaster.scaling
    shown = chosen(scorer.dataset, min(examples, card["clips"]), among)
    films, strips, members = [], [], []
    truths = (_values(scorer.parts(clip).truth, scaling) for clip in shown)
    paint = paint_of("auto", scaling, scaling.units, truths) if scaling.units else None
    for clip in shown:  # one at a time: large frames fill the memory
        past, made, truth = _example(scorer, clip)
        strips.append(strip(past, made, truth, paint=paint))
        films.append(animation(past, made, truth, paint=paint))
        if "ensemble" in card:
            drawn = _members(scorer, clip, card["ensemble"])
            members.append(strip_of_members(past, drawn, truth, paint=paint))
    write("strip.png", _stacked(strips))
    write("forecast.gif", gif_bytes(np.concatenate(films, axis=1)))
    if "ensemble" in card:
        panels, xlabels = panels_of_members(card)
        write("ensembles.png", curves_png(panels, xlabels=xlabels))
        write("members.png", _stacked(members))
    return written


def _example(scorer: Scorer, clip: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The past of a clip, the reference's forecast, and the truth; NaN for missing values."""
    parts, forecaster = scorer.parts(clip), scorer.forecaster
    past = forecaster.window.split(scorer.frames(clip))[0][:, :, : parts.last.shape[1]]
    made = next(made for row, made in scorer.forecasts(parts, [clip]) if row == scorer.reference)
    shown = missing_where_unseen(made.to(parts.last.device), parts.last)
    scaling = forecaster.scaling
    return _values(past, scaling), _values(shown, scaling), _values(parts.truth, scaling)


def _members(scorer: Scorer, clip: int, ensemble: Mapping[str, Any]) -> np.ndarray:
    """The members of the forecast of a clip."""
    parts, scaling = scorer.parts(clip), scorer.forecaster.scaling
    n, seed = ensemble["model"]["members"], ensemble["seed"]
    drawn = drawn_for([clip], n, seed, scaling.network_bounds)
    members = members_of(scorer.forecaster.model, parts, scorer.precision, drawn)[0]
    whole = [missing_where_unseen(member[None], parts.last) for member in members]
    return np.stack([_values(member, scaling) for member in whole])


def _values(frames: Float[Tensor, "1 t c h w"], scaling: Scaling) -> np.ndarray:
    """Frames in the data's units, or on [0,1] without units."""
    values = frames[0].cpu().numpy()
    return scaling.to_units(values) if scaling.units else values


def _stacked(pictures: Sequence[np.ndarray]) -> bytes:
    """A PNG of pictures below each other; labels make some wider."""
    widest = max(picture.shape[1] for picture in pictures)
    more = [((0, 0), (0, widest - picture.shape[1]), (0, 0)) for picture in pictures]
    padded = map(partial(np.pad, constant_values=PAPER[0]), pictures, more)
    return png_bytes(np.concatenate(list(padded)))


def finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, by null."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


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
