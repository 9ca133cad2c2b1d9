"""The functions of notebooks and services: what the verbs train (here `fit`), predict, stream,
evaluate and `data check` do, with the option names of the command line.

Nothing heavy is loaded before it is needed: Lightning only to train.
"""

import inspect
import json
import os
import shutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from html import escape
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from foreframe.base.files import atomic_folder, check_new, check_writable, exists, matching
from foreframe.base.processes import rank_and_size
from foreframe.base.schema import typed
from foreframe.base.shipped import WEIGHTS, name_of
from foreframe.clips.data_options import DataOptions, ReadOptions, SplitOptions, not_usual
from foreframe.clips.protocols import as_published, protocol_of
from foreframe.clips.scaling import Scaling
from foreframe.evaluation import BenchOptions, EvaluateOptions
from foreframe.forecasting.forecast_options import (
    ConvertOptions,
    ExportOptions,
    PredictOptions,
    StreamOptions,
    TaskOptions,
    changed,
)
from foreframe.training.options import GROUPS
from foreframe.training.recipes import (
    KINDS,
    Given,
    explicit_options,
    no_option,
    options_from,
    recipes,
)
from foreframe.visuals import Card, curves_png, image_html

if TYPE_CHECKING:
    from foreframe.data.check import Checked
    from foreframe.data.forecasts import Forecasts
    from foreframe.evaluation.archive import Archive
    from foreframe.evaluation.card import Scorer, Scores
    from foreframe.evaluation.leaderboard import Leaderboard
    from foreframe.evaluation.walk import Rolling
    from foreframe.forecasting.forecast import Forecast
    from foreframe.forecasting.forecaster import Forecaster

Plain = Mapping[str, Any]
Kind = TypeVar("Kind")
Call = TypeVar("Call", bound=Callable[..., Any])
SECONDS = 40.0  # of scoring by default: with what comes before and after, about a minute


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
    from foreframe.training.fit import train
    from foreframe.training.notices import listening

    with listening(python=True):
        folder, data = train(*groups, explicit, strategy, plugins, callbacks), options.get("data")
    return Run(folder, None if isinstance(data, str | os.PathLike) else data)


