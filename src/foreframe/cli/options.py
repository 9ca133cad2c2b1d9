"""From a signature to flags, YAML and a help page that one can read."""

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
import yaml


class Parser(jsonargparse.ArgumentParser):
    """jsonargparse, with its reason first and alone, and about one line an option in the help."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Bad options end in one line and exit code 2."""
        print(f"{self.prog}: {self._in_one_line(message)}", file=sys.stderr)
        sys.exit(2)

    def _in_one_line(self, message: str) -> str:
        """jsonargparse's words, and for a name that it does not know the nearest that there is."""
        text = " ".join(message.split()).replace("typing.Literal", "one of ").replace("Parser key", "option")
        text = re.sub(r"<class '(\w+)'>", r"\1", text)
        unknown = re.search(r"(?:unrecognized arguments: (--\S+)|Option '(\S+)' is not accepted|option '(\S+)';)", text)
        if unknown is not None:
            return no_option(next(group for group in unknown.groups() if group).lstrip("-").split("=")[0], self.names())
        if "arguments are required" in text:
            flags = {action.dest: action.option_strings[0] for action in self._actions if action.option_strings}
            return "missing: " + ", ".join(flags.get(name, name.upper()) for name in text.partition(": ")[2].split(", "))
        return text.replace("unrecognized arguments:", "options begin with --, so there is no place for").replace(
            "Expected a ", "expected "
        )

    def names(self) -> list[str]:
        return [action.dest for action in self._actions if action.dest not in ("help", "print_config", argparse.SUPPRESS)]

    def format_help(self) -> str:
        """Groups of options, one line each: flag, what it is, default."""
        lines = [f"usage: {self.prog} {self._positional_names()}[options]", "", self.description or ""]
        for group in self._action_groups:
            shown = [
                one for one in group._group_actions if one.dest not in ("help", "print_config") and one.help != argparse.SUPPRESS
            ]
            if not shown:
                continue
            title = (group.title or "Options").rstrip(":")
            lines += ["", ("Options" if title in (self.description, "options") else title) + ":"]
            for action in shown:
                name = action.option_strings[0] if action.option_strings else action.dest.upper()
                lines += textwrap.wrap(f"  {name:<20}{self._about(action)}", 118, subsequent_indent=" " * 22, drop_whitespace=True)
        return "\n".join(lines) + "\n"

    def _positional_names(self) -> str:
        return "".join(f"{action.dest.upper()} " for action in self._actions if not action.option_strings)

    def _about(self, action: argparse.Action) -> str:
        what = " ".join((action.help or "").replace("%s", "").split())
        choices = getattr(getattr(action, "_typehint", None), "__args__", ())
        if choices and all(isinstance(one, str) for one in choices):  # a Literal
            what = f"{'|'.join(choices)}: {what}"
        default = action.default
        if default in (None, {}, [], argparse.SUPPRESS) or not action.option_strings:
            return what
        return f"{what} [{str(default).lower() if isinstance(default, bool) else default}]"


def parser_for(verb: str, about: str | None, *signatures: Callable[..., Any], config: bool = False) -> Parser:
    """A parser whose options are the parameters of functions and the fields of dataclasses; these become groups of the help."""
    parser = Parser(prog=f"foreframe {verb}", description=about, exit_on_error=True, default_env=False)
    parser.allow_abbrev = False  # argparse would take --learning_rat for --learning_rate, and a typo for another option
    if config:
        parser.add_argument(
            "--config",
            action="config",
            help="a recipe by name (quick, tutorial, ...) or a YAML file of options; flags after it win",
        )
    for signature in signatures:
        if isinstance(signature, type):
            parser.add_class_arguments(signature, None, fail_untyped=True)
        else:
            parser.add_function_arguments(signature, None, as_positional=True, fail_untyped=True)
    for action in parser._actions:
        if getattr(action, "_typehint", None) is bool:  # `--tensorboard` alone means true; `--tensorboard false` still works
            action.nargs, action.const = "?", True
    return parser


