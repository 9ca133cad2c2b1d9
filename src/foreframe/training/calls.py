"""From the arguments of a call in Python to plain options, as files and flags give them."""

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from foreframe.base.schema import Given
from foreframe.clips.scaling import Scaling
from foreframe.data.data_options import ReadOptions, SplitOptions, not_usual
from foreframe.forecasting.forecast_options import Kind, changed
from foreframe.training.recipes import KINDS, no_option

Call = TypeVar("Call", bound=Callable[..., Any])


def given_options(
    recipe: str | os.PathLike[str] | None, options: Mapping[str, Any]
) -> tuple[list[str], Given]:
    """A recipe and changes of it by name, as `options_from` takes them.

    Raises:
        ValueError: an unknown name, with the nearest.
    """
    changes: Given = []
    for name, value in options.items():
        if name not in KINDS:
            raise ValueError(no_option(name, list(KINDS)))
        plain = plain_option(name, value)
        if isinstance(plain, Mapping) and name not in ("data", "scaling"):
            changes += [((name, inner), part) for inner, part in plain.items()]
        else:
            changes.append(((name,), plain))
    return [] if recipe is None else [os.fspath(recipe)], changes


def with_changes(options: Kind, changes: Mapping[str, Any]) -> Kind:
    """Options of a call, changed by name; raises as `changed`."""
    return changed(options, {name: plain_option(name, value) for name, value in changes.items()})


def plain_option(name: str, value: Any) -> Any:
    """A value as a YAML file would give it; data in memory are unchanged."""
    return value if name == "data" and not isinstance(value, os.PathLike) else plain(value)


def plain(value: Any) -> Any:
    """A value as a YAML file would give it."""
    if isinstance(value, ReadOptions | SplitOptions):
        value = not_usual(value)
    if isinstance(value, Scaling):
        value = asdict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def takes(*groups: type) -> Callable[[Call], Call]:
    """Show the fields of dataclasses as arguments of a function that takes them by name: in its
    signature with their defaults, and in its help.
    """

    def show(function: Call) -> Call:
        signature = inspect.signature(function)
        shown = {p.name: p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD}
        for group in groups:
            usual = group()
            for name, option in inspect.signature(group).parameters.items():
                named = option.replace(kind=option.KEYWORD_ONLY, default=getattr(usual, name))
                shown.setdefault(name, named)
        parts = [part for group in groups for part in group.__mro__[:-1]]
        about = [inspect.cleandoc(part.__doc__ or "") for part in (function, *parts)]
        given: Any = function
        given.__signature__ = signature.replace(parameters=list(shown.values()))
        given.__doc__ = "\n\n".join(about)
        return function

    return show
