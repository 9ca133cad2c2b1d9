"""Flags and help from signatures: the parameters of functions and the fields of dataclasses.

argparse prints the help. The words of a command are parsed here: values are YAML, and names may
have parts, such as `--reading.size [96,128]`.
"""

import inspect
import re
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from docstring_parser import Docstring, DocstringStyle, parse

from foreframe.base.extras import import_user_module
from foreframe.base.schema import (
    Given,
    brief,
    check_types,
    converted,
    group_of,
    parameters,
    put,
    type_hints,
    typed,
)
from foreframe.base.wording import closest

IMPORT = "import your own module first, which adds to MODELS, CORES or HEADS; may be repeated"
HELP = {("-h", "--help"): "common options", ("--help-all",): "all options"}
HELP_FLAGS = [flag for flags in HELP for flag in flags]
ALL = HELP_FLAGS[-1]


class Option(NamedTuple):
    """A flag, or a positional argument."""

    name: str
    kind: Any
    default: Any
    about: str
    positional: bool = False


def options_of(signature: Any, within: str = "") -> list[Option]:
    """Return the options of a function or a dataclass, with the options of its groups last.

    Parameters of a function before a `*` are positional.
    """
    hints, about = type_hints(signature), argument_docs(signature)
    options: list[Option] = []
    groups: list[Option] = []
    for name, parameter in parameters(signature).items():
        kind, group = hints.get(name, Any), group_of(hints.get(name))
        positional = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        positional = positional and not isinstance(signature, type)
        text = about.get(name, "")
        options.append(Option(within + name, kind, parameter.default, text, positional))
        if group is not None:
            inner = options_of(group, f"{within}{name}.")
            changes = get_origin(kind) is Annotated  # of the options of training
            groups += [field._replace(default=None) for field in inner] if changes else inner
    return [*options, *groups]


def argument_docs(signature: Any) -> dict[str, str]:
    """Return what docstrings say about arguments, by name; for a class with its base classes.

    "as of `Other`" and "see `Other`" stand for the text of the other docstring.
    """
    about: dict[str, str] = {}
    for part in reversed(signature.__mro__ if isinstance(signature, type) else [signature]):
        for param in docs_of(part).params:
            text = " ".join((param.description or "").split())
            pointer = re.search(r"(?:^as of|\bsee) `(\w+)`", text)
            other = getattr(inspect.getmodule(part), pointer[1], None) if pointer else None
            names = param.arg_name.split(", ")
            about |= dict.fromkeys(names, text)
            if other not in (None, part):
                about |= {name: of for name, of in argument_docs(other).items() if name in names}
    return about


def docs_of(part: Any) -> Docstring:
    """Parse the docstring of a function or a class in Google's style; others would cost time."""
    return parse(inspect.cleandoc(part.__doc__ or ""), DocstringStyle.GOOGLE)