def given_options(
    recipe: str | os.PathLike[str] | None, options: Mapping[str, Any]
) -> tuple[list[str], Given]:
    """A recipe and changes of it by name, as `options_from` takes them.

    Raises:
        ValueError: an unknown name, with the nearest.
    """
    changes: Given = []
    for name, value in options.items():
        if name not in KINDS:
            raise ValueError(no_option(name, list(KINDS)))
        plain = _plain_option(name, value)
        if isinstance(plain, Mapping) and name not in ("data", "scaling"):
            changes += [((name, inner), part) for inner, part in plain.items()]
        else:
            changes.append(((name,), plain))
    return [] if recipe is None else [os.fspath(recipe)], changes


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
    """The folder of a training, and its results. A notebook shows them.

        run = foreframe.open_run("runs/demo")
        forecaster, errors = run.forecaster(), run.scores

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

    def _repr_html_(self) -> str:
        """Its validations, as text and as curves, and its last picture."""
        rows, pngs = self.scores, []
        curves = {"MSE (openstl)": ("openstl", "mse"), "SSIM (standard)": ("standard", "ssim")}
        if rows:
            lines = {
                title: {"validation": [row["scores"][of][name]["overall"] for row in rows]}
                for title, (of, name) in curves.items()
            }
            pngs.append(curves_png(lines, "validations"))
        pictures = sorted((self.folder / "pictures").glob("step-*.png"))
        pngs += [path.read_bytes() for path in pictures[-1:]]
        images = "".join(f"<div>{image_html(png, 'scores and forecast')}</div>" for png in pngs)
        return f"<pre>{escape(repr(self))}</pre>{images}"


def open_run(folder: str | os.PathLike[str]) -> Run:
    """The run in a folder, as `fit` gives it.

        run = foreframe.open_run("runs/demo")
        run.evaluate(clips=100)

    Raises:
        ValueError: there is none.
    """
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
) -> "Forecast | Rolling | Archive":
    """Forecast what follows recordings, as `foreframe predict` does.

        foreframe.predict("scenes", "film.mp4", "future.mp4", steps=20)

    Args:
        what: a run, a forecaster, or what `Forecaster.load` takes.
        source: a recording as in `foreframe.clips_from`: a path, or an array (T,C,H,W) in the
            data's own units. Several: a list of paths, or a pattern, such as "rain/*.nc"; files
            that follow each other in time are one recording.
        output: a file to write it to, by its ending; by default none. Several recordings go to a
            folder, a file each, or to one .zarr.
        options, changes: the fields of `PredictOptions` by name, or an object that they change.
        progress: called with the number of forecasts written and the total.

    Returns:
        The forecast, with the past and, as far as it is recorded, the truth; rolling forecasts with
        `every`; an `Archive` of what several recordings, or `every` with a .zarr, have written.

    Raises:
        ValueError: as loading, opening, forecasting and writing do.
    """
    options = _options(options or PredictOptions(), changes)
    from foreframe.base.notes import collecting, warn
    from foreframe.evaluation.archive import write_archive
    from foreframe.evaluation.walk import Rolling
    from foreframe.forecasting.forecast import forecast_recording, remarks, resolved
    from foreframe.forecasting.outputs import check_output
    from foreframe.visuals import paint_for

    paint_for(options.colours, 0, 1, "")  # refuses an unknown name, whether or not it would be used
    path, kind = None if output is None else Path(output), None
    sources = matching(source)
    several = isinstance(source, list | tuple) or sources[0] is not source
    if path is not None:
        kind = check_output(path, options.at is not None, bool(options.every), options.resume)
        paths = [Path(one).resolve() for one in sources if isinstance(one, str | os.PathLike)]
        if path.resolve() in paths:
            raise ValueError(f"output {path} is the input: name another file")
    forecaster, made_by = _forecaster(what, options.device, options.compile)
    options = forecaster.options(options)
    notes: list[str] = []
    with collecting(notes):
        to_archive = several and kind in ("", ".zarr")
        clips = [] if to_archive else forecaster.recordings(sources, **(options.reading or {}))
        all_of_them = not clips or (len(clips) > 1 and options.recording is None)
        if (kind in ("", ".zarr") and all_of_them) or (kind == ".zarr" and options.every):
            opened = _for_tasks(what, sources, options)
            archive = write_archive(*opened, path, options, progress)  # type: ignore[arg-type]
            return replace(archive, notes=tuple(notes))
        if options.in_tasks:
            raise ValueError(
                "workers, scheduler and resume are of several recordings, or of --every N with -o "
                "NAME.zarr"
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


def _for_tasks(what: Any, sources: Sequence[Any], options: TaskOptions) -> tuple[Any, list[Any]]:
    """A forecaster and sources as other processes open them: by absolute paths.

    Raises:
        ValueError: they are in memory, which others cannot open.
    """
    given = [what, *sources]
    if all(isinstance(one, str | os.PathLike) for one in given):
        what, *sources = (os.path.abspath(one) if exists(one) else one for one in given)
    elif options.in_tasks:
        raise ValueError("workers, and what is resumed, open the run and data by path: give paths")
    return what, list(sources)


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
            already or cannot be written; half where a weight is beyond the range of float16.
    """
    options = _options(options or ExportOptions(), changes)
    from foreframe.forecasting.exported_page import export_page
    from foreframe.forecasting.forecaster import Forecaster
    from foreframe.forecasting.graphs import export_to

    forecaster, name = _forecaster(what)
    check_new(Path(folder))
    scores = "" if isinstance(what, Forecaster) else _known_scores(os.fspath(what))
    if options.half:
        forecaster = _rounded(forecaster)
    with atomic_folder(Path(folder)) as rough:
        if options.format == "page":
            return export_page(rough, forecaster, options, scores, name)
        return export_to(rough, forecaster, options, scores)


