"""From options to a trained run: check what fits what, build, train, say what came of it."""

import inspect
import logging
import shlex
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from foreframe.clip import Window, fill_missing
from foreframe.data import Reading, Recordings, batches, check_first_clip, open_dataset
from foreframe.data.memory import data_name
from foreframe.files import atomic_write
from foreframe.forecaster import Forecaster
from foreframe.models import Model, build_model, earlier, model_name
from foreframe.models.engine import WORTH, why_not_compiled
from foreframe.scaling import Scaling
from foreframe.trained import Trained
from foreframe.training.callbacks import (
    BlankWatch,
    Checkpoints,
    DivergenceWatch,
    Lines,
    Pictures,
    Progress,
    StopAtOnce,
    WholeCheckpoints,
)
from foreframe.training.datamodule import Clips, Epochs, seed_everything
from foreframe.training.faults import Events, companions, dead_worker, quiet_workers, quiet_writer
from foreframe.training.module import ForecastModule
from foreframe.training.options import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)
from foreframe.training.run import (
    check_recipe,
    checkpoint_of,
    claimed,
    cut_rows,
    go_on,
    is_first_process,
    other_network,
    owed_by,
    recipe_of,
)
from foreframe.training.validation import Validation
from foreframe.typed import check_types

# Lightning prints adverts and a line for every check, which are no user's business.
for _name in (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.pytorch.accelerators.cuda",
    "lightning.fabric",
):
    logging.getLogger(_name).setLevel(logging.ERROR)


class Stopped(Exception):  # noqa: N818 (nothing went wrong)
    """Training was stopped by hand, and saved; the message says how to go on."""


def fit(
    model: ModelOptions = ModelOptions(),  # noqa: B008 (never changed)
    data: Any = DataOptions(),  # noqa: B008
    learning: LearningOptions = LearningOptions(),  # noqa: B008
    machine: MachineOptions = MachineOptions(),  # noqa: B008
    run: RunOptions = RunOptions(),  # noqa: B008
) -> Path:
    """Train, and give back the run's folder: config.yaml, checkpoints/best.ckpt and last.ckpt,
    validation.jsonl, pictures and TensorBoard's events. `Forecaster.load(folder)` opens it.

    Args:
        data: DataOptions, whose `data` may be in memory: an array, a tensor, an xarray object, a
            Dataset or one a split (see `open_dataset`); or that alone. config.yaml keeps no more
            than its name.

    Raises:
        ValueError: options that do not fit each other, data that is not clips, a folder that cannot
            be written.
        Stopped: Ctrl-C; everything is saved.
    """
    data = data if isinstance(data, DataOptions) else DataOptions(data=data)
    window, network, train, validation = prepared(model, data, learning, machine)
    data = replace(data, data=data_name(data.data))
    # So that a resumed run does the same.
    machine = replace(machine, compile=bool(network.compiled))
    with claimed(model, run) as folder:
        return _train(
            folder, window, network, train, validation, model, data, learning, machine, run
        )


