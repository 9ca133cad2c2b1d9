"""The functions of notebooks and services: what the verbs train (here `fit`), predict, stream,
evaluate and `data check` do, with the option names of the command line.

Nothing heavy is loaded before it is needed: Lightning only to train.
"""

import inspect
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from foreframe.base.schema import typed
from foreframe.data.data_options import ReadOptions, SplitOptions
from foreframe.evaluation import EvaluateOptions
from foreframe.forecasting.forecast_options import (
    ExportOptions,
    PredictOptions,
    StreamOptions,
)
from foreframe.training.calls import given_options, plain, with_changes
from foreframe.training.options import GROUPS
from foreframe.training.recipes import explicit_options, options_from
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
    """Show the fields of dataclasses as arguments of a function that takes them by name: in its
    signature with their defaults, and in its help.
    """

    def show(function: Call) -> Call:
        signature = inspect.signature(function)
        shown = {p.name: p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD}
        for group in groups:
            usual = group()
            for name, option in inspect.signature(group).parameters.items():
                named = option.replace(kind=option.KEYWORD_ONLY, default=getattr(usual, name))
                shown.setdefault(name, named)
        parts = [part for group in groups for part in group.__mro__[:-1]]
        about = [inspect.cleandoc(part.__doc__ or "") for part in (function, *parts)]
        given: Any = function
        given.__signature__ = signature.replace(parameters=list(shown.values()))
        given.__doc__ = "\n\n".join(about)
        return function

    return show


