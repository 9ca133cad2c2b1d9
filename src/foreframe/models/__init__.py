"""Models, and the one interface that all of them have:

    state  = model.encode(past, state=None)  # past (B,T,C,H,W), any T >= 1; `state` to go on from
    future = model.decode(state, steps)      # (B,steps,C,H,W), any steps >= 1; `state` is kept
    model(past, steps) == model.decode(model.encode(past), steps)

Values are in [0,1], as `Scaling` gives them. A state is a flat dict of tensors whose first axis is
the clip, so that it can be kept, cut by clip, written to a file and gone on from. `encode(a)` then
`encode(b, state)` equals `encode(cat(a, b))` to rounding. The future is never an input. A model
that has `inputs` sees so many further channels of the past, after those that it forecasts; what is
known of them in the future, such as a map's heights or the hour of the day, is laid into the state:
`decode(with_known(state, known), steps)`. So the interface is the same for every model. A model
also has `args` (plain values that rebuild it: `type(model)(**model.args)`) and `channels` (the C
that it takes, or None for any). The test suite holds every entry of `MODELS`, and every preset, to
this.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from foreframe.base.budget import GIB, OverBudgetError
from foreframe.base.typed import UnknownError, brief, check_types, merged
from foreframe.base.wording import closest
from foreframe.models import convlstm, simvp, svg
from foreframe.models.baselines import (
    BASELINES,
    SCORED,
    STILL,
    Black,
    Cycle,
    LinearMotion,
    Mean,
    Persistence,
    baselines_here,
)
from foreframe.models.codec import CODECS
from foreframe.models.convgru import ConvGRU
from foreframe.models.convlstm import ConvLSTM, ConvLSTMCell
from foreframe.models.flow import Flow
from foreframe.models.heads import HEADS
from foreframe.models.interface import (
    Learnt,
    Loss,
    Model,
    Parts,
    State,
    parts_of,
    with_known,
)
from foreframe.models.lagged import Lagged
from foreframe.models.model_ensemble import ModelEnsemble
from foreframe.models.noise import Drawn, forecast_of, members, placed
from foreframe.models.optical_flow import OpticalFlow
from foreframe.models.recurrent import (
    CORES,
    AtOnce,
    Core,
    EncoderDecoder,
    NextFrame,
    RecurrentAtOnce,
)
from foreframe.models.simvp import SimVP
from foreframe.models.svg import SVG

MODELS: dict[str, type[Model]] = {
    "encoder_decoder": EncoderDecoder,
    "next_frame": NextFrame,
    "at_once": RecurrentAtOnce,
    "simvp": SimVP,
    "svg": SVG,
    **BASELINES,
    "lagged": Lagged,
    "ensemble": ModelEnsemble,
    "flow": Flow,
}
"""Every model by the name that saved folders have. Yours joins with `MODELS["mine"] = Mine`."""

CORES |= {"convlstm": ConvLSTM, "convgru": ConvGRU}

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    **convlstm.PRESETS,
    **simvp.PRESETS,
    **svg.PRESETS,
}
"""Documented models: which of MODELS each is, and its arguments."""


def preset(name: str, **changes: Any) -> Model:
    """A documented model, with changes: `preset("quick", channels=3)`.

    A mapping changes what it names and keeps the rest: with
    `codec={"strided": {"show_last": False}}`, `quick` keeps its widths. One that names another kind
    of part, such as `output={"draw": {}}`, puts that in its place.

    Raises:
        ValueError: for a name that is not in PRESETS, or arguments that make no model.
    """
    if name not in PRESETS:
        near = closest(name, PRESETS)
        choose = f"{near and f'{near} Or '}choose {', '.join(PRESETS)}"
        raise ValueError(f"preset {name!r} is unknown; {choose}")
    return build_model(name, changes)


BUDGET = 1.0  # GiB
MANY = 1000  # layers or other things in a list, which no network has
LARGE = 10**6  # channels, pixels or frames, which no argument reaches


def build_model(
    name: Any,
    args: Any = None,
    budget: float = BUDGET,
    room_for: int | None = None,
) -> Model:
    """A model of MODELS or of PRESETS; `args`, maybe a stranger's, change its arguments.

    Args:
        budget: GiB that its weights may take as float32.
        room_for: of a model that is to be filled with so many weights: it takes no more memory than
            these, and its own weights are not drawn.

    Raises:
        ValueError: unknown name, arguments that the model does not take, or weights of more than
            the budget.
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
    _check_sizes(args, f"model {name}")
    try:
        with _Building(
            budget * GIB / 4 if room_for is None else room_for + SPARE, room_for is None
        ):
            return kind(**args)
    except _TooLargeError:
        raise OverBudgetError(
            f"model {name} has more weights than its file holds"
            if room_for is not None
            else f"the weights of model {name} would take more than the budget of {budget:g} GiB; "
            "choose fewer or smaller layers, or raise budget if that is meant"
        ) from None
    except (TypeError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        # torch's own errors are among them.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"model {name}: {reason.replace('__init__() ', '')}") from None


MAKES = ("empty", "zeros", "ones", "full", "rand", "randn")
DRAWS = ("normal_", "trunc_normal_", "uniform_", "kaiming_uniform_", "xavier_uniform_")
SPARE = 2**22  # numbers that a network may take while it is built, beside those of its file


class _TooLargeError(Exception):
    """A network would have more weights than it may."""


class _Building(TorchFunctionMode):
    """Counts the numbers that a network takes while it is built, before their memory is taken.

    Args:
        most: how many it may take.
        draw: whether weights are drawn; those that others will replace need not be.
    """

    def __init__(self, most: float, draw: bool) -> None:
        super().__init__()
        self.left, self.draw = most, draw

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name in MAKES:
            size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
            self.left -= math.prod(size)
            if self.left < 0:
                raise _TooLargeError
        if name in DRAWS and not self.draw:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _check_sizes(value: Any, what: str) -> None:
    """Refuse numbers and lists so large that building the network would never end."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_sizes(inner, f"{what}.{name}")
    elif isinstance(value, list | tuple):
        if len(value) > MANY:
            raise ValueError(f"{what} is a list of {len(value)}; {MANY} at most")
        for inner in value:
            _check_sizes(inner, what)
    elif isinstance(value, int) and abs(value) > LARGE:
        raise ValueError(f"{what} is beyond reason: {brief(value)}; {LARGE:,} at most")


def multiply_adds(network: Model, past: int, future: int, frame: tuple[int, int]) -> int:
    """Multiply-adds of convolutions and matrix products, for a forecast of one clip of H x W.

    On torch's meta device nothing is computed: only shapes run through a like network.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        type(network)(**network.args)(torch.empty(1, past, network.takes or 1, *frame), future)
    return int(counter.get_total_flops()) // 2


def model_name(model: Model) -> str:
    """The name under which MODELS holds this model's class.

    Raises:
        ValueError: when it is not there.
    """
    for name, kind in MODELS.items():
        if type(model) is kind:
            return name
    raise ValueError(
        f"{type(model).__name__} is not in foreframe.models.MODELS: add it there under a name of "
        "its own"
    )


__all__ = [
    "BASELINES", "CODECS", "CORES", "HEADS", "MODELS", "PRESETS", "SCORED", "STILL", "SVG",
    "AtOnce", "Black", "ConvLSTM", "ConvLSTMCell", "Core", "Cycle", "Drawn", "EncoderDecoder",
    "Flow", "Lagged", "Learnt", "LinearMotion", "Loss", "Mean", "Model", "ModelEnsemble",
    "NextFrame", "OpticalFlow", "Parts", "Persistence", "RecurrentAtOnce", "SimVP", "State",
    "baselines_here", "build_model", "forecast_of", "members", "model_name", "multiply_adds",
    "parts_of", "placed", "preset", "with_known",
]  # fmt: skip