def convert(
    checkpoint: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    options: ConvertOptions | None = None,
    **changes: Any,
) -> "Forecaster":
    """Make a forecaster of a checkpoint that the authors' code of a paper wrote, as `foreframe
    convert` does.

        args = {"temporal": 256, "blocks": 6, "layers": 2}
        foreframe.convert("kth_tau.pth", "converted", model="tau", model_args=args, future=20)

    Args:
        checkpoint: a file of `torch.save` or `.safetensors`. Nothing in it is run.
        folder: a new or empty one, for the forecaster.
        options, changes: the fields of `ConvertOptions` by name, or an object that they change.

    Returns:
        The forecaster, of frames in [0,1].

    Raises:
        ValueError: a file that cannot be read, or that holds other than tensors and plain values; a
            model of which no original is known; weights that do not fit it with these arguments; a
            folder that is there already or cannot be written.
    """
    options = _options(options, changes) if options else typed(ConvertOptions, changes, "convert")
    check_new(Path(folder))
    from foreframe.forecasting.conversion import forecaster_of

    forecaster = forecaster_of(Path(checkpoint), options)
    with atomic_folder(Path(folder)) as rough:
        forecaster.save(rough)
    return forecaster


def _known_scores(what: str) -> str:
    """What the files of a forecaster say of its scores, as Markdown; "" if nothing. Of a run the
    report on its own data unless its best checkpoint is newer, or else its validations.
    """
    folder = Path(what) if exists(what) else WEIGHTS / what
    report, best = folder / "evaluation/scorecard.json", folder / "checkpoints/best.ckpt"
    if report.is_file() and not (best.is_file() and best.stat().st_mtime > report.stat().st_mtime):
        return f"```text\n{Card(json.loads(report.read_text(encoding='utf-8')))}\n```"
    if (folder / "config.yaml").is_file():
        return f"```text\n{Run(folder)}\n```"
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    return text.partition("\n## Scores\n")[2].strip()


def _rounded(forecaster: "Forecaster") -> "Forecaster":
    """A copy whose weights are the nearest that float16 holds.

    Raises:
        ValueError: one is beyond its range.
    """
    rounded = copy(forecaster)
    rounded.model = deepcopy(forecaster.model).half().float()
    if not all(weight.isfinite().all() for weight in rounded.model.state_dict().values()):
        raise ValueError("a weight is beyond the range of float16: export without half")
    return rounded


@dataclass(frozen=True, eq=False)
class Live:
    """A frame of a stream: the forecast after it, and the errors of earlier forecasts of it.

    Args:
        frame: its number, counted from 0.
        made: the forecast after it, with times and place; None between forecasts.
        errors: root mean squared errors of earlier forecasts of this frame, by lead time.
    """

    frame: int
    made: "Forecast | None"
    errors: Mapping[int, float]

    @property
    def forecast(self) -> np.ndarray | None:
        """(steps,C,H,W), of members (members,steps,C,H,W), in the data's units."""
        return None if self.made is None else self.made.frames