def _train(
    folder: Path,
    window: Window,
    network: Model,
    train: Any,
    validation: Any,
    model: ModelOptions,
    data: DataOptions,
    learning: LearningOptions,
    machine: MachineOptions,
    run: RunOptions,
) -> Path:
    _, c, h, w = train[0].shape
    checkpoint, held, where = checkpoint_of(folder) if run.resume else (None, {}, "")
    recipe = recipe_of(model, data, learning, machine)
    owed, done = None, ""
    if checkpoint is not None:
        if other_network(held["forecaster"].get("args"), network.args):
            network = _as_it_was(network, model, learning.seed, machine.budget)
        if differs := other_network(held["forecaster"].get("args"), network.args):
            raise ValueError(
                f"{checkpoint} is of another network than these options describe ({differs}); "
                "resume with the run's own model "
                f"options, or begin a new run"
            )
        _fill(network, held["state_dict"], checkpoint)
        changed = check_recipe(held.get("recipe"), recipe, folder, run.accept_changes)
        where += f"\n{changed}" if changed else ""
        owed = owed_by(held)
        done = _finished(held, learning, folder)
        if done and not owed:
            raise ValueError(done)
    elif model.weights is not None:
        begin_with(network, model.weights)
    elif learning.start_at_mean:
        first = next(iter(batches(train, batch_size=32, what=f"data {data.data}")))
        network.start_at(window.split(first)[1].nanmean().item())
    # The layout in which half-precision convolutions are fast.
    if machine.precision.startswith(("bf16", "16")):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    names = [one.name for one in fields(Reading)] if isinstance(train, Recordings) else []
    reading = {
        name: data.data_args[name] for name in names if name in data.data_args and name != "budget"
    }
    trained = Trained(data.data, data.data_args, reading, (h, w), model.model, learning.seed)
    forecaster = Forecaster(network, window, getattr(train, "scaling", Scaling()), trained)

    # What can still refuse comes before the first file, so that a refused run leaves none.
    trainer, module, clips, checkpoints, scores = _coat(
        forecaster, train, validation, data, learning, machine, run, folder, recipe
    )
    if is_first_process():
        if where:
            print(where, flush=True)
        if isinstance(train, Recordings):
            low, high, units = train.scaling.low, train.scaling.high, train.scaling.units
            print(f"{data.data}: {c}x{h}x{w}, {low:.4g} to {high:.4g} {units}".rstrip())
            print("\n".join(train.report()), flush=True)
        if run.tensorboard:
            print(
                f"TensorBoard: {_start_tensorboard(folder, run.port, bool(run.resume))}", flush=True
            )
        cut_rows(scores.file, held.get("global_step", 0), owed is not None)
        config = {
            **asdict(model),
            **asdict(data),
            **asdict(learning),
            **asdict(machine),
            **asdict(run),
            "run": None,
            "resume": None,
            "accept_changes": False,
        }
        with atomic_write(folder / "config.yaml") as rough:
            rough.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    on = go_on(folder, data.data)
    with (
        warnings.catch_warnings(),
        quiet_writer(),
        quiet_workers(),
        companions(trainer, lambda: checkpoints.interrupted, on),
    ):
        for line in (
            "does not have many workers",
            "isinstance.treespec, LeafSpec",
            "number of training batches",
            "the batch size",
            "sync_dist=True",
        ):
            warnings.filterwarnings("ignore", message=f".*{line}.*")
        checkpoints.listen()
        try:
            if owed is not None:
                checkpoint = _make_up(trainer, module, clips, checkpoints, scores, held, owed)
            if not done:
                trainer.fit(module, datamodule=clips, ckpt_path=checkpoint, weights_only=True)
        except StopAtOnce:
            raise Stopped(f"stopped at once; the last checkpoint stays, go on with: {on}") from None
        except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            dead = dead_worker(error) if isinstance(error, RuntimeError) else ""
            if dead:
                raise ValueError(f"{dead}; the last checkpoint stays, go on with: {on}") from error
            if checkpoint is None or checkpoints.begun:
                raise
            said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            raise ValueError(
                f"{checkpoint} is no checkpoint to go on from ({said}); use another, or train anew"
            ) from error
        finally:
            checkpoints.restore_signal_handlers()
    if checkpoints.interrupted:
        raise Stopped(f"stopped at step {trainer.global_step} and saved; go on with: {on}")
    return folder


def _make_up(
    trainer: L.Trainer,
    module: ForecastModule,
    clips: Clips,
    checkpoints: Checkpoints,
    scores: Validation,
    held: dict[str, Any],
    owed: tuple[int, int],
) -> Path:
    """The validation that a killed run did not come to, of the weights that it had saved before;
    the checkpoint to go on from.
    """
    if is_first_process():
        print(
            f"the validation after step {owed[1]}, which the run did not come to, is made up for",
            flush=True,
        )
    module.load_state_dict(held["state_dict"])
    module.elapsed = held["elapsed"]
    checkpoints.load_state_dict(held["callbacks"]["Checkpoints"])
    checkpoints.made_up, scores.made_up = held, owed
    trainer.validate(module, datamodule=clips, verbose=False)
    checkpoints.made_up = scores.made_up = None
    return checkpoints.folder / "last.ckpt"


def prepared(
    model: ModelOptions, data: DataOptions, learning: LearningOptions, machine: MachineOptions
) -> tuple[Window, Model, Any, Any]:
    """Window, untrained network, training and validation clips: checked against each other, and
    nothing written.

    Raises:
        ValueError: options that do not fit each other, data that is not clips, something that is
            not installed.
    """
    window = Window(data.past, data.future, data.stride)
    network = _network(model, learning.seed, machine.budget)
    train: Any = open_dataset(data.data, "train", window, data.data_args)
    validation: Any = open_dataset(data.data, "validation", window, data.data_args)
    _check_contracts(network, data, learning, len(train))
    for dataset in (train, validation):
        check_first_clip(dataset, window, None, data_name(data.data))
    c = int(train[0].shape[1])
    # As many channels as the data have.
    if network.channels not in (None, c) and "channels" not in model.model_args:
        network = _network(
            replace(model, model_args={**model.model_args, "channels": c}),
            learning.seed,
            machine.budget,
        )
    check_first_clip(train, window, network.channels, data_name(data.data))
    _check_trainer_arguments(machine.trainer)
    _try_once(network, train[0], window)
    network.memory = machine.memory
    network.compiled = _compiles(
        machine, data.batch_size * network.step_values(*train[0].shape[-2:])
    )
    return window, network, train, validation


