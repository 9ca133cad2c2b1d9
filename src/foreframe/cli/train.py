"""foreframe train"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foreframe.cli.options import parsed_values, parser_for, taken_configs
from foreframe.trained import check_harmless
from foreframe.training.options import (
    DataOptions,
    LearningOptions,
    MachineOptions,
    ModelOptions,
    RunOptions,
)
from foreframe.training.recipes import config_file, config_settings, is_file
from foreframe.typed import typed

GROUPS = (ModelOptions, DataOptions, LearningOptions, MachineOptions, RunOptions)


def parse(arguments: Sequence[str]) -> dict[type, Any]:
    """Arguments -> one filled dataclass for each group. A run that is resumed brings its own
    settings; flags still win.
    """
    parser = parser_for(
        "train",
        "Train a model on clips, e.g. foreframe train --config tutorial",
        *GROUPS,
        config=True,
    )
    names = parser.names()
    configs, flags = taken_configs(arguments)
    files = [config_file(given) for given in configs]
    resume = parsed_values(parser, flags)["resume"]
    if resume:
        settings = Path(resume) / "config.yaml"
        if not is_file(str(settings)):
            raise ValueError(f"there is no run in {resume} to resume (no config.yaml in it)")
        files = [str(settings), *files]
    told: dict[str, Any] = {}
    for file in files:
        told |= config_settings(file, names)
    told.pop("resume", None)
    file = files[-1] if files else ""
    values = parsed_values(parser, flags, told, file)
    _check_origin(f"config {file}", told, flags)
    return {
        group: typed(
            group, {field.name: values[field.name] for field in dataclasses.fields(group)}, ""
        )
        for group in GROUPS
    }


def _check_origin(where: str, told: Mapping[str, Any], flags: Sequence[str]) -> None:
    """What a config names may be a stranger's: imports, URLs and downloads come from the command
    line alone.
    """
    given = [
        flag.partition("=")[0].removeprefix("--").split(".")
        for flag in flags
        if flag.startswith("--")
    ]
    args = {} if ["data_args"] in given else dict(told.get("data_args") or {})
    for path in given:
        if path[0] == "data_args":
            args = _without(args, path[1:])
    budget = told.get("budget")
    if (
        isinstance(budget, int | float)
        and budget > MachineOptions.budget
        and ["budget"] not in given
    ):
        raise ValueError(
            f"{where}: a larger budget comes from the command line alone: --budget "
            f"{told['budget']:g}"
        )
    data = told.get("data")
    check_harmless(where, "data" in told and ["data"] not in given, str(data), args)


def _without(values: Any, path: Sequence[str]) -> Any:
    if not isinstance(values, Mapping) or not path:
        return values
    rest = {name: value for name, value in values.items() if name != path[0]}
    return (
        rest
        if len(path) == 1 or path[0] not in values
        else rest | {path[0]: _without(values[path[0]], path[1:])}
    )


def main(arguments: Sequence[str]) -> int:
    """Train, and say where the run lies and what to do next."""
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
