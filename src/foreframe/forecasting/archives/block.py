"""One forecast as a function from a dataset to a dataset, for any engine of parallel work."""

import os
from typing import Any

from foreframe.base.notes import warn
from foreframe.clips.clip import Clip
from foreframe.forecasting.archives.tasks import cached, modified_at
from foreframe.forecasting.forecast import Forecast, forecast_recording, remarks, resolved
from foreframe.forecasting.forecast_options import PredictOptions, changed
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.loading import open_forecaster


def forecast_block(
    dataset: Any, *, forecaster: Any, options: PredictOptions | None = None, **changes: Any
) -> Any:
    """Forecast what follows a dataset, as a dataset: a pure function, for Dask, Ray or submitit.

        future = foreframe.forecast_block("rain.nc", forecaster="radar", steps=6)

    It can be pickled, and loads the forecaster once in a process. `foreframe predict --workers`
    calls it for each start.

    Args:
        dataset: the past, an xarray Dataset or DataArray (time, [channel,] y, x), in the data's
            units, or whatever else `foreframe.clips_from` takes; with `after` also frames that come
            later, of which no more than known inputs are looked at.
        forecaster: a run's folder, or what else `Forecaster.load` takes; or a forecaster.
        options, changes: the fields of `PredictOptions` by name, or an object that they change.

    Returns:
        An xarray Dataset (start, lead, [channel,] y, x), of members (start, realization, lead,
        [channel,] y, x), of one start, the time of the last frame seen.

    Raises:
        ValueError: as `foreframe.predict`; options of several forecasts.
    """
    options = check_one(changed(options or PredictOptions(), changes))
    made = forecast_of(dataset, forecaster, options)
    for remark in remarks(made.clip, made.options):
        warn(remark)
    return made.to_dataset()


def check_one(options: PredictOptions) -> PredictOptions:
    """Options of a single forecast of whole frames, or else refused."""
    if options.every or options.in_tasks:
        raise ValueError("every and workers are for foreframe.predict: this is one forecast")
    return options


def forecast_of(source: Any, what: Any, options: PredictOptions) -> Forecast:
    """The same as a `Forecast`.

    Args:
        source: may be a `Clip` of the forecaster's own reading.
    """
    forecaster, made_by = cached_forecaster(what, options.device)
    clip = source
    if not isinstance(source, Clip):
        clip = forecaster.open(source, options.recording, **(options.reading or {}))
    options = resolved(forecaster, clip, options)
    return forecast_recording(forecaster, clip, made_by, options)


def cached_forecaster(what: Any, device: str) -> tuple[Forecaster, str]:
    """A forecaster and its name, loaded once in a process unless its files have changed. It never
    compiles its cells, which changes the last bits: those of a task must not depend on how many
    tasks a process has done.
    """
    if isinstance(what, Forecaster):
        return open_forecaster(what)
    path = os.fspath(what)
    files = [path, *(os.path.join(path, part) for part in ("checkpoints", "model.safetensors"))]
    key = path, device, *map(modified_at, files)
    return cached(key, lambda: open_forecaster(path, device, compile=False))
