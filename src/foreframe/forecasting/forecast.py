"""The forecast of a recording as an object that prints, shows and writes itself."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foreframe import __version__
from foreframe.base.notes import warn
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.clips.data_options import GUIDE, LAST
from foreframe.clips.ensembles import Ensemble
from foreframe.clips.scaling import Scaling
from foreframe.data.cuts import since_cut
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.outputs import write_forecast, write_place
from foreframe.forecasting.places import Place, place_at
from foreframe.visuals import Paint, paint_for

ALIKE = 1e-3  # of a model's range: smaller differences are none


@dataclass(frozen=True, eq=False)
class Forecast:
    """A forecast of a recording.

    Args:
        clip: the recording.
        past: the frames seen, in the data's units.
        future: the forecast in the same units, an `Ensemble` if it has members.
        truth: the frames that followed, one for each lead time, NaN beyond the recording's end;
            None without later frames.
        last: number of the last frame seen.
        scaling: the forecaster's.
        made_by: the forecaster's name, for files.
        options: options of the forecast, all resolved.
        notes: notes for the user.
    """

    clip: Clip
    past: Clip
    future: Clip | Ensemble
    truth: Clip | None
    last: int
    scaling: Scaling
    made_by: str
    options: PredictOptions
    notes: tuple[str, ...] = ()

    @property
    def place(self) -> Place | None:
        """The place of `options.at`; None for whole frames."""
        return None if self.options.at is None else place_at(self.clip, self.options.at)

    @property
    def frames(self) -> np.ndarray:
        """(steps,C,H,W), or (members,steps,C,H,W), in the data's units."""
        return np.asarray(self.future.frames)

    def __repr__(self) -> str:
        steps = self.options.steps
        units = self.clip.units or self.scaling.units
        text = f"{in_words(self.options, units)} that {'follows' if steps == 1 else 'follow'} "
        return text + f"frame {self.last} of {self.clip.name or 'the recording'}"

    def _repr_png_(self) -> bytes:
        return self.to_bytes(".png")

    def to_bytes(self, ending: str) -> bytes:
        """The content of the file that `write` makes for this ending, such as ".mp4"; not for
        folders.

        Raises:
            ValueError: an unknown ending, or one of a folder.
        """
        if ending in ("", ".zarr"):
            raise ValueError("folders are written to a path; choose another ending")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"forecast{ending}"
            self.write(path)
            return path.read_bytes()

    def write(self, path: str | Path) -> None:
        """Write a file of the kind of its ending: `write_place` if the options name a place, else
        `write_forecast`.

        Raises:
            ValueError: unknown ending, or the file cannot be written; no partial file stays.
        """
        options, paint = self.options, None
        past, future, truth = self.past, self.future, self.truth
        if options.probability is not None and isinstance(future, Ensemble):
            units = self.clip.units or self.scaling.units
            paint = paint_of_probability(options, units)
            past, future, truth = reaching(options.probability, past, future, truth)
        if (place := self.place) is not None:
            write_place(path, past, future, place, truth)
            return
        colours, fps = options.colours, options.fps
        attributes = history(self.made_by, options)
        write_forecast(path, past, future, self.scaling, truth, colours, fps, attributes, paint)


def forecast_recording(
    forecaster: Forecaster, clip: Clip, made_by: str, options: PredictOptions
) -> Forecast:
    """Forecast from a single frame of a recording on.

    Args:
        options: with steps, past and tile resolved to numbers.

    Raises:
        ValueError: no such frame or place; errors of `Forecaster.predict`.
    """
    if options.at is not None:
        place_at(clip, options.at)  # refuse a wrong place before computing anything
    last = len(clip) - 1 if options.after is None else options.after
    if not 0 <= last < len(clip):
        raise ValueError(f"after {last}: {clip.name} has frames 0 to {len(clip) - 1}")
    seen = options.past
    if clip.pictures and (options.reading or {}).get("cuts") is None:
        seen = _within_scene(clip, last, seen)
    past, future = forecaster.forecast_from(clip, last + 1, options.steps, seen, options)
    some = future[0] if isinstance(future, Ensemble) else future
    truth = clip.truth_of(last + 1, some) if last + 1 < len(clip) else None
    _note_alike(forecaster.scaling, future)
    return Forecast(clip, past, future, truth, last, forecaster.scaling, made_by, options)