@_takes(StreamOptions)
def stream(
    what: "Forecaster | Run | str | os.PathLike[str]",
    source: str,
    options: StreamOptions | None = None,
    **changes: Any,
) -> Generator[Live, None, None]:
    """Forecast after every frame that comes, as `foreframe stream` does.

        for live in foreframe.stream("scenes", "film.mp4", every=25):
            print(live.frame, live.errors)

    Args:
        what: a run, a forecaster, or what `Forecaster.load` takes.
        source: a film or other file; a folder that grows, of pictures, .npy or files of grids; "-"
            is standard input, a film or .npy frames.
        options, changes: the fields of `StreamOptions` by name, or an object that they change.

    Yields:
        A `Live` for each frame. The state is saved to the file `state` when the stream ends, and
        when it is closed.

    Raises:
        ValueError: errors of loading, reading, forecasting and saving; no frame at all.
    """
    options = _options(options or StreamOptions(), changes)
    from foreframe.base.notes import warn
    from foreframe.evaluation.walk import score_live
    from foreframe.forecasting.forecast import Forecast
    from foreframe.forecasting.incoming import live_frames, place_of
    from foreframe.forecasting.places import place_at

    forecaster, made_by = _forecaster(what, options.device, options.compile)
    live = forecaster.stream(options.steps or forecaster.window.future, options)
    if options.state is not None and Path(options.state).exists():
        live.restore(options.state)
        warn(f"going on after {live.seen} frames, from {options.state}")
    place, before = place_of(live, source), live.seen
    seen = live_frames(forecaster, source, place, options.wait, **(options.reading or {}))
    pasts, same = tee(seen)  # no frame is asked for before the one before it is scored
    drawn = {name: getattr(live.options, name) for name in ("members", "seed", "match")}
    written = PredictOptions(steps=live.steps, at=options.at, **drawn)
    try:
        scored = score_live(live, (past.frames[:][-1] for past in same), options.every, place)
        for past, (_, forecast, errors) in zip(pasts, scored, strict=True):
            made, frame = None, live.seen - 1
            if forecast is not None:
                future = live.forecaster.as_clip(forecast, past, past.times_after(live.steps))
                at = None if options.at is None else place_at(past, options.at)
                about = live.forecaster.scaling, made_by, written, at
                made = Forecast(past, past.without_inputs()[-1:], future, None, frame, *about)
            yield Live(frame, made, errors)
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
    from foreframe.data.check import check_recordings, describe_splits, summarise

    how = typed(ReadOptions, _plain(reading) or {}, "reading")
    split = typed(SplitOptions, _plain(splits) or {}, "splits")
    recordings = check_recordings(source, how)
    window = Window(past, future, stride)
    lines = [*summarise(recordings), *describe_splits(recordings, split, window, how.budget)]
    if output is not None:
        from foreframe.forecasting.outputs import write_sheet

        write_sheet(Path(output), recordings[0])
    return DataCheck(recordings, lines)


def _options(options: Kind, changes: Mapping[str, Any]) -> Kind:
    """Options of a verb, changed by name; raises as `changed`."""
    return changed(options, {name: _plain_option(name, value) for name, value in changes.items()})


def _forecaster(what: Any, device: str = "cpu", compile: bool = True) -> tuple["Forecaster", str]:
    """A forecaster and its name."""
    from foreframe.forecasting.forecaster import Forecaster

    if isinstance(what, Forecaster):
        return what, what.trained.preset or "a forecaster"
    forecaster = Forecaster.load(os.fspath(what), device)
    if not compile:
        forecaster.model.never_compile()
    return forecaster, name_of(os.fspath(what))


@_takes(EvaluateOptions)
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
    options = _options(options or EvaluateOptions(), changes)
    scored, first = open_scored(what, options), rank_and_size()[0] == 0
    if options.output is not None:
        check_writable(Path(options.output))
    if options.pasts is not None and first:
        scored.write_pasts(options.pasts)
    card = scored.score(progress)
    if options.output is not None and first:
        scored.write_report(options.output, card)
    return card


