"""From signatures to options: parameters of functions and fields of dataclasses are the flags.

argparse reads the words and prints the help. What it leaves to do is here: values as YAML, checked
against the types of the signatures, and names within names, such as `--reading.size [96,128]`.
"""

import argparse
import inspect
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, NoReturn, get_args, get_origin

import docstring_parser

from foreframe.base.extras import own
from foreframe.base.schema import brief, check_types, group_of, parameters, type_hints
from foreframe.base.wording import closest
from foreframe.base.yaml_files import plain_yaml
from foreframe.training.recipes import Given, of_kind, put


class Option(NamedTuple):
    """A flag, or a word without a flag."""

    name: str
    kind: Any
    default: Any
    about: str
    positional: bool = False


def options_of(signature: Any, within: str = "") -> list[Option]:
    """The options that a function or a dataclass stands for, those of its groups after them.

    Parameters of a function that may be given by their place, those before a `*`, are positional.
    """
    hints = type_hints(signature)
    about = described(signature)
    options: list[Option] = []
    groups: list[Option] = []
    for name, given in sorted(parameters(signature).items(), key=_own_first(signature)):
        kind, default = hints.get(name, Any), given.default
        group = group_of(kind)
        by_place = given.kind is given.POSITIONAL_OR_KEYWORD and not isinstance(signature, type)
        options.append(Option(within + name, kind, default, about.get(name, ""), by_place))
        if group is not None:
            inner = options_of(group, f"{within}{name}.")
            changes = get_origin(kind) is Annotated  # some fields, in place of those of training
            groups += [field._replace(default=None) for field in inner] if changes else inner
    return [*options, *groups]


def _own_first(signature: Any) -> Callable[[tuple[str, Any]], int]:
    """The order of a dataclass's fields: its own before those of what it is made from."""
    kinds = signature.__mro__ if isinstance(signature, type) else ()

    def place(option: tuple[str, Any]) -> int:
        owners = (k for k, kind in enumerate(kinds) if option[0] in inspect.get_annotations(kind))
        return next(owners, 0)

    return place


def described(signature: Any) -> dict[str, str]:
    """What docstrings say of arguments by name; of a class also those of what it is made from."""
    about: dict[str, str] = {}
    for part in reversed(signature.__mro__ if isinstance(signature, type) else [signature]):
        for param in docstring_parser.parse(inspect.cleandoc(part.__doc__ or "")).params:
            text = " ".join((param.description or "").split())
            pointed = re.search(r"(?:^as of|\bsee) `(\w+)`", text)
            other = getattr(inspect.getmodule(part), pointed[1], None) if pointed else None
            names = param.arg_name.split(", ")
            about |= dict.fromkeys(names, text)
            if other not in (None, part):
                about |= {name: of for name, of in described(other).items() if name in names}
    return about


