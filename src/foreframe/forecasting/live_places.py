"""What comes at places after the last frame of a stream, whose frames tell no coordinates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from foreframe.base.extras import needed
from foreframe.base.wording import in_one_line
from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.data.maps import on_map
from foreframe.forecasting.calibration import chances_of
from foreframe.forecasting.forecast import for_places
from foreframe.forecasting.forecast_options import StreamOptions
from foreframe.forecasting.hindcasts import corrected
from foreframe.forecasting.places import places_at
from foreframe.forecasting.point_forecasts import PointForecast, point_forecasts
from foreframe.forecasting.streaming import Stream


def coordinates(live: Stream) -> Mapping[str, Any]:
    """The place of a stream's frames, as `on_map` gives it; empty where nobody told.

    Raises:
        ValueError: a map projection that PROJ does not know; pyproj is not installed.
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


def points_after(
    live: Stream, at: Sequence[str], probability: float | None = None
) -> list[PointForecast]:
    """The forecast at places from the frames so far, with members where the model draws some.

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
    last = live.last
    step, time = f.trained.step, live.source.get("time")
    times = np.array([time], "datetime64[ns]") if time and step else None
    past = Clip(last[None], times, f.scaling.units, **coordinates(live))
    ahead = None
    if times is not None:
        ahead = times[-1] + np.timedelta64(step, "s") * np.arange(1, live.steps + 1)
    places = places_at(past, at)
    future = f.as_clip(other.forecast(like=last), past, ahead)
    threshold, known, chances = options.probability, f.calibration, None
    if known is not None and threshold is not None and isinstance(future, Ensemble):
        shares = chances_of(future.frames, threshold, known.blur)
        chances = corrected(known, shares, threshold, [])
    return point_forecasts(places, past, future, None, threshold, chances)