@dataclass(frozen=True)
class Scored:
    """A forecaster and the clips to score it on.

    Args:
        what: as in `evaluate`.
        forecaster: with the window to score; persistence if none was named.
        name: of its row: "model", or the name of a baseline.
        dataset: the clips, by their numbers.
        where: "data", "split" and the options of opening them; empty for a Dataset that is scored
            as it is.
        own: whether the data are those of training.
        forecasts: forecasts of other programs.
        options: options of scoring.
    """

    what: Any
    forecaster: "Forecaster"
    name: str
    dataset: Any
    where: Plain
    own: bool
    forecasts: "Sequence[Forecasts]"
    options: EvaluateOptions

    def scorer(self) -> "Scorer":
        """The rows of this forecaster, and of what is scored beside it."""
        from foreframe.evaluation.card import Scorer

        return Scorer(self.forecaster, self.dataset, self.options, self.forecasts, self.name)

    def score(self, progress: Callable[[int, int], Any] | None = None) -> Card:
        """The scorecard; raises as `foreframe.evaluate`."""
        from foreframe.evaluation.card import score_clips

        options = self.options
        if options.clips is options.seconds is None and not (self.forecasts or options.in_tasks):
            options = replace(options, seconds=SECONDS)
        given = self.forecaster, self.dataset, options, self.forecasts, self.name
        score = self._score_in_tasks if options.in_tasks else None
        return Card({**self.where, **score_clips(*given, progress, score)})

    def _score_in_tasks(self, scorer: Any, clips: Sequence[int], tell: Any) -> Any:
        """As `Scorer.score`, a task for each batch. What tasks have scored lies beside the report
        until all is.
        """
        from foreframe.forecasting.tasks import stamp

        options, data = self.options, self.options.data
        what, _ = _for_tasks(self.what, [] if data is None else [data], options)
        about = options.about(), self.where, stamp(self.where.get("data"))
        part = Path(os.path.abspath(f"{options.output or 'evaluation'}.part"))
        again = partial(_scorers, open_scored, what, options)
        return _score_in_tasks([scorer], clips, again, options, part, about, tell)[0]

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


def _score_in_tasks(
    scorers: "Sequence[Scorer]",
    clips: Sequence[int],
    again: Callable[[], "list[Scorer]"],
    options: EvaluateOptions,
    part: Path,
    about: Any,
    tell: Callable[[int, int], Any] | None,
) -> "list[Scores]":
    """The scores of several forecasters on the same clips, a task for each batch.

    Args:
        again: opens the scorers in another process.
        part: folder for what tasks have scored, until all is.
        about: plain values that tell this job from others.
        tell: called with the number of tasks done, and of all.
    """
    from foreframe.forecasting.tasks import begun, fingerprint, held, results

    at_once = min(scorer.at_once for scorer in scorers)
    items = [list(clips[k : k + at_once]) for k in range(0, len(clips), at_once)]
    prints = [fingerprint(scorer.forecaster) for scorer in scorers]
    digest = fingerprint(scorers[0].forecaster, about, items, prints)
    held(digest, lambda: scorers)
    do = partial(_score_task, again, digest)
    with begun(part, digest, options) as workers:
        sums = results(do, items, part, workers, tell or (lambda *_: None))
        total = [scorer.total(of[k] for of in sums) for k, scorer in enumerate(scorers)]
    shutil.rmtree(part)
    return total


def _score_task(again: Callable[[], "list[Scorer]"], digest: str, marker: Path, clips: Any) -> None:
    from foreframe.forecasting.tasks import held, leave

    leave(marker, [scorer.sums(clips) for scorer in held(digest, again)])


def _scorers(open: Callable[..., Any], what: Any, options: EvaluateOptions) -> "list[Scorer]":
    opened = open(what, options)
    return [each.scorer() for each in (opened if isinstance(opened, list) else [opened])]


