"""A training from options to report: begin or resume, train, print the result."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch.distributed as dist
import yaml

from foreframe.base.files import atomic_write
from foreframe.base.notes import listening, say
from foreframe.base.processes import DeadProcessError, Stopped, is_first_process
from foreframe.base.progress import progress
from foreframe.base.wording import plural
from foreframe.clips.clip import Window
from foreframe.data import ClipSet, Recordings, batches
from foreframe.data.arrays import data_name
from foreframe.evaluation.card import score_clips
from foreframe.evaluation.networks import clips_at_once
from foreframe.evaluation.score_options import ScoreOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.trained import Trained
from foreframe.models import Model, parts_of
from foreframe.models.names import published
from foreframe.training import run_folder
from foreframe.training.checkpointing import Checkpoints
from foreframe.training.datamodule import Clips
from foreframe.training.default import choose_defaults, verdict
from foreframe.training.loggers import Events, begin, start_tensorboard
from foreframe.training.module import ForecastModule
from foreframe.training.monitoring import HealthCheck, Pictures, progress_callbacks
from foreframe.training.optimizers import MovingAverage
from foreframe.training.options import Options
from foreframe.training.preparation import load_initial_weights, of_its_weights, prepared
from foreframe.training.recipes import DEFAULT, Given, options_from
from foreframe.training.stops import StopAtOnce, Stops
from foreframe.training.trainer import build_trainer, launched, quiet, resolved_precision
from foreframe.training.validation import MEMBERS, Validation, seconds_between_validations

FEWEST = 8  # smallest number of validation clips, if the data have as many
FEW_STEPS = 300  # steps: more usually lower the error
TEST_SECONDS = 20.0  # time for test scores after a training from published weights
LONG = 0.2  # share of the time spent waiting for data from which more workers may help


def train(
    options: Options,
    given: Given | None = None,
    strategy: Any = None,
    plugins: Sequence[Any] = (),
    callbacks: Sequence[L.Callback] = (),
) -> Path:
    """Train, and return the run's folder: config.yaml, checkpoints/best.ckpt and last.ckpt,
    validation.jsonl, pictures and TensorBoard events. `Forecaster.load(folder)` opens it.

    Args:
        options: all options. Their `data` may be in memory: an array, a tensor, an xarray object, a
            Dataset or one for each split (see `open_dataset`). config.yaml keeps its name only.
        given: the user's options for the default recipe, which chooses all others (see
            `explicit_options`). `options` are then ignored.
        strategy, plugins, callbacks: additional ones for Lightning's Trainer.

    Raises:
        ValueError: conflicting options, data that is not clips, an unwritable folder.
        ConnectionError: the first of several processes has ended before the training.
        Stopped: Ctrl-C; everything is saved.
        DeadProcessError: a loader's worker or another process has died; the last checkpoint stays.
    """
    if given is not None:
        options = options_from([DEFAULT], given)
    with (
        listening(verbose=options.run.verbose),
        launched(options.machine, plugins, strategy) as processes,
        run_folder.locked_folder(options.model, options.run) as folder,
    ):
        with progress("the start"):
            training = open_training(folder, options, given, callbacks, processes)
        write_config(training)
        began = time.monotonic()
        run_fit(training)
        seconds = time.monotonic() - began
        with progress("the result"):
            report(training, seconds)
        return folder


@dataclass
class Training:
    """A training ready to start or resume.

    Args:
        folder: the run's folder.
        start: its checkpoint, if any.
        module: network, objective, optimizer.
        clips: training and validation clips.
        trainer: Lightning's, with these callbacks among others.
    """

    folder: Path
    options: Options
    start: run_folder.Start
    module: ForecastModule
    clips: Clips
    trainer: L.Trainer
    stops: Stops
    checkpoints: Checkpoints

    @property
    def resume_command(self) -> str:
        return run_folder.resume_command(self.folder, self.options.data.data)


def open_training(
    folder: Path,
    options: Options,
    given: Given | None,
    callbacks: Sequence[L.Callback],
    processes: dict[str, Any],
) -> Training:
    """Set up a training. All checks come before the first file, so an invalid run leaves no files.

    Args:
        given: the user's options if the default recipe chooses the others.
        callbacks, processes: additional arguments of the Trainer.
    """
    loggers = options.run.loggers
    options, window, network, clips, opened = open_parts(options, given)
    _, data, learning, machine, run = options
    start = run_folder.resumed(folder, options, network) if run.resume else run_folder.Start()
    if start.checkpoint is None:
        _initialize(network, options, clips.train, window)
    else:  # a resumed run has been validated before its first step
        processes = processes | {"num_sanity_val_steps": 0}
    scaling = clips.train.scaling
    forecaster = Forecaster(network, window, scaling, _trained(options, clips.train))
    recipe = run_folder.recipe_of(options)
    module = ForecastModule(network, window, learning, forecaster.config(), recipe)
    module.elapsed = time.monotonic() - opened
    file, members = folder / "validation.jsonl", MEMBERS if network.draws else 0
    seconds = seconds_between_validations(machine.trainer)
    scores = Validation(file, data.future, members, scaling.network_bounds, seconds)
    stops = Stops()
    # Checkpoints come last, to include the state of the other callbacks at that step.
    checkpoints = Checkpoints(folder / "checkpoints", run.save_every, stops, learning.patience)
    pictures = [Pictures(folder / "pictures", run.picture_every)] if run.picture_every else []
    average = [MovingAverage(learning.average)] if learning.average else []
    shown = progress_callbacks(machine.trainer.get("enable_progress_bar", True))
    with quiet():
        trainer = build_trainer(
            machine,
            learning,
            [scores, HealthCheck(), *pictures, *shown, *average, *callbacks, stops, checkpoints],
            [Events(folder) if isinstance(each, str) else each for each in loggers],
            **processes,
        )
    return Training(folder, options, start, module, clips, trainer, stops, checkpoints)


def open_parts(
    options: Options, given: Given | None
) -> tuple[Options, Window, Model, Clips, float]:
    """Return the options for config.yaml, the parts they describe, and the time of opening the
    data, which starts the minutes.
    """
    splits = opened = None
    if given is not None:
        options, splits, opened = choose_defaults(given)
    model, data, learning, machine, run = options
    model = model if run.resume else of_its_weights(model)  # a run has it in its config
    machine = replace(machine, precision=resolved_precision(machine))
    options = options._replace(model=model, machine=machine)
    window, network, train, validation = prepared(options, splits)
    opened = opened or time.monotonic()
    if learning.minutes is not None:  # about a tenth of an epoch's time at most
        fewer = min(data.validation_clips, max(FEWEST, len(train) // 3))
        data = replace(data, validation_clips=fewer)
    sizes = np.shape(validation[0]), data.batch_size, validation.inputs
    at_once = clips_at_once([network], window, *sizes, MEMBERS if network.draws else 0)
    clips = Clips(train, validation, data, learning.seed, at_once)
    options = options._replace(
        data=replace(data, data=data_name(data.data)),
        machine=replace(machine, compile=bool(network.compiled)),  # the same for a resumed run
        run=replace(run, logger=[each for each in run.loggers if isinstance(each, str)]),
    )
    return options, window, network, clips, opened


def _initialize(network: Model, options: Options, train: ClipSet, window: Window) -> None:
    """Load initial weights, or start the head at the mean of some clips."""
    if options.model.weights is not None:
        load_initial_weights(network, options.model.weights)
    elif options.learning.start_at_mean:
        first = next(iter(batches(train, batch_size=32)))
        network.start_at(parts_of(first, window, network.inputs).truth.nanmean().item())


def _trained(options: Options, train: ClipSet) -> Trained:
    """The description of a training for the forecaster."""
    model, data, learning, *_ = options
    h, w = train[0].shape[-2:]
    how = data.data, data.data_args, data.reading, data.splits, (h, w), model.model, learning.seed
    return Trained(*how, weights=model.weights if model.weights in published() else "")


def write_config(training: Training) -> None:
    """Print the data and start of the training, and write config.yaml."""
    folder, options, start = training.folder, training.options, training.start
    if start.line:
        say(start.line)
    _describe(training.clips.train, options.data.data)
    if not is_first_process():
        return
    if options.run.tensorboard:
        say(f"TensorBoard: {start_tensorboard(folder)}")
    run_folder.cut_rows(folder / "validation.jsonl", start.step)
    config = options.flat() | {"run": None, "resume": None}
    if start.step < 0:
        begin(training.trainer.loggers, config)
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
        Stopped: the user has stopped the training.
        DeadProcessError: a loader's worker or another process has died.
        ValueError: a checkpoint that cannot be resumed; a file that cannot be written; errors of
            the callbacks.
    """
    trainer, stops, checkpoint = training.trainer, training.stops, training.start.checkpoint
    again = training.resume_command
    with quiet(), stops.listening():
        try:
            trainer.fit(
                training.module, datamodule=training.clips, ckpt_path=checkpoint, weights_only=True
            )
        except StopAtOnce:
            raise Stopped(
                f"stopped at once; the last checkpoint stays, go on with: {again}"
            ) from None
        except Exception as error:
            _explain(error, training)
            raise
    if stops.by_hand:
        raise Stopped(f"stopped at step {trainer.global_step} and saved; go on with: {again}")


