"""The functions of notebooks and services: what the verbs train (here `fit`), predict, stream,
evaluate and `data check` do, with the option names of the command line.

Nothing heavy is loaded before it is needed: Lightning only to train.
"""

import inspect
import json
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from html import escape
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from foreframe.base.files import atomic_folder, check_new, check_writable, exists, matching
from foreframe.base.processes import rank_and_size
from foreframe.base.schema import typed
from foreframe.base.shipped import WEIGHTS
from foreframe.data.data_options import ReadOptions, SplitOptions
from foreframe.evaluation import EvaluateOptions
from foreframe.forecasting.forecast_options import (
    ConvertOptions,
    ExportOptions,
    PredictOptions,
    StreamOptions,
    changed,
)
from foreframe.leaderboards import BenchOptions
from foreframe.training.calls import given_options, plain, plain_option
from foreframe.training.options import GROUPS
from foreframe.training.recipes import explicit_options, options_from
from foreframe.visuals import Card, curves_png, image_html

if TYPE_CHECKING:
    from foreframe.data.check import Checked
    from foreframe.evaluation.archive import Archive
    from foreframe.evaluation.walk import Rolling
    from foreframe.forecasting.forecast import Forecast
    from foreframe.forecasting.forecaster import Forecaster
    from foreframe.leaderboards.leaderboard import Leaderboard

Kind = TypeVar("Kind")
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
    from foreframe.forecasting.loading import for_tasks, opened
    from foreframe.forecasting.outputs import check_output
    from foreframe.visuals import paint_for

    paint_for(options.colours, 0, 1, "")  # refuses an unknown name, whether or not it would be used
    path, kind = None if output is None else Path(output), None
    sources = matching(source)
    several = isinstance(source, list | tuple) or sources[0] is not source
    if path is not None:
        kind = check_output(path, options.at is not None, bool(options.every), options.continue_job)
        paths = [Path(one).resolve() for one in sources if isinstance(one, str | os.PathLike)]
        if path.resolve() in paths:
            raise ValueError(f"output {path} is the input: name another file")
    forecaster, made_by = opened(what, options.device, options.compile)
    options = forecaster.options(options)
    notes: list[str] = []
    with collecting(notes):
        to_archive = several and kind in ("", ".zarr")
        clips = [] if to_archive else forecaster.recordings(sources, **(options.reading or {}))
        all_of_them = not clips or (len(clips) > 1 and options.recording is None)
        if (kind in ("", ".zarr") and all_of_them) or (kind == ".zarr" and options.every):
            by_paths = for_tasks(what, sources, options)
            archive = write_archive(*by_paths, path, options, progress)  # type: ignore[arg-type]
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
    from foreframe.exporting.exported_page import export_page
    from foreframe.exporting.graphs import export_to
    from foreframe.forecasting.forecaster import Forecaster
    from foreframe.forecasting.loading import opened

    forecaster, name = opened(what)
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
    from foreframe.forecasting.loading import opened
    from foreframe.forecasting.places import place_at

    forecaster, made_by = opened(what, options.device, options.compile)
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
    reading: Mapping[str, Any] | ReadOptions | None = None,
    splits: Mapping[str, Any] | SplitOptions | None = None,
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

    how = typed(ReadOptions, plain(reading) or {}, "reading")
    split = typed(SplitOptions, plain(splits) or {}, "splits")
    recordings = check_recordings(source, how)
    window = Window(past, future, stride)
    lines = [*summarise(recordings), *describe_splits(recordings, split, window, how.budget)]
    if output is not None:
        from foreframe.forecasting.outputs import write_sheet

        write_sheet(Path(output), recordings[0])
    return DataCheck(recordings, lines)


def _options(options: Kind, changes: Mapping[str, Any]) -> Kind:
    """Options of a verb, changed by name; raises as `changed`."""
    return changed(options, {name: plain_option(name, value) for name, value in changes.items()})


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
    from foreframe.evaluation.scored import open_scored

    scored, first = open_scored(what, options), rank_and_size()[0] == 0
    if options.output is not None:
        check_writable(Path(options.output))
    if options.pasts is not None and first:
        scored.write_pasts(options.pasts)
    card = scored.score(progress)
    if options.output is not None and first:
        scored.write_report(options.output, card)
    return card


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
        KeyboardInterrupt: Ctrl-C; what is done stays, and `continue_job` goes on.
    """
    if data is not None:
        changes["data"] = data
    options = _options(options or BenchOptions(), changes)
    from foreframe.leaderboards.comparison import compare

    return compare(what, options, progress)
