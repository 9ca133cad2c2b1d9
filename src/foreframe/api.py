"""The Python entry points: the verbs train (here `fit`), predict, stream, evaluate, export and
`data check` as functions, with the option names of the command line.

Torch and Lightning are imported when a function needs them.
"""

import inspect
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from foreframe.base.notes import listening
from foreframe.base.progress import Progress, progress, silent
from foreframe.data.data_options import WindowOptions, not_usual
from foreframe.evaluation import EvaluateOptions
from foreframe.forecasting.forecast_options import (
    ExportOptions,
    PredictOptions,
    StreamOptions,
    changed,
)
from foreframe.training.options import GROUPS
from foreframe.training.recipes import Chosen, chosen, named
from foreframe.training.run import Run
from foreframe.visuals import Card

if TYPE_CHECKING:
    from foreframe.data.check import DataCheck
    from foreframe.forecasting.forecast import Forecast
    from foreframe.forecasting.forecaster import Forecaster
    from foreframe.forecasting.live_forecasts import Live
    from foreframe.forecasting.rolling import Rolling

Call = TypeVar("Call", bound=Callable[..., Any])


def takes(*groups: type) -> Callable[[Call], Call]:
    """Return a decorator that shows the fields of dataclasses in the signature of a function, with
    their defaults, and in its help.
    """

    def show(function: Call) -> Call:
        signature = inspect.signature(function)
        shown = {p.name: p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD}
        for group in groups:
            usual = group()
            for name, option in inspect.signature(group).parameters.items():
                default = getattr(usual, name)
                shown.setdefault(name, option.replace(kind=option.KEYWORD_ONLY, default=default))
        parts = [part for group in groups for part in group.__mro__[:-1]]
        about = [inspect.cleandoc(part.__doc__ or "") for part in (function, *parts)]
        given: Any = function
        given.__signature__ = signature.replace(parameters=list(shown.values()))
        given.__doc__ = "\n\n".join(about)
        return function

    return show


@takes(*GROUPS)
def fit(
    recipe: str | os.PathLike[str] | Chosen | None = None,
    /,
    *,
    strategy: Any = None,
    plugins: Sequence[Any] = (),
    callbacks: Sequence[Any] = (),
    **options: Any,
) -> "Run":
    """Train a model, as `foreframe train` does.

        run = foreframe.fit("quick", data="film.mp4", minutes=4)

    Args:
        recipe: by name (quick, tutorial, ...), or a YAML file of options, such as a run's
            config.yaml; `options` change it. The command passes checked options.
        strategy, plugins, callbacks: objects for Lightning's Trainer, e.g. of Ray.
        options: options of `foreframe train`: the fields of `ModelOptions`, `DataOptions`,
            `LearningOptions`, `MachineOptions` and `RunOptions` by name. Mappings
            (`model_args={"core": ...}`) change the recipe name by name. `data` may also be
            in memory: an array, a tensor, an xarray object, a Dataset, or a Dataset for each split,
            {"train": ..., "validation": ...}.

    Returns:
        The run; `fit(resume=run)` continues it with its own options, unless they are given.

    Raises:
        ValueError: unknown or contradictory options, data without clips, a folder that cannot be
            written.
        foreframe.base.processes.Stopped: Ctrl-C; everything is saved. It is a KeyboardInterrupt.
    """
    made = chosen(*named(recipe, options)) if not isinstance(recipe, Chosen) else recipe
    with listening(verbose=made.options.run.verbose):
        with progress("the start"):  # imports take seconds
            from foreframe.training.fit import train
        folder = train(made.options, made.explicit, strategy, plugins, callbacks)
    data = made.options.data.data
    return Run(folder, None if isinstance(data, str) else data)


def open_run(folder: str | os.PathLike[str]) -> Run:
    """Open the run in a folder.

        run = foreframe.open_run("runs/demo")
        run.evaluate(clips=100)

    Raises:
        ValueError: the folder contains no run.
    """
    return Run(Path(folder))


@takes(PredictOptions)
def predict(
    what: "Forecaster | Run | str | os.PathLike[str]",
    source: Any,
    output: str | os.PathLike[str] | None = None,
    options: PredictOptions | None = None,
    *,
    progress: Progress = silent,
    **changes: Any,
) -> "Forecast | Rolling | list[Path]":
    """Forecast the frames after recordings, as `foreframe predict` does.

        foreframe.predict("scenes", "film.mp4", "future.mp4", steps=20)

    Args:
        what: a run, a forecaster, or an argument of `Forecaster.load`.
        source: a recording as in `foreframe.clips_from`: a path, or an array (T,C,H,W) in the
            data's own units. Several: a list of paths, or a pattern, such as "rain/*.nc"; files
            that follow each other in time are one recording.
        output: a file to write, with a format by its ending; by default none. Several recordings
            go to a folder, a file each.
        options, changes: the fields of `PredictOptions` by name, or an object that they change.
        progress: called with the number of forecasts written and the total.

    Returns:
        The forecast, with the past and the recorded part of the truth; rolling forecasts with
        `every`; the written files of several recordings.

    Raises:
        ValueError: errors of loading, opening, forecasting and writing.
    """
    options = changed(options or PredictOptions(), changes)
    from foreframe.forecasting.dispatch import forecast_sources

    return forecast_sources(what, source, output, options, progress)