def _compiles(machine: MachineOptions, values: int) -> bool:
    """Whether recurrent cells are compiled, whose largest map has so many values in a step; 0 for a
    model without.

    Raises:
        ValueError: they were to be, and cannot.
    """
    device = (
        "cuda"
        if machine.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        else "cpu"
    )
    if (
        not values
        or machine.compile is False
        or (machine.compile == "auto" and device == "cpu" and values < WORTH)
    ):
        return False
    why = why_not_compiled(device)
    if why and machine.compile is True:
        raise ValueError(
            f"{why}; install one, or leave --compile out"
            if device == "cpu"
            else f"cells cannot be compiled: {why}"
        )
    if machine.compile == "auto" and is_first_process():
        said = (
            f"{why}, so recurrent cells are slower"
            if why
            else "recurrent cells are compiled; --compile false leaves that out"
        )
        print(said, flush=True)
    return not why


def _network(options: ModelOptions, seed: int, budget: float) -> Model:
    seed_everything(seed)
    name, args = options.model, options.model_args
    if options.hidden is not None:
        name, args = _of_width(options.hidden, name, args, budget)
        seed_everything(seed)  # counting the layers has drawn some
    network = build_model(name, args, budget)
    if not any(p.requires_grad for p in network.parameters()):
        raise ValueError(
            f"model {options.model} has nothing to learn: evaluate shows it beside every model"
        )
    return network


def _of_width(
    hidden: int, name: str, given: Mapping[str, Any], budget: float
) -> tuple[str, dict[str, Any]]:
    """That model and those arguments, where each layer of the core has `hidden` channels.

    Raises:
        ValueError: a model without a core, or one whose channels are given too.
    """
    core = build_model(name, given, budget).args.get("core")
    if core is None:
        raise ValueError(f"model {name} takes no hidden: it has no recurrent layers")
    kind, whole = next(iter(core.items()))
    inside = given.get("core")
    if "hidden" in given or (isinstance(inside, Mapping) and "hidden" in (inside[kind] or {})):
        raise ValueError("give hidden or the hidden of model_args, not both")
    name, args = earlier.arguments(name, given)
    return name, {**args, "core": {kind: {**whole, "hidden": [hidden] * len(whole["hidden"])}}}


def _as_it_was(network: Model, model: ModelOptions, seed: int, budget: float) -> Model:
    """What these options described before the preset changed; the same network where it has not."""
    args = earlier.before_it_changed(
        model.model, {**model.model_args, "channels": network.channels}
    )
    if args is None:
        return network
    was = _network(replace(model, model_args=args), seed, budget)
    was.memory, was.compiled = network.memory, network.compiled
    return was


def _check_contracts(
    network: Model, data: DataOptions, learning: LearningOptions, clips: int
) -> None:
    """What one option demands of another, before anything heavy is built."""
    if learning.loss == "cross_entropy" and not network.bounded:
        draws = "output.draw" if "output" in network.args else "draw"
        sigmoid = f", or draw with a sigmoid: --model_args.{draws}.sigmoid true" * (
            "codec" in network.args
        )
        raise ValueError(f"loss cross_entropy needs forecasts in (0,1): choose loss mse{sigmoid}")
    if clips < data.batch_size:
        raise ValueError(
            f"{clips} training clips do not fill one batch of {data.batch_size}; use a smaller "
            "batch_size"
        )


def begin_with(network: Model, weights: str) -> None:
    """Give the network weights that are there: of a run, a checkpoint, a saved forecaster, or
    published ones.

    Raises:
        ValueError: they are not there, or of another network.
    """
    trained = Forecaster.load(weights).model
    if (type(trained), trained.args) != (type(network), network.args):
        differ = [name for name in network.args if trained.args.get(name) != network.args[name]]
        raise ValueError(
            f"weights {weights} are of another network than these options describe: "
            f"{model_name(trained)}"
            + (
                f" with other {', '.join(differ)}"
                if type(trained) is type(network)
                else f", not {model_name(network)}"
            )
            + "; choose the --model (and --model_args) that they were trained with"
        )
    network.load_state_dict(trained.state_dict())


def _fill(network: Model, weights: Mapping[str, Any], path: Path) -> None:
    try:
        network.load_state_dict(
            {str(name).removeprefix("network."): value for name, value in weights.items()}
        )
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} does not hold this network's weights: {str(error).splitlines()[0]}; train "
            "again"
        ) from None


def _try_once(network: Model, clip: Tensor, window: Window) -> None:
    """One forecast, for what only that can tell: a library that is missing, frames too small for
    the model.
    """
    was_training = network.training
    with torch.no_grad():
        network.eval()(fill_missing(torch.as_tensor(clip)[None, : window.past])[0], 1)
    network.train(was_training)


