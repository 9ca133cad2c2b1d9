"""foreframe train"""

import shlex
import sys
from collections.abc import Sequence

from foreframe.base.processes import DeadProcessError, Stopped, give_way, is_first_process
from foreframe.base.schema import Given
from foreframe.cli.parser import ALL, HELP_FLAGS, Parser
from foreframe.training.options import GROUPS
from foreframe.training.recipes import chosen


def by_config(*, config: str | None = None) -> None:
    """Train a model on clips, e.g. foreframe train --data film.mp4

    Without --config and --model all options are chosen from the data, and printed: sizes, past and
    future, and the best baseline, from which training starts.

    Args:
        config: a recipe by name (quick, tutorial, ...) or a YAML file of options; flags take
            precedence
    """


COMMON = (
    "model hidden model_args weights data data_args past future batch_size reading splits scaling "
    "loss learning_rate optimizer epochs minutes patience seed device devices precision trainer "
    "run resume"
)


def parser() -> Parser:
    return Parser("train", by_config, *GROUPS, common=COMMON)


def parse(arguments: Sequence[str]) -> tuple[list[str], Given]:
    """Return the configs and the options of a command.

    Raises:
        ValueError: as `Parser.parsed`.
    """
    given = parser().parsed(arguments)
    configs = [value for path, value in given if path == ("config",)]
    return configs, [(path, value) for path, value in given if path != ("config",)]


def _help(arguments: Sequence[str], everything: bool) -> str:
    """Return the help on options; with --model or --data on their arguments alone."""
    names = {path[0]: value for path, value in parse(arguments)[1] if len(path) == 1}
    if not names.keys() & {"model", "data"}:
        return parser().help(everything)
    from foreframe.cli.arguments import help_of_data, help_of_model

    shown = help_of_model(names["model"]) if "model" in names else ""
    shown += help_of_data(names["data"]) if "data" in names else ""
    return f"{shown}\nforeframe train --help-all lists all other options.\n"


def main(arguments: Sequence[str]) -> int:
    """Train, and print the run's folder and the next command."""
    words = [word for word in arguments if word not in HELP_FLAGS]
    if len(words) < len(arguments):
        print(_help(words, ALL in arguments), end="")
        return 0
    options = chosen(*parse(arguments))
    from foreframe.api import fit

    try:
        folder = fit(options).folder
    except Stopped as stopped:
        if not is_first_process():
            return 0  # Lightning kills the first process after any other code
        print(f"\n{stopped}")
        return 130
    except DeadProcessError as error:
        give_way()
        print(f"foreframe: {error}", file=sys.stderr)
        return 1
    if is_first_process():
        print(f"\nThe run is in {folder}. Score it: foreframe evaluate {shlex.quote(str(folder))}")
    return 0