def export(
    what: "Forecaster | Run | str | os.PathLike[str]",
    folder: str | os.PathLike[str],
    options: ExportOptions | None = None,
    **changes: Any,
) -> dict[str, float]:
    """Write a forecaster for runtimes other than torch, as `foreframe export` does.

        foreframe.export("runs/demo", "exported", format="onnx")

    Args:
        what: a run, a forecaster, or an argument of `Forecaster.load`.
        folder: a new or empty one.
        options, changes: the fields of `ExportOptions` by name, or an object that they change.

    Returns:
        The largest difference of each graph from the model, as a share of the values' range.

    Raises:
        ValueError: a model that cannot be exported, a missing package, a folder that exists or
            cannot be written.
    """
    options = changed(options or ExportOptions(), changes)
    from foreframe.exporting.exported_graphs import write_export

    return write_export(what, Path(folder), options)


@takes(StreamOptions)
def stream(
    what: "Forecaster | Run | str | os.PathLike[str]",
    source: str,
    options: StreamOptions | None = None,
    **changes: Any,
) -> Generator["Live", None, None]:
    """Forecast after every incoming frame, as `foreframe stream` does.

        for live in foreframe.stream("scenes", "film.mp4", every=25):
            print(live.frame, live.errors)

    Args:
        what: a run, a forecaster, or an argument of `Forecaster.load`.
        source: a film or other file; a growing folder of pictures, .npy or files of grids, or a
            pattern of its files; "-" is standard input, a film or .npy frames.
        options, changes: the fields of `StreamOptions` by name, or an object that they change.

    Yields:
        A `Live` for each frame. The state is saved to the file `state` every few seconds, when the
        stream ends, and when it is closed.

    Raises:
        ValueError: errors of loading, reading, forecasting and saving; an input without frames.
    """
    options = changed(options or StreamOptions(), changes)
    from foreframe.forecasting.live_forecasts import forecast_live

    yield from forecast_live(what, source, options)


@takes(WindowOptions)
def check(
    source: Any,
    options: WindowOptions | None = None,
    *,
    progress: Progress = silent,
    **changes: Any,
) -> "DataCheck":
    """Examine recordings before training on them, as `foreframe data check` does.

        print(foreframe.check("rain.nc", reading={"variable": "rain"}))

    Args:
        source: recordings, as in `foreframe.clips_from`.
        options, changes: the fields of `WindowOptions` by name, or an object that they change.
        progress: called with the number of frames read and about how many will be.

    Raises:
        ValueError: errors of reading.
    """
    options = changed(options or WindowOptions(), changes)
    from foreframe.data.arrays import data_name
    from foreframe.data.check import check_data
    from foreframe.data.splits import UNDECIDED
    from foreframe.training.choices import Recording, window_and_shares

    checked = check_data(source, options, progress)
    parts = [[len(part) for part in each.parts] for each in checked.recordings]
    divided = checked.recordings[0].folder != UNDECIDED
    given = not_usual(options) | {"splits": not_usual(options.splits)}
    try:
        window_and_shares(Recording(data_name(source), parts, divided=divided), given)
    except ValueError as error:
        lines = [*checked.lines, f"          too short without a recipe: {error}"]
        checked = replace(checked, lines=lines)
    return checked


@takes(EvaluateOptions)
def evaluate(
    what: "Forecaster | Run | str | os.PathLike[str] | None",
    data: Any = None,
    options: EvaluateOptions | None = None,
    *,
    progress: Progress = silent,
    **changes: Any,
) -> Card:
    """Score a forecaster and the baselines, as `foreframe evaluate` does. Each of several processes
    scores a share, and all return the same scorecard.

        card = foreframe.evaluate("runs/demo", clips=500)

    Args:
        what: a run, a forecaster, or an argument of `Forecaster.load`; None scores external
            `forecasts` and the baselines.
        data: data to score on, as in `fit`; by default the data of training. A Dataset is scored
            whole unless `split` names a part.
        options, changes: the fields of `EvaluateOptions` by name, below, or an object that they
            change. No report is written without `output`.
        progress: called after each batch with the number of clips scored and the total.

    Returns:
        A dict that prints as a table: the scorecard of `foreframe.evaluation.card.score_clips`,
        with "data", "data_args", "split", "reading" and "splits" unless a Dataset is scored whole.

    Raises:
        ValueError: errors of loading, opening and scoring.
    """
    if data is not None:
        changes["data"] = data
    options = changed(options or EvaluateOptions(), changes)
    from foreframe.evaluation.scored import evaluate_forecaster

    return evaluate_forecaster(what, options, progress)
