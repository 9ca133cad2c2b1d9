"""`foreframe.anomalies` and `foreframe.watch`."""

import os
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from foreframe.addons.anomalies.anomaly_options import AnomalyOptions
from foreframe.api import Run, takes
from foreframe.forecasting.forecast_options import changed

if TYPE_CHECKING:
    from foreframe.addons.anomalies.anomaly_files import Anomalies
    from foreframe.addons.anomalies.watching import Event
    from foreframe.forecasting.forecaster import Forecaster


@takes(AnomalyOptions)
def anomalies(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    options: AnomalyOptions | None = None,
    *,
    weights: "Forecaster | Run | str | os.PathLike[str]" = "scenes",
    progress: Callable[[int, int], Any] = lambda done, total: None,
    **changes: Any,
) -> "Anomalies":
    """Find what is unusual in a recording, as `foreframe anomalies` does.

        print(foreframe.anomalies("film.mp4", "unusual.png", weights="dense_motion"))

    Args:
        source: a film or other file of one recording, or a folder of pictures.
        output: .csv, .json, .png or .mp4 to write; by default none.
        options, changes: the fields of `AnomalyOptions` by name, or an object that they change.
        weights: what forecasts: a run, a forecaster, or what `Forecaster.load` takes.
        progress: called with the number of frames seen and the total.

    Raises:
        ValueError: errors of loading, reading, forecasting and writing; too little normal footage.
    """
    options = changed(options or AnomalyOptions(), changes)
    from foreframe.addons.anomalies.anomaly_files import find_anomalies

    return find_anomalies(weights, os.fspath(source), output, options, progress)


@takes(AnomalyOptions)
def watch(
    source: str,
    options: AnomalyOptions | None = None,
    *,
    weights: "Forecaster | Run | str | os.PathLike[str]" = "scenes",
    **changes: Any,
) -> Generator["Event", None, None]:
    """Events of a live recording, each when it is over, as `foreframe anomalies` prints them.

        for event in foreframe.watch("film.mp4", normal="film.mp4", weights="dense_motion"):
            print(event.first, event.y, event.x)

    Args:
        source: a camera (rtsp://...), a folder that grows, "-", a film on standard input; or a
            file, as if it came now.
        options, changes, weights: as of `anomalies`.

    Raises:
        ValueError: as `anomalies`.
    """
    options = changed(options or AnomalyOptions(), changes)
    from foreframe.addons.anomalies.watching import Event, watched
    from foreframe.forecasting.forecaster import open_forecaster

    forecaster, _ = open_forecaster(weights, options.device, options.compile)
    yield from (one for one in watched(forecaster, source, options) if isinstance(one, Event))