class Parser(argparse.ArgumentParser):
    """The options of a verb.

    Args:
        verb: for the help: `predict`.
        signatures: functions, and dataclasses, which become groups of the help; what the first one
            says of itself is what the help says of the verb.
    """

    def __init__(self, verb: str, *signatures: Any) -> None:
        super().__init__(
            prog=f"foreframe {verb}",
            description=_about(signatures[0]),
            allow_abbrev=False,  # --learning_rat would be --learning_rate, and a typo another one
            argument_default=argparse.SUPPRESS,
            formatter_class=formatter,
        )
        # argparse would take -33.9,151.2 for an option.
        self._negative_number_matcher = re.compile(r"-\.?\d")
        self.options: dict[str, Option] = {}
        for signature in signatures:
            group = self._optionals
            if isinstance(signature, type):
                group = self.add_argument_group(_about(signature))
            inner: dict[str, Any] = {}
            for option in options_of(signature):
                self._add(option, inner.get(option.name.rpartition(".")[0], group))
                if group_of(option.kind):
                    inner[option.name] = self.add_argument_group(option.about)
        about = "your own module, imported first: it adds to MODELS, CORES or HEADS; once for each"
        self.add_argument("--import", action="append", dest="imports", metavar="", help=about)
        named = [name.upper() for name, option in self.options.items() if option.positional]
        self.usage = " ".join([self.prog, *named, "[options]"])

    def _add(self, option: Option, group: Any) -> None:
        self.options[option.name] = option
        if option.positional:
            self.add_argument(
                option.name,
                nargs="*" if get_origin(option.kind) is list else "?",
                action=_Tell,
                help=option.about,
                metavar=option.name.upper(),
            )
        flags = [f"--{option.name}", *(["-o"] if option.name == "output" else [])]
        shown = option.about and not option.positional and group_of(option.kind) is None
        help = help_of(option) if shown else argparse.SUPPRESS
        group.add_argument(*flags, action=_Tell, dest=option.name, metavar="", help=help)

    def error(self, message: str) -> NoReturn:
        """One line, and exit code 2: see `foreframe.cli.main`."""
        raise ValueError(message)

    def parsed(self, arguments: Sequence[str], importing: bool = True) -> Given:
        """What the words say, in order, each value of its option's type; --import may be put off.

        Raises:
            ValueError: no such option, with the nearest; a word too many; a value of another type;
                a module that cannot be imported.
        """
        words = list(arguments)
        for k, word in enumerate(words):
            flag, equals, _ = word.partition("=")
            name = flag.removeprefix("--")
            if flag == word and self._is_switch(flag) and words[k + 1 : k + 2] not in _TRUTH:
                words[k] = f"{flag}=true"
            elif flag.startswith("--") and self._is_open(name) and flag not in self._flags():
                self.add_argument(flag, action=_Tell, dest=name, help=argparse.SUPPRESS)
        found = argparse.Namespace(words=[], imports=[])
        parsed, rest = self.parse_known_intermixed_args(words, found)
        for word in rest:
            if word.startswith("-"):
                raise ValueError(self._no_option(word))
            raise ValueError(f"options begin with --, so there is no place for {brief(word)}")
        options = []
        for name, text in parsed.words:
            path = tuple(name.split("."))
            if not all(path):
                raise ValueError(f"--{name} ends in the middle of a name; give --{path[0]}.NAME")
            known = self.options.get(name)
            shown = name.upper() if known is not None and known.positional else f"--{name}"
            options.append((path, self.value(name, text, shown)))
        for module in parsed.imports if importing else ():
            own(f"--import {module}", module)
        return options

    def values(self, arguments: Sequence[str]) -> dict[str, Any]:
        """The same by name, groups as mappings.

        Raises:
            ValueError: as `parsed`, or an option that must be given and is not.
        """
        values = put({}, self.parsed(arguments))
        lacking = [
            name.upper() if option.positional else f"--{name}"
            for name, option in self.options.items()
            if option.default is inspect.Parameter.empty and name not in values
        ]
        if lacking:
            raise ValueError(f"missing: {', '.join(lacking)}")
        return values

    def _flags(self) -> Mapping[str, Any]:
        return self._option_string_actions

    def _is_switch(self, flag: str) -> bool:
        action = self._flags().get(flag)
        option = None if action is None else self.options.get(action.dest)
        return option is not None and option.kind is bool

    def _is_open(self, name: str) -> bool:
        """Whether a name lies in a mapping whose names are not known here: `model_args.kernel`."""
        root, _, inner = name.partition(".")
        kind = self.options[root].kind if root in self.options else None
        return bool(inner) and group_of(kind) is None and dict in (kind, *get_args(kind))

    def _no_option(self, word: str) -> str:
        flag = word.partition("=")[0]
        shown = [flag for flag, action in self._flags().items() if action.help != argparse.SUPPRESS]
        inner = [name for name in shown if name.endswith(f".{flag.removeprefix('--')}")]
        near = f"did you mean {inner[0]}?" if inner else closest(flag, shown)
        near = near or closest(flag, self._flags())
        return f"there is no option {brief(flag, quoted=False)}; {near or 'see --help'}"

    def value(self, name: str, given: Any, where: str) -> Any:
        """What is given for an option, of its type.

        Args:
            given: text, which is YAML unless the option is a word; or a value of a config.
            where: how messages name it.

        Raises:
            ValueError: not YAML, or another type.
        """
        if name in self.options:
            return of_kind(self.options[name].kind, given, where)
        return plain_yaml(given, where) if isinstance(given, str) else given


_TRUTH = (["true"], ["false"])


class _Tell(argparse.Action):
    """Keeps values in the order in which they are given, as text."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        namespace.words.append((self.dest, values))


def formatter(prog: str, help_at: int = 24) -> argparse.HelpFormatter:
    """Help that begins in column `help_at`, on the width of the terminal."""
    width = min(116, shutil.get_terminal_size((116, 24)).columns - 2)
    return argparse.HelpFormatter(prog, max_help_position=help_at, width=width)


def help_of(option: Option) -> str:
    """What an option is, and its default; of a group's fields the first clause."""
    first = option.name.startswith(("reading.", "splits."))
    about = option.about.split(";")[0].rstrip(".") if first else option.about
    choices = [word for word in get_args(option.kind) if isinstance(word, str)]
    if choices:
        about = f"{'|'.join(choices)}: {about}"
    value = option.default
    if isinstance(value, bool | int | float | str | tuple | list) and value not in ("", ()):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        about += f" {text}" if isinstance(value, list) else f" [{text}]"
    return about.replace("%", "%%")


def _about(signature: Any) -> str:
    doc = docstring_parser.parse(inspect.getdoc(signature) or "")
    parts = filter(None, (doc.short_description, doc.long_description))
    return ". ".join(part.rstrip(".") for part in parts)


def call(parser: Parser, function: Callable[..., Any], arguments: Sequence[str]) -> Any:
    """Call a function with what the words of a command say."""
    return function(**check_types(function, parser.values(arguments), ""))
