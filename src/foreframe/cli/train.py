"""foreframe train"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foreframe.cli.options import Parser, Reading, Splits, Told, put
from foreframe.files import check_source, exists
from foreframe.options import GROUPS as OF_RECORDINGS
from foreframe.options import as_data_args
from foreframe.training.options import GROUPS, DataOptions
from foreframe.training.recipes import check_origin, config_file, config_settings
from foreframe.typed import typed


def by_config(*, config: str | None = None) -> None:
    """Train a model on clips, e.g. foreframe train --config tutorial

    Args:
        config: a recipe by name (quick, tutorial, ...) or a YAML file of options; flags win
    """


def of_recordings(
    *, scaling: str | dict | None = None, reading: Reading = None, splits: Splits = None
) -> None:
    """Options of recordings, beside those that any data have

    Args:
        scaling: of values, e.g. standard, or --scaling.kind log --scaling.low 0.1 --scaling.high
            100; by default fitted to the training frames
        reading: how recordings are read
        splits: how they become train, validation and test
    """


def parser() -> Parser:
    model, data, *others = GROUPS
    return Parser("train", by_config, model, data, of_recordings, *others)


def parse(arguments: Sequence[str], options: Parser | None = None) -> dict[type, Any]:
    """Arguments -> one filled dataclass for each group. A run that is resumed brings its own
    settings; flags still win.

    Raises:
        ValueError: an option that does not exist, or a value that it cannot have; a config that
            cannot be read, or names what only the command line may.
    """
    options = options or parser()
    told = options.told(arguments)
    as_data_args(put({}, told))  # for what it refuses
    files = [config_file(value) for path, value in told if path == ("config",)]
    resume = dict(told).get(("resume",))
    if resume:
        config = Path(resume) / "config.yaml"
        if not exists(config):
            raise ValueError(f"there is no run in {resume} to resume (no config.yaml in it)")
        files = [str(config), *files]
    names = [name for name in options.options if "." not in name]
    settings: dict[str, Any] = {}
    for file in files:
        for name, value in config_settings(file, names).items():
            settings[name] = options.value(name, value, f"config {file}: {name}")
    settings.pop("resume", None)
    flags = _on_data_args(told)
    check_origin(f"config {files[-1] if files else ''}", settings, [path for path, _ in flags])
    values = put(settings, flags)
    groups: dict[type, Any] = {}
    for group in GROUPS:
        own = [field.name for field in dataclasses.fields(group)]
        groups[group] = typed(group, {name: values[name] for name in own if name in values}, "")
    if "/" in (data := groups[DataOptions].data):  # no import path has any
        check_source(data)
    return groups


def _on_data_args(told: Told) -> Told:
    """Options of recordings where they are kept: among the arguments of the data."""
    flags: Told = []
    for (root, *inner), value in told:
        if root in OF_RECORDINGS and not inner:
            flags += [(("data_args", name), part) for name, part in value.items()]
        elif root in OF_RECORDINGS:
            flags.append((("data_args", *inner), value))
        else:
            flags.append(((*(["data_args"] if root == "scaling" else []), root, *inner), value))
    return flags


def _help(arguments: Sequence[str]) -> str:
    """All options; or, where a model or data are named, the arguments of these alone."""
    options = parser()
    named = dict(options.told(arguments))
    shown = ""
    if ("model",) in named or ("data",) in named:
        from foreframe.cli.arguments import help_of_data, help_of_model

        shown += help_of_model(named["model",]) if ("model",) in named else ""
        shown += help_of_data(named["data",]) if ("data",) in named else ""
    rest = "\nforeframe train --help tells all other options.\n"
    return shown + rest if shown else options.format_help()


def main(arguments: Sequence[str]) -> int:
    """Train, and say where the run lies and what to do next."""
    asked = [word for word in arguments if word not in ("-h", "--help")]
    if len(asked) < len(arguments):
        print(_help(asked), end="")
        return 0
    options = parse(arguments)
    from foreframe.memory import keep_memory
    from foreframe.training.fit import Stopped, is_first_process, train

    keep_memory()
    try:
        folder = train(*options.values())
    except Stopped as stopped:
        if not is_first_process():
            return 0  # Lightning takes any other for a failure, and kills the first process
        print(f"\n{stopped}")
        return 130
    if is_first_process():
        print(
            f"\nThe run lies in {folder}. Score it: foreframe evaluate {shlex.quote(str(folder))}"
        )
    return 0
