"""`foreframe evaluate`: open a forecaster and its clips, score them, and write the report."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from foreframe.base.extras import of_package, registered
from foreframe.base.files import check_writable
from foreframe.base.notes import say, warn
from foreframe.base.processes import rank_and_size
from foreframe.base.progress import Progress, silent
from foreframe.base.schema import typed
from foreframe.base.wording import plural
from foreframe.clips.clip import Window
from foreframe.data import ClipSet, Recordings, check_first_clip, holds_recordings, open_dataset
from foreframe.data.arrays import data_name
from foreframe.data.data_options import DataOptions, as_published, not_usual, protocol_of
from foreframe.evaluation.card import Others, Scorer, scorecard
from foreframe.evaluation.report import write_report
from foreframe.evaluation.score_options import EvaluateOptions
from foreframe.forecasting.forecaster import Forecaster, open_forecaster
from foreframe.forecasting.network import on_grid_of
from foreframe.forecasting.recordings import check_channels, doubts, reading_as_trained
from foreframe.forecasting.trained import data_of
from foreframe.models import model_name
from foreframe.models.names import is_name, name_of
from foreframe.visuals import Card

SECONDS = 40.0  # default time limit: with loading and the report, about a minute


@dataclass(frozen=True)
class Scored:
    """A forecaster and the clips to score it on.

    Args:
        what: as in `evaluate`.
        forecaster: with the window to score; persistence by default.
        name: name of its row: "model", or a baseline.
        dataset: the clips, by their numbers.
        where: "data", "split" and the options of opening them; empty for a Dataset without a split.
        own: whether these are the data of the training.
        options: options of scoring.
        clips: numbers of the clips to score; None for as many as `options` allow.
        others: forecasts of other programs.
    """

    what: Any
    forecaster: Forecaster
    name: str
    dataset: Any
    where: Mapping[str, Any]
    own: bool
    options: EvaluateOptions
    clips: Sequence[int] | None = None
    others: Others = ()

    @property
    def run(self) -> str | None:
        """The name or path of the forecaster, if any."""
        return os.fspath(self.what) if isinstance(self.what, str | os.PathLike) else None

    @cached_property
    def scorer(self) -> Scorer:
        """The rows of the scorecard."""
        rows = self.name, self.clips, self.others
        return Scorer(self.forecaster, self.dataset, self.options, *rows)

    def write_pasts(self) -> None:
        """Write the file of the option `pasts`, if set."""
        path, window, scaling = self.options.pasts, self.forecaster.window, self.forecaster.scaling
        if path is not None:
            n = _external("pasts")(path, self.dataset, window, scaling, self.options.limit)
            say(f"the past frames of {plural(n, 'clip')} are in {path}")

    def report_folder(self) -> Path | None:
        """Return the folder of the report, if any. The option "auto" means a folder next to the
        run's checkpoints.
        """
        if self.options.output != "auto":
            return None if self.options.output is None else Path(self.options.output)
        run = self.run or ""
        beside = Path(run)
        if is_name(run) or not beside.exists():
            beside = Path("runs", name_of(run) if run else "")
        data = Path(self.where.get("data", "data")).stem
        name = "evaluation" if self.own else f"evaluation-{data}"
        return (beside.parent if beside.is_file() else beside) / name

    def remarks(self, card: Mapping[str, Any]) -> list[str]:
        """Return remarks on the size of frames and the number of clips that were scored."""
        lines, scored, n = [], card["clips"], len(self.dataset)
        size = self.where.get("reading", {}).get("size")
        if self.forecaster.model.reduces and size:
            at = f"{size[0]}x{size[1]}"
            lines.append(f"Scored at {at}; foreframe predict writes frames of the size of INPUT.")
        if self.options.clips is None and scored < n:
            why = (
                "that all forecasts cover"
                if self.others
                else "to save time; --clips all scores all"
            )
            lines.append(f"Scored {scored} of {n:,} clips {why}.")
        return lines


def evaluate_forecaster(what: Any, options: EvaluateOptions, progress: Progress = silent) -> Card:
    """As `foreframe.evaluate`."""
    scored = open_scored(what, options)
    folder, first = scored.report_folder(), rank_and_size()[0] == 0
    if first and folder is not None:
        check_writable(folder)  # before hours of scoring
    if first:
        scored.write_pasts()
    in_a_minute = options.clips is options.seconds is None and not scored.others
    found = scorecard(scored.scorer, progress, SECONDS if in_a_minute else options.seconds)
    card = Card({**scored.where, **found})
    card.remarks = scored.remarks(card)
    if first and folder is not None:
        card.report = write_report(folder, {"run": scored.run, **card}, scored.scorer)
    return card


def _external(name: str) -> Any:
    """Return a function that an add-on registers for forecasts of other programs.

    Raises:
        ValueError: no add-on registers it.
    """
    if name not in registered("external"):
        raise ValueError(f"--{name} needs an add-on for forecasts of other programs, such as bench")
    return of_package("external", name)


def open_scored(
    what: Forecaster | str | os.PathLike[str] | None, options: EvaluateOptions
) -> Scored:
    """Open the forecaster and the clips of `evaluate`; raises as `evaluate`."""
    if what is None and options.data is None:
        raise ValueError("name a RUN, or what to score on without one: --data")
    known = "persistence" if what is None else what
    forecaster, _ = open_forecaster(known, options.device, options.compile)
    data = _data_to_score(what, forecaster, options)
    name, external = data_name(data.data), None
    if options.forecasts:
        external = _external("forecasts")(options.forecasts, data.reading.variable)
    of_protocol = forecaster.free and protocol_of(data.data)
    window = data.window if of_protocol else forecaster.window
    window = replace(window, **{k: n for k, n in options.given.items() if k in asdict(window)})
    if what is None and external and "future" not in options.given:
        window = replace(window, future=external.steps)
    dataset: Any = options.data
    where: dict[str, Any] = {}
    if not isinstance(dataset, Dataset) or options.split is not None:
        dataset, where = _opened(data, window, options, forecaster)
    model, trained, scaling = forecaster.model, forecaster.trained, forecaster.scaling
    own = what is not None and (options.data is None or name == trained.data)
    if forecaster.free and isinstance(dataset, Recordings):
        scaling, model = dataset.scaling, on_grid_of(dataset.clips[0], model)
    elif isinstance(dataset, ClipSet):
        check_channels(forecaster, np.shape(dataset[0])[1], name, dataset.dtype_of(0))
        for note in doubts(forecaster, dataset.clips[0]) if isinstance(dataset, Recordings) else ():
            warn(f"{name}: {note}")
    if isinstance(dataset, Recordings) and not own:  # a training printed the notes on its data
        for note in dict.fromkeys(note for clip in dataset.clips for note in clip.notes):
            warn(note)
    if isinstance(dataset, Recordings):
        model = model.at_pace(trained.pace(dataset.clips[0].step))
    row = model_name(model) if forecaster.free else "model"
    # A new forecaster: the caller's one keeps its window.
    forecaster = Forecaster(model, window, scaling, trained, match=forecaster.match)
    scored = Scored(what, forecaster, row, dataset, where, own, options)
    if external is None:
        return scored
    clips, others = external.rows(dataset, forecaster, options.limit)
    return replace(scored, clips=clips, others=others)


def _opened(
    data: DataOptions, window: Window, options: EvaluateOptions, forecaster: Forecaster
) -> tuple[Any, dict[str, Any]]:
    """The clips of a split, and the options of opening them."""
    data, split = replace(data, **asdict(window)), options.split or "test"
    dataset = open_dataset(data, split, None if forecaster.free else forecaster.scaling)
    if isinstance(dataset, Recordings) and "tile" not in (options.splits or {}):
        dataset = dataset.whole()  # tiles are for training
    splits = dataset.splits if isinstance(dataset, Recordings) else data.splits
    name = data_name(data.data)
    check_first_clip(dataset, window, forecaster.model.takes, name)
    where = {"data": name, "data_args": data.data_args, "split": split}
    return dataset, where | {"reading": not_usual(data.reading), "splits": not_usual(splits)}


def _data_to_score(what: Any, forecaster: Forecaster, options: EvaluateOptions) -> DataOptions:
    """The data to score on: the training's data, changed by the user's options. Other recordings
    are read as in training.
    """
    given, trained = options.given, forecaster.trained
    if what is None or not isinstance(options.data, str | None):
        return typed(DataOptions, as_published(given), "")
    # Data in memory of a `Run` are the user's own, so they need no checks.
    memory = getattr(what, "data", None) if options.data is None else None
    if memory is not None:
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