def _within_scene(clip: Clip, last: int, seen: int) -> int:
    """The number of past frames to use, cut at a recent change of the scene."""
    since = since_cut(clip.frames, last + 1, seen)
    if since >= min(seen, last + 1):
        return seen
    warn(
        f"{clip.name}: another scene begins at frame {last + 1 - since}, and nothing before it is "
        "looked at; --reading.cuts false looks across"
    )
    return since


def _note_alike(scaling: Scaling, future: Clip | Ensemble) -> None:
    """Warn if all members are equal: the noise of a model may have no effect."""
    if not isinstance(future, Ensemble) or len(future) == 1:
        return
    first, *others = future.frames
    little = ALIKE * (scaling.high - scaling.low)
    if all(np.allclose(first, other, rtol=0, atol=little, equal_nan=True) for other in others):
        warn(
            f"all {len(future)} members are alike here; a model learns to tell them apart by "
            "--loss crps, from --config quick"
        )


def reaching(
    threshold: float, past: Clip, members: Ensemble, truth: Clip | None
) -> tuple[Clip, Clip, Clip | None]:
    """Past, forecast probability and truth of values that reach a threshold; past and truth are 0
    or 1.
    """
    came = None if truth is None else Ensemble([truth]).probability(threshold)
    return Ensemble([past]).probability(threshold), members.probability(threshold), came


def paint_of_probability(options: PredictOptions, units: str) -> Paint | None:
    """Colours from 0 to 1 with the threshold as heading; None for other forecasts."""
    if options.probability is None:
        return None
    value = _with_units(options.probability, units)
    paint = paint_for(options.colours, 0, 1, "1")
    return replace(paint, heading=(value, "or more,", "probability"))


def _with_units(threshold: float | None, units: str) -> str:
    return f"{threshold:g} {units}".rstrip()


def in_words(options: PredictOptions, units: str) -> str:
    """A short description, such as "3 frames of 8 members"."""
    frames = plural(options.steps, "frame")
    if options.members is None:
        return frames
    members = plural(options.members, "member")
    if options.probability is None:
        return f"{frames} of {members}"
    value = _with_units(options.probability, units)
    return f"{frames} of probabilities ({value} or more, by {members})"


def history(made_by: str, options: PredictOptions) -> dict[str, str]:
    """Attributes of a file that name the origin of the forecast."""
    members = options.members
    drawn = "" if members is None else f", {plural(members, 'member')} of seed {options.seed}"
    matched = {LAST: ", matched to the last frame", GUIDE: ", matched to its guide"}
    matched_to = matched.get(options.match or "", "")
    return {"history": f"foreframe {__version__}: forecast from {made_by}{drawn}{matched_to}"}


def remarks(forecaster: Forecaster, clip: Clip, options: PredictOptions) -> Iterable[str]:
    """Differences from training: frames of another size, tiles, a shorter past."""
    h, w = clip.frames.shape[2:]
    trained = forecaster.trained.frame
    if forecaster.model.reduces and trained is not None and tuple(trained) != (h, w):
        yield (
            f"frames are forecast as large as they are, {h}x{w}; the run was trained and is scored "
            f"at {trained[0]}x{trained[1]} (--reading.size)"
        )
    if 0 < (options.tile or 0) < max(h, w):
        yield f"frames of {h}x{w} are forecast in tiles of {options.tile} pixels"
    last = len(clip) - 1 if options.after is None else options.after
    n = len(clip) if options.every else last + 1
    if 0 < n < options.past:
        fewer = f"{plural(n, 'frame')} {'is' if n == 1 else 'are'} fewer"
        yield f"{fewer} than the {options.past} to look at"
