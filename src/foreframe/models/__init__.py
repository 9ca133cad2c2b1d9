"""Models, and the one interface that all of them have:

    state         = model.encode(past, state=None)  # past (B,T,C,H,W), any T >= 1
    state         = model.begin(state)              # ready to step
    frames, state = model.step(state)               # the next frame; of some models several
    future        = model.decode(state, steps)      # begin, then steps; any steps >= 1
    model(past, steps) == model.decode(model.encode(past), steps)

Values are in [0,1], as `Scaling` gives them. A state is a flat dict of tensors whose first axis is
the clip, so that it can be kept, split by clip and written to a file; nothing changes it. Its names
and shapes depend on the model and the frames' size alone, from the first frame on. `encode(a)` then
`encode(b, state)` equals `encode(cat(a, b))` to rounding. The future is never an input. A step
draws no random numbers and calls no other library: what it needs of these enters as tensors before
`begin` (`exogenous`).

A model may have `inputs`: further channels of the past, after those that it forecasts. What is
known of them in the future, such as a map's heights or the hour of the day, comes with the state:
`decode(with_known(state, known), steps)`. A model also has `args` (plain values that rebuild it:
`type(model)(**model.args)`) and `channels` (the C of its frames, or None for any). The test suite
checks all of this for every entry of `MODELS` and every preset.
"""

from collections.abc import Mapping
from typing import Any

import torch

from foreframe.base.budget import GIB, OverBudgetError
from foreframe.base.schema import UnknownError, brief, check_types, merged
from foreframe.base.wording import closest
from foreframe.models import (
    convlstm,
    e3dlstm,
    earthformer,
    mau,
    mim,
    phydnet,
    predformer,
    predrnn,
    predrnnpp,
    simvp,
    svg,
    swinlstm,
    unet,
)
from foreframe.models.at_once import AtOnce
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
from foreframe.models.core import CORES, Core
from foreframe.models.dressed import Dressed
from foreframe.models.e3dlstm import E3DLSTM
from foreframe.models.earthformer import Earthformer
from foreframe.models.flow import Flow
from foreframe.models.heads import HEADS
from foreframe.models.interface import (
    Model,
    Parts,
    State,
    parts_of,
    with_known,
)
from foreframe.models.lagged import Lagged
from foreframe.models.mau import MAU
from foreframe.models.members_of import MembersOf
from foreframe.models.mim import MIM
from foreframe.models.noise import EnsembleRequest, forecast_of, members, placed
from foreframe.models.optical_flow import OpticalFlow
from foreframe.models.originals import ORIGINALS
from foreframe.models.phydnet import PhyDNet
from foreframe.models.predformer import PredFormer
from foreframe.models.predrnn import PredRNN
from foreframe.models.predrnnpp import PredRNNpp
from foreframe.models.recurrent import EncoderDecoder, NextFrame, RecurrentAtOnce
from foreframe.models.simvp import SimVP
from foreframe.models.svg import SVG
from foreframe.models.swinlstm import SwinLSTM
from foreframe.models.unet import UNet

MODELS: dict[str, type[Model]] = {
    "encoder_decoder": EncoderDecoder,
    "next_frame": NextFrame,
    "at_once": RecurrentAtOnce,
    "simvp": SimVP,
    "unet": UNet,
    "svg": SVG,
    "predformer": PredFormer,
    "earthformer": Earthformer,
    "phydnet": PhyDNet,
    "mau": MAU,
    "e3dlstm": E3DLSTM,
    "swinlstm": SwinLSTM,
    **BASELINES,
    "lagged": Lagged,
    "flow": Flow,
    "dressed": Dressed,
}
"""Every model by its name in saved folders. Add yours by `MODELS["mine"] = Mine`."""

CORES |= {
    "convlstm": ConvLSTM,
    "convgru": ConvGRU,
    "predrnn": PredRNN,
    "predrnnpp": PredRNNpp,
    "mim": MIM,
}

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    **convlstm.PRESETS,
    **predrnn.PRESETS,
    **predrnnpp.PRESETS,
    **simvp.PRESETS,
    **unet.PRESETS,
    **mim.PRESETS,
    **svg.PRESETS,
    **swinlstm.PRESETS,
    **predformer.PRESETS,
    **earthformer.PRESETS,
    **phydnet.PRESETS,
    **mau.PRESETS,
    **e3dlstm.PRESETS,
}
"""Documented models: a name of MODELS, and its arguments."""


