"""`foreframe.anomalies` and `foreframe.watch`."""

import os
from collections.abc import Callable, Generator
from pathlib import Path
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
        weights: a run, a forecaster, or an argument of `Forecaster.load`.
        progress: called with the number of frames seen, or written to a film, and the total.

    Raises:
        ValueError: errors of loading, reading, forecasting and writing; too little normal footage.
    """
    options = changed(options or AnomalyOptions(), changes)
    from foreframe.addons.anomalies.anomaly_files import Anomalies, check_anomaly_file
    from foreframe.addons.anomalies.watching import Event, FrameScore, watched
    from foreframe.forecasting.forecaster import open_forecaster
    from foreframe.forecasting.incoming import is_live

    source = os.fspath(source)
    if output is not None:
        check_anomaly_file(Path(output))
    if is_live(source) and not Path(source).is_dir():
        raise ValueError(f"{source} is live: `foreframe.watch` yields its events")
    forecaster, _ = open_forecaster(weights, options.device, options.compile)
    clip = forecaster.open(source, **(options.reading or {}))
    normal, each = watched(forecaster, clip, options, progress)
    parts = [*each]
    frames = tuple(part for part in parts if isinstance(part, FrameScore))
    events = tuple(part for part in parts if isinstance(part, Event))
    found = Anomalies(clip, frames, events, normal)
    if output is not None:
        found.write(Path(output), progress)
    return found


@takes(AnomalyOptions)
def watch(
    source: str,
    options: AnomalyOptions | None = None,
    *,
    weights: "Forecaster | Run | str | os.PathLike[str]" = "scenes",
    **changes: Any,
) -> Generator["Event", None, None]:
    """Yield the events of a live recording, each after its end, as `foreframe anomalies` prints
    them.

        for event in foreframe.watch("film.mp4", normal="film.mp4", weights="dense_motion"):
            print(event.first, event.y, event.x)

    Args:
        source: a camera (rtsp://...), a folder that grows, "-" for a film on standard input, or a
            file, which is read as if it were live.
        options, changes, weights: as in `anomalies`.

    Raises:
        ValueError: as `anomalies`.
    """
    options = changed(options or AnomalyOptions(), changes)
    from foreframe.addons.anomalies.watching import Event, watched
    from foreframe.forecasting.forecaster import open_forecaster

    forecaster, _ = open_forecaster(weights, options.device, options.compile)
    _, each = watched(forecaster, source, options)
    yield from (one for one in each if isinstance(one, Event))
