"""foreframe train"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foreframe.cli.options import parsed_values, parser_for
from foreframe.training.options import DataOptions, LearningOptions, MachineOptions, ModelOptions, RunOptions

GROUPS = (ModelOptions, DataOptions, LearningOptions, MachineOptions, RunOptions)


def parse(arguments: Sequence[str]) -> dict[type, Any]:
    """Arguments -> one filled dataclass for each group. A run that is resumed brings its own settings; flags still win."""
    parser = parser_for("train", "Train a model on clips, e.g. foreframe train --config tutorial", *GROUPS, config=True)
    values = parsed_values(parser, arguments)
    if values["resume"]:
        settings = Path(values["resume"]) / "config.yaml"
        if not settings.is_file():
            raise ValueError(f"there is no run in {values['resume']} to resume (no config.yaml in it)")
        values = parsed_values(parser, [f"--config={settings}", *arguments])
    return {group: group(**{field.name: values[field.name] for field in dataclasses.fields(group)}) for group in GROUPS}


def main(arguments: Sequence[str]) -> int:
    """Train, and say where the run lies and what to do next."""
    options = parse(arguments)
    from foreframe.models.engine import keep_memory
    from foreframe.training.fit import Stopped, fit, is_first_process

    keep_memory()
    try:
        folder = fit(*options.values())
    except Stopped as stopped:
        if is_first_process():
            print(f"\n{stopped}")
        return 130
    if is_first_process():
        print(f"\nThe run lies in {folder}. Score it: foreframe evaluate {shlex.quote(str(folder))}")
    return 0
