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
from importlib import import_module
from typing import TYPE_CHECKING, Any

from foreframe.base.schema import UnknownError, brief, check_types, merged
from foreframe.base.wording import closest
from foreframe.models.registry import BASELINES as BASELINES
from foreframe.models.registry import CORES as CORES
from foreframe.models.registry import FREE as FREE
from foreframe.models.registry import MODELS as MODELS
from foreframe.models.registry import PRESETS as PRESETS
from foreframe.models.registry import SCORED as SCORED
from foreframe.models.registry import STILL as STILL
from foreframe.models.registry import baselines_here as baselines_here

if TYPE_CHECKING:  # by these names, so that type checkers know what is public
    from foreframe.models.at_once import AtOnce as AtOnce
    from foreframe.models.baselines import Black as Black
    from foreframe.models.baselines import Cycle as Cycle
    from foreframe.models.baselines import LinearMotion as LinearMotion
    from foreframe.models.baselines import Mean as Mean
    from foreframe.models.baselines import Persistence as Persistence
    from foreframe.models.codec import CODECS as CODECS
    from foreframe.models.convlstm import ConvLSTM as ConvLSTM
    from foreframe.models.convlstm import ConvLSTMCell as ConvLSTMCell
    from foreframe.models.core import Core as Core
    from foreframe.models.dressed import Dressed as Dressed
    from foreframe.models.heads import HEADS as HEADS
    from foreframe.models.interface import Model as Model
    from foreframe.models.interface import Parts as Parts
    from foreframe.models.interface import State as State
    from foreframe.models.interface import parts_of as parts_of
    from foreframe.models.interface import with_known as with_known
    from foreframe.models.lagged import Lagged as Lagged
    from foreframe.models.members_of import MembersOf as MembersOf
    from foreframe.models.noise import EnsembleRequest as EnsembleRequest
    from foreframe.models.noise import forecast_of as forecast_of
    from foreframe.models.noise import members as members
    from foreframe.models.noise import placed as placed
    from foreframe.models.optical_flow import OpticalFlow as OpticalFlow
    from foreframe.models.recurrent import EncoderDecoder as EncoderDecoder
    from foreframe.models.recurrent import NextFrame as NextFrame
    from foreframe.models.recurrent import RecurrentAtOnce as RecurrentAtOnce

_NAMES = {  # of a module: the public names that live there
    "at_once": ("AtOnce",),
    "baselines": ("Black", "Cycle", "LinearMotion", "Mean", "Persistence"),
    "codec": ("CODECS",),
    "convlstm": ("ConvLSTM", "ConvLSTMCell"),
    "core": ("Core",),
    "dressed": ("Dressed",),
    "heads": ("HEADS",),
    "interface": ("Model", "Parts", "State", "parts_of", "with_known"),
    "lagged": ("Lagged",),
    "members_of": ("MembersOf",),
    "noise": ("EnsembleRequest", "forecast_of", "members", "placed"),
    "optical_flow": ("OpticalFlow",),
    "recurrent": ("EncoderDecoder", "NextFrame", "RecurrentAtOnce"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(
    {*_HOME, "build_model", "model_name", "multiply_adds", "preset"}
    | {"BASELINES", "CORES", "FREE", "MODELS", "PRESETS"}
    | {"SCORED", "STILL", "baselines_here"}
)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _HOME:
        return getattr(import_module(f"foreframe.models.{_HOME[name]}"), name)
    raise AttributeError(f"module 'foreframe.models' has no attribute {name!r}")


def preset(name: str, **changes: Any) -> "Model":
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


def build_model(
    name: Any,
    args: Any = None,
    budget: float = BUDGET,
    weights: Mapping[str, Any] | None = None,
) -> "Model":
    """Build a model by its name in MODELS or PRESETS.

        network = build_model("quick", {"channels": 3})
        future = network(torch.rand(2, 10, 3, 64, 64), 5)  # (2,5,3,64,64), in [0,1]

    Args:
        name: of a preset or a model.
        args: arguments that replace those of the preset or the defaults; checked, since they may
            come from an untrusted file.
        budget: GiB that its weights may take as float32.
        weights: are loaded into it, whatever the budget; untrusted. Then no random state changes.

    Raises:
        ValueError: unknown name, arguments that the model does not take, or weights of more than
            the budget; `weights` that do not fit it or are not finite.
    """
    _, kind, args = resolved(name, args)
    from foreframe.models.building import built  # with torch

    return built(kind, args, f"model {name}", budget, weights)


def resolved(name: Any, args: Any = None) -> tuple[str, type["Model"], dict[str, Any]]:
    """Return the name in MODELS, the class and the arguments of a model or preset, their types
    checked.

    Raises:
        ValueError: unknown name, or arguments that the model does not take.
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
    return model, kind.variant(args), args


def multiply_adds(network: "Model", past: int, future: int, frame: tuple[int, int]) -> int:
    """Multiply-adds of convolutions and matrix products, for a forecast of one clip of H x W.

    Counted on torch's meta device, by a network with the same arguments: nothing is computed.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from foreframe.models.exported import before_export

    network = before_export(network)
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        counted = type(network)(**network.args).eval()
        counted(torch.empty(1, past, network.takes or 1, *frame), future)
    return int(counter.get_total_flops()) // 2


def model_name(model: "Model") -> str:
    """The name under which MODELS holds this model's class.

    Raises:
        ValueError: when it is not there.
    """
    from foreframe.models.exported import before_export  # with torch

    model = before_export(model)
    for kind in type(model).__mro__:
        name = MODELS.name_of(kind)
        if name is None and (free := FREE.name_of(kind)):
            return free
        if name is not None and MODELS[name].variant(model.args) is type(model):
            return name
    raise ValueError(
        f"{type(model).__name__} is not in foreframe.models.MODELS: add it there under a name of "
        "its own"
    )
