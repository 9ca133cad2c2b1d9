"""Forecasts at places from a stream, whose frames have no coordinates or times of their own."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from foreframe.addons.radar.amounts import amounts_of, steps_within
from foreframe.addons.radar.areas import Area, areas_in
from foreframe.addons.radar.calibration import LiveHindcasts, calibration_of
from foreframe.addons.radar.outlook import defaults_at
from foreframe.addons.radar.places import Place, places_at
from foreframe.addons.radar.point_forecasts import point_forecasts
from foreframe.clips.clip import Clip
from foreframe.forecasting.recordings import doubts
from foreframe.forecasting.streaming import Stream, coordinates, pace

# A service asks again and again, and reading a calibration takes a digest of all weights.
_known = lru_cache(maxsize=32)(calibration_of)


def points_after(
    live: Stream,
    at: Sequence[str],
    area: Sequence[str],
    probability: float | None = None,
    minutes: int | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the forecast at places and in areas after the frames of a stream, as plain values,
    with members if the model draws them, and notes about assumptions.

    Args:
        at: as in `places_at`.
        area: as in `areas_in`.
        probability: the threshold; by default 0.2 mm/h of rain.
        minutes: as `sum` of `outlook`; None without.

    Raises:
        ValueError: before the first frame; as `places_at`, `areas_in` and `steps_within`; a grid
            and frames of unequal sizes.
    """
    f = live.forecaster
    members, threshold = defaults_at(f, live.options.members, probability, minutes)
    other = live.fork()
    other.options = replace(live.options, members=members)
    last = now = live.last
    if live.age is not None:
        now = np.where(live.age[0, : len(last)].cpu() > 0, np.float32(np.nan), last)
    # Two frames, since they show the time step.
    past = Clip(np.stack([last, now]), _last_two_times(live), f.scaling.units, **coordinates(live))
    places: list[Place | Area] = [*places_at(past, at), *areas_in(past, area)]
    summed = steps_within(past, minutes, live.steps, f.scaling.units)
    future = f.as_clip(other.forecast(like=last), past, past.times_after(live.steps))
    known = _known(f) if members else None
    hindcasts = LiveHindcasts(known, threshold, live.steps)
    chances = hindcasts.correct(np.asarray(future.frames))
    notes = doubts(f, past if live.source.get("steps") else past[-1:])
    amounts = amounts_of(future, minutes, summed, known)
    points = point_forecasts(places, past, future, None, threshold, chances, amounts)
    return [one.config() for one in points], notes


def _last_two_times(live: Stream) -> np.ndarray | None:
    """Return the times of the last two frames, at the pace of the stream, or of training before two
    frames have times; None without a time or a pace.
    """
    step = pace(live, 1)
    if "time" not in live.source or step is None:
        return None
    now = np.datetime64(live.source["time"], "us") + step * live.source.get("undated", 0)
    return np.array([now - step, now])
