"""Forecasts of many starts and recordings in one Zarr store, one task per start."""

import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import xarray as xr

from foreframe.addons.archives.archive_options import ArchiveOptions
from foreframe.addons.archives.block import (
    absolute,
    cached_forecaster,
    forecast_of,
    modified_at,
)
from foreframe.addons.archives.tasks import open_job, run_tasks
from foreframe.api import Run, takes
from foreframe.base.files import atomic_folder, exists, matching
from foreframe.base.notes import warn
from foreframe.base.processes import Stopped
from foreframe.base.progress import Progress, silent
from foreframe.base.schema import parameters
from foreframe.base.wording import in_one_line
from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.data.cf import encoding, times_of
from foreframe.data.readers import kind_of
from foreframe.forecasting.forecast import Forecast, resolved, starts_of, warn_of_differences
from foreframe.forecasting.forecast_options import PredictOptions, RollingOptions, changed
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.outputs import check_output
from foreframe.forecasting.recordings import without_fills
from foreframe.forecasting.rolling import Rolling
from foreframe.forecasting.saving import fingerprint

Start = tuple[int, int]  # the numbers of a recording, and of the first frame to forecast


class Job(NamedTuple):
    """The common part of all tasks: a forecaster or its path, sources, options, and a digest."""

    what: Any
    sources: list[Any]
    options: PredictOptions
    digest: str


@takes(ArchiveOptions)
def archive(
    what: Forecaster | Run | str | os.PathLike[str],
    source: Any,
    output: str | os.PathLike[str],
    options: ArchiveOptions | None = None,
    *,
    progress: Progress = silent,
    **changes: Any,
) -> Any:
    """Forecast many starts or recordings into one Zarr store, as `foreframe archive` does.

        foreframe.archive("radar", "rain.nc", "starts.zarr", every=100, steps=3)

    Args:
        what: a run, a forecaster, or an argument of `Forecaster.load`.
        source: recordings, as in `foreframe.predict`. Other processes require paths.
        output: a new .zarr. Until it is complete, the store is in the folder `output`.part.
        options, changes: the fields of `ArchiveOptions` by name, or an object that they change.
        progress: called with the number of forecasts written and the total.

    Returns:
        The store, opened by xarray: a Dataset (start, [realization,] lead, [channel,] y, x).

    Raises:
        ValueError: as `foreframe.predict`; recordings of several grids; an output that exists, or
            belongs to another job; no Dask, or no scheduler at the address.
        KeyboardInterrupt: Ctrl-C; the same call resumes the job, unless its data are in memory.
    """
    options = changed(options or ArchiveOptions(), changes)
    path = Path(output)
    if path.suffix != ".zarr":
        raise ValueError(f"output {path}: an archive is a Zarr store; name a .zarr")
    check_output(path)
    if path.exists():
        raise ValueError(f"output {path} exists: name another, or remove it")
    what, sources = _for_tasks(what, matching(source), options)
    forecaster, _ = cached_forecaster(what, options.device)
    found = forecaster.recordings(sources, **(options.reading or {}))
    clips = [forecaster.chosen([clip], clip.name, 0) for clip in found]
    if len({(clip.frames.shape[1:], kind_of(clip)) for clip in clips}) > 1:
        raise ValueError(
            "these recordings differ in grid, variable or units, so one store cannot hold their "
            "forecasts: write a store for each"
        )
    each = PredictOptions(**{name: getattr(options, name) for name in parameters(RollingOptions)})
    in_memory = any(not isinstance(one, str) for one in sources)
    files = uuid4().hex if in_memory else [(one, modified_at(one)) for one in sources]
    about = {**asdict(each), "budget": None}, files, [clip.frames.shape for clip in clips]
    digest = fingerprint(forecaster.model, forecaster.config(), about)
    each = resolved(forecaster, clips[0], forecaster.options(each))
    warn_of_differences(Rolling(forecaster, clips[0], "", each))
    _write_store(Job(what, sources, each, digest), clips, path, options, progress)
    return xr.open_zarr(path, chunks=None)


