"""Verbs of installed packages, including foreframe's add-ons: entry points `foreframe.verbs`."""

from collections.abc import Mapping
from typing import NamedTuple

from foreframe.base.extras import of_package, registered


class Verb(NamedTuple):
    """A verb of the command line and its calls in Python; nothing is imported yet.

    Args:
        about: its line in `foreframe --help`.
        command: a module with `parser()`, which returns a `foreframe.cli.parser.Parser`.
        calls: "module:function" by public name of `foreframe`.
    """

    about: str
    command: str
    calls: Mapping[str, str] = {}


def added_verbs() -> dict[str, Verb]:
    """Return the verbs of installed packages. A verb that cannot be imported has no command, and
    the error as its line.
    """
    found = {}
    for name in sorted(registered("verbs")):
        try:
            found[name] = of_package("verbs", name)
        except ValueError as error:
            found[name] = Verb(str(error), "")
    return found


def added_calls() -> dict[str, str]:
    """Return "module:function" by public name, for these verbs."""
    return {name: home for verb in added_verbs().values() for name, home in verb.calls.items()}
