"""The functions of notebooks and services: what the verbs train (here `fit`), predict, stream,
evaluate and `data check` do, with the option names of the command line.

Nothing heavy is loaded before it is needed: Lightning only to train.
"""

import inspect
import json
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from foreframe.base.files import check_writable
from foreframe.base.schema import check_types, typed
from foreframe.base.shipped import name_of
from foreframe.clips.data_options import (
    NONE,
    DataOptions,
    ReadOptions,
    SplitOptions,
    not_usual,
)
from foreframe.clips.scaling import Scaling
from foreframe.evaluation import EvaluateOptions
from foreframe.forecasting.forecast_options import PredictOptions, StreamOptions
from foreframe.training.options import GROUPS, Options
from foreframe.training.recipes import KINDS, Given, explicit_options, no_option, options_from
from foreframe.visuals import Card, curves_png, image_html, table_html

if TYPE_CHECKING:
    from foreframe.data.check import Checked
    from foreframe.data.forecasts import Forecasts
    from foreframe.evaluation.walk import Rolling
    from foreframe.forecasting.forecast import Forecast
    from foreframe.forecasting.forecaster import Forecaster

Plain = Mapping[str, Any]
Kind = TypeVar("Kind")
SECONDS = 40.0  # of scoring by default: with what comes before and after, about a minute


Call = TypeVar("Call", bound=Callable[..., Any])


def _takes(*groups: type) -> Callable[[Call], Call]:
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


@_takes(*GROUPS)
def fit(recipe: str | os.PathLike[str] | None = None, /, **options: Any) -> "Run":
    """Train a model, as `foreframe train` does.

        run = foreframe.fit("quick", data="film.mp4", minutes=4)

    Args:
        recipe: by name (quick, tutorial, ...), or a YAML file of options, such as a run's
            config.yaml; `options` change it.
        options: those of `foreframe train`, below. Mappings (`model_args={"core": ...}`) change
            those of the recipe name by name. `data` may also be in memory: an array, a tensor, an
            xarray object, a Dataset, or a Dataset for each split, {"train": ..., "validation":
            ...}.

    Returns:
        The run; `fit(resume=run)` goes on with it, with its own options where none are given.

    Raises:
        ValueError: options that do not exist or do not fit each other, data that is not clips, a
            folder that cannot be written.
        foreframe.training.stops.Stopped: Ctrl-C; everything is saved. It is a KeyboardInterrupt.
    """
    groups = train_options(recipe, options)
    given = explicit_options(_configs(recipe), _changes(options))
    from foreframe.training.fit import train
    from foreframe.training.notices import listening

    with listening(python=True):
        return Run(train(*groups, given), options.get("data"))


def train_options(recipe: str | os.PathLike[str] | None, given: Mapping[str, Any]) -> Options:
    """The five groups of options, from those given by name over those of a recipe and of a run that
    is resumed, checked.

    Raises:
        ValueError: the first invalid one, with the alternatives.
    """
    return options_from(_configs(recipe), _changes(given))


def _configs(recipe: str | os.PathLike[str] | None) -> list[str]:
    return [] if recipe is None else [os.fspath(recipe)]


def _changes(given: Mapping[str, Any]) -> Given:
    changes: Given = []
    for name, value in given.items():
        if name not in KINDS:
            raise ValueError(no_option(name, list(KINDS)))
        plain = _plain_option(name, value)
        if isinstance(plain, Mapping) and name not in ("data", "scaling"):
            changes += [((name, inner), part) for inner, part in plain.items()]
        else:
            changes.append(((name,), plain))
    return changes


def _plain_option(name: str, value: Any) -> Any:
    """A value as a YAML file would give it; data in memory are unchanged."""
    return value if name == "data" and not isinstance(value, os.PathLike) else _plain(value)


