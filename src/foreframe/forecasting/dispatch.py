"""From the sources of `predict` to a forecast, rolling forecasts, or a file for each recording."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from foreframe.base.files import matching
from foreframe.base.notes import collecting
from foreframe.base.progress import Progress, silent
from foreframe.clips.clip import Clip
from foreframe.forecasting.forecast import (
    Forecast,
    forecast_recording,
    on_source_grid,
    resolved,
    warn_of_differences,
)
from foreframe.forecasting.forecast_options import PredictOptions
from foreframe.forecasting.forecaster import Forecaster, open_forecaster
from foreframe.forecasting.outputs import VALUES, check_output
from foreframe.forecasting.rolling import Rolling
from foreframe.visuals import Paint


def forecast_sources(
    what: Any,
    source: Any,
    output: str | os.PathLike[str] | None,
    options: PredictOptions,
    progress: Progress,
) -> Forecast | Rolling | list[Path]:
    """As `foreframe.predict`."""
    if options.colours != "auto":
        Paint(options.colours)  # refuses an unknown name, even if no picture is written
    sources = matching(source)
    several = isinstance(source, list | tuple) or sources[0] is not source
    path = None if output is None else Path(output)
    kind = None if path is None else check_output(path, bool(options.every), sources)
    forecaster, made_by = open_forecaster(what, options.device, options.compile)
    options = forecaster.options(options)
    notes: list[str] = []
    with collecting(notes):
        clips = forecaster.recordings(sources, **(options.reading or {}))
        if path and kind == "" and options.recording is None and (several or len(clips) > 1):
            if options.grid == "source":
                raise ValueError("grid source is for one recording: name a file as --output")
            each = [forecaster.chosen([clip], clip.name, 0) for clip in clips]
            return _write_each(forecaster, each, made_by, options, path, progress)
        clip = forecaster.chosen(clips, sources, options.recording)
        made = _forecast(forecaster, clip, made_by, options, path, progress, sources)
    return replace(made, notes=tuple(notes))


def _forecast(
    forecaster: Forecaster,
    clip: Clip,
    made_by: str,
    options: PredictOptions,
    path: Path | None,
    progress: Progress = silent,
    source: Any = None,
) -> Forecast | Rolling:
    """Forecast a recording, and write the forecast to `path`, if need be on its grid."""
    make: Callable[..., Any] = Rolling if options.every else forecast_recording
    made = make(forecaster, clip, made_by, resolved(forecaster, clip, options))
    if options.grid == "source":
        made = on_source_grid(made, forecaster, source)
    if path is not None:
        made.write(path, progress)
    warn_of_differences(made)
    return made


def _write_each(
    forecaster: Forecaster,
    clips: Sequence[Clip],
    made_by: str,
    options: PredictOptions,
    folder: Path,
    progress: Progress,
) -> list[Path]:
    """Forecast each recording to a file of its name in a folder: arrays and grids in their own
    format, films as .mp4.

    Raises:
        ValueError: recordings that cannot be forecast; all others are.
    """
    files: list[Path] = []
    failed: list[str] = []
    progress(0, len(clips))
    for clip in clips:
        name = Path(clip.name)
        kind = name.suffix if name.suffix in VALUES else ".mp4" if clip.pictures else ".nc"
        file, number = folder / f"{name.stem}{kind}", len(files)
        while file in files:
            file, number = folder / f"{name.stem}-{number}{kind}", number + 1
        files.append(file)
        try:
            _forecast(forecaster, clip, made_by, options, file)
        except ValueError as error:
            failed.append(f"{clip.name}: {str(error).removeprefix(f'{clip.name}: ')}")
        progress(len(files), len(clips))
    if failed:
        raise ValueError(f"{len(failed)} of {len(clips)} failed. The first: {failed[0]}")
    return files
