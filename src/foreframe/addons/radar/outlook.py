"""`foreframe.outlook` and `foreframe.outlooks`: forecasts at locations, and the probability that a
threshold is reached there or on a map.
"""

import os
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from foreframe.addons.radar.amounts import Amounts, amounts_of, steps_within
from foreframe.addons.radar.areas import Area, areas_in
from foreframe.addons.radar.calibration import (
    Chances,
    LiveHindcasts,
    calibrated_chances,
    calibration_of,
)
from foreframe.addons.radar.outlook_options import OutlookOptions
from foreframe.addons.radar.places import Place, places_at
from foreframe.addons.radar.point_forecasts import (
    POINT_FILES,
    PointForecast,
    point_forecasts,
    write_point_forecasts,
)
from foreframe.api import Run, takes
from foreframe.base.files import check_writable, matching
from foreframe.base.schema import parameters
from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.forecasting.forecast import (
    Forecast,
    forecast_recording,
    resolved,
    warn_of_differences,
)
from foreframe.forecasting.forecast_options import StreamOptions, changed
from foreframe.forecasting.forecaster import Forecaster, open_forecaster
from foreframe.forecasting.live_forecasts import forecast_live
from foreframe.forecasting.network import ScaledNetwork
from foreframe.forecasting.outputs import check_output
from foreframe.forecasting.recordings import RAIN
from foreframe.visuals import Paint, paint_for

WET = 0.2  # mm/h, the default threshold of rain at locations
MEMBERS = 16  # the default at locations


@takes(OutlookOptions)
def outlook(
    what: Forecaster | Run | str | os.PathLike[str],
    source: Any,
    output: str | os.PathLike[str] | None = None,
    options: OutlookOptions | None = None,
    **changes: Any,
) -> "Outlook":
    """Forecast at locations, or probabilities on a map, as `foreframe outlook` does.

        print(foreframe.outlook("radar", "rain.nc", at="47.38,8.54").points[0].sentence())

    Args:
        what: a run, a forecaster, or an argument of `Forecaster.load`.
        source: a recording, or several, as in `foreframe.predict`.
        output: a file to write; by default none.
        options, changes: the fields of `OutlookOptions` by name, or an object that they change.

    Raises:
        ValueError: errors of loading, opening, forecasting and writing; no such location.
    """
    options = changed(options or OutlookOptions(), changes)
    options.check_target()
    if options.every or options.wait is not None:
        raise ValueError("every and wait are for live input: use `foreframe.outlooks`")
    if output is not None:
        check_outlook_file(Path(output), options.local, options.sum is not None)
    forecaster, made_by = open_forecaster(what, options.device, options.compile)
    options = with_defaults(forecaster, options)
    clip = forecaster.open(matching(source), options.recording, **(options.reading or {}))
    resolved_options = resolved(forecaster, clip, forecaster.options(options))
    places = _targets(clip, options)  # before anything is computed
    summed = steps_within(clip, options.sum, resolved_options.steps, forecaster.scaling.units)
    made = forecast_recording(forecaster, clip, made_by, resolved_options)
    known = calibration_of(forecaster) if options.calibrated else None
    chances = calibrated_chances(known, forecaster, made, options.probability)
    warn_of_differences(made)
    amounts = amounts_of(made.future, options.sum, summed, known)
    found = Outlook(made, places, options.probability, chances, amounts)
    if output is not None:
        found.write(Path(output))
    return found


@takes(OutlookOptions)
def outlooks(
    what: Forecaster | Run | str | os.PathLike[str],
    source: str,
    options: OutlookOptions | None = None,
    **changes: Any,
) -> Generator["Outlook", None, None]:
    """Yield the outlook after every frame of a live input, as `foreframe outlook --wait` prints it.

        for outlook in foreframe.outlooks("radar", "rain.nc", at="47.38,8.54", every=6):
            print(outlook.points[0].sentence())

    Args:
        what, options, changes: as in `outlook`.
        source: as in `foreframe.stream`.

    Raises:
        ValueError: as `outlook`.
    """
    options = changed(options or OutlookOptions(), changes)
    options.check_target()
    forecaster, _ = open_forecaster(what, options.device, options.compile)
    options = with_defaults(forecaster, options)
    shared = {*parameters(StreamOptions)} & {*parameters(OutlookOptions)}
    how = {name: getattr(options, name) for name in shared} | {"every": options.every or 1}
    known = calibration_of(forecaster) if options.members and options.calibrated else None
    steps, units = options.steps or forecaster.window.future, forecaster.scaling.units
    places: tuple[Place | Area, ...] | None = None  # all frames are on one grid
    for live in forecast_live(forecaster, source, StreamOptions(**how)):
        if live.anew:
            hindcasts = LiveHindcasts(known, options.probability, steps)
        hindcasts.see(live.frame + 1, live.observed)
        if live.made is not None:
            if places is None:
                places = _targets(live.made.clip, options)
            chances = hindcasts.correct(live.made.frames)
            past, minutes = live.made.clip, options.sum
            # The first frame shows no time step.
            summed = steps_within(past, minutes, steps, units) if len(past) > 1 else 0
            amounts = amounts_of(live.made.future, minutes, summed, known)
            if minutes is not None and not (amounts or places):
                continue
            yield Outlook(live.made, places, options.probability, chances, amounts)