def open_scored(
    what: "Forecaster | Run | str | os.PathLike[str] | None", options: EvaluateOptions
) -> Scored:
    """Open what `evaluate` scores; raises as it does."""
    if what is None and options.data is None:
        raise ValueError("name a RUN, or what to score on without one: --data")
    from torch.utils.data import Dataset

    from foreframe.base.notes import warn
    from foreframe.data import ClipSet, Recordings, check_first_clip, open_dataset
    from foreframe.data.arrays import data_name
    from foreframe.data.forecasts import open_forecasts
    from foreframe.forecasting.forecaster import Forecaster
    from foreframe.forecasting.recordings import check_channels, doubts
    from foreframe.models import model_name

    known = "persistence" if what is None else what
    # Of tasks, bits must not depend on how many of them a process has done.
    forecaster, _ = _forecaster(known, options.device, options.compile and not options.in_tasks)
    model, trained, scaling = forecaster.model, forecaster.trained, forecaster.scaling
    data = _data_to_score(what, forecaster, options)
    name = data_name(data.data)
    files = [options.forecasts] if isinstance(options.forecasts, str) else options.forecasts
    forecasts = [open_forecasts(file, data.reading.variable) for file in files]
    of_protocol = forecaster.free and protocol_of(data.data)
    window = replace(data.window if of_protocol else forecaster.window, **options.window)
    if what is None and forecasts and options.future is None:
        window = replace(window, future=forecasts[0].steps)
    dataset, where = options.data, {}
    if not isinstance(dataset, Dataset) or options.split is not None:
        data, split = replace(data, **asdict(window)), options.split or "test"
        dataset = open_dataset(data, split, None if forecaster.free else scaling)
        check_first_clip(dataset, window, model.takes, name)
        where = {"data": name, "data_args": data.data_args, "split": split}
        where |= {"reading": not_usual(data.reading), "splits": not_usual(data.splits)}
    if forecaster.free and isinstance(dataset, Recordings):
        scaling = dataset.scaling
    elif isinstance(dataset, ClipSet):
        check_channels(forecaster, np.shape(dataset[0])[1], name, dataset.dtype_of(0))
        for note in doubts(forecaster, dataset.clips[0]) if isinstance(dataset, Recordings) else ():
            warn(f"{name}: {note}")
    row = model_name(model) if forecaster.free else "model"
    own = what is not None and (options.data is None or name == trained.data)
    # A new one: the caller's forecaster keeps its window.
    forecaster = Forecaster(model, window, scaling, trained, match=forecaster.match)
    return Scored(what, forecaster, row, dataset, where, own, forecasts, options)


def _data_to_score(what: Any, forecaster: "Forecaster", options: EvaluateOptions) -> DataOptions:
    """The data to score on: those of training, changed by the user's options; other recordings are
    read as those of training.
    """
    from foreframe.data import holds_recordings
    from foreframe.forecasting.recordings import reading_as_trained
    from foreframe.forecasting.trained import data_of

    given, trained = options.of_data, forecaster.trained
    if what is None or not isinstance(options.data, str | None):
        return typed(DataOptions, as_published(given), "")
    memory = what.data if isinstance(what, Run) and options.data is None else None
    if memory is not None:  # the user's own, so that nothing is asked of it
        given = {"data": trained.data, **given}
    where = os.fspath(what) if isinstance(what, str | os.PathLike) else "this forecaster"
    data, reading = data_of(trained, where, given), options.reading or {}
    if options.data is None:
        # The number of clips in an epoch is not the number to score.
        args = {name: value for name, value in data.data_args.items() if name != "clips"}
        data = replace(data, data_args=args | (options.data_args or {}))
    elif data.data != trained.data and holds_recordings(data.data, reading.get("variable")):
        data = replace(data, reading=reading_as_trained(forecaster, data.data, reading))
    return data if memory is None else replace(data, data=memory)