@takes(*GROUPS)
def fit(
    recipe: str | os.PathLike[str] | None = None,
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
            config.yaml; `options` change it.
        strategy, plugins, callbacks: objects for Lightning's Trainer, such as those of Ray.
        options: those of `foreframe train`: the fields of `ModelOptions`, `DataOptions`,
            `LearningOptions`, `MachineOptions` and `RunOptions` by name. Mappings
            (`model_args={"core": ...}`) change those of the recipe name by name. `data` may also be
            in memory: an array, a tensor, an xarray object, a Dataset, or a Dataset for each split,
            {"train": ..., "validation": ...}.

    Returns:
        The run; `fit(resume=run)` goes on with it, with its own options where none are given.

    Raises:
        ValueError: options that do not exist or do not fit each other, data that is not clips, a
            folder that cannot be written.
        foreframe.training.stops.Stopped: Ctrl-C; everything is saved. It is a KeyboardInterrupt.
    """
    given = given_options(recipe, options)
    groups, explicit = options_from(*given), explicit_options(*given)
    from foreframe.base.notes import listening
    from foreframe.training.fit import train

    with listening(python=True):
        folder, data = train(*groups, explicit, strategy, plugins, callbacks), options.get("data")
    return Run(folder, None if isinstance(data, str | os.PathLike) else data)


def open_run(folder: str | os.PathLike[str]) -> Run:
    """The run in a folder, as `fit` gives it.

        run = foreframe.open_run("runs/demo")
        run.evaluate(clips=100)

    Raises:
        ValueError: there is none.
    """
    return Run(Path(folder))


@takes(PredictOptions)
def predict(
    what: "Forecaster | Run | str | os.PathLike[str]",
    source: Any,
    output: str | os.PathLike[str] | None = None,
    options: PredictOptions | None = None,
    *,
    progress: Callable[[int, int], Any] = lambda done, total: None,
    **changes: Any,
) -> "Forecast | Rolling | list[Path]":
    """Forecast what follows recordings, as `foreframe predict` does.

        foreframe.predict("scenes", "film.mp4", "future.mp4", steps=20)

    Args:
        what: a run, a forecaster, or what `Forecaster.load` takes.
        source: a recording as in `foreframe.clips_from`: a path, or an array (T,C,H,W) in the
            data's own units. Several: a list of paths, or a pattern, such as "rain/*.nc"; files
            that follow each other in time are one recording.
        output: a file to write it to, by its ending; by default none. Several recordings go to a
            folder, a file each.
        options, changes: the fields of `PredictOptions` by name, or an object that they change.
        progress: called with the number of forecasts written and the total.

    Returns:
        The forecast, with the past and, as far as it is recorded, the truth; rolling forecasts with
        `every`; the written files of several recordings.

    Raises:
        ValueError: as loading, opening, forecasting and writing do.
    """
    options = with_changes(options or PredictOptions(), changes)
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
        what: a run, a forecaster, or what `Forecaster.load` takes.
        folder: a new or empty one.
        options, changes: the fields of `ExportOptions` by name, or an object that they change.

    Returns:
        The largest difference of each graph from the model, as a share of the values' range.

    Raises:
        ValueError: a model that does not export, a package that is missing, a folder that is there
            already or cannot be written.
    """
    options = with_changes(options or ExportOptions(), changes)
    from foreframe.exporting.exported_graphs import write_export
    from foreframe.training.run import known_scores

    return write_export(what, Path(folder), options, known_scores(what))


@takes(StreamOptions)
def stream(
    what: "Forecaster | Run | str | os.PathLike[str]",
    source: str,
    options: StreamOptions | None = None,
    **changes: Any,
) -> Generator["Live", None, None]:
    """Forecast after every frame that comes, as `foreframe stream` does.

        for live in foreframe.stream("scenes", "film.mp4", every=25):
            print(live.frame, live.errors)

    Args:
        what: a run, a forecaster, or what `Forecaster.load` takes.
        source: a film or other file; a folder that grows, of pictures, .npy or files of grids, or a
            pattern of its files; "-" is standard input, a film or .npy frames.
        options, changes: the fields of `StreamOptions` by name, or an object that they change.

    Yields:
        A `Live` for each frame. The state is saved to the file `state` every few seconds, when the
        stream ends, and when it is closed.

    Raises:
        ValueError: errors of loading, reading, forecasting and saving; no frame at all.
    """
    options = with_changes(options or StreamOptions(), changes)
    from foreframe.forecasting.live_forecasts import forecast_live

    yield from forecast_live(what, source, options)


def check(
    source: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    reading: Mapping[str, Any] | ReadOptions | None = None,
    splits: Mapping[str, Any] | SplitOptions | None = None,
    past: int = 10,
    future: int = 10,
    stride: int = 1,
) -> "DataCheck":
    """Look through recordings before training on them, as `foreframe data check` does.

        print(foreframe.check("rain.nc", reading={"variable": "rain"}))

    Args:
        source: recordings, as in `foreframe.clips_from`.
        output: .png to write, of frames spread over the first recording.
        reading, splits: how they are read and split.
        past, future, stride: of windows, in frames.

    Raises:
        ValueError: errors of reading; an output that is not a .png.
    """
    if output is not None and Path(output).suffix.lower() != ".png":
        raise ValueError(f"output {output}: the contact sheet is a .png")
    from foreframe.clips.clip import Window
    from foreframe.data.check import check_data
    from foreframe.forecasting.outputs import write_sheet

    how = typed(ReadOptions, plain(reading) or {}, "reading")
    split = typed(SplitOptions, plain(splits) or {}, "splits")
    checked = check_data(source, how, split, Window(past, future, stride))
    if output is not None:
        write_sheet(Path(output), checked.recordings[0])
    return checked


@takes(EvaluateOptions)
def evaluate(
    what: "Forecaster | Run | str | os.PathLike[str] | None",
    data: Any = None,
    options: EvaluateOptions | None = None,
    *,
    progress: Callable[[int, int], Any] | None = None,
    **changes: Any,
) -> Card:
    """Score a forecaster beside the baselines, as `foreframe evaluate` does. Of several processes
    each scores a share, and returns the same.

        card = foreframe.evaluate("runs/demo", clips=500)

    Args:
        what: a run, a forecaster, or what `Forecaster.load` takes; None scores external
            `forecasts`, and the baselines.
        data: what to score on, as in `fit`; by default the data of training. A Dataset is scored
            as it is, all of it, unless `split` names a block.
        options, changes: the fields of `EvaluateOptions` by name, below, or an object that they
            change. By default no report is written.
        progress: called after each batch with how many clips are scored, and how many will be.

    Returns:
        As `foreframe.evaluation.card.score_clips`, with "data", "data_args", "split", "reading" and
        "splits" unless a Dataset is scored as it is; a dict that prints as a table.

    Raises:
        ValueError: as loading, opening and scoring do.
    """
    if data is not None:
        changes["data"] = data
    options = with_changes(options or EvaluateOptions(), changes)
    from foreframe.evaluation.scored import evaluate_forecaster

    return evaluate_forecaster(what, options, progress)
