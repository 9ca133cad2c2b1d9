"""A forecast after every incoming frame, the errors of earlier ones, and their files."""

import os
import re
import time
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from foreframe.base.files import also_named, exists
from foreframe.base.notes import warn
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, stamp
from foreframe.forecasting.forecast import Forecast
from foreframe.forecasting.forecast_options import PredictOptions, StreamOptions
from foreframe.forecasting.forecaster import open_forecaster
from foreframe.forecasting.incoming import (
    folder_of,
    live_frames,
    may_grow,
    note_left_out,
    place_of,
)
from foreframe.forecasting.rolling import squared_errors
from foreframe.forecasting.streaming import Stream, pace

SAVE_EVERY = 5.0  # seconds, at least, between two savings of the state
_NAME = re.compile(r"frame-\d{6,}\.(nc|npy|csv)")  # of a forecast's file
FEWEST = 2  # steps that show the pace of a source, whose first frames may have a gap


@dataclass(frozen=True, eq=False)
class Live:
    """A frame of a stream: the forecast after it, and the errors of earlier forecasts of it.

    Args:
        frame: its number, counted from 0.
        made: the forecast after it, with times and place; None between forecasts.
        errors: root mean squared errors of earlier forecasts of this frame, of members of their
            mean, by lead time, the shortest first. Missing values are not scored.
        observed: (C,H,W), the frame in the data's units, without inputs.
        anew: whether forecasts begin anew with it, at the start and after a long gap.
    """

    frame: int
    made: Forecast | None
    errors: Mapping[int, float]
    observed: np.ndarray
    anew: bool

    @property
    def forecast(self) -> np.ndarray | None:
        """(steps,C,H,W), of members (members,steps,C,H,W), in the data's units."""
        return None if self.made is None else self.made.frames