@_takes(BenchOptions)
def bench(
    what: "Mapping[str, Any] | Sequence[Any] | Forecaster | Run | str | os.PathLike[str]" = (),
    data: Any = None,
    options: BenchOptions | None = None,
    *,
    progress: Callable[[int, int], Any] | None = None,
    **changes: Any,
) -> "Leaderboard":
    """Compare forecasters on the same clips, as `foreframe bench` does.

        foreframe.bench(["runs/demo", "moving-mnist"], clips=200, output="leaderboard")

    Args:
        what: forecasters as in `evaluate`: one, several, or {name of its row: forecaster}.
        data: what to score on, as in `evaluate`; by default the data of the first.
        options, changes: the fields of `BenchOptions` by name, below, or an object that they
            change.
        progress: called after each batch of clips with how many are scored, and how many will be.

    Returns:
        The leaderboard, which lies in `output` as leaderboard.json, .md and .html. Rows of other
        names that a leaderboard of the same frames has there stay.

    Raises:
        ValueError: as `fit` and `evaluate`; forecasters that do not fit each other; a leaderboard
            of other frames, or a training with another budget, in `output`.
        KeyboardInterrupt: Ctrl-C; what is done stays, and `resume` goes on.
    """
    if data is not None:
        changes["data"] = data
    options = _options(options or BenchOptions(), changes)
    from foreframe.data.datasets import clip_set
    from foreframe.evaluation import leaderboard as boards
    from foreframe.evaluation.card import groups_of
    from foreframe.evaluation.networks import fewer_within
    from foreframe.evaluation.rows import rows_of
    from foreframe.training.equal import training_of

    folder = Path(options.output)
    named = _by_name(what, [folder / "runs" / Path(each).stem for each in options.to_train])
    check_writable(folder)
    before = boards.read_leaderboard(folder)
    _train_each(options)
    contest = open_bench(named, options)
    first, scorers = contest[0], [each.scorer() for each in contest]
    dataset, window = clip_set(first.dataset), first.forecaster.window
    if options.pasts is not None:
        first.write_pasts(options.pasts)
    clips, least = scorers[0].clips, scorers[0].at_once
    if options.seconds is not None:
        clips = fewer_within(
            options.seconds, clips, least, lambda some: [each.sums(some) for each in scorers]
        )
    found = boards.identity(dataset, clips, window, first.where, first.forecaster.scaling.units)
    found["past"] = max(each.forecaster.window.past for each in contest)
    boards.check_same(before, found, folder)
    inside = [*named.values(), *([] if options.data is None else [options.data])]
    paths = _for_tasks("", inside, options)[1]
    again = partial(_scorers, open_bench, dict(zip(named, paths, strict=False)), options)
    part, about = folder.absolute() / "scoring.part", (replace(options, data=None).about(), found)
    scores = _score_in_tasks(scorers, clips, again, options, part, about, progress)
    groups, _ = groups_of(dataset, clips, window)
    rows: dict[str, dict[str, Any]] = {}
    for scorer, of in zip(scorers, scores, strict=True):
        made, run = rows_of(scorer, of, groups, clips[0]), named.get(scorer.name)
        if isinstance(run, str | os.PathLike | Run):
            known = training_of(Path(run), scorer.forecaster.device.type)
            for name in (scorer.name, *scorer.mean, *scorer.matches):
                made[name] |= known
        rows |= made
    device = str(first.forecaster.device)
    board = boards.merged(before, found, list(rows.values()), groups, device)
    boards.write_leaderboard(folder, board)
    return board


def _by_name(what: Any, runs: Sequence[Path]) -> dict[str, Any]:
    """Forecasters, and runs to be trained, by the names of their rows.

    Raises:
        ValueError: two have one name.
    """
    from foreframe.forecasting.forecaster import Forecaster

    several = [*(what if isinstance(what, list | tuple | Mapping) else [what]), *runs]
    named = dict(what) if isinstance(what, Mapping) else {}
    for one in several[len(named) :]:
        name = _forecaster(one)[1] if isinstance(one, Forecaster) else name_of(os.fspath(one))
        if name in named:
            raise ValueError(f"two rows would be called {name}; rename the folder of one")
        named[name] = one
    return named


