"""Models, cores and presets by name. What a name stands for is imported when it is
asked for: this file loads no torch, and a forecast no network but its own.
"""

from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from foreframe.base.extras import of_package, registered

if TYPE_CHECKING:
    from foreframe.models.core import Core
    from foreframe.models.interface import Model

Kind = TypeVar("Kind")


class Registry(UserDict[str, Kind]):
    """A mapping of names. Add your own by `REGISTRY["mine"] = Mine`, or `REGISTRY |= {...}`; an
    installed package adds its own by entry points, and replaces no name that is here.

    Attributes:
        data: by name what was asked for or added, and where else it is, "module:attribute" of
            foreframe.models; where the attribute is a mapping, its entry of that name is meant.
        kinds: of the entry points `foreframe.KIND`.
    """

    data: dict[str, Any]

    def __init__(self, homes: Mapping[str, str], *kinds: str) -> None:
        self.data, self.kinds = dict(homes), kinds

    def __contains__(self, name: object) -> bool:
        return name in self.data or name in self.added()

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.data, *self.added())))

    def added(self) -> dict[str, Any]:
        """Entry points by name."""
        return {name: point for kind in self.kinds for name, point in registered(kind).items()}

    def __len__(self) -> int:
        return len({*self})

    def __getitem__(self, name: str) -> Kind:
        if name not in self.data:
            kind = next((kind for kind in self.kinds if name in registered(kind)), None)
            if kind is not None:
                self.data[name] = entry(of_package(kind, name), name)
        found = self.data[name]
        if isinstance(found, str):
            module, _, attribute = found.partition(":")
            found = getattr(import_module(f"foreframe.models.{module}"), attribute)
            self.data[name] = found = entry(found, name)
        own: Kind = found
        return own

    def name_of(self, kind: type) -> str | None:
        """The name of a class here, which imports nothing; None without any."""
        home = f"{kind.__module__}:{kind.__qualname__}".removeprefix("foreframe.models.")
        homes = {name: point.value for name, point in self.added().items()} | self.data
        return next((name for name, held in homes.items() if held in (kind, home)), None)


def entry(found: Any, name: str) -> Any:
    """The entry of this name where a mapping was found."""
    return found[name] if isinstance(found, Mapping) else found


BASELINES: "Registry[type[Model]]" = Registry(
    {
        "black": "baselines:Black",
        "mean": "baselines:Mean",
        "persistence": "baselines:Persistence",
        "linear_motion": "baselines:LinearMotion",
        "dense_motion": "motion:DenseMotion",
        "optical_flow": "optical_flow:OpticalFlow",
        "cycle": "baselines:Cycle",
    },
    "baselines",
)
"""Every baseline, a forecast without training, in the order of tables; any may guide a head."""

SCORED = ("black", "mean", "persistence", "linear_motion", "dense_motion")
"""Baselines of every scorecard: those that need neither a package nor a period."""

STILL = ("black", "mean", "persistence")
"""Baselines whose forecast is the same at each lead time."""


def baselines_here(units: str = "") -> tuple[str, ...]:
    """SCORED, optical_flow where OpenCV is installed, which is not imported, and those of installed
    packages that are made for data in these units. Scorecards of rain, in mm/h, also have the mean
    of a lagged ensemble, since the origin of a forecast is soon uncertain.
    """
    flow = ("optical_flow",) if find_spec("cv2") else ()
    added = [name for name in registered("baselines") if BASELINES[name].made_for == units != ""]
    return (*SCORED, *flow, *added, *(("lagged",) if units == "mm/h" else ()))


MODELS: "Registry[type[Model]]" = Registry(
    {
        "encoder_decoder": "recurrent:EncoderDecoder",
        "next_frame": "recurrent:NextFrame",
        "at_once": "recurrent:RecurrentAtOnce",
        "unet": "unet:UNet",
        **BASELINES.data,
        "layered_motion": "layered_motion:LayeredMotion",
        "lagged": "lagged:Lagged",
        "dressed": "dressed:Dressed",
    },
    "models",
    "baselines",
)
"""Every model by its name in saved folders. Add yours by `MODELS["mine"] = Mine`."""

FREE: "Registry[type[Model]]" = Registry(
    {
        **BASELINES.data,
        "layered_motion": "layered_motion:LayeredMotion",
        "lagged": "lagged:Lagged",
    },
    "baselines",
    "nowcasts",
)
"""All forecasts without training. The nowcasts of an installed package cannot guide a head."""

CORES: "Registry[Callable[..., Core]]" = Registry(
    {
        "convlstm": "convlstm:ConvLSTM",
    },
    "cores",
)
"""Every core by its name. Add yours by `CORES["mine"] = Mine`."""

_PRESETS_OF = {  # of a module: the names in its PRESETS
    "convlstm": ("tutorial", "shi2015", "fc_lstm", "openstl", "quick", "nowcast", "guided"),
    "unet": ("unet_small", "unet"),
}
PRESETS: "Registry[tuple[str, dict[str, Any]]]" = Registry(
    {name: f"{module}:PRESETS" for module, names in _PRESETS_OF.items() for name in names},
    "presets",
)
"""Documented models: a name of MODELS, and its arguments."""
