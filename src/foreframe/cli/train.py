"""foreframe train"""

import shlex
import sys
from collections.abc import Sequence

from foreframe.base.files import check_source
from foreframe.base.processes import give_way, is_first_process
from foreframe.base.schema import Given
from foreframe.cli.parser import ALL, HELP_FLAGS, Parser
from foreframe.training.options import GROUPS, Options
from foreframe.training.recipes import explicit_options, options_from


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


def given_by(arguments: Sequence[str]) -> tuple[list[str], Given]:
    """The configs that are named, and all that is given."""
    given = parser().parsed(arguments)
    return [value for path, value in given if path == ("config",)], given


def parse(arguments: Sequence[str]) -> Options:
    """Convert arguments to the groups of options. A resumed run has its own settings, changed by
    flags.

    Raises:
        ValueError: an unknown option or invalid value; a config that cannot be read, or names
            data that only the command line may name.
    """
    groups = options_from(*given_by(arguments))
    if "/" in groups.data.data:  # no import path has any
        check_source(groups.data.data)
    return groups


def _help(arguments: Sequence[str], everything: bool) -> str:
    """Help on the options; with --model or --data on their arguments alone."""
    options = parser()
    named = {path[0]: value for path, value in options.parsed(arguments) if len(path) == 1}
    if not named.keys() & {"model", "data"}:
        return options.help(everything)
    from foreframe.cli.arguments import help_of_data, help_of_model

    shown = help_of_model(named["model"]) if "model" in named else ""
    shown += help_of_data(named["data"]) if "data" in named else ""
    return f"{shown}\nforeframe train --help-all lists all other options.\n"


def main(arguments: Sequence[str]) -> int:
    """Train, and print the run's folder and the next command."""
    words = [word for word in arguments if word not in HELP_FLAGS]
    if len(words) < len(arguments):
        print(_help(words, ALL in arguments), end="")
        return 0
    options = parse(arguments)
    given = explicit_options(*given_by(arguments))
    from foreframe.training.fit import DeadProcessError, Stopped, train

    try:
        folder = train(*options, given)
    except Stopped as stopped:
        if not is_first_process():
            return 0  # Lightning takes other codes for a failure, and kills the first process
        print(f"\n{stopped}")
        return 130
    except DeadProcessError as died:
        give_way()
        print(f"foreframe: {died}", file=sys.stderr)
        return 1
    if is_first_process():
        print(f"\nThe run is in {folder}. Score it: foreframe evaluate {shlex.quote(str(folder))}")
    return 0
