"""What `predict` makes of its sources: a forecast, rolling forecasts, or an archive."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from foreframe.base.files import matching
from foreframe.base.notes import collecting, warn
from foreframe.clips.clip import Clip
from foreframe.forecasting.archives.archive import Archive, write_archive
from foreframe.forecasting.archives.tasks import Progress
from foreframe.forecasting.forecast import Forecast, forecast_recording, remarks, resolved
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.loading import for_tasks, open_forecaster
from foreframe.forecasting.outputs import check_output
from foreframe.forecasting.rolling import Rolling
from foreframe.visuals import paint_for


def forecast_sources(
    what: Any,
    source: Any,
    output: str | os.PathLike[str] | None,
    options: PredictOptions,
    progress: Progress,
) -> Forecast | Rolling | Archive:
    """As `foreframe.predict`."""
    paint_for(options.colours, 0, 1, "")  # refuses an unknown name, whether or not it would be used
    sources = matching(source)
    several = isinstance(source, list | tuple) or sources[0] is not source
    path = None if output is None else Path(output)
    kind = None if path is None else _kind_of(path, sources, options)
    forecaster, made_by = open_forecaster(what, options.device, options.compile)
    options = forecaster.options(options)
    notes: list[str] = []
    with collecting(notes):
        clips: list[Clip] = []
        if not (several and kind in ("", ".zarr")):
            clips = forecaster.recordings(sources, **(options.reading or {}))
        all_of_them = not clips or (len(clips) > 1 and options.recording is None)
        to_archive = kind in ("", ".zarr") and all_of_them
        if path and (to_archive or (kind == ".zarr" and options.every)):
            archive = write_archive(*for_tasks(what, sources, options), path, options, progress)
            return replace(archive, notes=tuple(notes))
        if options.in_tasks:
            raise ValueError(
                "workers, scheduler and continue_job are of several recordings, or of --every N "
                "with -o NAME.zarr"
            )
        clip = forecaster.chosen(clips, sources, options.recording)
        options = resolved(forecaster, clip, options)
        make: Callable[..., Any] = Rolling if options.every else forecast_recording
        made = make(forecaster, clip, made_by, options)
        if path is not None:
            made.write(path, progress)
        for remark in remarks(clip, options):
            warn(remark)
    return replace(made, notes=tuple(notes))


def _kind_of(path: Path, sources: list[Any], options: PredictOptions) -> str:
    """The ending of an output that can be written, and is none of the sources."""
    kind = check_output(path, bool(options.every), options.continue_job)
    paths = [Path(one).resolve() for one in sources if isinstance(one, str | os.PathLike)]
    if path.resolve() in paths:
        raise ValueError(f"output {path} is the input: name another file")
    return kind
