"""Models, and the one promise that all of them keep:

    state  = model.encode(past, state=None)     past (B,T,C,H,W), any T >= 1; goes on from `state` where one is given
    future = model.decode(state, steps)         (B,steps,C,H,W), any steps >= 1; `state` itself is left as it was
    model(past, steps) == model.decode(model.encode(past), steps)

Values are in [0,1], as `Scaling` gives them. A state is a flat dict of tensors whose first axis is the clip, so that it can be
kept, cut by clip, written to a file and gone on from. `encode(a)` then `encode(b, state)` equals `encode(cat(a, b))` to rounding.
The future is never an input. A model also has `args` (plain values that rebuild it: `type(model)(**model.args)`) and `channels`
(the C that it takes, or None for any). The test suite holds every entry of `MODELS`, and every preset, to this.
"""

import inspect
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

import torch

from foreframe.models import convlstm, simvp
from foreframe.models.baselines import Black, Cycle, LinearMotion, Mean, Persistence
from foreframe.models.convlstm import ConvLSTM, ConvLSTMCell, Gates, Head, Stem
from foreframe.models.optical_flow import OpticalFlow
from foreframe.models.promise import Model, State
from foreframe.models.simvp import SimVP

MODELS: dict[str, type[Model]] = {
    "convlstm": ConvLSTM,
    "simvp": SimVP,
    "black": Black,
    "mean": Mean,
    "persistence": Persistence,
    "linear_motion": LinearMotion,
    "optical_flow": OpticalFlow,
    "cycle": Cycle,
}
"""Every model by its name. A model of your own joins with `MODELS["mine"] = Mine`; saved folders name it so."""

PRESETS: dict[str, type[ConvLSTM] | type[SimVP]] = {
    **dict.fromkeys(convlstm.PRESETS, ConvLSTM),
    **dict.fromkeys(simvp.PRESETS, SimVP),
}
"""Which model each preset is one of; the arguments stand at the end of that model's file."""

BASELINES = ("black", "mean", "persistence", "linear_motion")
"""Those that run wherever foreframe does."""


def baselines_here() -> tuple[str, ...]:
    """BASELINES, and optical_flow where OpenCV is installed; it is looked for, not imported."""
    return (*BASELINES, "optical_flow") if find_spec("cv2") else BASELINES


def build_model(name: str, args: dict[str, Any] | None = None) -> Model:
    """`name` is an entry of MODELS or of PRESETS; `args` change its arguments.

    Raises:
        ValueError: unknown name, or arguments that the model does not take.
    """
    if name in PRESETS or name in MODELS:
        kind = PRESETS.get(name) or MODELS[name]
        known = list(inspect.signature(kind).parameters)
        for given in args or {}:
            if given not in known:
                close = get_close_matches(given, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(known) or 'none'}"
                raise ValueError(f"model {name} takes no argument {given!r}; {hint}")
        try:
            return PRESETS[name].preset(name, **(args or {})) if name in PRESETS else kind(**(args or {}))
        except TypeError as error:  # a value of the wrong kind, or a misspelt key of a nested argument
            raise ValueError(f"model {name}: {error}".replace("__init__() ", "")) from None
    raise ValueError(f"model {name!r} is unknown; choose a preset ({', '.join(PRESETS)}) or one of {', '.join(MODELS)}")


def multiply_adds(network: Model, past: int, future: int, frame: tuple[int, int]) -> int:
    """Of a forecast of one clip of frames H x W, by convolutions and matrix products. On torch's meta device nothing is computed:
    only shapes run through a network of the same arguments."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        type(network)(**network.args)(torch.empty(1, past, network.channels or 1, *frame), future)
    return int(counter.get_total_flops()) // 2


def model_name(model: Model) -> str:
    """The name under which MODELS holds this model's class.

    Raises:
        ValueError: when it is not there.
    """
    for name, kind in MODELS.items():
        if type(model) is kind:
            return name
    raise ValueError(f"{type(model).__name__} is not in foreframe.models.MODELS: add it there under a name of its own")


__all__ = [
    "BASELINES", "MODELS", "PRESETS", "Black", "ConvLSTM", "ConvLSTMCell", "Cycle", "Gates", "Head", "LinearMotion", "Mean",
    "Model", "OpticalFlow", "Persistence", "SimVP", "State", "Stem", "baselines_here", "build_model", "model_name", "multiply_adds",
]  # fmt: skip
