"""From a signature to flags, YAML and a help page that one can read."""

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NoReturn, get_origin

import jsonargparse

from foreframe.training.recipes import no_option, plain_yaml
from foreframe.typed import brief, check_types


class Parser(jsonargparse.ArgumentParser):
    """jsonargparse, with its reason first and alone, and about one line an option in the help."""

    file = ""  # the config whose values are being read

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Bad options end in one line and exit code 2."""
        where = f"config {self.file}: " if self.file else ""
        print(f"{self.prog}: {where}{self._in_one_line(message)}", file=sys.stderr)
        sys.exit(2)

    def _in_one_line(self, message: str) -> str:
        """jsonargparse's words, and for a name that it does not know the nearest that there is."""
        text = (
            " ".join(message.split())
            .replace("typing.Literal", "one of ")
            .replace("Parser key", "option")
        )
        text = re.sub(r"<class '(\w+)'>", r"\1", text)
        several = re.fullmatch(
            r"(option .*?): Does not validate .*? Subtypes: \[(.*?)\] "
            r"Errors: .*? Given value: (.*)",
            text,
        )
        if several is not None:
            kinds = several[2].replace("NoneType", "null").replace(", ", " or ")
            return f"{several[1]}: expected {kinds}. Got value: {several[3]}"
        unknown = re.search(
            r"(?:unrecognized arguments: (--\S+)|Option '(\S+)' is not accepted|option '(\S+)';)",
            text,
        )
        if unknown is not None:
            return no_option(
                next(group for group in unknown.groups() if group).lstrip("-").split("=")[0],
                self.names(),
            )
        if "arguments are required" in text:
            flags = {
                action.dest: action.option_strings[0]
                for action in self._actions
                if action.option_strings
            }
            return "missing: " + ", ".join(
                flags.get(name, name.upper()) for name in text.partition(": ")[2].split(", ")
            )
        return text.replace(
            "unrecognized arguments:", "options begin with --, so there is no place for"
        ).replace("Expected a ", "expected ")

    def names(self) -> list[str]:
        return [
            action.dest
            for action in self._actions
            if action.dest not in ("help", "print_config", argparse.SUPPRESS)
        ]

    def format_help(self) -> str:
        """Groups of options, one line each: flag, what it is, default."""
        lines = [
            f"usage: {self.prog} {self._positional_names()}[options]",
            "",
            self.description or "",
        ]
        for group in self._action_groups:
            shown = [
                one
                for one in group._group_actions
                if one.dest not in ("help", "print_config") and one.help != argparse.SUPPRESS
            ]
            if not shown:
                continue
            title = (group.title or "Options").rstrip(":")
            lines += ["", ("Options" if title in (self.description, "options") else title) + ":"]
            for action in shown:
                name = action.option_strings[0] if action.option_strings else action.dest.upper()
                lines += textwrap.wrap(
                    f"  {name:<20}{self._about(action)}",
                    118,
                    subsequent_indent=" " * 22,
                    drop_whitespace=True,
                )
        return "\n".join(lines) + "\n"

    def _positional_names(self) -> str:
        return "".join(
            f"{action.dest.upper()} " for action in self._actions if not action.option_strings
        )

    def _about(self, action: argparse.Action) -> str:
        what = " ".join((action.help or "").replace("%s", "").split())
        choices = getattr(getattr(action, "_typehint", None), "__args__", ())
        if choices and all(isinstance(one, str) for one in choices):  # a Literal
            what = f"{'|'.join(choices)}: {what}"
        default = action.default
        if default in (None, {}, [], argparse.SUPPRESS) or not action.option_strings:
            return what
        return f"{what} [{str(default).lower() if isinstance(default, bool) else default}]"


def parser_for(
    verb: str, about: str | None, *signatures: Callable[..., Any], config: bool = False
) -> Parser:
    """A parser whose options are the parameters of functions and the fields of dataclasses; these
    become groups of the help.
    """
    parser = Parser(
        prog=f"foreframe {verb}", description=about, exit_on_error=True, default_env=False
    )
    # argparse would take --learning_rat for --learning_rate, and a typo for another option
    parser.allow_abbrev = False
    if config:
        parser.add_argument(
            "--config",
            type=str,
            help="a recipe by name (quick, tutorial, ...) or a YAML file of options; flags win",
        )
    for signature in signatures:
        if isinstance(signature, type):
            parser.add_class_arguments(signature, None, fail_untyped=True)
        else:
            parser.add_function_arguments(signature, None, as_positional=True, fail_untyped=True)
    for action in parser._actions:
        # What Python gives as an object is named here.
        if getattr(action, "_typehint", None) is Any:
            action._typehint = str
        # `--tensorboard` alone means true; `--tensorboard false` still works.
        if getattr(action, "_typehint", None) is bool:
            action.nargs, action.const = "?", True
    return parser