ORIGINALS |= {
    "openstl": convlstm.from_openstl,
    "predformer": predformer.from_original,
    "earthformer": earthformer.from_original,
    "phydnet": phydnet.from_openstl,
    **dict.fromkeys(("simvp_v1", "simvp_v2", "tau"), simvp.from_openstl),
    "predrnn": predrnn.from_openstl,
    "predrnnv2": predrnn.from_openstl,
    "swinlstm_d": swinlstm.from_openstl,
    "swinlstm_b": swinlstm.from_openstl,
    "predrnnpp": predrnnpp.from_openstl,
}


def preset(name: str, **changes: Any) -> Model:
    """A documented model, with changes: `preset("quick", channels=3)`.

    A mapping changes only what it names: with `codec={"strided": {"show_last": False}}`, `quick`
    keeps its widths. One that names another kind of part, such as `output={"draw": {}}`, replaces
    the part.

    Raises:
        ValueError: for a name that is not in PRESETS, or arguments that make no model.
    """
    if name not in PRESETS:
        near = closest(name, PRESETS)
        choose = f"{near and f'{near} Or '}choose {', '.join(PRESETS)}"
        raise ValueError(f"preset {name!r} is unknown; {choose}")
    return build_model(name, changes)


BUDGET = 1.0  # GiB
MANY = 1000  # layers or other items of a list: more than any network has
LARGE = 10**6  # channels, pixels or frames: more than any argument needs


def build_model(
    name: Any,
    args: Any = None,
    budget: float = BUDGET,
    room_for: int | None = None,
) -> Model:
    """Build a model by its name in MODELS or PRESETS.

        network = build_model("quick", {"channels": 3})
        future = network(torch.rand(2, 10, 3, 64, 64), 5)  # (2,5,3,64,64), in [0,1]

    Args:
        name: of a preset or a model.
        args: arguments that replace those of the preset or the defaults; checked, since they may
            come from an untrusted file.
        budget: GiB that its weights may take as float32.
        room_for: number of weights that will be loaded into it: it may take no more memory than
            these, and drawing its own changes no random state.

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
        with torch.device("meta"):  # without memory
            size = sum(weight.numel() for weight in kind(**args).state_dict().values())
        if size > (budget * GIB / 4 if room_for is None else room_for):
            raise OverBudgetError(
                f"model {name} has more weights than its file holds"
                if room_for is not None
                else f"the weights of model {name} would take more than the budget of {budget:g} "
                "GiB; choose fewer or smaller layers, or raise budget if that is meant"
            )
        with torch.random.fork_rng(devices=[], enabled=room_for is not None):
            return kind(**args)
    except (TypeError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        # torch's own errors are among them.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"model {name}: {reason.replace('__init__() ', '')}") from None


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

    Counted on torch's meta device, by a network with the same arguments: nothing is computed.
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
        if isinstance(model, kind) and kind.variant(model.args) is type(model):
            return name
    raise ValueError(
        f"{type(model).__name__} is not in foreframe.models.MODELS: add it there under a name of "
        "its own"
    )


__all__ = [
    "BASELINES", "CODECS", "CORES", "HEADS", "MODELS", "PRESETS", "SCORED", "STILL", "SVG",
    "AtOnce", "Black", "ConvLSTM", "ConvLSTMCell", "Core", "Cycle", "Dressed", "Earthformer",
    "EncoderDecoder", "EnsembleRequest", "Flow", "Lagged", "LinearMotion", "Mean", "MembersOf",
    "Model", "NextFrame", "OpticalFlow", "Parts", "Persistence", "PredFormer",
    "RecurrentAtOnce", "SimVP", "State", "SwinLSTM", "baselines_here", "build_model",
    "forecast_of", "members", "model_name", "multiply_adds", "parts_of", "placed", "preset",
    "with_known",
]  # fmt: skip