def parsed_values(parser: Parser, arguments: Sequence[str]) -> dict[str, Any]:
    """Arguments to plain values. jsonargparse reads `--model_args.kernel 5` as a number, but `--model_args.head.carry false` as the
    string "false", which is true; what is nested deeper than its own reading goes is read as YAML here."""
    arguments = list(arguments)
    for place, word in enumerate(arguments):
        if word.startswith("--config="):
            arguments[place] = f"--config={_found_config(word.removeprefix('--config='), parser.names())}"
        elif word == "--config" and place + 1 < len(arguments):
            arguments[place + 1] = _found_config(arguments[place + 1], parser.names())
    values: dict[str, Any] = parser.parse_args(arguments).as_dict()
    for argument in arguments:
        path = argument.removeprefix("--").split("=")[0].split(".")
        if argument.startswith("--") and len(path) > 2:
            inner = values
            for key in path[:-1]:
                inner = inner[key]
            if isinstance(inner[path[-1]], str):
                inner[path[-1]] = yaml.safe_load(inner[path[-1]])
    return values


RECIPES = Path(__file__).parents[1] / "configs"


def recipes() -> list[str]:
    """Names of the configs in this package; `--config NAME` takes one wherever it is run."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def _found_config(given: str, names: Sequence[str]) -> str:
    """The config file that is meant: one that is there, or else a recipe of this package by its name."""
    file = given
    if not Path(given).exists():
        if given in recipes():
            file = str(RECIPES / f"{given}.yaml")
        elif Path(given).stem in recipes():
            stem = Path(given).stem
            raise ValueError(f"there is no config {given}; that recipe comes with foreframe: --config {stem}")
    _check_config(file, names)
    return file


def _check_config(file: str, names: Sequence[str]) -> None:
    """jsonargparse would say what is wrong in the file, but not in which."""
    try:
        held = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        known = f"; recipes by name: {', '.join(recipes())}" if not Path(file).exists() else ""
        raise ValueError(f"config {file} cannot be read: {error.strerror}{known}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        where = f", line {error.problem_mark.line + 1}" if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark else ""
        raise ValueError(f"config {file}{where}: not YAML; a config holds lines such as `batch_size: 8`") from None
    if not isinstance(held, dict):
        raise ValueError(f"config {file} holds no options; a config holds lines such as `batch_size: 8`")
    for name in held:
        if name not in names:
            raise ValueError(f"config {file}: {no_option(str(name), names)}")


def no_option(name: str, names: Sequence[str]) -> str:
    """The words for a name that is no option, with the nearest that is."""
    close = get_close_matches(name, names, n=1)
    return f"there is no option {name!r}; " + (f"did you mean {close[0]}?" if close else "see --help")


def call(verb: str, function: Callable[..., Any], arguments: Sequence[str], behind: str | None = None) -> Any:
    """Parse `arguments` as the parameters of `function`, whose docstring is the help, and call it.

    Args:
        behind: an option that may also be given without its name, as the second word that belongs to no option, in any place;
            `-o` is `--output` wherever there is one.
    """
    about = (function.__doc__ or "").strip().splitlines()[0]
    parser = parser_for(verb, about, function)
    given = ["--output" if one == "-o" else one for one in arguments]
    free = _free_words(parser, given)
    if behind and len(free) > 1:
        given[free[1]] = f"--{behind}={given[free[1]]}"
    return function(**parsed_values(parser, given))


def _free_words(parser: Parser, given: Sequence[str]) -> list[int]:
    """Where the words stand that are neither an option nor its value. A lone - is a word: standard input."""
    switches = {action.option_strings[0] for action in parser._actions if action.option_strings and action.nargs in (0, "?")}
    places, owned = [], False
    for place, word in enumerate(given):
        if word.startswith("-") and word != "-":
            owned = "=" not in word and not (word in switches and given[place + 1 : place + 2] not in (["true"], ["false"]))
        elif owned:
            owned = False
        else:
            places.append(place)
    return places
