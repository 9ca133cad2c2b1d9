"""A training from options to report: begin or resume, train, print the result."""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
import yaml

from foreframe.base.files import atomic_write
from foreframe.base.shipped import published
from foreframe.clips.clip import Window
from foreframe.data import ClipSet, Recordings, batches
from foreframe.data.arrays import data_name
from foreframe.evaluation.networks import clips_at_once
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.trained import Trained
from foreframe.models import Model, parts_of
from foreframe.training.checkpointing import Checkpoints
from foreframe.training.datamodule import Clips
from foreframe.training.default import choose_defaults, verdict
from foreframe.training.faults import (
    DeadProcessError,
    Events,
    is_dead_worker,
    poll_workers,
    ranks,
)
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
from foreframe.training.recipes import Given, explicit_options
from foreframe.training.run_folder import (
    check_new,
    check_recipe,
    checkpoint_of,
    claimed,
    cut_rows,
    finished,
    other_network,
    recipe_of,
)
from foreframe.training.snapshots import Pictures
from foreframe.training.stops import StopAtOnce, Stopped, Stops
from foreframe.training.trainer import build_trainer, quiet, resolved_precision, start_tensorboard
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
    """Train, and return the run's folder: config.yaml, checkpoints/best.ckpt and last.ckpt,
    validation.jsonl, pictures and TensorBoard events. `Forecaster.load(folder)` opens it.

    Args:
        data: DataOptions, whose `data` may be in memory: an array, a tensor, an xarray object, a
            Dataset or one for each split (see `open_dataset`); or that object itself. config.yaml
            keeps its name only.
        given: the user's options for the default recipe, which chooses all others (see
            `explicit_options`); of the arguments before only `run.verbose` is then used.

    Raises:
        ValueError: conflicting options, data that is not clips, an unwritable folder.
        Stopped: Ctrl-C; everything is saved.
        DeadProcessError: a loader's worker, or one of several processes; the last checkpoint stays.
    """
    data = data if isinstance(data, DataOptions) else DataOptions(data=data)
    with listening(verbose=run.verbose):
        if is_first_process():
            check_new(run)
        splits = opened = None
        if given is not None:
            (model, data, learning, machine, run), splits, opened = choose_defaults(given)
        model = of_its_weights(model)
        machine = replace(machine, precision=resolved_precision(machine))
        window, network, train, validation = prepared(model, data, learning, machine, splits)
        opened = opened or time.monotonic()  # the minutes begin
        at_once, seconds = _validation_of(network, window, validation, data, learning, machine)
        if seconds and run.resume is None:
            data, machine = _within_minutes(data, learning, machine, seconds, len(train))
        options = Options(
            model,
            replace(data, data=data_name(data.data)),
            learning,
            replace(machine, compile=bool(network.compiled)),  # the same for a resumed run
            run,
        )
        with claimed(model, run) as folder:
            sizes = data.batch_size, data.workers, learning.seed, data.validation_clips
            clips = Clips(train, validation, *sizes, at_once)
            training = setup(folder, options, window, network, clips, seconds, opened)
            write_config(training)
            run_fit(training)
            report(training)
            return folder


def _validation_of(
    network: Model,
    window: Window,
    validation: ClipSet,
    data: DataOptions,
    learning: LearningOptions,
    machine: MachineOptions,
) -> tuple[int, float]:
    """The number of clips to validate at a time, and the seconds of each; 0 if these do not count:
    without minutes, or with several processes.
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
    """Limit the validation clips, each of `seconds`, and the frequency of validations, so that most
    of the minutes are left to the training.
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


@dataclass
class Training:
    """A training ready to start or resume.

    Args:
        folder: the run's folder.
        start: its network and checkpoint.
        module: network, objective, optimizer.
        clips: training and validation clips.
        trainer: Lightning's, with these callbacks among others.
    """

    folder: Path
    options: Options
    start: "Start"
    module: ForecastModule
    clips: Clips
    trainer: L.Trainer
    scores: Validation
    stops: Stops
    checkpoints: Checkpoints

    @property
    def go_on(self) -> str:
        """The command to resume it."""
        return go_on(self.folder, self.options.data.data)


