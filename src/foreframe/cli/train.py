"""foreframe train"""

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from foreframe.base.files import check_source
from foreframe.cli.parser import Parser
from foreframe.training.options import GROUPS
from foreframe.training.recipes import Given, explicit_options, options_from


def by_config(*, config: str | None = None) -> None:
    """Train a model on clips, e.g. foreframe train --data film.mp4

    Without --config and --model everything is chosen from the data, and said: sizes, past and
    future, and the best free baseline, at which the training begins.

    Args:
        config: a recipe by name (quick, tutorial, ...) or a YAML file of options; flags win
    """


def parser() -> Parser:
    return Parser("train", by_config, *GROUPS)


def parse(arguments: Sequence[str], options: Parser | None = None) -> dict[type, Any]:
    """Arguments -> one filled dataclass for each group. A run that is resumed brings its own
    settings; flags still win.

    Raises:
        ValueError: an option that does not exist, or a value that it cannot have; a config that
            cannot be read, or names what only the command line may.
    """
    groups = options_from(*_given(arguments, options))
    if "/" in groups.data.data:  # no import path has any
        check_source(groups.data.data)
    return dict(zip(GROUPS, groups, strict=True))


def left_to_choose(arguments: Sequence[str], options: Parser | None = None) -> Given | None:
    """As `explicit_options`, of the words of a command."""
    return explicit_options(*_given(arguments, options))


def _given(arguments: Sequence[str], options: Parser | None = None) -> tuple[list[str], Given]:
    """Configs, and all that was given."""
    given = (options or parser()).parsed(arguments)
    return [value for path, value in given if path == ("config",)], given


def _help(arguments: Sequence[str]) -> str:
    """All options; or, where a model or data are named, the arguments of these alone."""
    options = parser()
    named = dict(options.parsed(arguments, importing=False))
    shown = ""
    if ("model",) in named or ("data",) in named:
        from foreframe.cli.arguments import help_of_data, help_of_model

        options.parsed(arguments)  # with the modules, where a model of the user's own may be
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
    model, data, learning, machine, run = parse(arguments).values()
    given = left_to_choose(arguments)
    from foreframe.base.memory import keep_memory
    from foreframe.training.fit import DeadProcessError, Stopped, is_first_process, train

    keep_memory()
    try:
        folder = train(model, data, learning, machine, run, given)
    except Stopped as stopped:
        if not is_first_process():
            return 0  # Lightning takes any other for a failure, and kills the first process
        print(f"\n{stopped}")
        return 130
    except DeadProcessError as died:
        print(f"foreframe: {died}", file=sys.stderr)
        return 1
    if is_first_process():
        print(
            f"\nThe run lies in {folder}. Score it: foreframe evaluate {shlex.quote(str(folder))}"
        )
    return 0
