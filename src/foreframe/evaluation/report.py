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
from torch.utils.data import Dataset

from foreframe.base.files import atomic_write
from foreframe.clips.frames import missing_where_unseen
from foreframe.data import batches, chosen
from foreframe.data.forecasts import Forecasts
from foreframe.evaluation.external import open_external
from foreframe.evaluation.member_scores import drawn_for
from foreframe.evaluation.networks import forecast_clips, inputs_of, members_of
from foreframe.evaluation.panels import panels_of, panels_of_members
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.outputs import paint_of
from foreframe.models import BASELINES, Parts, parts_of
from foreframe.visuals import animation, curves_png, gif_bytes, strip, strip_of_members
from foreframe.visuals.colours import PAPER
from foreframe.visuals.display import png_bytes


@torch.inference_mode()
def write_report(
    folder: str | Path,
    card: Mapping[str, Any],
    forecaster: Forecaster,
    dataset: Dataset,
    examples: int = 3,
    forecasts: Sequence[Forecasts] = (),
) -> list[Path]:
    """Write scorecard.json and curves.png; strip.png and forecast.gif of some evenly spread clips;
    with members also ensembles.png, their scores, and members.png, those of these clips.

    Args:
        card: from `score_clips`, with further entries to keep.
        forecaster, dataset, forecasts: as for `score_clips`. Pictures show the card's reference.
        examples: number of clips to show.

    Raises:
        ValueError: they cannot be written.
    """
    folder, written = Path(folder), []

    def write(name: str, content: bytes) -> None:
        with atomic_write(folder / name) as rough:
            rough.write_bytes(content)
        written.append(folder / name)

    write("scorecard.json", (json.dumps(finite(card), indent=1) + "\n").encode())
    write("curves.png", curves_png(panels_of(card), names=("model", *BASELINES)))
    limit = card["clips"] if forecasts else None
    scored, others = open_external(forecasts, dataset, limit, forecaster)
    clips = _Clips(forecaster, dataset, card["precision"])
    shown = chosen(dataset, min(examples, card["clips"]), scored)
    scaling, films, strips, members = forecaster.scaling, [], [], []
    truths = (clips.parts(clip)[1] for clip in shown)
    paint = paint_of("auto", scaling, scaling.units, truths) if scaling.units else None
    for clip in shown:  # one at a time: large frames fill the memory
        past, truth, parts = clips.parts(clip)
        read = others.get(card["reference"])
        made = clips.in_units(clips.forecast(parts) if read is None else read([clip]), parts)
        strips.append(strip(past, made, truth, paint=paint))
        films.append(animation(past, made, truth, paint=paint))
        if "ensemble" in card:
            drawn = clips.members(clip, parts, card["ensemble"])
            members.append(strip_of_members(past, drawn, truth, paint=paint))
    write("strip.png", _stacked(strips))
    write("forecast.gif", gif_bytes(np.concatenate(films, axis=1)))
    if "ensemble" in card:
        panels, xlabels = panels_of_members(card)
        write("ensembles.png", curves_png(panels, xlabels=xlabels))
        write("members.png", _stacked(members))
    return written


class _Clips:
    """Clips and their forecasts for pictures, in the data's units if they have any."""

    def __init__(self, forecaster: Forecaster, dataset: Dataset, precision: str) -> None:
        self.forecaster, self.dataset, self.precision = forecaster, dataset, precision

    def parts(self, clip: int) -> tuple[np.ndarray, np.ndarray, Parts]:
        """Past and truth, NaN where values are missing, and the parts of a clip for a network."""
        forecaster = self.forecaster
        clips = next(batches(self.dataset, 1, among=[clip])).to(forecaster.device)
        parts = parts_of(clips, forecaster.window, inputs_of(forecaster, self.dataset))
        past = forecaster.window.split(clips)[0][:, :, : parts.last.shape[1]]
        return self._values(past), self._values(parts.truth), parts

    def forecast(self, parts: Parts) -> Tensor:
        return forecast_clips(self.forecaster.model, parts, self.precision)[0]

    def members(self, clip: int, parts: Parts, ensemble: Mapping[str, Any]) -> np.ndarray:
        n, within = ensemble["model"]["members"], self.forecaster.scaling.network_bounds
        drawn = drawn_for([clip], n, ensemble["seed"], within)
        members = members_of(self.forecaster.model, parts, self.precision, drawn)[0]
        return np.stack([self.in_units(member[None], parts) for member in members])

    def in_units(self, forecast: Float[Tensor, "1 s c h w"], parts: Parts) -> np.ndarray:
        """A forecast, NaN where all past values are missing."""
        return self._values(missing_where_unseen(forecast.to(parts.last.device), parts.last))

    def _values(self, frames: Float[Tensor, "1 t c h w"]) -> np.ndarray:
        values, scaling = frames[0].cpu().numpy(), self.forecaster.scaling
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
