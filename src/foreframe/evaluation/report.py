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
from foreframe.evaluation.panels import panels_of, panels_of_members
from foreframe.forecasting.outputs import paint_of
from foreframe.models import BASELINES
from foreframe.visuals import animation, curves_png, gif_bytes, strip, strip_of_members
from foreframe.visuals.colours import PAPER
from foreframe.visuals.display import png_bytes


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