def _plain(value: Any) -> Any:
    """A value as a YAML file would give it."""
    if isinstance(value, ReadOptions | SplitOptions):
        value = not_usual(value)
    if isinstance(value, Scaling):
        value = asdict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Run:
    """The folder of a training, and its results. A notebook shows its scores, its last picture and,
    if `foreframe evaluate` has scored it, its scorecard.

    Args:
        folder: with config.yaml, checkpoints, validation.jsonl and pictures.
        data: the data of training if they were in memory, since no file has them.

    Raises:
        ValueError: there is no run in the folder.
    """

    folder: Path
    data: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        if not (self.folder / "config.yaml").is_file():
            raise ValueError(f"there is no run in {self.folder} (no config.yaml in it)")

    def __repr__(self) -> str:
        """Its folder, and its last and best validation."""
        rows = self.scores
        if not rows:
            return f"Run {self.folder}: no validation yet"
        errors = [row["scores"]["openstl"]["mse"]["overall"] for row in rows]
        return (
            f"Run {self.folder}: {rows[-1]['step']} steps, {len(rows)} validations\n"
            f"  MSE (openstl) {errors[-1]:.4g} at the last one, {min(errors):.4g} at the best"
        )

    def __fspath__(self) -> str:
        return str(self.folder)

    def forecaster(self, device: str = "cpu") -> "Forecaster":
        """Its best checkpoint, ready to forecast; raises as `Forecaster.load`."""
        from foreframe.forecasting.forecaster import Forecaster

        return Forecaster.load(self.folder, device)

    @property
    def scores(self) -> list[dict[str, Any]]:
        """Each validation, the last one at the end: {"epoch", "step", "seconds" of training,
        "clips", "scores": {convention: {score: {"overall", "per_lead"}}}}.
        """
        file = self.folder / "validation.jsonl"
        if not file.is_file():
            return []
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    def evaluate(self, **options: Any) -> Card:
        """Its scorecard, by default on the test split; options as in `foreframe.evaluate`."""
        return evaluate(self, **options)

    def curves(self) -> "Picture":
        """MSE and SSIM of each validation; raises ValueError before the first."""
        panels = {
            "validation MSE (openstl)": ("openstl", "mse"),
            "validation SSIM (standard)": ("standard", "ssim"),
        }
        rows = self.scores
        if not rows:
            raise ValueError(f"{self.folder} has no validation yet")
        return Picture(
            curves_png(
                {
                    title: {"validation": [row["scores"][of][name]["overall"] for row in rows]}
                    for title, (of, name) in panels.items()
                },
                "validations",
            )
        )

    def picture(self) -> "Picture | None":
        """The last picture of training: truth, forecast and error of a clip; None without any."""
        files = sorted((self.folder / "pictures").glob("step-*.png"))
        return Picture(files[-1].read_bytes()) if files else None

    @property
    def scorecard(self) -> Card | None:
        """The last one that `foreframe evaluate` wrote for the run's own data; None without any."""
        file = self.folder / "evaluation" / "scorecard.json"
        return Card(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None

    def _repr_html_(self) -> str:
        card = self.scorecard
        return self._validation_html() + ("" if card is None else card._repr_html_())

    def _validation_html(self) -> str:
        rows = self.scores
        if not rows:
            return table_html(f"{self.folder}: no validation yet", [], {})

        def mse(row: dict[str, Any]) -> float:
            return float(row["scores"]["openstl"]["mse"]["overall"])

        best = min(rows, key=mse)
        columns = [(of, score) for of, table in best["scores"].items() for score in table]
        shown = {
            name: [
                f"{row['epoch'] + 1}",
                f"{row['step']}",
                *(f"{row['scores'][of][score]['overall']:.4g}" for of, score in columns),
            ]
            for name, row in (("best", best), ("last", rows[-1]))
        }
        names = ["epoch", "step", *(f"{score} ({of})" for of, score in columns)]
        title = f"{self.folder}: validation on {best['clips']} clips"
        pictures = [self.curves(), self.picture()]
        return table_html(title, names, shown) + "".join(
            f"<div>{image_html(picture.png, 'scores and forecast')}</div>"
            for picture in pictures
            if picture
        )


@dataclass(frozen=True)
class Picture:
    """A PNG that a notebook shows.

    Args:
        png: the bytes of its file.
    """

    png: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file; raises ValueError if that is not possible."""
        from foreframe.base.files import atomic_write

        with atomic_write(Path(path)) as rough:
            rough.write_bytes(self.png)


def open_run(folder: str | os.PathLike[str]) -> Run:
    """The run in a folder; raises ValueError if there is none."""
    return Run(Path(folder))


@_takes(PredictOptions)
def predict(
    what: "Forecaster | Run | str | os.PathLike[str]",
    source: Any,
    output: str | os.PathLike[str] | None = None,
    options: PredictOptions | None = None,
    *,
    progress: Callable[[int, int], Any] = lambda done, total: None,
    **changes: Any,
) -> "Forecast | Rolling":
    """Forecast what follows a recording, as `foreframe predict` does.

        foreframe.predict("scenes", "film.mp4", "future.mp4", steps=20)

    Args:
        what: a run, a forecaster, or what `Forecaster.load` takes.
        source: a recording as in `foreframe.clips_from`: a path, or an array (T,C,H,W) in the
            data's own units.
        output: a file to write it to, by its ending; by default none.
        options, changes: the fields of `PredictOptions` by name, or an object that they change.
        progress: called with the number of forecasts done and the total, if `every` makes several.

    Returns:
        The forecast, with the past and, as far as it is recorded, the truth; rolling forecasts with
        `every`.

    Raises:
        ValueError: as loading, opening, forecasting and writing do.
    """
    options = _options(PredictOptions, options, changes)
    from foreframe.base.notes import collecting, warn
    from foreframe.evaluation.walk import Rolling
    from foreframe.forecasting.forecast import forecast_recording, remarks
    from foreframe.forecasting.outputs import check_output
    from foreframe.visuals import paint_for

    paint_for(options.colours, 0, 1, "")  # refuses an unknown name, whether or not it would be used
    path = None if output is None else Path(output)
    if path is not None:
        kind = check_output(path, options.at is not None)
        if options.every and kind == ".png":
            raise ValueError(
                "rolling forecasts do not fit one .png; choose .mp4, .gif, a folder, .npy, .npz, "
                ".nc or .zarr"
            )
        is_path = isinstance(source, str | os.PathLike)
        if is_path and path.resolve() == Path(source).resolve():
            raise ValueError(f"output {path} is the input: name another file")
    forecaster, made_by = _forecaster(what, options.device)
    options = forecaster.options(options)
    notes: list[str] = []
    with collecting(notes):
        clip = forecaster.open(source, options.recording, **(options.reading or {}))
        steps = options.steps or forecaster.window.future
        options = replace(options, steps=steps, past=options.past or forecaster.window.past)
        seen = (options.past, *clip.frames.shape[1:])
        options = replace(options, tile=forecaster.choose_tile(seen, steps, options))
        made: Forecast | Rolling
        if options.every:
            made = Rolling(forecaster, clip, made_by, options)
            if path is not None:
                made.write(path, progress)
        else:
            made = forecast_recording(forecaster, clip, made_by, options)
            if path is not None:
                made.write(path)
        for remark in remarks(forecaster, clip, options):
            warn(remark)
    return replace(made, notes=tuple(notes))


@dataclass(frozen=True, eq=False)
class Live:
    """A frame of a stream: the forecast after it, and the errors of earlier forecasts of it.

    Args:
        frame: its number, counted from 0.
        forecast: (steps,C,H,W), of members (members,steps,C,H,W), in the data's units; None between
            forecasts.
        errors: root mean squared errors of earlier forecasts of this frame, by lead time.
    """

    frame: int
    forecast: np.ndarray | None
    errors: Mapping[int, float]


@_takes(StreamOptions)
def stream(
    what: "Forecaster | Run | str | os.PathLike[str]",
    source: str,
    options: StreamOptions | None = None,
    **changes: Any,
) -> Generator[Live, None, None]:
    """Forecast after every frame that comes, as `foreframe stream` does.

        for live in foreframe.stream("radar", "folder/that/grows"):
            print(live.frame, live.errors)

    Args:
        what: a run, a forecaster, or what `Forecaster.load` takes.
        source: a film or other file; a folder that grows, of pictures or .npy; "-" is standard
            input, a film or .npy frames.
        options, changes: the fields of `StreamOptions` by name, or an object that they change.

    Yields:
        A `Live` for each frame. The state is saved to the file `state` when the stream ends, and
        when it is closed.

    Raises:
        ValueError: errors of loading, reading, forecasting and saving; no frame at all.
    """
    options = _options(StreamOptions, options, changes)
    from foreframe.base.notes import warn
    from foreframe.evaluation.walk import score_live
    from foreframe.forecasting.incoming import live_frames, place_of

    forecaster, _ = _forecaster(what, options.device)
    live = forecaster.stream(options.steps or forecaster.window.future, options)
    if options.state is not None and Path(options.state).exists():
        live.restore(options.state)
        warn(f"going on after {live.seen} frames, from {options.state}")
    place, before = place_of(live, source), live.seen
    try:
        frames = live_frames(forecaster, source, place, options.wait, **(options.reading or {}))
        for _, forecast, errors in score_live(live, frames, options.every, place):
            yield Live(live.seen - 1, forecast, errors)
    finally:
        if options.state is not None and live.seen:
            live.save(options.state)
            warn(f"what {live.seen} frames have shown is kept in {options.state}")
    if live.seen == before:
        if not (place.get("frames") or place.get("last")):
            raise ValueError(f"{source}: no frame came")
        warn(f"{source}: no new frame came")


@dataclass(frozen=True, eq=False)
class DataCheck:
    """The result of `check`, which prints its lines.

    Args:
        recordings: each with its missing, damaged and repeated frames.
        lines: the same in words, and how the recordings would be split.
    """

    recordings: "Sequence[Checked]"
    lines: Sequence[str]

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a .png of frames spread over the first recording; raises ValueError if not."""
        from foreframe.forecasting.outputs import write_sheet

        write_sheet(Path(path), self.recordings[0])


def check(
    source: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    reading: Plain | ReadOptions | None = None,
    splits: Plain | SplitOptions | None = None,
    past: int = 10,
    future: int = 10,
    stride: int = 1,
) -> DataCheck:
    """Look through recordings before training on them, as `foreframe data check` does.

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
    from foreframe.data.check import check_recordings, describe_splits, summarise

    how = typed(ReadOptions, _plain(reading) or {}, "reading")
    split = typed(SplitOptions, _plain(splits) or {}, "splits")
    recordings = check_recordings(source, how)
    window = Window(past, future, stride)
    lines = [*summarise(recordings), *describe_splits(recordings, split, window)]
    checked = DataCheck(recordings, lines)
    if output is not None:
        checked.write(output)
    return checked


def _options(kind: type[Kind], given: Kind | None, changes: Mapping[str, Any]) -> Kind:
    """Options of a verb: an object of them, or the defaults, changed by name.

    Raises:
        ValueError: an unknown name, or an invalid value.
    """
    plain = {name: _plain_option(name, value) for name, value in changes.items()}
    if given is None:
        return typed(kind, plain, "")
    check_types(kind, plain, "")
    return replace(given, **plain)  # type: ignore[type-var]


def _forecaster(what: Any, device: str) -> tuple["Forecaster", str]:
    """A forecaster and its name."""
    from foreframe.forecasting.forecaster import Forecaster

    if isinstance(what, Forecaster):
        return what, what.trained.preset or "a forecaster"
    return Forecaster.load(os.fspath(what), device), name_of(os.fspath(what))


@_takes(EvaluateOptions)
def evaluate(
    what: "Forecaster | Run | str | os.PathLike[str] | None",
    data: Any = None,
    options: EvaluateOptions | None = None,
    *,
    progress: Callable[[int, int], Any] | None = None,
    **changes: Any,
) -> Card:
    """Score a forecaster beside the baselines, as `foreframe evaluate` does.

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
    options = _options(EvaluateOptions, options, changes)
    scored = open_scored(what, options)
    if options.output is not None:
        check_writable(Path(options.output))
    if options.pasts is not None:
        scored.write_pasts(options.pasts)
    card = scored.score(progress)
    if options.output is not None:
        scored.write_report(options.output, card)
    return card


@dataclass(frozen=True)
class Scored:
    """A forecaster and the clips to score it on.

    Args:
        forecaster: with the window to score; persistence if none was named.
        name: of its row: "model", or the name of a baseline.
        dataset: the clips, by their numbers.
        where: "data", "split" and the options of opening them; empty for a Dataset that is scored
            as it is.
        own: whether the data are those of training.
        forecasts: forecasts of other programs.
        options: options of scoring.
    """

    forecaster: "Forecaster"
    name: str
    dataset: Any
    where: Plain
    own: bool
    forecasts: "Sequence[Forecasts]"
    options: EvaluateOptions

    def score(self, progress: Callable[[int, int], Any] | None = None) -> Card:
        """The scorecard; raises as `foreframe.evaluate`."""
        from foreframe.evaluation.card import score_clips

        options = self.options
        if self.name != "model" and {*options.matches} - {NONE}:
            raise ValueError(
                "match is of a run's forecasts, not of those made elsewhere: name a RUN"
            )
        if options.clips is None and options.seconds is None and not self.forecasts:
            options = replace(options, seconds=SECONDS)
        card = score_clips(
            self.forecaster, self.dataset, options, self.forecasts, self.name, progress
        )
        return Card({**self.where, **card})

    def write_pasts(self, path: str | os.PathLike[str]) -> int:
        """As `foreframe.evaluation.external.write_pasts`."""
        from foreframe.evaluation.external import write_pasts

        window, scaling = self.forecaster.window, self.forecaster.scaling
        return write_pasts(Path(path), self.dataset, window, scaling, self.options.limit)

    def write_report(self, folder: str | os.PathLike[str], card: Plain) -> list[Path]:
        """As `foreframe.evaluation.report.write_report`."""
        from foreframe.evaluation.report import write_report

        return write_report(
            Path(folder), card, self.forecaster, self.dataset, forecasts=self.forecasts
        )


def open_scored(
    what: "Forecaster | Run | str | os.PathLike[str] | None", options: EvaluateOptions
) -> Scored:
    """Open what `evaluate` scores; raises as it does."""
    if what is None and options.data is None:
        raise ValueError("name a RUN, or what to score on without one: --data")
    from torch.utils.data import Dataset

    from foreframe.data import ClipSet, Recordings, check_first_clip, open_dataset
    from foreframe.data.arrays import data_name
    from foreframe.data.forecasts import open_forecasts
    from foreframe.forecasting.forecaster import Forecaster
    from foreframe.forecasting.recordings import check_channels
    from foreframe.models import model_name

    forecaster, _ = _forecaster("persistence" if what is None else what, options.device)
    trained = forecaster.trained
    opened = _data_to_score(what, forecaster, options)
    name = data_name(opened.data)
    own = what is not None and (options.data is None or name == trained.data)
    files = [options.forecasts] if isinstance(options.forecasts, str) else options.forecasts
    forecasts = [open_forecasts(file, opened.reading.variable) for file in files]
    window = replace(forecaster.window, **options.window)
    if what is None and forecasts and options.future is None:
        window = replace(window, future=forecasts[0].steps)
    opened = replace(opened, **asdict(window))
    split, scaling = options.split or "test", forecaster.scaling
    if isinstance(options.data, Dataset) and options.split is None:
        dataset, where = options.data, {}
    else:
        dataset = open_dataset(opened, split, None if forecaster.free else scaling)
        check_first_clip(dataset, window, forecaster.model.takes, name)
        where = {"data": name, "data_args": opened.data_args, "split": split}
        where |= {"reading": not_usual(opened.reading), "splits": not_usual(opened.splits)}
    if not forecaster.free and isinstance(dataset, ClipSet):
        check_channels(forecaster, np.shape(dataset[0])[1], name, dataset.dtype_of(0))
    if forecaster.free and isinstance(dataset, Recordings):
        scaling = dataset.scaling
    row = model_name(forecaster.model) if forecaster.free else "model"
    # A new one: the caller's forecaster keeps its window.
    forecaster = Forecaster(forecaster.model, window, scaling, trained, match=forecaster.match)
    return Scored(forecaster, row, dataset, where, own, forecasts, options)


def _data_to_score(what: Any, forecaster: "Forecaster", options: EvaluateOptions) -> DataOptions:
    """The data to score on: the user's, or those of training."""
    from foreframe.forecasting.recordings import data_to_score

    given = options.of_data
    if what is None or not isinstance(options.data, str | None):
        return typed(DataOptions, given, "")
    memory = what.data if isinstance(what, Run) and options.data is None else None
    if memory is None or isinstance(memory, str | os.PathLike):
        return data_to_score(forecaster, _called(what), given)
    given = {"data": forecaster.trained.data, **given}
    return replace(data_to_score(forecaster, _called(what), given), data=memory)


def _called(what: Any) -> str:
    return str(os.fspath(what)) if isinstance(what, str | os.PathLike) else "this forecaster"
