"""foreframe completion"""

import argparse
from typing import Any, Literal

from foreframe.cli import module_of, verbs
from foreframe.cli.parser import Parser


def print_script(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print a script for shell completion of verbs and options

    Args:
        shell: bash, zsh or fish; for bash, put eval "$(foreframe completion bash)" into ~/.bashrc
    """
    import shtab

    root = argparse.ArgumentParser("foreframe")
    subparsers = root.add_subparsers()
    for name, verb in verbs().items():
        module = module_of(name)
        completed = _completed(subparsers, name, module.parser(), verb.about)
        if name == "data":
            _completed(completed.add_subparsers(), "check", module.check_parser(), "examine them")
    print(shtab.complete(root, shell))


def _completed(subparsers: Any, verb: str, parser: Parser, about: str) -> argparse.ArgumentParser:
    """Add the parser of a verb, with files as values of options that have no choices."""
    import shtab

    options = parser.as_argparse()
    for action in options._actions:
        if not action.choices and action.nargs != 0:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return subparsers.add_parser(verb, parents=[options], add_help=False, help=about)


def parser() -> Parser:
    return Parser("completion", print_script)
