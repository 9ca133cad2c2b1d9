"""The forecast of a recording as an object that prints, shows and writes itself."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foreframe import __version__
from foreframe.base.notes import listening, warn
from foreframe.base.progress import Progress, silent
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.clips.scaling import Scaling
from foreframe.data.cf import forecast_dataset
from foreframe.data.cuts import next_cut, since_cut
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.matches import match_of
from foreframe.forecasting.outputs import (
    VALUES,
    check_output,
    paint_of,
    slow_fps,
    write_moving,
    write_picture,
    write_values,
)
from foreframe.visuals import Paint


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
    def first(self) -> int:
        """Number of the first forecast frame."""
        return self.last + 1

    @property
    def frames(self) -> np.ndarray:
        """(steps,C,H,W), or (members,steps,C,H,W), in the data's units."""
        return np.asarray(self.future.frames)

    def __repr__(self) -> str:
        text = summary(self.options)
        follow = "follows" if self.options.steps == 1 else "follow"
        return f"{text} that {follow} frame {self.last} of {self.clip.name or 'the recording'}"

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

    def to_dataset(self) -> Any:
        """An xarray Dataset (start, lead, [channel,] y, x), of members (start, realization, lead,
        ...), of one start.
        """
        return forecast_dataset(self.future, history(self.made_by, self.options))

    def write(self, path: str | Path, progress: Progress = silent) -> None:
        """Write it by the ending of `path`: .mp4 and .gif play the past and then the forecast; .png
        lays them side by side; a name without ending becomes a folder of numbered pictures; .npy,
        .npz, .nc and .zarr hold the forecast alone, the last three with its times, units and
        coordinates. The truth is shown, too. Films of members show the mean and some members, a
        .png also the spread; other files have all members.

        Args:
            progress: called with the number of forecasts written and the total, as for several.

        Raises:
            ValueError: unknown ending or colours, or the file cannot be written; no partial file
                stays.
        """
        options, past, future, truth = self.options, self.past, self.future, self.truth
        kind = check_output(path)
        if kind in VALUES:
            write_values(path, future, history(self.made_by, options))
        elif kind == ".png":
            write_picture(path, past, future, truth, self._paint())
        else:
            rate = options.fps or slow_fps(past)
            held = 0 if options.fps or not kind else round(rate)  # the last frame, for a second
            write_moving(path, [(past, future, truth)], self._paint(), rate, held)
        progress(1, 1)

    def _paint(self) -> Paint:
        """Return the colours over the range of the frames shown."""
        options, past, future, truth = self.options, self.past, self.future, self.truth
        # A range with outlying members would show all other values in one colour.
        mean = future.mean() if isinstance(future, Ensemble) else future
        shown = (past, mean) if truth is None else (past, mean, truth)
        frames = (np.asarray(clip.frames) for clip in shown)
        return paint_of(options.colours, self.scaling.of(past.frames.dtype), mean.units, frames)


def forecast_recording(
    forecaster: Forecaster,
    clip: Clip,
    made_by: str,
    options: PredictOptions,
) -> Forecast:
    """Forecast from a single frame of a recording on.

    Args:
        options: with steps, past and tile resolved to numbers.

    Raises:
        ValueError: no such frame; errors of `Forecaster.predict`.
    """
    last = starts_of(clip, options)[0] - 1
    seen, end = options.past, len(clip)
    if clip.pictures and (options.reading or {}).get("cuts") is None:
        seen = since_cut(clip.frames, last + 1, options.past)
        if seen < min(options.past, last + 1):
            warn(
                f"{clip.name}: another scene begins at frame {last + 1 - seen}, and nothing before "
                "it is looked at; --reading.cuts false looks across"
            )
        end = next_cut(clip.frames, last + 1, options.steps)
        if end < min(last + 1 + options.steps, len(clip)):
            warn(f"{clip.name}: another scene begins at frame {end}, and ends the truth")
    past, future = forecaster.forecast_from(clip, last + 1, options.steps, seen, options)
    some = future[0] if isinstance(future, Ensemble) else future
    truth = clip.truth_of(last + 1, some, end) if last + 1 < end else None
    return Forecast(clip, past, future, truth, last, forecaster.scaling, made_by, options)