def setup(
    folder: Path,
    options: Options,
    window: Window,
    network: Model,
    clips: Clips,
    seconds: float,
    opened: float,
) -> Training:
    """Set up a training of a network on these clips. All checks come here, before the first file,
    so that a refused run leaves none.

    Args:
        seconds: seconds of validating a clip, if that counts as training time; else 0.
        opened: start of the training time.
    """
    model, data, learning, machine, run = options
    start = _resumed(folder, options, network) if run.resume else Start(network)
    network = start.network
    if start.checkpoint is None:
        _initialize(network, options, clips.train, window)
    # The layout in which half-precision convolutions are fast.
    if machine.precision.startswith(("bf16", "16")):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    forecaster = Forecaster(network, window, clips.train.scaling, _trained(options, clips.train))
    module = ForecastModule(network, window, learning, forecaster.config(), recipe_of(*options[:4]))
    module.elapsed = time.monotonic() - opened
    module.validation = seconds * len(clips.validated)
    members = VALIDATED if network.draws else 0
    within = clips.train.scaling.network_bounds
    scores, stops = Validation(folder / "validation.jsonl", data.future, members, within), Stops()
    # Checkpoints come last, to include the state of the other callbacks at that step.
    checkpoints = Checkpoints(folder / "checkpoints", run.save_every, stops, learning.patience)
    pictures = [Pictures(folder / "pictures", run.picture_every)] if run.picture_every else []
    bar = progress(machine.trainer.get("enable_progress_bar", True))
    trainer = build_trainer(
        machine,
        learning,
        [BusyWatch(), scores, BlankWatch(), DivergenceWatch(), *pictures, *bar, stops, checkpoints],
        Events(folder),
        # A resumed run has been validated before its first step.
        **({} if start.checkpoint is None else {"num_sanity_val_steps": 0}),
    )
    if learning.minutes and seconds and validates_first(trainer) and not network.draws:
        module.verdict = VERDICT * 60 * learning.minutes
    return Training(folder, options, start, module, clips, trainer, scores, stops, checkpoints)


def _initialize(network: Model, options: Options, train: ClipSet, window: Window) -> None:
    """Load initial weights, or start the head at the mean of some clips."""
    if options.model.weights is not None:
        load_initial_weights(network, options.model.weights)
    elif options.learning.start_at_mean:
        first = next(iter(batches(train, batch_size=32)))
        network.start_at(parts_of(first, window, network.inputs).truth.nanmean().item())


def _trained(options: Options, train: ClipSet) -> Trained:
    """The description of a training for the forecaster."""
    model, data = options.model, options.data
    h, w = train[0].shape[-2:]
    seed = options.learning.seed
    trained = Trained(
        data.data, data.data_args, data.reading, data.splits, (h, w), model.model, seed
    )
    if model.weights in published():
        trained = replace(trained, weights=model.weights)
    return trained


def write_config(training: Training) -> None:
    """Print the data and start of the training, and write config.yaml."""
    folder, options, start = training.folder, training.options, training.start
    for line in start.lines:
        say(line)
    _describe(training.clips.train, options.data.data)
    if not is_first_process():
        return
    if options.run.tensorboard:
        address = start_tensorboard(folder, options.run.port, bool(options.run.resume))
        say(f"TensorBoard: {address}")
    cut_rows(training.scores.file, start.step)
    config = options.flat() | {"run": None, "resume": None, "accept_changes": False}
    with atomic_write(folder / "config.yaml") as rough:
        rough.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def _describe(train: ClipSet, name: str) -> None:
    """Print size, range, inputs and splits of recordings."""
    if not isinstance(train, Recordings):
        return
    _, c, h, w = train[0].shape
    low, high, units = train.scaling.low, train.scaling.high, train.scaling.units
    say(f"{name}: {c - train.inputs}x{h}x{w}, {low:.4g} to {high:.4g} {units}".rstrip())
    for channel, (low, high) in zip(train.clips[0].inputs, train.scaling.inputs, strict=True):
        future = "known ahead" if channel.known else "its future unknown"
        say(f"input       {channel.name}, {low:.4g} to {high:.4g}, {future}")
    say("\n".join(train.report()))


