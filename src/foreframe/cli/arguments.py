"""Help on the arguments of a model or a Dataset, as `foreframe train --model NAME --help` shows it.

The only help that loads torch, since only the constructors list their arguments.
"""

import argparse
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from foreframe.cli.parser import Option, argument_docs, help_of, options_of


def help_of_model(name: str) -> str:
    """The arguments of a model or a preset and of its parts, with their defaults.

    Raises:
        ValueError: no such model.
    """
    import torch

    from foreframe.models import MODELS, PRESETS, build_model

    with torch.device("meta"):  # only its arguments are needed
        args = build_model(name, budget=float("inf")).args
    kind = MODELS[PRESETS.get(name, (name, {}))[0]]
    return _page(f"arguments of model {name}", _options_of_part(kind, args, "model_args"))


def _options_of_part(kind: Any, args: Mapping[str, Any], path: str) -> list[Option]:
    """An option for each of these arguments of a model or a part; those of its own parts come last.
    `path` is the option that the part is given by, such as "model_args.core.convlstm".
    """
    from foreframe.models import CODECS, CORES, HEADS
    from foreframe.models.heads import Draw

    parts: ChainMap[str, Any] = ChainMap(CORES, CODECS, HEADS)  # only what is used is imported
    helps = argument_docs(kind)
    options: list[Option] = []
    inner: list[Option] = []
    for name, value in args.items():
        option, default = f"{path}.{name}", value
        if isinstance(value, Mapping):
            part = next(iter(value), "")
            if len(value) == 1 and part in parts:
                default = part
                inner += _options_of_part(parts[part], value[part], f"{option}.{part}")
            else:
                default = ""
                inner += _options_of_part(Draw, value, option)
        options.append(Option(option, Any, default, helps.get(name, "")))
    return [*options, *inner]


def help_of_data(name: str) -> str:
    """The arguments of generated data or of an imported Dataset; "" for recordings, whose options
    are in the usual help.

    Raises:
        ValueError: it cannot be imported.
    """
    from foreframe.data.opening import dataset_of, holds_recordings

    if holds_recordings(name):
        return ""
    return _page(f"arguments of data {name}", options_of(dataset_of(name), "data_args."))


def _page(title: str, options: list[Option]) -> str:
    parser = argparse.ArgumentParser(usage=argparse.SUPPRESS, add_help=False)
    group = parser.add_argument_group(title)
    for option in options:
        group.add_argument(f"--{option.name}", metavar="", help=help_of(option))
    return parser.format_help()