def forecast_live(what: Any, source: str, options: StreamOptions) -> Generator[Live, None, None]:
    """As `foreframe.stream`."""
    forecaster, made_by = open_forecaster(what, options.device, options.compile)
    live = forecaster.stream(options.steps or forecaster.window.future, options)
    if options.state is not None and Path(options.state).exists():
        live.restore(options.state)
        warn(f"going on after {live.seen} frames, from {options.state}")
    place, before, saved = place_of(live, source), live.seen, -inf
    # Forecasts of which frames are still to come, and how many frames each has seen.
    pending = deque[tuple[int, np.ndarray]](maxlen=-(-live.steps // options.every))
    wait = None if options.wait is None else float(options.wait)
    drawn = {name: getattr(live.options, name) for name in ("members", "seed", "match")}
    resolved = PredictOptions(steps=live.steps, **drawn)
    try:
        for past in live_frames(forecaster, source, place, wait, **(options.reading or {})):
            frame, made = past.frames[-1], None
            try:
                if not _taken(live, past, pending):
                    continue
            except ValueError as error:
                if not (live.seen and may_grow(source)):
                    raise
                note_left_out(past.name, error)
                continue
            live.source = place.copy()
            came, anew = frame[: live.forecaster.model.channels], not pending
            errors = _errors_of(came, live, pending)
            if live.seen % options.every == 0:
                made = _forecast_of(live, past, made_by, resolved)
                frames = made.frames
                pending.append((live.seen, frames if frames.ndim == 4 else frames.mean(axis=0)))
            yield Live(live.seen - 1, made, errors, came, anew)
            if options.state is not None and time.monotonic() - saved >= SAVE_EVERY:
                saved = time.monotonic()
                try:
                    live.save(options.state)
                except ValueError as error:  # a full disk may be so for an hour
                    warn(f"after {live.seen} frames the state is not saved: {error}")
    finally:
        if options.state is not None and live.seen:
            live.save(options.state)
            warn(f"what {live.seen} frames have shown is kept in {options.state}")
    if not live.seen:
        raise ValueError(f"{source}: no frame came")
    if live.seen == before:
        warn(f"{source}: no new frame came")


def _taken(live: Stream, past: Clip, pending: deque[tuple[int, np.ndarray]]) -> bool:
    """Take the last frame of `past`, and before it an outage for each frame that is missing. After
    more of these than the model looks at, the stream begins anew, for which it needs a frame with
    values.
    """
    missing, now = 0, None if past.times is None else past.times[-1]
    frame, step = past.frames[-1], pace(live, FEWEST)
    if step is not None and "time" in live.source and isinstance(now, np.datetime64):
        since: Any = now - np.datetime64(live.source["time"])
        missing = max(0, round(since / step) - 1)
    anew = missing > live.forecaster.window.past
    if (anew or not live.seen) and np.isnan(frame).all():
        warn(f"{past.name}: nothing but missing values, and nothing before them: it is left out")
        return False
    if anew:
        pending.clear()
        warn(f"{missing} frames are missing before {stamp(now)}: the forecasts begin anew")
    elif missing:
        warn(f"{plural(missing, 'frame')} missing before {stamp(now)}: taken as missing values")
        for _ in range(missing):
            live.take(np.full(frame.shape, np.nan, np.float32))
    live.take(frame, anew)
    return True


def _forecast_of(live: Stream, past: Clip, made_by: str, options: PredictOptions) -> Forecast:
    """Return the forecast after the last frame of `past`."""
    forecast = live.forecast(like=past.frames[-1])
    future = live.forecaster.as_clip(forecast, past, _times_after(past, live))
    about = live.seen - 1, live.forecaster.scaling, made_by, options
    return Forecast(past, past.without_inputs()[-1:], future, None, *about)


def _errors_of(
    frame: Num[np.ndarray, "c h w"], live: Stream, pending: deque[tuple[int, np.ndarray]]
) -> dict[int, float]:
    """Root mean squared errors of earlier forecasts of the last frame, by lead time."""
    ahead = [(live.seen - seen, forecast) for seen, forecast in reversed(pending)]
    earlier = {lead: forecast[lead - 1] for lead, forecast in ahead if lead <= live.steps}
    if not earlier:
        return {}
    forecasts = np.stack(list(earlier.values()))
    squares, n = squared_errors(forecasts, np.where(np.isnan(forecasts), np.nan, frame))
    rmse = (squares / n).sqrt().tolist()
    return {lead: error for lead, error in zip(earlier, rmse, strict=True) if isfinite(error)}


def _times_after(past: Clip, live: Stream) -> np.ndarray | None:
    """Return the times of a forecast, by the usual time step if the last step differs."""
    step, times = pace(live, FEWEST), past.times
    if step is None or times is None or times.dtype.kind != "M":
        return past.times_after(live.steps)
    if past.step is None or not step / 1.5 <= past.step <= 1.5 * step:
        return times[-1] + step * np.arange(1, live.steps + 1)
    return past.times_after(live.steps)


def check_folder(folder: Path, source: str, state: str | None) -> None:
    """Refuse a folder for forecasts that is followed itself, or has forecasts of another stream.

    Args:
        source: of the frames.
        state: file of the stream's state, which may not exist yet.
    """
    if source != "-" and folder.resolve() == folder_of(source)[0].resolve():
        raise ValueError(f"--output {folder} is the folder that is followed; name another")
    written = [path for path in folder.glob("frame-*") if _NAME.fullmatch(path.name)]
    if written and (state is None or not exists(state)):
        raise ValueError(
            f"--output {folder} has forecasts of another stream; name a new folder, or resume that "
            "stream with its --state"
        )


def write_live(forecast: Forecast, frame: int, folder: Path, keep: float | None) -> Path | None:
    """Write the forecast after frame N as frame-N and, replacing the one before, as latest: .nc
    with times and grid, .npy without dates. The date of the frame becomes the modification time of
    the file.

    Args:
        keep: hours after which older ones are removed; None keeps all.

    Returns:
        The path; None, with a note, where it cannot be written: a disk may be full for a while, and
        the stream goes on.
    """
    times = forecast.past.times
    kind = ".nc" if times is not None and times.dtype.kind in "MO" else ".npy"
    path = folder / f"frame-{frame:06d}{kind}"
    try:
        forecast.write(path)
        if times is not None and times.dtype.kind == "M":
            # By the clock, which may jump, all others would be old at once.
            seconds = (times[-1] - np.datetime64(0, "s")) / np.timedelta64(1, "s")
            os.utime(path, (seconds, seconds))
        if keep is not None:
            _remove_older(path, keep)
        also_named(path, folder / f"latest{path.suffix}")
    except (ValueError, OSError) as error:
        warn(f"the forecast after frame {frame} is not written: {error}")
        return path if path.exists() else None
    return path


def _remove_older(path: Path, keep: float) -> None:
    """Remove the forecasts beside one whose frames are more than so many hours older."""
    oldest = path.stat().st_mtime - 3600 * keep
    for other in path.parent.iterdir():
        if _NAME.fullmatch(other.name):
            with suppress(OSError):  # somebody else removes it, too
                if other.stat().st_mtime < oldest:
                    other.unlink()
