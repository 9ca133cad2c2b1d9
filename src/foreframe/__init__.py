"""foreframe: forecast the next frames of a video or of a gridded field.

The public names, in the order in which data meets them. They load when first used, so that
importing foreframe costs nothing.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    # OpenMP's threads that wait for each other sleep soon, so that other processes get their cores:
    # GNU's after so many rounds, Intel's and LLVM's after so many milliseconds. Read once, when
    # torch is loaded; loader workers and child processes inherit it (docs/performance.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("KMP_BLOCKTIME", "0")

_NAMES = {  # of a module: the public names that live there
    "api": (
        "Run", "check", "evaluate", "export", "fit", "open_run", "predict", "stream",
    ),
    "clips.clip": ("Clip", "Window"),
    "clips.scaling": ("Scaling",),
    "data": ("MovingMNIST", "clips_from"),
    "forecasting.forecaster": ("Forecaster",),
}  # fmt: skip
_HOME = {name: f"foreframe.{module}" for module, names in _NAMES.items() for name in names}
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
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _ROOMS:
        return import_module(f"foreframe.{name}")
    if not name.startswith("_"):
        from foreframe.base.verbs import added_call, added_calls

        if name in added_calls():
            return added_call(name)
    raise AttributeError(f"module 'foreframe' has no attribute {name!r}")


def __dir__() -> list[str]:
    from foreframe.base.verbs import added_calls

    return sorted((*__all__, *added_calls()))
