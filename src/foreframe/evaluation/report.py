"""What a scorecard and some clips look like: the files of a report."""

import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

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
from foreframe.evaluation.elsewhere import open_elsewhere
from foreframe.evaluation.member_scores import drawn_for
from foreframe.evaluation.networks import forecast_clips, inputs_of, members_of
from foreframe.evaluation.panels import panels_of
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.precision import EXACT
from foreframe.models import BASELINES, Model, Parts, build_model, parts_of
from foreframe.visuals import (
    Paint,
    Scene,
    animation,
    comparison,
    paint_for,
    strip,
    strip_of_members,
    write_curves,
    write_ensembles,
    write_gif,
    write_mp4,
    write_png,
)
from foreframe.visuals.strip import fit

CANDIDATES = 6  # clips that are looked at for each one that the film shows
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
    """scorecard.json and curves.png into `folder`; strip.png and forecast.gif of a few clips evenly
    spread; and comparison.mp4, of a few in which much moves, beside the best baseline that moves;
    where members were scored also ensembles.png, how good they are, and members.png, a few clips'.

    Args:
        card: what `evaluate` gave, with whatever else is to be told.
        forecaster, dataset, forecasts: as it was given them. Pictures are of the card's reference.
        examples: how many clips are shown.

    Raises:
        ValueError: when they cannot be written.
    """
    folder = Path(folder)
    names = ("scorecard.json", "curves.png", "strip.png", "forecast.gif", "comparison.mp4")
    paths = [folder / name for name in names]
    with atomic_write(paths[0]) as rough:
        rough.write_text(json.dumps(_finite(card), indent=1) + "\n", encoding="utf-8")
    write_curves(paths[1], panels_of(card), names=("model", *BASELINES))
    reference, precision = card.get("reference", "model"), card.get("precision", EXACT)
    limit = card["clips"] if forecasts else None
    scored, elsewhere = open_elsewhere(forecasts, dataset, limit, forecaster)
    rival = moving_baseline(card) or next(iter(card["best_baseline"].values()), None)
    args = {"period": card["period"]} if rival == "cycle" else {}
    beside = {} if rival is None else {rival: build_model(rival, args)}

    def scene_of(clip: int, others: Mapping[str, Model] | None = None) -> Scene:
        """A clip with the reference's forecast and those of others."""
        shown = _shown(forecaster, dataset, clip)
        if reference in elsewhere:
            forecast = {reference: elsewhere[reference]([clip])}
        else:
            forecast = {reference: forecast_clips(forecaster.model, shown.parts, precision)[0]}
        for name, network in (others or {}).items():
            forecast[name] = forecast_clips(network, shown.parts)[0]
        known = {name: shown.known(of)[0] for name, of in forecast.items()}
        return Scene(shown.past[0], shown.truth[0], known)

    which = chosen(dataset, examples, scored)
    truths = (_shown(forecaster, dataset, clip).truth for clip in which)  # read for fields alone
    paint = _paint(truths, forecaster.scaling)
    strips, films = [], []
    for scene in map(scene_of, which):  # one at a time: large frames fill the memory
        shown_frames = scene.past, scene.forecasts[reference], scene.truth
        strips.append(strip(*shown_frames, paint=paint))
        films.append(animation(*shown_frames, paint=paint))
    write_png(paths[2], np.concatenate(_as_wide(strips), axis=0))
    write_gif(paths[3], np.concatenate(_as_wide(films), axis=1))
    moving = [_smaller(scene_of(clip, beside)) for clip in lively(dataset, examples, scored)]
    moving_paint = _paint([scene.truth for scene in moving], forecaster.scaling)
    write_mp4(paths[4], comparison(moving, moving_paint), fps=FPS)
    if "ensemble" in card:
        paths += [folder / name for name in ("ensembles.png", "members.png")]
        summaries = {name: of for name, of in card["ensemble"].items() if name != "seed"}
        write_ensembles(paths[-2], summaries)
        n, seed = summaries["model"]["members"], card["ensemble"]["seed"]
        strips = []
        for clip in which:
            shown = _shown(forecaster, dataset, clip)
            drawn = drawn_for([clip], n, seed, forecaster.scaling.network_bounds)
            members = members_of(forecaster.model, shown.parts, precision, drawn)[0]
            known = np.stack([shown.known(of[None])[0] for of in members])
            strips.append(strip_of_members(shown.past[0], known, shown.truth[0], paint=paint))
        write_png(paths[-1], np.concatenate(_as_wide(strips), axis=0))
    return paths


class _Shown(NamedTuple):
    """A clip as pictures show it: in the data's units, where it has any.

    Attributes:
        parts: what a network is shown.
        past, truth: (1,T,C,H,W), NaN where a value is missing.
        scaling: of the forecaster.
    """

    parts: Parts
    past: np.ndarray
    truth: np.ndarray
    scaling: Scaling

    def known(self, forecast: Float[Tensor, "b s c h w"]) -> np.ndarray:
        """A forecast of it: NaN where the past never held a value."""
        last = self.parts.last
        return _in_units(missing_where_unseen(forecast.to(last.device), last), self.scaling)


def _shown(forecaster: Forecaster, dataset: Dataset, clip: int) -> _Shown:
    clips = next(batches(dataset, 1, among=[clip])).to(forecaster.device)
    parts = parts_of(clips, forecaster.window, inputs_of(forecaster, dataset))
    scaling = forecaster.scaling
    past = forecaster.window.split(clips)[0][:, :, : parts.last.shape[1]]
    return _Shown(parts, _in_units(past, scaling), _in_units(parts.truth, scaling), scaling)


def _smaller(scene: Scene) -> Scene:
    """With large frames shrunk, as all scenes of a film are held at once."""

    def small(frames: np.ndarray) -> np.ndarray:
        return np.stack([fit(frame, 1, LARGE) for frame in frames])

    past, truth, forecasts = scene
    return Scene(small(past), small(truth), {name: small(of) for name, of in forecasts.items()})


def _in_units(frames: Tensor, scaling: Scaling) -> np.ndarray:
    values = frames.cpu().numpy()
    return scaling.to_units(values) if scaling.units else values


def _paint(truths: Iterable[np.ndarray], scaling: Scaling) -> Paint | None:
    """A field's own colours, over the range of the truth; None for films."""
    if not scaling.units:
        return None
    known = [truth[np.isfinite(truth)] for truth in truths]
    low = min((float(values.min()) for values in known if values.size), default=scaling.low)
    high = max((float(values.max()) for values in known if values.size), default=scaling.high)
    return paint_for("auto", low, high, scaling.units)


def lively(dataset: Dataset, n: int, scored: Sequence[int]) -> list[int]:
    """`n` clips in which much moves, in their order: of each n-th part of those scored the one that
    moves most among `CANDIDATES` evenly spread ones.

    How much moves is the median, over the steps from frame to frame, of the mean squared change: so
    a cut or a flash, which is one step, does not count.
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
    """Pictures padded to the width of the widest: legends differ by some pixels where one says that
    data are missing.
    """
    widest = max(picture.shape[-2] for picture in pictures)

    def widened(picture: np.ndarray) -> np.ndarray:
        more = [(0, 0)] * (picture.ndim - 2) + [(0, widest - picture.shape[-2]), (0, 0)]
        return np.pad(picture, more, constant_values=24)

    return list(map(widened, pictures))


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _finite(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_finite(of) for of in value]
    return None if isinstance(value, float) and not isfinite(value) else value
