"""From options to a trained run: begin, or go on, train, say what came of it."""

import math
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from foreframe.base.files import atomic_write
from foreframe.base.shipped import published
from foreframe.clips.clip import Window
from foreframe.data import ClipSet, ReadOptions, Recordings, batches
from foreframe.data.arrays import data_name
from foreframe.evaluation.networks import clips_at_once
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.trained import Trained
from foreframe.models import Model, parts_of
from foreframe.training.checkpointing import Checkpoints
from foreframe.training.datamodule import Clips
from foreframe.training.default import settled, verdict
from foreframe.training.faults import Events, companions, dead_worker, quiet_workers, quiet_writer
from foreframe.training.module import VALIDATED, ForecastModule
from foreframe.training.notices import go_on, is_first_process, listening, say
from foreframe.training.options import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    Options,
    RunOptions,
)
from foreframe.training.pace import (
    VERDICT,
    in_one_process,
    seconds_of_validation,
    val_check_interval,
    validated_clips,
)
from foreframe.training.preparation import (
    load_initial_weights,
    load_weights,
    of_its_weights,
    prepared,
)
from foreframe.training.progress_bar import progress
from foreframe.training.recipes import Given, undecided
from foreframe.training.run_folder import (
    check_new,
    check_recipe,
    checkpoint_of,
    claimed,
    cut_rows,
    finished,
    other_network,
    owed_by,
    recipe_of,
)
from foreframe.training.snapshots import Pictures
from foreframe.training.stops import StopAtOnce, Stopped, Stops
from foreframe.training.trainer import build_trainer, quiet, settled_precision, start_tensorboard
from foreframe.training.validation import Validation, validates_first
from foreframe.training.watch import BlankWatch, BusyWatch, DivergenceWatch


def train(
    model: ModelOptions = ModelOptions(),  # noqa: B008 (never changed)
    data: Any = DataOptions(),  # noqa: B008
    learning: LearningOptions = LearningOptions(),  # noqa: B008
    machine: MachineOptions = MachineOptions(),  # noqa: B008
    run: RunOptions = RunOptions(),  # noqa: B008
    given: Given | None = None,
) -> Path:
    """Train, and give back the run's folder: config.yaml, checkpoints/best.ckpt and last.ckpt,
    validation.jsonl, pictures and TensorBoard's events. `Forecaster.load(folder)` opens it.

    Args:
        data: DataOptions, whose `data` may be in memory: an array, a tensor, an xarray object, a
            Dataset or one a split (see `open_dataset`); or that alone. config.yaml keeps no more
            than its name.
        given: what was told, where the default recipe chooses all other options (see `undecided`);
            of those before it counts then only who is told of it.

    Raises:
        ValueError: options that do not fit each other, data that is not clips, a folder that cannot
            be written.
        Stopped: Ctrl-C; everything is saved.
    """
    data = data if isinstance(data, DataOptions) else DataOptions(data=data)
    with listening(verbose=run.verbose):
        if is_first_process():
            check_new(run)
        splits = opened = None
        if given is not None:
            (model, data, learning, machine, run), splits, opened = settled(given)
        model = of_its_weights(model)
        machine = replace(machine, precision=settled_precision(machine))
        window, network, train, validation = prepared(model, data, learning, machine, splits)
        opened = opened or time.monotonic()  # from here on the minutes count
        at_once, seconds = _validation_of(network, window, validation, data, learning, machine)
        if seconds and run.resume is None:
            data, machine = _within_minutes(data, learning, machine, seconds, len(train))
        options = Options(
            model,
            replace(data, data=data_name(data.data)),
            learning,
            replace(machine, compile=bool(network.compiled)),  # so that a resumed run does the same
            run,
        )
        with claimed(model, run) as folder:
            clips = Clips(
                train,
                validation,
                data.batch_size,
                data.workers,
                learning.seed,
                data.validation_clips,
                at_once,
            )
            _train(folder, options, window, network, clips, seconds, opened)
            return folder


def _validation_of(
    network: Model,
    window: Window,
    validation: ClipSet,
    data: DataOptions,
    learning: LearningOptions,
    machine: MachineOptions,
) -> tuple[int, float]:
    """How many clips are validated at once, and the seconds that each takes; 0 where these do not
    count: without minutes, or with several clocks.
    """
    members = VALIDATED if network.draws else 0
    shape = np.shape(validation[0])
    at_once = clips_at_once([network], window, shape, data.batch_size, validation.inputs, members)
    if learning.minutes is None or not in_one_process(machine):
        return at_once, 0.0
    return at_once, seconds_of_validation(network, validation, window, members, at_once)