class Parser:
    """The options of a verb.

    Args:
        verb: for the help: `predict`.
        function: its docstring is the help of the verb, and its parameters are options that every
            help shows. The fields of its parameter `options`, a dataclass, are options, too.
        groups: dataclasses of further options.
        common: names of the fields in the short help; by default all but nested ones, such as
            `reading.size`.
    """

    def __init__(self, verb: str, function: Any, *groups: Any, common: str = "") -> None:
        self.prog, self.function = f"foreframe {verb}", function
        hints = type_hints(function)
        own = [one for one in options_of(function) if one.name.partition(".")[0] != "options"]
        self.groups = {"": [*own, Option("import", str, None, IMPORT)]}
        for group in (*groups, *([hints["options"]] if "options" in hints else [])):
            self._add(group)
        self.options = {option.name: option for group in self.groups.values() for option in group}
        self._positional = [name for name, option in self.options.items() if option.positional]
        known = [name for name in self.options if "." not in name]
        self.common = [*(option.name for option in self.groups[""]), *(common.split() or known)]

    def _add(self, group: Any) -> None:
        """Add the fields of a dataclass, each under the title of the class that declares it."""
        fields = options_of(group)
        for part in group.__mro__[:-1]:
            title = docs_of(part).short_description or ""
            bases = part.__mro__[1:]
            inherited = {name for base in bases for name in inspect.get_annotations(base)}
            own = inspect.get_annotations(part).keys() - inherited
            options = [field for field in fields if field.name.partition(".")[0] in own]
            self.groups.setdefault(title, []).extend(options)

    def help(self, everything: bool) -> str:
        """Return the help: the common options, or all."""
        usage = " ".join([self.prog, *map(str.upper, self._positional), "[options]"])
        more = "" if everything else f"{self.prog} --help-all lists every option"
        parser = ArgumentParser(
            self.prog, usage, _about(self.function), epilog=more, add_help=False
        )
        for title, options in self.groups.items():
            group = parser.add_argument_group(title) if title else parser
            known = {option.name: option for option in options}
            shown = dict.fromkeys(known if everything else self.common)
            for option in (known[name] for name in shown if name in known):
                if title and not everything:  # the first clause of a field
                    about, _, rest = option.about.partition("; ")
                    default = None if rest.startswith("0 = ") else option.default
                    option = option._replace(about=about, default=default)
                add_option(group, option)
        if everything:
            for flags in HELP:
                parser.add_argument(*flags, action="help", help=HELP[flags])
        return parser.format_help()

    def parsed(self, arguments: Sequence[str]) -> Given:
        """Return the options and their values in order, and import the modules of --import. `typed`
        checks the types of values.

        Raises:
            ValueError: an unknown option, with the closest name; too many words; invalid YAML; a
                module that cannot be imported.
            SystemExit: after the help.
        """
        words = list(arguments)
        given: Given = []
        without_flag: list[str] = []
        while words:
            word = words.pop(0)
            if word in HELP_FLAGS:
                print(self.help(word == ALL), end="")
                raise SystemExit(0)
            if word.startswith("-") and word != "-":
                given.append(self._parsed_flag(word, words, dict(given)))
            else:
                without_flag.append(word)
        for name in self._positional:
            if without_flag and (name,) not in dict(given):
                several = get_origin(self.options[name].kind) is list
                given.append(((name,), without_flag if several else without_flag.pop(0)))
                without_flag = [] if several else without_flag
        if without_flag:
            word = brief(without_flag[0])
            raise ValueError(f"unexpected word {word}: options begin with --")
        for module in [value for path, value in given if path == ("import",)]:
            import_user_module(f"--import {module}", module)
        return [(path, value) for path, value in given if path != ("import",)]

    def _parsed_flag(
        self, word: str, words: list[str], earlier: dict[tuple[str, ...], Any]
    ) -> tuple[tuple[str, ...], Any]:
        """Return a flag and its value, which may be the next of the words: it is removed."""
        flag, equals, text = word.partition("=")
        name = "output" if flag == "-o" else flag.removeprefix("--")
        kind, path = self._kind(name, flag), tuple(name.split("."))
        if kind is bool and not equals:
            text = words.pop(0) if words[:1] in (["true"], ["false"]) else "true"
        elif not equals:
            if not words or words[0].startswith("--"):
                raise ValueError(f"{flag}: expected one argument")
            text = words.pop(0)
        value = _value(kind, text, flag)
        if path in earlier and Sequence[str] in (kind, *get_args(kind)):
            both = (earlier[path], value)
            value = [one for each in both for one in ([each] if isinstance(each, str) else each)]
        return path, value

    def values(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Return the values by name, groups as mappings.

        Raises:
            ValueError: as `parsed`, or a required option is missing.
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

    def run(self, arguments: Sequence[str], complete: Callable[..., Any] = dict) -> Any:
        """Call the function with the values of a command, after `complete` has added to them.

        Raises:
            ValueError: as `values`; errors of the function and of the dataclass.
        """
        values, hints = complete(self.values(arguments)), type_hints(self.function)
        own = {name: values.pop(name) for name in parameters(self.function) if name in values}
        checked = check_types(self.function, own, "")
        if "options" in hints:
            checked["options"] = typed(hints["options"], values, "")
        return self.function(**checked)

    def _kind(self, name: str, flag: str) -> Any:
        """Return the type of an option; None within a mapping with names unknown here, such as
        `model_args.kernel`.
        """
        if name in self.options:
            return self.options[name].kind
        root, *inner = name.split(".")
        kind = self.options[root].kind if root in self.options else None
        if all(inner) and inner and not group_of(kind) and dict in (kind, *get_args(kind)):
            return None
        known = [f"--{option}" for option in self.options]
        within = [option for option in known if option.endswith(f".{name}")]
        within += [option for option in known if _initials(option) == name]  # --lr
        near = f"did you mean {within[0]}?" if within else closest(flag, known)
        raise ValueError(
            f"there is no option {brief(flag, quoted=False)}; {near or 'see --help-all'}"
        )


def _initials(flag: str) -> str:
    return "".join(word[:1] for word in flag.strip("-").split("_"))


def _value(kind: Any, text: str, flag: str) -> Any:
    """Return the value of a flag: YAML, unless the option is a word.

    Raises:
        ValueError: invalid YAML.
    """
    if kind in (Any, str, str | None):
        return None if text == "null" and kind is not str else text
    from foreframe.base.yaml_files import plain_yaml  # which the help does not need

    value = plain_yaml(text, flag)
    if str in get_args(kind) and not isinstance(value, list | dict):
        try:
            converted(value, kind, flag)
        except ValueError:  # a name that looks like a number
            return [text] if get_origin(kind) is list else text
    return value


def add_option(group: Any, option: Option) -> None:
    """Add an option to the help of a group: its choices, text and default."""
    about, value = option.about, option.default
    if choices := [word for word in get_args(option.kind) if isinstance(word, str)]:
        about = f"{'|'.join(choices)}: {about}"
    if isinstance(value, bool | int | float | str | tuple | list) and value not in ("", ()):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        about += f" {text}" if isinstance(value, list) else f" [{text}]"
    about = about.replace("%", "%%") if option.about else SUPPRESS
    if option.positional:
        several = "*" if get_origin(option.kind) is list else None
        group.add_argument(option.name, nargs=several, metavar=option.name.upper(), help=about)
    else:
        flags = [f"--{option.name}", *(["-o"] if option.name == "output" else [])]
        group.add_argument(*flags, metavar="", help=about)


def _about(signature: Any) -> str:
    doc = docs_of(signature)
    parts = filter(None, (doc.short_description, doc.long_description))
    return ". ".join(part.rstrip(".") for part in parts)