def _explain(error: Exception, training: Training) -> None:
    """Raise a clearer error if the cause is known."""
    stays = f"the last checkpoint stays, go on with: {training.resume_command}"
    message, several = str(error), training.trainer.world_size > 1
    if several and (isinstance(error, dist.DistError | ConnectionError) or "gloo" in message):
        raise DeadProcessError(
            f"another process of this training has died or cannot be reached; {stays}"
        ) from error
    # An error of the Dataset itself mentions a "DataLoader worker process".
    own = training.clips.data.loader_workers and "DataLoader worker process" not in message
    cut = own and isinstance(error, EOFError | ConnectionError | FileNotFoundError)
    if cut or "DataLoader worker (pid" in message:
        raise DeadProcessError(
            f"a loader process has died ({type(error).__name__}: {' '.join(message.split())}); if "
            f"memory ran out, use fewer --loader_workers; {stays}"
        ) from error
    if isinstance(error, OSError) or isinstance(error.__cause__, OSError):  # a full disk
        raise ValueError(f"{error}; {stays}") from error
    if training.start.checkpoint is not None and not training.checkpoints.restored:
        with run_folder.resuming(training.start.checkpoint):
            raise error


def report(training: Training, seconds: float) -> None:
    """Print the result of a training that took `seconds`."""
    loader: Any = training.trainer.train_dataloader
    if loader is not None:
        share, workers = loader.waited / seconds, training.options.data.loader_workers
        more = "" if share < LONG else f"; --loader_workers {2 * workers or 2} may shorten that"
        say(f"{100 * share:.1f} % of the time was spent waiting for data{more}")
    network, start = training.module.network, training.checkpoints.start
    best = training.checkpoints.best
    if best is not None and start is not None and not network.draws:  # members have no baseline
        weights, train = training.options.model.weights, training.clips.train
        say(verdict(network, weights, start, best))
        if best < start and weights in published() and isinstance(train, Recordings):
            with suppress(ValueError):  # no window to test on
                say(verdict_on_test(Forecaster.load(training.folder), train.of_split("test")))
    steps, minutes = training.trainer.global_step, training.options.learning.minutes
    if minutes is not None and training.stops.out_of_time and steps < FEW_STEPS:
        say(f"only {plural(steps, 'step')} in {minutes:g} minutes: more --minutes lower the error")


def verdict_on_test(forecaster: Forecaster, test: Recordings) -> str:
    """Compare a forecaster with the published weights from which its training started."""
    card = score_clips(forecaster, test, ScoreOptions(baselines=(), seconds=TEST_SECONDS))
    return f"on the test split: {card['in_words']}"


__all__ = ["DeadProcessError", "Stopped", "train"]