def _finished(checkpoint: Mapping[str, Any], learning: LearningOptions, folder: Path) -> str:
    """Words for a run that has had all its time, which would only take one more step at a learning
    rate of nothing.
    """
    try:
        at_the_end_of_one = bool(
            checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
        )
    except (KeyError, TypeError):
        raise ValueError(
            f"the checkpoint of {folder} does not tell how far it is; use another one, or train "
            "again"
        ) from None
    minutes, epochs = checkpoint["elapsed"] / 60, checkpoint["epoch"] + at_the_end_of_one
    again = f"foreframe train --resume {shlex.quote(str(folder))}"
    if learning.minutes and minutes >= learning.minutes:
        more = f"--minutes {2 * learning.minutes:g}"
        return f"{folder} has had its {learning.minutes:g} minutes; for more: {again} {more}"
    if epochs >= learning.epochs:
        more = f"--epochs {2 * learning.epochs}"
        return f"{folder} has had its {learning.epochs} epochs; for more: {again} {more}"
    return ""


_OURS = {
    "accelerator", "devices", "precision", "logger", "callbacks", "plugins", "max_epochs",
    "gradient_clip_val", "enable_checkpointing", "use_distributed_sampler", "default_root_dir",
    "enable_model_summary",
}  # fmt: skip


def _check_trainer_arguments(given: Mapping[str, Any]) -> None:
    known = [
        name
        for name in inspect.signature(L.Trainer).parameters
        if name not in _OURS | {"model_registry"}
    ]
    for name in given:
        if name in _OURS:
            raise ValueError(
                f"trainer.{name} is set by foreframe's own options (see foreframe train --help)"
            )
        if name not in known:
            close = get_close_matches(name, known, n=1)
            raise ValueError(
                f"trainer.{name} is no argument of Lightning's Trainer"
                + (f"; did you mean {close[0]}?" if close else "")
            )
    check_types(L.Trainer, given, "trainer")


def _start_tensorboard(folder: Path, port: int, resumed: bool) -> str:
    """Its address. Loader workers of a run that was killed keep its port for some seconds more, so
    a resumed one waits.
    """
    from tensorboard import program

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    board = program.TensorBoard()
    board.configure(
        argv=[None, "--logdir", str(folder), "--port", str(port), "--load_fast", "false"]
    )
    for _ in range(16 if resumed else 0):
        with suppress(program.TensorBoardServerException):
            return str(board.launch())
        time.sleep(0.5)
    try:
        return str(board.launch())
    except program.TensorBoardServerException as error:
        raise ValueError(
            f"TensorBoard cannot use port {port} ({str(error).splitlines()[0]}); choose another "
            "with --port, or 0 for any free one"
        ) from None


def _coat(
    forecaster: Forecaster,
    train: Any,
    validation: Any,
    data: DataOptions,
    learning: LearningOptions,
    machine: MachineOptions,
    run: RunOptions,
    folder: Path,
    recipe: Mapping[str, Any],
) -> tuple[L.Trainer, ForecastModule, Clips, Checkpoints, Validation]:
    """Lightning's objects around ours."""
    module = ForecastModule(
        forecaster.model, forecaster.window, learning, forecaster.config(), recipe
    )
    clips = Clips(
        train,
        validation,
        data.batch_size,
        data.workers,
        learning.seed,
        data.validation_clips,
        data.data,
    )
    checkpoints = Checkpoints(folder / "checkpoints", run.save_every)
    # Checkpoints comes last: what it saves includes what the others have done at that step.
    scores = Validation(folder / "validation.jsonl", data.future)
    callbacks = [Epochs(), scores, BlankWatch(), DivergenceWatch()]
    if run.picture_every:
        callbacks.append(Pictures(folder / "pictures", run.picture_every))
    bar = sys.stdout.isatty() and machine.trainer.get("enable_progress_bar", True)
    callbacks.append(Progress() if bar else Lines())
    defaults = {
        "inference_mode": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "enable_progress_bar": bar,
    }
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    precision = machine.precision
    if precision == "16-mixed" and (machine.accelerator == "cpu" or not gpu):
        precision = "bf16-mixed"  # as Lightning would take it, with a warning of its own
        if is_first_process():
            print("precision 16-mixed needs a GPU: on this CPU it is bf16-mixed", flush=True)
    try:
        trainer = L.Trainer(
            **(defaults | machine.trainer),
            accelerator=machine.accelerator,
            devices=machine.devices,
            precision=precision,
            max_epochs=learning.epochs,
            gradient_clip_val=learning.clip or None,
            logger=Events(save_dir=folder.parent, name=folder.name, version=""),
            callbacks=[*callbacks, checkpoints],
            plugins=[WholeCheckpoints()],
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise ValueError(
            f"Lightning's Trainer refuses these settings: {str(error).splitlines()[0]}"
        ) from error
    return trainer, module, clips, checkpoints, scores


__all__ = ["Stopped", "fit", "is_first_process"]
