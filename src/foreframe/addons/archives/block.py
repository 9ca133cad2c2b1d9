"""One forecast as a function from a dataset to a dataset, for any parallel engine."""

import os
from functools import lru_cache
from typing import Any

from foreframe.base.files import exists
from foreframe.clips.clip import Clip
from foreframe.forecasting.forecast import (
    Forecast,
    forecast_recording,
    resolved,
    warn_of_differences,
)
from foreframe.forecasting.forecast_options import PredictOptions, changed
from foreframe.forecasting.forecaster import Forecaster, open_forecaster
from foreframe.models.names import is_name


def forecast_block(
    dataset: Any, *, forecaster: Any, options: PredictOptions | None = None, **changes: Any
) -> Any:
    """Forecast what follows a dataset, as a dataset: a pure function, for Dask, Ray or submitit.

        future = foreframe.forecast_block("rain.nc", forecaster="radar", steps=6)

    It can be pickled, and loads the forecaster once per process.

    Args:
        dataset: the past, an xarray Dataset or DataArray (time, [channel,] y, x) in the data's
            units, or another source of `foreframe.clips_from`. With `after` it may contain later
            frames, of which only known inputs are used.
        forecaster: a forecaster, or an argument of `Forecaster.load`.
        options, changes: the fields of `PredictOptions` by name, or an object that they change.

    Returns:
        An xarray Dataset (start, lead, [channel,] y, x), or with members (start, realization, lead,
        [channel,] y, x). Its one start is the time of the last input frame.

    Raises:
        ValueError: as `foreframe.predict`; options of several forecasts.
    """
    options = changed(options or PredictOptions(), changes)
    if options.every or options.grid == "source":
        raise ValueError("every and grid are for foreframe.predict: this is one forecast")
    made = forecast_of(dataset, forecaster, options)
    warn_of_differences(made)
    return made.to_dataset()


def forecast_of(source: Any, what: Any, options: PredictOptions) -> Forecast:
    """Return the same as a `Forecast`. The source may also be a `Clip` of this forecaster."""
    forecaster, made_by = cached_forecaster(what, options.device)
    clip = source
    if not isinstance(source, Clip):
        clip = forecaster.open(source, options.recording, **(options.reading or {}))
    options = resolved(forecaster, clip, forecaster.options(options))
    return forecast_recording(forecaster, clip, made_by, options)


def cached_forecaster(what: Any, device: str) -> tuple[Forecaster, str]:
    """Return a forecaster and its name, loaded once per process unless its files change. Its cells
    are never compiled: then the last bits would depend on the number of earlier forecasts.
    """
    if isinstance(what, Forecaster):
        return open_forecaster(what)
    path = os.fspath(what)
    files = [path, *(os.path.join(path, part) for part in ("checkpoints", "model.safetensors"))]
    return _loaded(path, device, tuple(map(modified_at, files)))


@lru_cache(maxsize=16)
def _loaded(path: str, device: str, modified: tuple[Any, ...]) -> tuple[Forecaster, str]:
    return open_forecaster(path, device, compile=False)


def modified_at(source: Any) -> float | None:
    """Return the modification time of a file or folder; None for anything else."""
    return os.path.getmtime(source) if isinstance(source, str) and exists(source) else None


def absolute(path: Any) -> Any:
    """Return the absolute path of a file or folder, for other processes. Other values, such as the
    names of published weights, are unchanged.
    """
    if not isinstance(path, str | os.PathLike) or is_name(path):
        return path
    full = os.path.abspath(path)
    return full if exists(full) else path
