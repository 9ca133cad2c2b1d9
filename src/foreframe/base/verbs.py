"""Verbs of installed packages, of foreframe's add-ons too, by entry points `foreframe.verbs`."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from foreframe.base.extras import of_package, registered


class Verb(NamedTuple):
    """A verb of the command line, and its calls in Python. It imports none of them.

    Args:
        about: its line in `foreframe --help`.
        command: a module with `parser()`, which returns a `foreframe.cli.parser.Parser`.
        calls: "module:function" by public name of `foreframe`.
    """

    about: str
    command: str
    calls: Mapping[str, str] = {}


def added_verbs() -> dict[str, Verb]:
    """The verbs that installed packages add; those that cannot be imported say so in their line."""
    found = {}
    for name in sorted(registered("verbs")):
        try:
            found[name] = of_package("verbs", name)
        except ValueError as error:
            found[name] = Verb(str(error), "")
    return found


def added_calls() -> dict[str, str]:
    """ "module:function" by public name, of these verbs."""
    return {name: home for verb in added_verbs().values() for name, home in verb.calls.items()}


def added_call(name: str) -> Any:
    """The function of this public name.

    Raises:
        KeyError: no verb has it.
    """
    module, _, function = added_calls()[name].partition(":")
    return getattr(import_module(module), function)