def run_fit(training: Training) -> None:
    """Run the training steps.

    Raises:
        Stopped: by hand.
        DeadProcessError: a loader's worker, or another process of this training.
        ValueError: a checkpoint that cannot be resumed; errors of the callbacks.
    """
    trainer, stops, checkpoint = training.trainer, training.stops, training.start.checkpoint
    again = training.go_on
    with quiet(), ranks(trainer, lambda: stops.by_hand, again):
        stops.listen()
        poll_workers()
        try:
            trainer.fit(
                training.module, datamodule=training.clips, ckpt_path=checkpoint, weights_only=True
            )
        except StopAtOnce:
            raise Stopped(
                f"stopped at once; the last checkpoint stays, go on with: {again}"
            ) from None
        except (
            OSError,
            EOFError,
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            RuntimeError,
        ) as error:
            _explain(error, training)
            raise
        finally:
            stops.restore_signal_handlers()
    if stops.by_hand:
        raise Stopped(f"stopped at step {trainer.global_step} and saved; go on with: {again}")


def _explain(error: Exception, training: Training) -> None:
    """Raise a clearer error if the cause is known."""
    reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if is_dead_worker(error, training.clips.workers):
        raise DeadProcessError(
            f"a loader process has died ({reason}); where memory ran out, fewer --workers take "
            f"less; the last checkpoint stays, go on with: {training.go_on}"
        ) from error
    checkpoint = training.start.checkpoint
    if checkpoint is not None and not training.checkpoints.begun and not isinstance(error, OSError):
        raise ValueError(
            f"{checkpoint} cannot be resumed ({reason}); use another checkpoint, or train again"
        ) from error


def report(training: Training) -> None:
    """Print the result."""
    model, data = training.options.model, training.options.data
    module, clips, checkpoints = training.module, training.clips, training.checkpoints
    best, still = checkpoints.best, training.scores.still
    # Members are judged by their CRPS, which each validation prints.
    if checkpoints.start is not None and is_first_process() and not module.network.draws:
        better, scored = best != checkpoints.start, (clips.train, clips.validation)
        seconds = module.verdict or math.inf
        many = data.validation_clips
        say(verdict(training.folder, better, model.weights, *scored, many, seconds))
    elif best is not None and still and best > still:
        cure = "more --minutes may help"
        if explicit_options([], [(("data",), data.data)]) is not None:
            cure += ", or a training without --config and --model: it begins at the best baseline"
        say(
            "persistence, the last frame repeated, is the better forecast on validation (skill "
            f"{1 - best / still:.3f}, below 0); {cure}"
        )


@dataclass
class Start:
    """The network and checkpoint that a training begins with.

    Args:
        network: with the checkpoint's weights, if any.
        checkpoint: an undamaged checkpoint to resume, if any.
        step: step of the checkpoint; -1 without one.
        lines: lines about the checkpoint and changed options.
    """

    network: Model
    checkpoint: Path | None = None
    step: int = -1
    lines: tuple[str, ...] = ()


def _resumed(folder: Path, options: Options, network: Model) -> Start:
    """The start of a resumed run.

    Raises:
        ValueError: damaged checkpoints, another network or other options; nothing left to train.
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
    if over := finished(contents, options.learning, folder, options.data.data, most):
        raise ValueError(over)
    lines = (line, changed) if changed else (line,)
    return Start(network, checkpoint, contents["global_step"], lines)


__all__ = ["DeadProcessError", "Stopped", "is_first_process", "train"]
