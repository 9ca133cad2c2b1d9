"""Help on the arguments of a model or a Dataset, shown by `foreframe train --model NAME --help`.

Only this help loads torch, since the constructors define the arguments.
"""

import argparse
from collections import ChainMap
from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any

from foreframe.cli.parser import Option, add_option, argument_docs, options_of


def help_of_model(name: str) -> str:
    """Return help on the arguments of a model or a preset and of its parts.

    Raises:
        ValueError: an unknown model.
    """
    import torch

    from foreframe.models import MODELS, build_model
    from foreframe.models.building import resolved

    _, kind, _ = resolved(name)
    # Members are of any forecaster.
    of = {"of": "persistence"} if name in MODELS and "of" in signature(kind).parameters else {}
    with torch.device("meta"):  # only its arguments are needed
        args = build_model(name, of, budget=float("inf")).args
    return _page(f"arguments of model {name}", [*_options_of_part(kind, args, "model_args")])


def _options_of_part(kind: Any, args: Mapping[str, Any], path: str) -> Iterator[Option]:
    """Yield an option for each argument of a model or a part, then the options of its parts. `path`
    is the option of the part, such as "model_args.core.convlstm".
    """
    from foreframe.models import CODECS, CORES, HEADS
    from foreframe.models.heads import Draw

    parts: ChainMap[str, Any] = ChainMap(CORES, CODECS, HEADS)  # imports only the parts in use
    helps = argument_docs(kind)
    inner = []
    for name, value in args.items():
        option, default = f"{path}.{name}", value
        if isinstance(value, Mapping):
            default = next(iter(value)) if len(value) == 1 and {*value} <= {*parts} else ""
            part = (parts[default], value[default]) if default else (Draw, value)
            inner.append((*part, f"{option}.{default}".rstrip(".")))
        yield Option(option, Any, default, helps.get(name, ""))
    for part in inner:
        yield from _options_of_part(*part)


def help_of_data(name: str) -> str:
    """Return help on the arguments of generated data or of an imported Dataset; "" for recordings,
    whose options are in the usual help.

    Raises:
        ValueError: the Dataset cannot be imported.
    """
    from foreframe.data.opening import dataset_of, holds_recordings

    if holds_recordings(name):
        return ""
    return _page(f"arguments of data {name}", options_of(dataset_of(name), "data_args."))


def _page(title: str, options: list[Option]) -> str:
    parser = argparse.ArgumentParser(usage=argparse.SUPPRESS, add_help=False)
    group = parser.add_argument_group(title)
    for option in options:
        add_option(group, option)
    return parser.format_help()
