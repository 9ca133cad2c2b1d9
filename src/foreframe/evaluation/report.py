"""The files of a report: a scorecard, curves, pictures and films."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from foreframe.clips.scaling import Scaling
from foreframe.data import batches, chosen
from foreframe.data.forecasts import Forecasts
from foreframe.evaluation.card import moving_baseline
from foreframe.evaluation.external import open_external
from foreframe.evaluation.member_scores import drawn_for
from foreframe.evaluation.networks import forecast_clips, inputs_of, members_of
from foreframe.evaluation.panels import panels_of
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import BASELINES, Model, Parts, build_model, parts_of
from foreframe.visuals import (
    Paint,
    Scene,
    animation,
    comparison,
    curves_png,
    ensembles_png,
    paint_for,
    strip,
    strip_of_members,
    write_gif,
    write_mp4,
    write_png,
)
from foreframe.visuals.strip import fit

CANDIDATES = 6  # clips to choose from for each clip of the film
FPS, LARGE = 5.0, 640  # of that film: frames a second, and pixels of a frame's longer side


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
    comparison.mp4 of some lively clips beside the best moving baseline; with members also
    ensembles.png, their scores, and members.png, those of some clips.

    Args:
        card: from `score_clips`, with further entries to keep.
        forecaster, dataset, forecasts: as for `score_clips`. Pictures show the card's reference.
        examples: number of clips to show.

    Raises:
        ValueError: they cannot be written.
    """
    folder = Path(folder)
    names = ["scorecard.json", "curves.png", "strip.png", "forecast.gif", "comparison.mp4"]
    names += ["ensembles.png", "members.png"] if "ensemble" in card else []
    paths = [folder / name for name in names]
    with atomic_write(paths[0]) as rough:
        rough.write_text(json.dumps(_finite(card), indent=1) + "\n", encoding="utf-8")
    with atomic_write(paths[1]) as rough:
        rough.write_bytes(curves_png(panels_of(card), names=("model", *BASELINES)))
    limit = card["clips"] if forecasts else None
    scored, others = open_external(forecasts, dataset, limit, forecaster)
    clips = _Clips(forecaster, dataset, card, others)
    shown = chosen(dataset, examples, scored)
    paint = _paint(map(clips.truth, shown), forecaster.scaling)
    strips, films = [], []
    for scene in map(clips.scene, shown):  # one at a time: large frames fill the memory
        frames = scene.past, scene.forecasts[card["reference"]], scene.truth
        strips.append(strip(*frames, paint=paint))
        films.append(animation(*frames, paint=paint))
    write_png(paths[2], np.concatenate(_as_wide(strips), axis=0))
    write_gif(paths[3], np.concatenate(_as_wide(films), axis=1))
    rival = moving_baseline(card) or next(iter(card["best_baseline"].values()), None)
    args = {"period": card["period"]} if rival == "cycle" else {}
    beside = {} if rival is None else {rival: build_model(rival, args)}
    moving = [_smaller(clips.scene(clip, beside)) for clip in lively(dataset, examples, scored)]
    moving_paint = _paint([scene.truth for scene in moving], forecaster.scaling)
    write_mp4(paths[4], comparison(moving, moving_paint), fps=FPS)
    if "ensemble" in card:
        summaries = {name: scores for name, scores in card["ensemble"].items() if name != "seed"}
        with atomic_write(paths[5]) as rough:
            rough.write_bytes(ensembles_png(summaries))
        strips = [clips.strip_of_members(clip, paint) for clip in shown]
        write_png(paths[6], np.concatenate(_as_wide(strips), axis=0))
    return paths


