"""Build models by name from arguments and weights that may be untrusted, and import the public
names of `foreframe.models`.

The cost of a network is known before memory is allocated.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from foreframe.base.budget import GIB, OverBudgetError
from foreframe.base.schema import UnknownError, brief, check_types, merged
from foreframe.base.untrusted import leaves
from foreframe.base.wording import closest
from foreframe.models.at_once import AtOnce
from foreframe.models.baselines import (
    SCORED,
    Black,
    Cycle,
    LinearMotion,
    Mean,
    Persistence,
    baselines_here,
)
from foreframe.models.codec import CODECS
from foreframe.models.convlstm import ConvLSTM, ConvLSTMCell
from foreframe.models.core import Core
from foreframe.models.dressed import Dressed
from foreframe.models.exported import before_export
from foreframe.models.heads import HEADS
from foreframe.models.interface import Model, Parts, State, parts_of, with_known
from foreframe.models.lagged import Lagged
from foreframe.models.members_of import MembersOf
from foreframe.models.noise import EnsembleRequest, forecast_of, members, placed
from foreframe.models.optical_flow import OpticalFlow
from foreframe.models.recurrent import EncoderDecoder, NextFrame, RecurrentAtOnce
from foreframe.models.registry import BASELINES, CORES, FREE, MODELS, PRESETS

__all__ = [
    "BASELINES", "CODECS", "CORES", "FREE", "HEADS", "MODELS", "PRESETS", "SCORED", "AtOnce",
    "Black", "ConvLSTM", "ConvLSTMCell", "Core", "Cycle", "Dressed", "EncoderDecoder",
    "EnsembleRequest", "Lagged", "LinearMotion", "Mean", "MembersOf", "Model", "NextFrame",
    "OpticalFlow", "Parts", "Persistence", "RecurrentAtOnce", "State", "baselines_here",
    "build_model", "forecast_of", "members", "model_name", "multiply_adds", "parts_of", "placed",
    "preset", "with_known",
]  # fmt: skip

BUDGET = 1.0  # GiB
MANY = 1000  # values among a network's arguments, such as a width for each layer
LARGE = 10**6  # channels, pixels or frames: more than any argument needs


def preset(name: str, **changes: Any) -> Model:
    """Build a documented model, with changes: `preset("quick", channels=3)`.

    A mapping changes only what it names: with `codec={"strided": {"show_last": False}}`, `quick`
    keeps its widths. One that names another kind of part, such as `output={"draw": {}}`, replaces
    the part.

    Raises:
        ValueError: an unknown name, or arguments that make no model.
    """
    return build_model(name, changes)


def build_model(
    name: Any,
    args: Any = None,
    budget: float = BUDGET,
    weights: Mapping[str, Any] | None = None,
) -> Model:
    """Build a model by its name in MODELS or PRESETS.

        network = build_model("quick", {"channels": 3})
        future = network(torch.rand(2, 10, 3, 64, 64), 5)  # (2,5,3,64,64), in [0,1]

    Args:
        name: of a preset or a model.
        args: values that replace arguments of the preset or defaults; checked, since they may come
            from an untrusted file.
        budget: upper bound of the weights in GiB as float32, if no `weights` are given.
        weights: weights to load, untrusted; with them the random state does not change.

    Raises:
        ValueError: unknown name, arguments that the model does not accept, or weights beyond the
            budget; `weights` of other names or shapes, that their file does not hold in full, or
            that are not finite.
    """
    _, kind, args = resolved(name, args)
    what = f"model {name}"
    _check_arguments(args, what)
    try:
        with torch.device("meta"), _WithoutValues():
            model = kind(**args)
        if weights is not None:
            return _loaded(model, weights)
        if sum(weight.numel() for weight in model.state_dict().values()) > budget * GIB / 4:
            raise OverBudgetError(
                f"the weights of {what} would take more than the budget of {budget:g} GiB; "
                "choose fewer or smaller layers, or raise budget if that is meant"
            )
        return model if torch.get_default_device().type == "meta" else kind(**args)
    except (TypeError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        # torch's own errors are among them.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{what}: {reason.replace('__init__() ', '')}") from None


def resolved(name: Any, args: Any = None) -> tuple[str, type[Model], dict[str, Any]]:
    """Return the name in MODELS, the class and the arguments of a model or preset, their types
    checked.

    Raises:
        ValueError: unknown name, or arguments that the model does not accept.
    """
    if not isinstance(name, str) or not (name in PRESETS or name in MODELS):
        near = closest(str(name), [*PRESETS, *MODELS])
        raise UnknownError(
            f"model {brief(name)}",
            f"{near and f'{near} Or '}choose a preset ({', '.join(PRESETS)}) or one of "
            f"{', '.join(MODELS)}",
        )
    model, known = PRESETS.get(name, (name, {}))
    kind, args = MODELS[model], {} if args is None else args
    check_types(kind, args, f"model {name}")
    args = {**known, **{key: merged(known.get(key), value) for key, value in args.items()}}
    return model, kind, args


def multiply_adds(network: Model, past: int, future: int, frame: tuple[int, int]) -> int:
    """Count the multiply-adds of convolutions and matrix products of a forecast of one H x W clip.

    A network with the same arguments runs on torch's meta device: nothing is computed.
    """
    from torch.utils.flop_counter import FlopCounterMode

    network = before_export(network)
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        counted = type(network)(**network.args).eval()
        counted(torch.empty(1, past, network.takes or 1, *frame), future)
    return int(counter.get_total_flops()) // 2


def model_name(model: Model) -> str:
    """Return the name under which MODELS or FREE has this model's class.

    Raises:
        ValueError: neither of them has it.
    """
    model = before_export(model)
    name = MODELS.name_of(type(model)) or FREE.name_of(type(model))
    if name:
        return name
    raise ValueError(
        f"{type(model).__name__} is not in foreframe.models.MODELS: add it there under a name of "
        "its own"
    )


def _check_arguments(args: Mapping[str, Any], what: str) -> None:
    """Refuse arguments of which building alone could take all memory."""
    values = list(leaves(args))
    if len(values) > MANY:
        raise ValueError(f"{what} has {len(values)} arguments; {MANY} at most")
    for path, value in values:
        if isinstance(value, int) and abs(value) > LARGE:
            name = ".".join((what, *path))
            raise ValueError(f"{name} is beyond reason: {brief(value)}; {LARGE:,} at most")


def _loaded(model: Model, weights: Mapping[str, Any]) -> Model:
    """Return a model of the meta device with these weights."""
    empty = model.state_dict()
    _check_weights(weights, empty)
    copies = {
        name: torch.empty(value.shape, dtype=empty[name].dtype).copy_(value.detach())
        for name, value in weights.items()
    }
    if len([*model.parameters(), *model.buffers()]) == len(empty):  # else some are shared
        model.load_state_dict(copies, assign=True)
        others = (value for part in model.modules() for value in tree_leaves(vars(part)))
        if not any(isinstance(value, Tensor) and value.is_meta for value in others):
            return model
    with torch.random.fork_rng(devices=[]):
        model = type(model)(**model.args)
    model.load_state_dict(copies)
    return model


class _WithoutValues(TorchFunctionMode):
    """Leaves out `torch.nn.init`: on the meta device it does nothing but import torch's compiler,
    which takes a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        initializes = getattr(func, "__module__", "") == "torch.nn.init"
        return kwargs["tensor"] if initializes else func(*args, **kwargs)


