"""Forecasts of many starts and many recordings, in tasks: to one Zarr store, or a file each."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from foreframe.base.files import atomic_folder
from foreframe.base.notes import warn
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.data.cf import create_store, fill_store
from foreframe.data.readers import kind_of
from foreframe.forecasting.archives import tasks
from foreframe.forecasting.archives.block import cached_forecaster, forecast_of
from foreframe.forecasting.errors import LeadErrors, table_of_errors
from foreframe.forecasting.fingerprint import fingerprint
from foreframe.forecasting.forecast import Forecast, remarks, resolved, starts_of, summary
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.outputs import VALUES
from foreframe.forecasting.recordings import without_fills
from foreframe.forecasting.rolling import Rolling


@dataclass(frozen=True, eq=False)
class Archive:
    """Forecasts of recordings, which lie in a Zarr store, or in the files of a folder.

    Args:
        path: of the store or the folder.
        forecasts, recordings: how many.
        options: of each forecast.
        units: of the values.
        errors: root mean squared error by lead time, in these units, of "forecast" and
            "persistence"; {} of files, without later frames, and of a store that was complete.
        notes: notes for the user.
    """

    path: Path
    forecasts: int
    recordings: int
    options: PredictOptions
    units: str
    errors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.forecasts

    def __repr__(self) -> str:
        each, of = summary(self.options), plural(self.recordings, "recording")
        return f"{plural(self.forecasts, 'forecast')} of {each}, of {of}"

    def table(self) -> str:
        """A table of errors by lead time; "" without any."""
        return table_of_errors(self.errors, self.units) if self.errors else ""


Recording = int  # its number in the sources of a job, which each process opens for itself


class Job(NamedTuple):
    """What tasks have in common: a forecaster or its path, sources, options, and a fingerprint."""

    what: Any
    sources: list[Any]
    options: PredictOptions
    digest: str


def write_archive(
    what: Any, sources: Sequence[Any], path: Path, options: PredictOptions, progress: tasks.Progress
) -> Archive:
    """Forecast recordings. To one Zarr store (start, lead, ...) a task is a start; the store is at
    `path` once it is complete, and until then in `path`.part. To a folder a task is a recording,
    and its file has its name.

    Args:
        what: a forecaster, or, for workers, its path.
        sources: of recordings; for workers paths.
        path: ends in .zarr, or is of a folder.
        progress: called with the number of tasks done, and of all.

    Raises:
        ValueError: for a store, recordings of several grids; an output that is there already, or of
            another job; as `Forecaster.open` and `predict`.
    """
    forecaster, _ = cached_forecaster(what, options.device)
    sources = list(sources)
    each = forecaster.recordings(sources, **(options.reading or {}))
    numbers = range(len(each)) if options.recording is None else [options.recording]
    clips = {n: forecaster.chosen(each, sources, n) for n in numbers}
    about = [forecaster.config(), options.about(), [(of, tasks.modified_at(of)) for of in sources]]
    shapes = [(n, clip.frames.shape) for n, clip in clips.items()]
    job = Job(what, sources, options, fingerprint(forecaster.model, about, shapes))
    some = next(iter(clips.values()))
    options = resolved(forecaster, some, options)
    starts = [(r, first) for r, clip in clips.items() for first in starts_of(clip, options)]
    units = some.units or forecaster.scaling.units
    made = Archive(path, len(starts), len(clips), options, units)
    for remark in remarks(some, options):
        warn(remark)
    if path.suffix != ".zarr":
        _write_files(job, clips, path, progress)
        return made
    if len({(clip.frames.shape[1:], kind_of(clip)) for clip in clips.values()}) > 1:
        raise ValueError(
            "these recordings differ in grid, variable or units, so one store cannot hold their "
            "forecasts: name a folder, for a file each"
        )
    note = path / "zarr.json"
    if not path.exists():
        return replace(made, errors=_write_store(job, clips, starts, options.steps, path, progress))
    if not (options.continue_job and note.is_file() and job.digest in note.read_text()):
        raise ValueError(f"output {path} is there already: name another, or remove it")
    warn(f"{path} is complete: nothing is left to do")
    return made


def _write_store(
    job: Job,
    clips: Mapping[Recording, Clip],
    starts: Sequence[tuple[Recording, int]],
    steps: int,
    path: Path,
    progress: tasks.Progress,
) -> dict[str, list[float]]:
    part = path.with_name(f"{path.name}.part")
    store = part / "store"
    items = [(place, *start) for place, start in enumerate(starts)]
    with tasks.open_job(part, job.digest, job.options) as workers:
        if not store.exists():
            recording, frame = starts[0]
            first = _forecast(job, clips[recording], frame)
            some = first.future[0] if isinstance(first.future, Ensemble) else first.future
            dataset = first.to_dataset().assign_attrs(foreframe_job=job.digest)
            with atomic_folder(store) as rough:
                create_store(rough, dataset, [_times(some, clips[r], at) for r, at in starts])
        sums = tasks.results(partial(_forecast_start, job, store), items, part, workers, progress)
    errors = LeadErrors(steps)
    for each in sums:
        errors.add_sums(each)
    os.replace(store, path)
    shutil.rmtree(part)
    by_lead = errors.by_lead()
    return by_lead if np.isfinite(by_lead["persistence"]).any() else {}


def _times(some: Clip, clip: Clip, first: int) -> Clip:
    """Some forecast with the times of that of frames `first` and after of a recording."""
    start = None if clip.times is None else clip.times[first - 1]
    return replace(some, times=clip.times_from(first, len(some)), start=start)


def _forecast(job: Job, clip: Clip, first: int) -> Forecast:
    return forecast_of(clip, job.what, replace(job.options, every=0, after=first - 1))


def _opened(job: Job, recording: Recording) -> Clip:
    """A recording of the sources, which a process opens once."""
    forecaster, _ = cached_forecaster(job.what, job.options.device)
    reading = job.options.reading or {}
    clips = tasks.cached(job.digest, lambda: forecaster.recordings(job.sources, **reading))
    return without_fills(forecaster, clips[recording])


def _forecast_start(job: Job, store: Path, marker: Path, start: tuple[int, Recording, int]) -> None:
    """Task: a forecast to its chunks of the store, and its errors, as sums, to the marker."""
    place, recording, first = start
    clip = _opened(job, recording)
    try:
        made = _forecast(job, clip, first)
    except ValueError as error:  # frames without any value; all others are forecast
        warn(f"{clip.name}: the forecast after frame {first - 1} is left missing ({error})")
        tasks.write_marker(marker, {})
        return
    fill_store(store, place, made.to_dataset())
    errors = LeadErrors(made.options.steps)
    errors.add_start(clip, first, made.past, made.future)
    tasks.write_marker(marker, errors.plain())


def _write_files(
    job: Job, clips: Mapping[Recording, Clip], folder: Path, progress: tasks.Progress
) -> None:
    items: dict[Path, Recording] = {}
    for recording, clip in clips.items():
        name = Path(clip.name)
        kind = name.suffix if name.suffix in VALUES else ".mp4" if clip.pictures else ".nc"
        output, k = folder / f"{name.stem}{kind}", len(items)
        while output in items:
            output, k = folder / f"{name.stem}-{k}{kind}", k + 1
        items[output] = recording
    with tasks.open_job(folder, job.digest, job.options) as workers:
        tasks.run_tasks(partial(_forecast_file, job), items, workers, progress)


def _forecast_file(job: Job, output: Path, recording: Recording) -> None:
    """Task: the forecasts of a recording to their file, which is the marker."""
    clip = _opened(job, recording)
    forecaster, made_by = cached_forecaster(job.what, job.options.device)
    if job.options.every:
        options = resolved(forecaster, clip, job.options)
        Rolling(forecaster, clip, made_by, options).write(output)
    else:
        forecast_of(clip, job.what, job.options).write(output)
