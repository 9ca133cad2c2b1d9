"""Open what verbs are given: a forecaster, or its path."""

import os
from typing import Any

from foreframe.base.files import exists
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models.names import is_name, name_of


def open_forecaster(
    what: Any, device: str = "cpu", compile: bool | str = True
) -> tuple[Forecaster, str]:
    """A forecaster and its name; raises as `Forecaster.load`."""
    if isinstance(what, Forecaster):
        return what, what.trained.preset or "a forecaster"
    forecaster = Forecaster.load(os.fspath(what), device)
    if not compile:
        forecaster.model.never_compile()
    return forecaster, name_of(os.fspath(what))


def absolute(path: Any) -> Any:
    """Return the absolute path of a file or folder, for other processes; anything else, such as the
    name of published weights, stays.
    """
    if not isinstance(path, str | os.PathLike) or is_name(path):
        return path
    full = os.path.abspath(path)
    return full if exists(full) else path