def _within_minutes(
    data: DataOptions,
    learning: LearningOptions,
    machine: MachineOptions,
    seconds: float,
    trained: int,
) -> tuple[DataOptions, MachineOptions]:
    """With as many clips of validation, each of so many seconds, as leave most of the minutes to
    the training.
    """
    assert learning.minutes
    clips = validated_clips(learning.minutes, data.validation_clips, seconds, trained)
    if clips < data.validation_clips:
        say(f"{clips} clips are validated, as the minutes are short (--validation_clips)")
    trainer = dict(machine.trainer)
    if "val_check_interval" in trainer:
        given = trainer["val_check_interval"]
        trainer["val_check_interval"] = val_check_interval(given, clips * seconds)
    return replace(data, validation_clips=clips), replace(machine, trainer=trainer)


def _train(
    folder: Path,
    options: Options,
    window: Window,
    network: Model,
    clips: Clips,
    seconds: float,
    opened: float,
) -> None:
    """Train a network on these clips.

    Args:
        seconds: that validating one clip takes, where that comes out of the minutes.
        opened: since when these count.
    """
    model, data, learning, machine, run = options
    train, validation = clips.train, clips.validation
    _, c, h, w = train[0].shape
    start = _resumed(folder, options, network) if run.resume else Start(network)
    network = start.network
    if start.checkpoint is None and model.weights is not None:
        load_initial_weights(network, model.weights)
    elif start.checkpoint is None and learning.start_at_mean:
        first = next(iter(batches(train, batch_size=32)))
        network.start_at(parts_of(first, window, network.inputs).truth.nanmean().item())
    # The layout in which half-precision convolutions are fast.
    if machine.precision.startswith(("bf16", "16")):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    names = [option.name for option in fields(ReadOptions)] if isinstance(train, Recordings) else []
    reading = {
        name: data.data_args[name] for name in names if name in data.data_args and name != "budget"
    }
    trained = Trained(data.data, data.data_args, reading, (h, w), model.model, learning.seed)
    if model.weights in published():
        trained = replace(trained, weights=model.weights)
    forecaster = Forecaster(network, window, train.scaling, trained)

    # What can still refuse comes before the first file, so that a refused run leaves none.
    module = ForecastModule(network, window, learning, forecaster.config(), recipe_of(*options[:4]))
    module.elapsed = time.monotonic() - opened
    module.validation = seconds * len(clips.validated)
    drawn = VALIDATED if network.draws else 0
    within = train.scaling.network_bounds
    scores, stops = Validation(folder / "validation.jsonl", data.future, drawn, within), Stops()
    # Checkpoints come last: what they save includes what the others have done at that step.
    checkpoints = Checkpoints(folder / "checkpoints", run.save_every, stops, learning.patience)
    pictures = [Pictures(folder / "pictures", run.picture_every)] if run.picture_every else []
    bar = progress(machine.trainer.get("enable_progress_bar", True))
    trainer = build_trainer(
        machine,
        learning,
        [BusyWatch(), scores, BlankWatch(), DivergenceWatch(), *pictures, *bar, stops, checkpoints],
        Events(save_dir=folder.parent, name=folder.name, version=""),
        # A run that goes on has had its validation before the first step.
        **({} if start.checkpoint is None else {"num_sanity_val_steps": 0}),
    )
    if learning.minutes and seconds and validates_first(trainer) and not network.draws:
        module.verdict = VERDICT * 60 * learning.minutes
    for line in start.lines:
        say(line)
    if isinstance(train, Recordings):
        low, high, units = train.scaling.low, train.scaling.high, train.scaling.units
        say(f"{data.data}: {c - train.inputs}x{h}x{w}, {low:.4g} to {high:.4g} {units}".rstrip())
        for channel, (low, high) in zip(train.clips[0].inputs, train.scaling.inputs, strict=True):
            future = "known ahead" if channel.known else "its future unknown"
            say(f"input       {channel.name}, {low:.4g} to {high:.4g}, {future}")
        say("\n".join(train.report()))
    if is_first_process():
        if run.tensorboard:
            say(f"TensorBoard: {start_tensorboard(folder, run.port, bool(run.resume))}")
        cut_rows(scores.file, start.contents.get("global_step", -1), start.owed is not None)
        config = options.flat() | {"run": None, "resume": None, "accept_changes": False}
        with atomic_write(folder / "config.yaml") as rough:
            rough.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    again, checkpoint = go_on(folder, data.data), start.checkpoint
    with (
        quiet(),
        quiet_writer(),
        quiet_workers(),
        companions(trainer, lambda: stops.by_hand, again),
    ):
        stops.listen()
        try:
            if start.owed is not None:
                say(
                    f"the validation after step {start.owed[1]}, which the run did not come to, is "
                    "made up for"
                )
                module.load_state_dict(start.contents["state_dict"])
                module.elapsed = start.contents["elapsed"]
                checkpoints.load_state_dict(start.contents["callbacks"]["Checkpoints"])
                checkpoints.made_up, scores.made_up = start.contents, start.owed
                stops.at_once = True  # it stays owed
                trainer.validate(module, datamodule=clips, verbose=False)
                checkpoints.made_up = scores.made_up = None
                stops.at_once = False
                checkpoint = checkpoints.folder / "last.ckpt"
            if not (start.finished or checkpoints.out_of_patience):
                trainer.fit(module, datamodule=clips, ckpt_path=checkpoint, weights_only=True)
        except StopAtOnce:
            raise Stopped(
                f"stopped at once; the last checkpoint stays, go on with: {again}"
            ) from None
        except (OSError, EOFError) as error:
            _say_who_died(error, again)
            raise
        except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            _say_who_died(error, again)
            if checkpoint is None or checkpoints.begun:
                raise
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            raise ValueError(
                f"{checkpoint} is no checkpoint to go on from ({reason}); use another, or train "
                "anew"
            ) from error
        finally:
            stops.restore_signal_handlers()
    if stops.by_hand:
        raise Stopped(f"stopped at step {trainer.global_step} and saved; go on with: {again}")
    # What members are worth their CRPS says, which each validation has told.
    if checkpoints.start is not None and is_first_process() and not network.draws:
        better = checkpoints.best != checkpoints.start
        weights = model.weights
        told = folder, better, weights, train, validation, data.validation_clips
        say(verdict(*told, module.verdict or math.inf))
    elif checkpoints.best is not None and scores.still and checkpoints.best > scores.still:
        cure = "more --minutes may help"
        if undecided([], [(("data",), data.data)]) is not None:
            cure += ", or a training without --config and --model: it begins at the best baseline"
        say(
            "persistence, the last frame repeated, is the better forecast on validation (skill "
            f"{1 - checkpoints.best / scores.still:.3f}, below 0); {cure}"
        )