def parsed_values(
    parser: Parser,
    arguments: Sequence[str],
    settings: Mapping[str, Any] | None = None,
    file: str = "",
) -> dict[str, Any]:
    """Arguments to plain values; what they do not say is as `settings` have it, which `file` holds.

    Options that are mappings are read here: `--reading.size [96,128]`,
    `--model_args.head.carry false`, `--reading "{every: 2}"`. jsonargparse would import any class
    that a value names under `class_path`, and forget the neighbours of a nested name.

    Raises:
        ValueError: a value that is no YAML, or a mapping where there is none.
    """
    mappings = [action.dest for action in parser._actions if _is_mapping(action)]
    flags, nested = _nested(arguments, mappings)
    parser.file = file
    words = [action.dest for action in parser._actions if _takes_words(action)]
    told = {
        name: plain_yaml(value, f"config {file}: {name}")
        if isinstance(value, str) and name not in words
        else value
        for name, value in (settings or {}).items()
        if name not in mappings
    }
    start = parser.parse_object(told) if told else None
    parser.file = ""
    for flag, value in pairwise([*flags, ""]):
        flag, equals, behind = flag.partition("=")
        if flag.startswith("--") and flag[2:] in parser.names() and flag[2:] not in words:
            # Called for what it refuses: jsonargparse reads YAML without limits.
            plain_yaml(behind if equals else value, flag)
    values: dict[str, Any] = parser.parse_args(flags, namespace=start).as_dict()
    for name in mappings:
        inner = (settings or {}).get(name)
        if inner is not None:
            if not isinstance(inner, Mapping):
                raise ValueError(
                    f"config {file}: {name} holds names and values, not {brief(inner)}"
                )
            values[name] = dict(inner)
    for path, value in nested:
        values[path[0]] = _put(values[path[0]], path[1:], value)
    return values


def _is_mapping(action: argparse.Action) -> bool:
    kind = getattr(action, "_typehint", None)
    return kind is dict or dict in getattr(kind, "__args__", ())


def _takes_words(action: argparse.Action) -> bool:
    """Whether the value of an option is text as it stands, not YAML."""
    kind = getattr(action, "_typehint", None) or action.type
    return kind is str or str in getattr(kind, "__args__", ()) or get_origin(kind) is Literal


def _nested(
    arguments: Sequence[str], mappings: Sequence[str]
) -> tuple[list[str], list[tuple[list[str], Any]]]:
    """The arguments without those of mappings, and these: the names that lead to each value, and
    the value.
    """
    rest, nested, words = [], [], list(arguments)
    while words:
        flag, equals, value = words.pop(0).partition("=")
        path = flag.removeprefix("--").split(".")
        if not flag.startswith("--") or path[0] not in mappings:
            rest.append(flag + equals + value)
            continue
        if not equals:
            if not words or re.match(r"-(?![\d.])", words[0]):
                raise ValueError(f"{flag} needs a value")
            value = words.pop(0)
        if not all(path):
            raise ValueError(f"{flag} ends in the middle of a name; give --{path[0]}.NAME")
        found = plain_yaml(value, flag)
        if len(path) == 1 and not isinstance(found, dict):
            raise ValueError(
                f"{flag} holds names and values, such as {flag}.NAME VALUE, not {brief(found)}"
            )
        nested.append((path, found))
    return rest, nested


def _put(values: Any, path: Sequence[str], value: Any) -> Any:
    """`values` with one of them changed, or added, however deep it lies; a mapping in the place of
    what is none.
    """
    if not path:
        return value
    inner = dict(values) if isinstance(values, Mapping) else {}
    inner[path[0]] = _put(inner.get(path[0]), path[1:], value)
    return inner


def taken_configs(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of --config, in order, and the other arguments."""
    configs, rest, words = [], [], list(arguments)
    while words:
        word = words.pop(0)
        if word == "--config" and words:
            configs.append(words.pop(0))
        elif word.startswith("--config="):
            configs.append(word.removeprefix("--config="))
        else:
            rest.append(word)
    return configs, rest


def call(
    verb: str, function: Callable[..., Any], arguments: Sequence[str], behind: str | None = None
) -> Any:
    """Parse `arguments` as the parameters of `function`, whose docstring is the help, and call it.

    Args:
        behind: an option that may also be given without its name, as the second word that belongs
            to no option, in any place; `-o` is `--output` wherever there is one.
    """
    about = (function.__doc__ or "").strip().splitlines()[0]
    parser = parser_for(verb, about, function)
    given = ["--output" if one == "-o" else one for one in arguments]
    free = _free_words(parser, given)
    if behind and len(free) > 1:
        given[free[1]] = f"--{behind}={given[free[1]]}"
    values = parsed_values(parser, given)
    check_types(function, values, "")
    return function(**values)


def _free_words(parser: Parser, given: Sequence[str]) -> list[int]:
    """Where the words stand that are neither an option nor its value. A lone - is a word: standard
    input.
    """
    switches = {
        action.option_strings[0]
        for action in parser._actions
        if action.option_strings and action.nargs in (0, "?")
    }
    places, owned = [], False
    for place, word in enumerate(given):
        if word.startswith("-") and word != "-":
            owned = "=" not in word and not (
                word in switches and given[place + 1 : place + 2] not in (["true"], ["false"])
            )
        elif owned:
            owned = False
        else:
            places.append(place)
    return places
