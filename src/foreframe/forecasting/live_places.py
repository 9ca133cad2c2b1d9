"""Forecasts at places from a stream, whose frames have no coordinates or times of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from foreframe.base.extras import needed
from foreframe.base.wording import in_one_line
from foreframe.clips.clip import Clip
from foreframe.data.maps import on_map
from foreframe.forecasting.forecast import for_places
from foreframe.forecasting.forecast_options import StreamOptions
from foreframe.forecasting.hindcasts import LiveHindcasts
from foreframe.forecasting.places import places_at
from foreframe.forecasting.point_forecasts import PointForecast, point_forecasts
from foreframe.forecasting.recordings import doubts
from foreframe.forecasting.streaming import Stream, note_time, pace


def coordinates(live: Stream) -> Mapping[str, Any]:
    """The place of a stream's frames, as `on_map` returns it; empty for a stream without a grid.

    Raises:
        ValueError: PROJ does not know the map projection; pyproj is not installed.
    """
    grid = live.source.get("map")
    if grid is None:
        return {}
    pyproj = needed("pyproj", "radar", "a grid")
    with in_one_line(f"crs {grid['crs']} is not known"):
        crs = pyproj.CRS(grid["crs"])
    x, y = (np.asarray(grid[axis], np.float64) for axis in "xy")
    if crs.is_geographic and not (np.abs(y) <= 90).all():
        raise ValueError("a grid in degrees has y from -90 to 90; of another map give its crs")
    return on_map(crs, x, y)


def date(live: Stream, frames: int, time: str | None) -> None:
    """Note the time of the last of the next frames of a stream. Frames without a time keep the pace
    of the stream.

    Raises:
        ValueError: the time is not later than the one before.
    """
    source = live.source
    since = source.get("undated", 0) + frames
    source["undated"] = since if time is None else 0
    if time is not None:
        if "time" in source and np.datetime64(time) <= np.datetime64(source["time"]):
            raise ValueError(f"a frame of {time}, not later than {source['time']}")
        note_time(source, np.datetime64(time), since)


def _last_two_times(live: Stream) -> np.ndarray | None:
    """The times of the last two frames, at the pace of the stream, or at that of training before
    two frames had a time; None without a time or a pace.
    """
    step = pace(live, 1)
    if "time" not in live.source or step is None:
        return None
    now = np.datetime64(live.source["time"], "us") + step * live.source.get("undated", 0)
    return np.array([now - step, now])


def points_after(
    live: Stream, at: Sequence[str], probability: float | None = None
) -> tuple[list[PointForecast], list[str]]:
    """The forecast at places from the frames so far, with members if the model draws some, and
    notes on what it assumes of the frames.

    Args:
        at: as of `places_at`.
        probability: the threshold; by default 0.2 mm/h of rain.

    Raises:
        ValueError: before the first frame; as `places_at`; a grid of another size than frames.
    """
    f, drawn = live.forecaster, live.options.members
    options = for_places(f, StreamOptions(at=at, probability=probability, members=drawn))
    other = live.fork()
    other.options = replace(live.options, members=options.members)
    last = now = live.last
    if live.age is not None:
        now = np.where(live.age[0, : len(last)].cpu() > 0, np.float32(np.nan), last)
    # Two frames, since they tell the time step.
    past = Clip(np.stack([last, now]), _last_two_times(live), f.scaling.units, **coordinates(live))
    places = places_at(past, at)
    future = f.as_clip(other.forecast(like=last), past, past.times_after(live.steps))
    known = f.calibration if options.members else None
    hindcasts = LiveHindcasts(known, options.probability, live.steps)
    chances = hindcasts.correct(np.asarray(future.frames))
    notes = doubts(f, past if live.source.get("steps") else past[-1:])
    return point_forecasts(places, past, future, None, options.probability, chances), notes
