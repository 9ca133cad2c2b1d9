"""What verbs are given: a forecaster or where it is, and the paths that other processes open."""

import os
from collections.abc import Sequence
from typing import Any

from foreframe.base.files import exists
from foreframe.forecasting.forecast_options import TaskOptions
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


def for_tasks(what: Any, sources: Sequence[Any], options: TaskOptions) -> tuple[Any, list[Any]]:
    """A forecaster and sources as other processes open them: by absolute paths.

    Raises:
        ValueError: they are in memory, which others cannot open.
    """
    given = [what, *sources]
    if all(isinstance(one, str | os.PathLike) for one in given):
        what = what if is_name(what) else _absolute(what)
        sources = [_absolute(source) for source in sources]
    elif options.in_tasks:
        raise ValueError("workers and continue_job open the run and data by path: give paths")
    return what, list(sources)


def _absolute(path: Any) -> Any:
    return os.path.abspath(path) if exists(path) else path
