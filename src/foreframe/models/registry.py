"""The index of models, cores and presets: what a name refers to is imported when it is used, so
this file does not load torch.
"""

from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from foreframe.base.extras import of_package, registered

if TYPE_CHECKING:
    from foreframe.models.core import Core
    from foreframe.models.interface import Model

Kind = TypeVar("Kind")


class Registry(UserDict[str, Kind]):
    """A mapping of names. Add your own by `REGISTRY["mine"] = Mine`, or `REGISTRY |= {...}`; an
    installed package adds names by entry points, and cannot replace those that are here.

    Attributes:
        data: values by name, or "module:attribute" in foreframe.models until a name is used; a
            mapping found there has the value under the same name.
        kinds: of the entry points `foreframe.KIND`.
    """

    data: dict[str, Any]

    def __init__(self, homes: Mapping[str, str], *kinds: str) -> None:
        self.data, self.kinds = dict(homes), kinds

    def __contains__(self, name: object) -> bool:
        return name in self.data or name in self.added()

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.data, *self.added())))

    def __len__(self) -> int:
        return len({*self})

    def __getitem__(self, name: str) -> Kind:
        found: Any = self.data.get(name)
        if found is None:
            kind = self.added()[name].group.removeprefix("foreframe.")
            found = of_package(kind, name)
        elif isinstance(found, str):
            module, _, attribute = found.partition(":")
            found = getattr(import_module(f"foreframe.models.{module}"), attribute)
        self.data[name] = value = found[name] if isinstance(found, Mapping) else found
        imported: Kind = value
        return imported

    def added(self) -> dict[str, Any]:
        """Entry points by name."""
        return {name: point for kind in self.kinds for name, point in registered(kind).items()}

    def name_of(self, kind: type) -> str | None:
        """Return the name of a class without importing others, or None."""
        home = f"{kind.__module__}:{kind.__qualname__}".removeprefix("foreframe.models.")
        homes = {name: point.value for name, point in self.added().items()} | self.data
        return next((name for name, held in homes.items() if held in (kind, home)), None)


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

_UNTRAINED = {
    **BASELINES.data,
    "lagged": "lagged:Lagged",
}

MODELS: "Registry[type[Model]]" = Registry(
    {
        "encoder_decoder": "recurrent:EncoderDecoder",
        "next_frame": "recurrent:NextFrame",
        "at_once": "recurrent:RecurrentAtOnce",
        **_UNTRAINED,
        "dressed": "dressed:Dressed",
    },
    "models",
    "baselines",
)
"""Every model by its name in saved folders. Add yours by `MODELS["mine"] = Mine`."""

FREE: "Registry[type[Model]]" = Registry(_UNTRAINED, "baselines", "nowcasts")
"""All forecasts without training. The nowcasts of an installed package cannot guide a head."""

CORES: "Registry[Callable[..., Core]]" = Registry({"convlstm": "convlstm:ConvLSTM"}, "cores")
"""Every core by its name. Add yours by `CORES["mine"] = Mine`."""

_PRESETS_OF = {  # names in the PRESETS of a module
    "convlstm": ("tutorial", "shi2015", "fc_lstm", "openstl", "quick", "nowcast", "guided"),
}
PRESETS: "Registry[tuple[str, dict[str, Any]]]" = Registry(
    {name: f"{module}:PRESETS" for module, names in _PRESETS_OF.items() for name in names},
    "presets",
)
"""Documented models: a name of MODELS, and its arguments."""