def open_bench(named: Mapping[str, Any], options: BenchOptions) -> "list[Scored]":
    """Open what `bench` scores: each forecaster looks at the last frames of the same clips, as many
    as it was trained with. The first that was trained decides on the data; baselines and forecasts
    of other programs are scored beside the first.

    Raises:
        ValueError: as `evaluate`; forecasters whose errors cannot be compared.
    """
    from foreframe.clips.units import check_units
    from foreframe.data import Recordings
    from foreframe.data.datasets import clip_set
    from foreframe.evaluation.leaderboard import scale_of
    from foreframe.forecasting.forecaster import Forecaster
    from foreframe.forecasting.recordings import check_channels
    from foreframe.models import baselines_here

    compile = options.compile and not options.in_tasks
    loaded = {name: _forecaster(one, options.device, compile)[0] for name, one in named.items()}
    trained = {name: each for name, each in loaded.items() if not each.free}
    leading = next(iter(trained or loaded), None)
    most = max((each.window.past for each in trained.values()), default=None)
    base = open_scored(
        named[leading] if leading else None, replace(options, past=options.past or most)
    )
    others = baselines_here() if options.baselines is None else options.baselines
    others = [name for name in others if name not in named]
    if leading is None:
        return [replace(base, options=replace(options, baselines=others))]
    dataset, window = clip_set(base.dataset), base.forecaster.window
    units, contest = base.forecaster.scaling.units, []
    for name in sorted(named, key=lambda name: name != leading):
        each, leads = loaded[name], name == leading
        own = window if each.free or options.past else replace(window, past=each.window.past)
        check_channels(each, np.shape(dataset[0])[1], name, dataset.dtype_of(0))
        scaling = base.forecaster.scaling if each.free else each.scaling
        check_units(scaling.units, units, name, "the clips are in")
        scaling = replace(scaling, units=units)
        seen = dataset.later(window.past - own.past, scaling)
        if isinstance(dataset, Recordings) and not units and scale_of(seen) != scale_of(dataset):
            raise ValueError(
                f"{name} scales values otherwise than {leading}, and without units errors are on "
                "that scale: score each in a folder of its own, or train with the same --scaling"
            )
        how = replace(
            options,
            members=options.members if each.model.draws else None,
            baselines=others if leads else (),
        )
        began = replace(each.trained, weights="")  # what it began with is no row here
        one = Forecaster(each.model, own, scaling, began, match=each.match)
        forecasts = base.forecasts if leads else ()
        contest.append(Scored(named[name], one, name, seen, base.where, base.own, forecasts, how))
    if options.members and not any(each.options.members for each in contest):
        raise ValueError("no forecaster here draws members: leave --members out")
    return contest


def _train_each(options: BenchOptions) -> None:
    """Train what is to be trained, as far as it was not.

    Raises:
        ValueError: as `fit`; a run with another budget, or one to go on with without `resume`.
    """
    from foreframe.forecasting.tasks import run_tasks, workers_of
    from foreframe.models import PRESETS
    from foreframe.training.equal import VALIDATED, is_done, limits_of, warn_of_unequal

    todo = {}
    for recipe in options.to_train:
        folder = Path(os.path.abspath(options.output)) / "runs" / Path(recipe).stem
        given = {**options.of_data, **options.window, "device": options.device}
        given |= {"validation_clips": VALIDATED, **options.training}
        config = None if recipe in PRESETS and recipe not in recipes() else recipe
        given |= {"model": recipe} if config is None else {}
        limits = limits_of(options.for_each, options_from(*given_options(config, given)))
        if is_done(folder, limits):
            continue
        if folder.exists() and not options.resume:
            raise ValueError(f"{folder} was cut off: --resume goes on; or remove it")
        quiet = {"verbose": False} if options.workers or options.scheduler else {}
        todo[folder / "trained"] = config, given | limits | quiet
    if todo:
        with workers_of(options) as workers:
            run_tasks(_train_task, todo, workers, lambda *_: None)
        if options.minutes:
            warn_of_unequal([marker.parent for marker in todo])


def _train_task(marker: Path, item: tuple[str | None, dict[str, Any]]) -> None:
    from foreframe.forecasting.tasks import leave
    from foreframe.training.notices import listening, say

    recipe, given = item
    with listening(verbose=given.get("verbose", True)):
        say(f"training {marker.parent.name}, in {marker.parent}")
    begun = (marker.parent / "config.yaml").is_file()  # which has the recipe, and its choices
    where = {"resume" if begun else "run": str(marker.parent)}
    began, worked = time.monotonic(), time.process_time()
    fit(None if begun else recipe, **given | where)
    leave(marker, (time.process_time() - worked) / (time.monotonic() - began))