def _say_who_died(error: Exception, again: str) -> None:
    dead = dead_worker(error)
    if dead:
        traceback.clear_frames(error.__traceback__)  # the loader goes now, where that is quiet
        raise ValueError(f"{dead}; the last checkpoint stays, go on with: {again}") from error


@dataclass
class Start:
    """What a training begins with.

    Args:
        network: with the checkpoint's weights where there is one.
        checkpoint: to go on from, whole.
        contents: what it holds.
        lines: which it is, and what is other than before.
        owed: epoch and step of a validation that the run did not come to.
        finished: why no step is left to take.
    """

    network: Model
    checkpoint: Path | None = None
    contents: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    owed: tuple[int, int] | None = None
    finished: str = ""


def _resumed(folder: Path, options: Options, network: Model) -> Start:
    """The start of a run that goes on.

    Raises:
        ValueError: checkpoints that are damaged, of another network or trained with other options;
            nothing left to train.
    """
    checkpoint, contents, line = checkpoint_of(folder)
    if checkpoint is None:
        return Start(network, lines=(line,))
    if differs := other_network(contents["forecaster"].get("args"), network.args):
        raise ValueError(
            f"{checkpoint} is of another network than these options describe ({differs}); resume "
            "with the run's own model options, or begin a new run"
        )
    load_weights(network, contents["state_dict"], checkpoint)
    changed = check_recipe(
        contents["recipe"], recipe_of(*options[:4]), folder, options.run.accept_changes
    )
    most = options.machine.trainer.get("max_steps")
    over = finished(contents, options.learning, folder, options.data.data, most)
    owed = owed_by(contents)
    if over and owed is None:
        raise ValueError(over)
    return Start(network, checkpoint, contents, (line, changed) if changed else (line,), owed, over)


__all__ = ["Stopped", "is_first_process", "train"]