def _for_tasks(what: Any, sources: Sequence[Any], options: ArchiveOptions) -> tuple[Any, list[Any]]:
    """Return a forecaster and sources as other processes open them: by absolute paths.

    Raises:
        ValueError: other processes need them, and they are in memory.
    """
    if all(isinstance(one, str | os.PathLike) for one in (what, *sources)):
        return absolute(what), [os.path.abspath(one) if exists(one) else one for one in sources]
    if options.workers:
        raise ValueError("workers open the run and data by path: give paths")
    return what, list(sources)


def _write_store(
    job: Job, clips: Sequence[Clip], path: Path, options: ArchiveOptions, progress: Progress
) -> None:
    starts = [(k, first) for k, clip in enumerate(clips) for first in starts_of(clip, job.options)]
    part = path.with_name(f"{path.name}.part")
    store = part / "store"
    with open_job(part, job.digest, options) as workers:
        if not store.exists():
            recording, first = starts[0]
            forecast = _forecast(job, clips[recording], first)
            with atomic_folder(store) as rough:
                create_store(rough, forecast, [(clips[k], at) for k, at in starts])
        write = partial(_write_start, job, store)
        try:
            run_tasks(write, [*enumerate(starts)], part, workers, progress)
        except KeyboardInterrupt:
            raise Stopped(f"stopped; the same command resumes it from {part}") from None
    os.replace(store, path)
    shutil.rmtree(part)


def create_store(path: Path, forecast: Forecast, starts: Sequence[tuple[Clip, int]]) -> None:
    """Make a Zarr store with the coordinates and metadata of all forecasts, and the values of the
    first. The other values are NaN until `fill_store` writes them.

    Args:
        path: of a new folder.
        forecast: the first forecast.
        starts: the recording and the first frame of each forecast.

    Raises:
        ValueError: it cannot be written.
    """
    import zarr

    future = forecast.future[0] if isinstance(forecast.future, Ensemble) else forecast.future
    dataset = forecast.to_dataset()
    timed = [
        replace(
            future,
            times=clip.times_from(first, len(future)),
            start=None if clip.times is None else clip.times[first - 1],
        )
        for clip, first in starts
    ]
    with in_one_line(f"cannot write {path}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        packing = encoding(dataset, "chunks")
        dataset.to_zarr(path, mode="w", consolidated=False, encoding=packing)
        store = zarr.open_group(path, mode="r+")
        for name in of_starts(dataset):
            store[name].resize((len(starts), *dataset[name].shape[1:]))
        for name in ("start", "lead", future.time_dim):
            if name in store:
                del store[name]
        times = xr.Dataset(coords=times_of(timed, True), attrs=dataset.attrs)
        times.to_zarr(path, mode="a", consolidated=True, encoding=encoding(times, "chunks"))


def of_starts(forecast: Any) -> list[str]:
    return [name for name, field in forecast.data_vars.items() if "start" in field.dims]


def fill_store(path: Path, number: int, forecast: Any) -> None:
    """Write the forecast of one start, a Dataset, into its chunks of a store.

    Raises:
        ValueError: it cannot be written.
    """
    import zarr

    with in_one_line(f"cannot write {path}"):
        store = zarr.open_group(path, mode="r+")
        for name in of_starts(forecast):
            store[name][number] = forecast[name].values[0]


def _forecast(job: Job, clip: Clip, first: int) -> Forecast:
    return forecast_of(clip, job.what, replace(job.options, every=0, after=first - 1))


_recordings: dict[str, list[Clip]] = {}  # of the last job of this process, by its digest


def _write_start(job: Job, store: Path, task: tuple[int, Start]) -> None:
    """Write the forecast of a start to its chunks of the store."""
    number, (recording, first) = task
    forecaster, _ = cached_forecaster(job.what, job.options.device)
    if job.digest not in _recordings:
        _recordings.clear()
        reading = job.options.reading or {}
        _recordings[job.digest] = forecaster.recordings(job.sources, **reading)
    clip = without_fills(forecaster, _recordings[job.digest][recording])
    try:
        made = _forecast(job, clip, first)
    except ValueError as error:  # frames without any value; the other starts are forecast
        warn(f"{clip.name}: the forecast after frame {first - 1} is left missing ({error})")
        return
    fill_store(store, number, made.to_dataset())
