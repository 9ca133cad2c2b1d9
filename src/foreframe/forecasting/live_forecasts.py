"""A forecast after every frame that comes, and the errors of those before."""

from collections import deque
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from foreframe.base.notes import warn
from foreframe.clips.clip import Clip
from foreframe.forecasting.errors import LeadErrors
from foreframe.forecasting.forecast import Forecast
from foreframe.forecasting.forecast_options import PredictOptions, StreamOptions
from foreframe.forecasting.incoming import live_frames, place_of
from foreframe.forecasting.loading import open_forecaster
from foreframe.forecasting.places import places_at
from foreframe.forecasting.streaming import Stream


@dataclass(frozen=True, eq=False)
class Live:
    """A frame of a stream: the forecast after it, and the errors of earlier forecasts of it.

    Args:
        frame: its number, counted from 0.
        made: the forecast after it, with times and place; None between forecasts.
        errors: root mean squared errors of earlier forecasts of this frame, of members of their
            mean, by lead time, the shortest first. Missing values are not scored.
    """

    frame: int
    made: Forecast | None
    errors: Mapping[int, float]

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
    place, before = place_of(live, source), live.seen
    # Forecasts of which frames are still to come, and how many frames each has seen.
    pending = deque[tuple[int, np.ndarray]](maxlen=-(-live.steps // options.every))
    try:
        for past in live_frames(forecaster, source, place, options.wait, **(options.reading or {})):
            frame, made = past.frames[:][-1], None
            live.take(frame)
            live.source = place.copy()
            errors = _errors_of(frame[: live.forecaster.model.channels], live, pending)
            if live.seen % options.every == 0:
                forecast = live.forecast(like=frame)
                members = live.options.members
                pending.append((live.seen, forecast if members is None else forecast.mean(axis=0)))
                made = _with_its_past(forecast, past, live, made_by, options)
            yield Live(live.seen - 1, made, errors)
    finally:
        if options.state is not None and live.seen:
            live.save(options.state)
            warn(f"what {live.seen} frames have shown is kept in {options.state}")
    if live.seen == before:
        if not (place.get("frames") or place.get("last")):
            raise ValueError(f"{source}: no frame came")
        warn(f"{source}: no new frame came")


def _errors_of(
    frame: Num[np.ndarray, "c h w"], live: Stream, pending: deque[tuple[int, np.ndarray]]
) -> dict[int, float]:
    """Root mean squared errors of earlier forecasts of the last frame, by lead time."""
    ahead = [(live.seen - seen, forecast) for seen, forecast in reversed(pending)]
    earlier = {lead: forecast[lead - 1] for lead, forecast in ahead if lead <= live.steps}
    if not earlier:
        return {}
    forecasts, errors = np.stack(list(earlier.values())), LeadErrors(len(earlier), ["forecast"])
    errors.add("forecast", forecasts, np.where(np.isnan(forecasts), np.nan, frame))
    rmse = errors.by_lead()["forecast"]
    return {lead: error for lead, error in zip(earlier, rmse, strict=True) if isfinite(error)}


def _with_its_past(
    forecast: np.ndarray, past: Clip, live: Stream, made_by: str, options: StreamOptions
) -> Forecast:
    """The forecast after the last frame of `past`, with times and place."""
    drawn = {name: getattr(live.options, name) for name in ("members", "seed", "match")}
    written = PredictOptions(steps=live.steps, at=options.at, **drawn)
    future = live.forecaster.as_clip(forecast, past, past.times_after(live.steps))
    about = live.forecaster.scaling, made_by, written, places_at(past, options.at)
    return Forecast(past, past.without_inputs()[-1:], future, None, live.seen - 1, *about)
