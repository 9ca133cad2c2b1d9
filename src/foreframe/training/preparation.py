"""From options to a window, a network and clips that fit each other; writes nothing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from foreframe.base.notes import say
from foreframe.base.schema import check_types
from foreframe.clips.clip import Window
from foreframe.clips.frames import fill_missing
from foreframe.data import ClipSet, check_first_clip, open_splits
from foreframe.data.arrays import data_name
from foreframe.data.opening import Splits
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import MODELS, MembersOf, Model, build_model, model_name
from foreframe.models.engine import WORTH, why_not_compiled
from foreframe.training.datamodule import seed_everything
from foreframe.training.options import LearningOptions, MachineOptions, ModelOptions, Options

UNTRAINED = (
    "model {} draws members of a trained forecaster: train that first, and begin with its weights, "
    "--weights RUN"
)


def prepared(
    options: Options, splits: Splits | None = None
) -> tuple[Window, Model, ClipSet, ClipSet]:
    """Window, untrained network, training and validation clips, checked against each other; writes
    nothing.

    Args:
        splits: the data, if already open.

    Raises:
        ValueError: conflicting options, data that is not clips, a missing package.
    """
    model, data, learning, machine, _ = options
    window, network = data.window, build_network(model, learning.seed, machine.budget)
    splits = splits or open_splits(data)
    train, validation = splits["train"], splits["validation"]
    check_options(network, model, learning)
    for dataset in (train, validation):
        check_first_clip(dataset, window, None, data_name(data.data))
    if len(train) < data.batch_size:
        raise ValueError(
            f"{len(train)} training clips do not fill one batch of {data.batch_size}; use a "
            "smaller batch_size"
        )
    inputs = train.inputs
    c = int(train[0].shape[1]) - inputs
    # Channels and inputs of the data.
    if (network.channels, network.inputs) not in ((None, inputs), (c, inputs)):
        sizes = {"channels": c, "inputs": inputs} if inputs else {"channels": c}
        args = {**sizes, **model.model_args}
        network = build_network(replace(model, model_args=args), learning.seed, machine.budget)
    check_first_clip(train, window, network.takes, data_name(data.data))
    check_types(L.Trainer, machine.trainer, "trainer")
    smoke_test(network, train[0], window)
    if learning.freeze_encoder:
        network.freeze_encoder()
    values = data.batch_size * network.step_values(*train[0].shape[-2:])
    network.memory, network.compiled = machine.memory, _compiles(machine, values)
    if machine.precision.startswith(("bf16", "16")):  # where convolutions are fast in it
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return window, network, train, validation


def _compiles(machine: MachineOptions, values: int) -> bool:
    """Whether to compile recurrent cells. `values` is the size of their largest map in a step; 0
    for models without.

    Raises:
        ValueError: compilation was requested and is impossible.
    """
    gpu = machine.device in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    small = device == "cpu" and values < WORTH
    if not values or machine.compile is False or (machine.compile == "auto" and small):
        return False
    why = why_not_compiled(device)
    if why and machine.compile is True:
        raise ValueError(f"{why}; leave --compile out")
    compiled = "recurrent cells are compiled; --compile false leaves that out"
    say(f"{why}, so recurrent cells are slower" if why else compiled)
    return not why


def of_its_weights(model: ModelOptions) -> ModelOptions:
    """Complete the arguments of a model that draws members: the forecaster defaults to the
    initial weights.

    Raises:
        ValueError: no weights, or they do not exist.
    """
    kind = MODELS.get(model.model, Model)
    if not issubclass(kind, MembersOf) or "of" in model.model_args:
        return model
    if model.weights is None:
        raise ValueError(UNTRAINED.format(model.model))
    trained = _begun_from(kind, Forecaster.load(model.weights).model)
    args = trained.args if type(trained) is kind else {"of": {model_name(trained): trained.args}}
    return replace(model, model_args=args | model.model_args)


def _begun_from(kind: type[Model], trained: Model) -> Model:
    """Return the part of `trained` to start from: its forecaster, if it draws members otherwise."""
    return trained if type(trained) is kind or not isinstance(trained, MembersOf) else trained.of


def build_network(options: ModelOptions, seed: int, budget: float) -> Model:
    args = options.model_args
    if options.hidden is not None:
        args = _of_width(options.hidden, options.model, args, budget)
    seed_everything(seed)
    network = build_model(options.model, args, budget)
    if not any(p.requires_grad for p in network.parameters()):
        raise ValueError(
            f"model {options.model} has nothing to learn: evaluate shows it beside every model"
        )
    return network


def _of_width(hidden: int, name: str, args: Mapping[str, Any], budget: float) -> dict[str, Any]:
    """Arguments of a model with `hidden` channels in each layer of the core.

    Raises:
        ValueError: a model without a core, or channels that are set too.
    """
    core = build_model(name, args, budget).args.get("core")
    if core is None:
        raise ValueError(f"model {name} takes no hidden: it has no recurrent core")
    kind, whole = next(iter(core.items()))
    inside = args.get("core")
    if isinstance(inside, Mapping) and "hidden" in (inside[kind] or {}):
        raise ValueError("give hidden or the hidden of model_args, not both")
    return {**args, "core": {kind: {**whole, "hidden": [hidden] * len(whole["hidden"])}}}


def check_options(network: Model, model: ModelOptions, learning: LearningOptions) -> None:
    """Check options against each other, before anything heavy is built.

    Raises:
        ValueError: a loss or another option that this model cannot be trained by.
    """
    if learning.loss == "crps" and not network.draws:
        raise ValueError(
            "loss crps needs a model that draws members: choose model flow, dressed, perturbed or "
            "svg_lp, or another loss"
        )
    if learning.loss == "cross_entropy" and not network.bounded:
        raise ValueError(
            "loss cross_entropy needs forecasts in (0,1): choose loss mse, or a head that draws "
            "with a sigmoid"
        )
    if isinstance(network, MembersOf):
        name = model_name(network)
        if model.weights is None and any(True for _ in network.of.parameters()):
            raise ValueError(UNTRAINED.format(name))
        if learning.loss not in network.losses:
            by = " or ".join(f"--loss {loss}" for loss in network.losses)
            raise ValueError(f"model {name} learns to draw members by {by}, not {learning.loss}")
    if learning.sampling_steps and learning.freeze_encoder:
        raise ValueError("freeze_encoder has no sampling_steps: leave that out")
    teacher_forced = type(network).teacher_forced is not Model.teacher_forced
    if learning.sampling_steps and teacher_forced and learning.loss != "crps":
        raise ValueError(
            f"model {model_name(network)} learns from networks that see the future, which has no "
            "sampling_steps: leave that out"
        )


def load_initial_weights(network: Model, weights: str) -> None:
    """Load weights of a run, a checkpoint, a saved forecaster or published ones into a network.
    Weights of a forecaster also fit a model that draws members of it (`Model.matching_part`), and
    vice versa; what the weights lack is unchanged.

    Raises:
        ValueError: they do not exist, or belong to another network.
    """
    trained = _begun_from(type(network), Forecaster.load(weights).model)
    network = network.matching_part(trained)
    args, trained_args = (
        {name: value for name, value in each.args.items() if name not in network.free}
        for each in (network, trained)
    )
    if (type(trained), trained_args) != (type(network), args):
        differ = [name for name in args if trained_args.get(name) != args[name]]
        theirs, ours = model_name(trained), model_name(network)
        what = f", not {ours}" if theirs != ours else f" with other {', '.join(differ)}"
        raise ValueError(
            f"weights {weights} are of another network than these options describe: {theirs}{what}"
            "; choose the --model (and --model_args) that they were trained with, as in the "
            "config.yaml of a run"
        )
    weights_of_run = trained.state_dict()
    network.load_state_dict(
        {name: weights_of_run.get(name, value) for name, value in network.state_dict().items()}
    )


def smoke_test(network: Model, clip: Tensor, window: Window) -> None:
    """Forecast once, to detect a missing library or frames too small for the model."""
    was_training = network.training
    with torch.no_grad():
        network.eval()(fill_missing(torch.as_tensor(clip)[None, : window.past])[0], 1)
    network.train(was_training)
