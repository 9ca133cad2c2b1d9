"""What `foreframe train --model NAME --help` shows: the arguments of that model, or of those data.

The only help that loads torch, since a constructor is the only list of its arguments.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

from foreframe.cli.parser import Option, described, formatter, help_of, options_of


def help_of_model(name: str) -> str:
    """The arguments of a model or a preset and of its parts, with their defaults in it.

    Raises:
        ValueError: no such model.
    """
    import torch

    from foreframe.models import MODELS, PRESETS, build_model

    with torch.device("meta"):  # only its arguments are asked for
        args = build_model(name, budget=float("inf")).args
    kind = MODELS[PRESETS.get(name, (name, {}))[0]]
    return _page(f"arguments of model {name}", _of_part(kind, args, "model_args"))


def _of_part(kind: Any, args: Mapping[str, Any], within: str) -> list[Option]:
    from foreframe.models import CODECS, CORES, HEADS
    from foreframe.models.heads import Draw

    parts: dict[str, Any] = {**CORES, **CODECS, **HEADS}
    about = described(kind)
    options: list[Option] = []
    inner: list[Option] = []
    for name, value in args.items():
        path = f"{within}.{name}"
        named = isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in parts
        shown = next(iter(value)) if named else "" if isinstance(value, Mapping) else value
        options.append(Option(path, Any, shown, about.get(name, "")))
        if named:
            inner += _of_part(parts[shown], value[shown], f"{path}.{shown}")
        elif isinstance(value, Mapping):
            inner += _of_part(Draw, value, path)
    return [*options, *inner]


def help_of_data(name: str) -> str:
    """The arguments of drawn data or of an imported Dataset; those of recordings are in the usual
    help.

    Raises:
        ValueError: it cannot be imported.
    """
    from foreframe.data.opening import DATASETS, imported, is_recording

    if name not in DATASETS and is_recording(name, {}):
        return ""
    dataset = DATASETS[name] if name in DATASETS else imported(name)
    return _page(f"arguments of data {name}", options_of(dataset, "data_args."))


def _page(title: str, options: list[Option]) -> str:
    parser = argparse.ArgumentParser(
        usage=argparse.SUPPRESS, add_help=False, formatter_class=partial(formatter, help_at=44)
    )
    group = parser.add_argument_group(title)
    for option in options:
        group.add_argument(f"--{option.name}", metavar="", help=help_of(option))
    return parser.format_help()