class _Clips:
    """Clips and their forecasts for pictures, in the data's units if they have any.

    Args:
        forecaster, dataset: as for `score_clips`.
        card: the scorecard; pictures show its reference.
        others: readers of the forecasts of other programs.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        dataset: Dataset,
        card: Mapping[str, Any],
        others: Mapping[str, Callable[[Sequence[int]], Tensor]],
    ) -> None:
        self.forecaster, self.dataset, self.card, self.others = forecaster, dataset, card, others

    def scene(self, clip: int, beside: Mapping[str, Model] | None = None) -> Scene:
        """A clip with the forecasts of the reference and others; NaN for missing values."""
        past, parts = self._parts(clip)
        reference = self.card["reference"]
        if reference in self.others:
            forecasts = {reference: self.others[reference]([clip])}
        else:
            future, _ = forecast_clips(self.forecaster.model, parts, self.card["precision"])
            forecasts = {reference: future}
        for name, network in (beside or {}).items():
            forecasts[name] = forecast_clips(network, parts)[0]
        known = {name: self._known(forecast, parts) for name, forecast in forecasts.items()}
        return Scene(past, self._in_units(parts.truth), known)

    def truth(self, clip: int) -> np.ndarray:
        return self._in_units(self._parts(clip)[1].truth)

    def strip_of_members(self, clip: int, paint: Paint | None) -> np.ndarray:
        past, parts = self._parts(clip)
        ensemble, forecaster = self.card["ensemble"], self.forecaster
        n, within = ensemble["model"]["members"], forecaster.scaling.network_bounds
        drawn = drawn_for([clip], n, ensemble["seed"], within)
        members = members_of(forecaster.model, parts, self.card["precision"], drawn)[0]
        known = np.stack([self._known(member[None], parts) for member in members])
        return strip_of_members(past, known, self._in_units(parts.truth), paint=paint)

    def _parts(self, clip: int) -> tuple[np.ndarray, Parts]:
        """The past frames in units, and the parts of a clip for a network."""
        forecaster = self.forecaster
        clips = next(batches(self.dataset, 1, among=[clip])).to(forecaster.device)
        parts = parts_of(clips, forecaster.window, inputs_of(forecaster, self.dataset))
        past = forecaster.window.split(clips)[0][:, :, : parts.last.shape[1]]
        return self._in_units(past), parts

    def _known(self, forecast: Float[Tensor, "1 s c h w"], parts: Parts) -> np.ndarray:
        """A forecast in units, NaN where all past values are missing."""
        return self._in_units(missing_where_unseen(forecast.to(parts.last.device), parts.last))

    def _in_units(self, frames: Float[Tensor, "1 t c h w"]) -> np.ndarray:
        values, scaling = frames[0].cpu().numpy(), self.forecaster.scaling
        return scaling.to_units(values) if scaling.units else values


def _smaller(scene: Scene) -> Scene:
    """The scene with large frames shrunk, since a film holds all its scenes in memory."""

    def small(frames: np.ndarray) -> np.ndarray:
        return np.stack([fit(frame, 1, LARGE) for frame in frames])

    past, truth, forecasts = scene
    return Scene(
        small(past), small(truth), {name: small(frames) for name, frames in forecasts.items()}
    )


def _paint(truths: Iterable[np.ndarray], scaling: Scaling) -> Paint | None:
    """The colours of a field over the range of the truth; None for films."""
    if not scaling.units:
        return None
    known = [truth[np.isfinite(truth)] for truth in truths]
    low = min((float(values.min()) for values in known if values.size), default=scaling.low)
    high = max((float(values.max()) for values in known if values.size), default=scaling.high)
    return paint_for("auto", low, high, scaling.units)


def lively(dataset: Dataset, n: int, scored: Sequence[int]) -> list[int]:
    """`n` clips with much motion, in order: from each n-th part of the scored clips the most lively
    of `CANDIDATES` evenly spread ones.

    Motion is the median over steps of the mean squared change, so that a cut or a flash does not
    count.
    """

    def change(clip: int) -> float:
        frames = next(batches(dataset, 1, among=[clip]))[0]
        steps = (frames[1:] - frames[:-1]).square().flatten(1).nanmean(dim=1)
        return float(steps.nan_to_num(0).median())

    parts = np.array_split(np.asarray(scored), min(n, len(scored)))
    among = [
        part[np.linspace(0, len(part) - 1, min(len(part), CANDIDATES)).astype(int)]
        for part in parts
    ]
    return [max(part.tolist(), key=change) for part in among]


def _as_wide(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pad pictures to the width of the widest: a legend that names missing data is wider."""
    widest = max(picture.shape[-2] for picture in pictures)

    def widened(picture: np.ndarray) -> np.ndarray:
        more = [(0, 0)] * (picture.ndim - 2) + [(0, widest - picture.shape[-2]), (0, 0)]
        return np.pad(picture, more, constant_values=24)

    return list(map(widened, pictures))


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, by null."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
