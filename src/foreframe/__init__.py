"""foreframe: forecast the next frames of a video or of a gridded field.

Public names are imported when first used, so importing foreframe costs nothing.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    # OpenMP's waiting threads sleep soon, so that other processes get their cores: after so many
    # rounds (GNU) or milliseconds (Intel, LLVM). Read once, when torch is loaded; loader workers
    # and child processes inherit it (docs/performance.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("KMP_BLOCKTIME", "0")

_HOME = {  # of the public names
    **dict.fromkeys(("Run", "check", "evaluate", "export", "fit", "open_run"), "api"),
    **dict.fromkeys(("predict", "stream"), "api"),
    **dict.fromkeys(("Clip", "Window"), "clips.clip"),
    **dict.fromkeys(("MovingMNIST", "clips_from"), "data"),
    "Scaling": "clips.scaling",
    "Forecaster": "forecasting.forecaster",
}
_ROOMS = ("data", "models", "visuals", "forecasting", "training", "evaluation")

__all__ = sorted((*_HOME, "models"))

if TYPE_CHECKING:  # by these names, so that type checkers know what is public
    from foreframe import models as models
    from foreframe.api import Run as Run
    from foreframe.api import check as check
    from foreframe.api import evaluate as evaluate
    from foreframe.api import export as export
    from foreframe.api import fit as fit
    from foreframe.api import open_run as open_run
    from foreframe.api import predict as predict
    from foreframe.api import stream as stream
    from foreframe.clips.clip import Clip as Clip
    from foreframe.clips.clip import Window as Window
    from foreframe.clips.scaling import Scaling as Scaling
    from foreframe.data import MovingMNIST as MovingMNIST
    from foreframe.data import clips_from as clips_from
    from foreframe.forecasting.forecaster import Forecaster as Forecaster


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"foreframe.{name}")
    if name in _HOME:
        return getattr(import_module(f"foreframe.{_HOME[name]}"), name)
    if not name.startswith("_"):
        from pkgutil import resolve_name

        from foreframe.base.verbs import added_calls

        if home := added_calls().get(name):
            return resolve_name(home)
    raise AttributeError(f"module 'foreframe' has no attribute {name!r}")


def __dir__() -> list[str]:
    from foreframe.base.verbs import added_calls

    return sorted((*__all__, *added_calls()))