@dataclass(frozen=True, eq=False)
class Outlook:
    """Forecast at locations and probabilities after the last frame of a recording.

    Args:
        forecast: the forecast of whole frames.
        places: the locations; none for a map.
        threshold: in the data's units; None without probabilities.
        chances: calibrated probabilities of the threshold; None for the share of members.
        amounts: the rain of the next minutes; None if not asked for.
    """

    forecast: Forecast
    places: tuple[Place | Area, ...]
    threshold: float | None
    chances: Chances | None
    amounts: Amounts | None = None

    @cached_property
    def points(self) -> list[PointForecast]:
        """The outlook at each location."""
        made = self.forecast
        about = made.past, made.future, made.truth, self.threshold, self.chances, self.amounts
        return point_forecasts(self.places, *about)

    @cached_property
    def map(self) -> Forecast:
        """The probability at each pixel, with past and truth as 0 or 1; or the amounts.

        Raises:
            ValueError: a forecast without members.
        """
        made, threshold = self.forecast, self.threshold
        if self.amounts is not None:
            some = made.future[0] if isinstance(made.future, Ensemble) else made.future
            options = replace(made.options, steps=self.amounts.steps)
            return replace(made, future=self.amounts.as_clip(some), options=options)
        if threshold is None or not isinstance(made.future, Ensemble):
            raise ValueError("a map of probabilities needs members and a threshold")
        future = made.future.probability(threshold)
        if self.chances is not None:
            future = replace(future, frames=self.chances.at)
        fields = {name: getattr(made, name) for name in parameters(Forecast)} | {"future": future}
        for name in ("past", "truth"):
            if fields[name] is not None:
                fields[name] = Ensemble([fields[name]]).probability(threshold)
        return ProbabilityMap(threshold=threshold, **fields)

    def write(self, path: str | Path) -> None:
        """Write locations as .csv, .json or .geojson, or a map as `Forecast.write` does.

        Raises:
            ValueError: an unknown ending, or the file cannot be written; no partial file stays.
        """
        check_outlook_file(path, bool(self.places), self.amounts is not None)
        if self.places:
            write_point_forecasts(Path(path), self.points)
        else:
            self.map.write(path)

    def __str__(self) -> str:
        if self.places:
            return "\n\n".join(map(str, self.points))
        return repr(self.map) if self.amounts is None else f"sum of {self.map!r}"

    def config(self) -> dict[str, Any]:
        """Return plain values for a line of JSON: the last frame and the outlook at each place."""
        places = [
            {"name": one.place.name, **one.outlook(), "sentence": one.sentence()}
            for one in self.points
        ]
        return {"frame": self.forecast.last, "places": places}


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbabilityMap(Forecast):
    """Probabilities as a forecast, with the same files and pictures.

    Args:
        threshold: in the data's units.
    """

    threshold: float

    @property
    def _value(self) -> str:
        return f"{self.threshold:g} {self.clip.units or self.scaling.units}".rstrip()

    def __repr__(self) -> str:
        options = self.options
        by = f"of probabilities ({self._value} or more, by {options.members} members)"
        return f"{options.steps} frames {by} that follow frame {self.last} of {self.clip.name}"

    def _paint(self) -> Paint:
        """Colours from 0 to 1 with the threshold as heading."""
        paint = paint_for(self.options.colours, 0, 1, "1")
        return replace(paint, heading=(self._value, "or more,", "probability"))


def _targets(clip: Clip, options: OutlookOptions) -> tuple[Place | Area, ...]:
    return (*places_at(clip, options.at, files=True), *areas_in(clip, options.area, files=True))


def with_defaults(forecaster: Forecaster, options: OutlookOptions) -> OutlookOptions:
    """Return the options; at locations and for sums with members, and for rain at locations with a
    threshold.
    """
    if not options.local and options.sum is None:
        return options
    members, threshold = defaults_at(forecaster, options.members, options.probability, options.sum)
    return replace(options, members=members, probability=threshold if options.local else None)


def defaults_at(
    forecaster: ScaledNetwork, members: int | None, threshold: float | None, minutes: int | None
) -> tuple[int | None, float | None]:
    """Return the number of members and the threshold at locations, with their defaults."""
    rain = forecaster.scaling.units == RAIN and forecaster.model.channels in (None, 1)
    rain |= minutes is not None  # sums are of rain, also by a baseline without units
    return (
        members or (MEMBERS if forecaster.model.draws else None),
        WET if threshold is None and rain else threshold,
    )


def check_outlook_file(path: str | Path, of_places: bool, of_sums: bool) -> None:
    """Check that a file can be written, before anything is computed.

    Raises:
        ValueError: an unsuitable ending; a folder that cannot be written to.
    """
    if not of_places:
        if check_output(path) not in (".nc", ".zarr") and of_sums:
            raise ValueError(f"output {path}: a map of sums is written as .nc or .zarr")
        return
    if Path(path).suffix not in POINT_FILES:
        files = ", ".join(POINT_FILES)
        raise ValueError(f"output {path}: locations, --at, are written as {files}")
    check_writable(Path(path).parent)