def _check_weights(weights: Mapping[str, Any], empty: Mapping[str, Tensor]) -> None:
    """Check names and shapes, then the bytes that hold the values, then the values."""
    wanted = {name: tuple(value.shape) for name, value in empty.items()}
    given = {name: tuple(getattr(value, "shape", ())) for name, value in weights.items()}
    for name in wanted | given:
        if given.get(name) != wanted.get(name):
            raise ValueError(
                f"its weight {brief(name)} has shape {given.get(name)}, but {wanted.get(name)} in "
                "the model that it describes"
            )
    for name, value in weights.items():
        check_stored(name, value)
    storages = (value.untyped_storage() for value in weights.values())
    stored = {storage.data_ptr(): storage.nbytes() for storage in storages}  # some may share one
    if sum(value.nbytes for value in weights.values()) > sum(stored.values()):
        raise ValueError("it describes more weights than its file holds")
    for name, value in weights.items():
        if not value.is_floating_point() or not value.float().isfinite().all():
            raise ValueError(
                f"its weight {brief(name)} holds other than finite numbers of floating point: its "
                "training went wrong, or the file is damaged"
            )


def check_stored(name: str, value: Any) -> None:
    """Check that a weight of a file is a plain tensor, all of whose numbers the file holds: strides
    of 0 give one number any shape, and what is computed on it fills the memory.

    Raises:
        ValueError: it is not.
    """
    plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
    if not plain or value.untyped_storage().nbytes() < value.nbytes:
        raise ValueError(f"weight {brief(name)} is not held in full, as a plain tensor")