def on_source_grid(made: Forecast, forecaster: Forecaster, source: Any) -> Forecast:
    """Return a forecast with each value at all pixels of the source that it is the mean of.

    Raises:
        ValueError: as `Forecaster.open`.
    """
    reading = {**(made.options.reading or {}), "coarsen": 1}
    with listening(lambda note: None):  # the notes of the forecast are enough
        fine = forecaster.open(source, made.options.recording, **reading)
    sides = zip(fine.frames.shape[2:], made.clip.frames.shape[2:], strict=True)
    # Incomplete blocks, which no value stands for, have the nearest.
    rows, columns = (np.minimum(np.arange(n) // (n // m), m - 1) for n, m in sides)

    def finer(clip: Clip) -> Clip:
        frames = np.asarray(clip.frames[:])[..., rows[:, None], columns]
        return replace(clip, frames=frames, coordinates=fine.coordinates)

    some, truth = made.future, made.truth
    future = Ensemble([*map(finer, some)]) if isinstance(some, Ensemble) else finer(some)
    return replace(made, past=finer(made.past), future=future, truth=truth and finer(truth))


def starts_of(clip: Clip, options: PredictOptions) -> range:
    """The first frame of each forecast of a recording: of one, or with `every` of those after every
    so many frames, from the first that has a whole past before it.

    Raises:
        ValueError: no such frame.
    """
    n = len(clip)
    if options.every:
        return range(min(options.past, n), n + 1, options.every)
    last = last_seen(clip) if options.after is None else options.after
    if not 0 <= last < n:
        raise ValueError(f"after {last}: {clip.name} has frames 0 to {n - 1}")
    return range(last + 1, last + 2)


def last_seen(clip: Clip) -> int:
    """The number of the last frame that has values; a note says where others come after it."""
    n, values = len(clip) - 1, clip.without_inputs().frames
    backwards = range(n, -1, -1) if values.dtype.kind == "f" else [n]
    last = next((k for k in backwards if np.isfinite(values[k : k + 1]).any()), n)
    if last < n:
        warn(f"{clip.name}: no value after frame {last} of {n}: the forecast begins there")
    return last


def resolved(forecaster: Forecaster, clip: Clip, options: PredictOptions) -> PredictOptions:
    """Return checked options with the forecaster's steps and past, and tiles, where they leave
    these open.
    """
    window = forecaster.window
    steps, past = options.steps or window.future, options.past or window.past
    tile = forecaster.choose_tile((past, *clip.frames.shape[1:]), steps, options)
    return replace(options, steps=steps, past=past, tile=tile)


def summary(options: PredictOptions) -> str:
    """A short description, such as "3 frames of 8 members"."""
    frames = plural(options.steps, "frame")
    if options.members is None:
        return frames
    return f"{frames} of {plural(options.members, 'member')}"


def history(made_by: str, options: PredictOptions) -> dict[str, str]:
    """Attributes of a file that name the origin of the forecast."""
    members = options.members
    drawn = "" if members is None else f", {plural(members, 'member')} of seed {options.seed}"
    about = match_of(options.match).about
    matched = f", {about}" if about else ""
    return {"history": f"foreframe {__version__}: forecast from {made_by}{drawn}{matched}"}


def warn_of_differences(made: Any) -> None:
    """Note how a forecast, or rolling ones, differ from training: tiles, a shorter past."""
    options, n, (h, w) = made.options, made.first, made.clip.frames.shape[2:]
    if 0 < (options.tile or 0) < max(h, w):
        warn(f"frames of {h}x{w} are forecast in tiles of {options.tile} pixels")
    if 0 < n < options.past:
        fewer = f"{plural(n, 'frame')} {'is' if n == 1 else 'are'} fewer"
        worse = "no motion is seen" if n == 1 else "it forecasts worse"
        warn(f"{fewer} than the {options.past} of training: {worse}")
