"""From the arguments of a call in Python to plain options, as files and flags give them."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from foreframe.base.schema import Given
from foreframe.clips.scaling import Scaling
from foreframe.data.data_options import ReadOptions, SplitOptions, not_usual
from foreframe.training.recipes import KINDS, no_option


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
