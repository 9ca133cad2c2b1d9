"""From signatures to options: parameters of functions and fields of dataclasses are the flags.

argparse prints the help. The words of a command are read here: values as YAML, checked against the
types of the signatures, and names within names, such as `--reading.size [96,128]`.
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
)
from foreframe.base.wording import closest

IMPORT = "your own module, imported first: it adds to MODELS, CORES or HEADS; once for each"
HELP = {("-h", "--help"): "the options that people use", ("--help-all",): "all options"}
HELP_FLAGS = [flag for flags in HELP for flag in flags]
ALL = HELP_FLAGS[-1]


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
    hints, about = type_hints(signature), argument_docs(signature)
    options: list[Option] = []
    groups: list[Option] = []
    for name, given in parameters(signature).items():
        kind, default = hints.get(name, Any), given.default
        group = group_of(kind)
        by_place = given.kind is given.POSITIONAL_OR_KEYWORD and not isinstance(signature, type)
        options.append(Option(within + name, kind, default, about.get(name, ""), by_place))
        if group is not None:
            inner = options_of(group, f"{within}{name}.")
            changes = get_origin(kind) is Annotated  # some fields, in place of those of training
            groups += [field._replace(default=None) for field in inner] if changes else inner
    return [*options, *groups]


def argument_docs(signature: Any) -> dict[str, str]:
    """What docstrings say of arguments by name; of a class also those of what it is made from."""
    about: dict[str, str] = {}
    for part in reversed(signature.__mro__ if isinstance(signature, type) else [signature]):
        for param in docs_of(part).params:
            text = " ".join((param.description or "").split())
            pointed = re.search(r"(?:^as of|\bsee) `(\w+)`", text)
            other = getattr(inspect.getmodule(part), pointed[1], None) if pointed else None
            names = param.arg_name.split(", ")
            about |= dict.fromkeys(names, text)
            if other not in (None, part):
                about |= {name: of for name, of in argument_docs(other).items() if name in names}
    return about


def docs_of(part: Any) -> Docstring:
    """What a function or a class says of itself; other styles than Google's cost time."""
    return parse(inspect.cleandoc(part.__doc__ or ""), DocstringStyle.GOOGLE)


class Parser:
    """The options of a verb.

    Args:
        verb: for the help: `predict`.
        function: what it says of itself is the help of the verb, and its parameters are the options
            that every user needs. The fields of its parameter `options`, a dataclass, are options
            too: a group of the help.
        groups: dataclasses of further options.
        common: names of fields that the short help shows: what people use. By default all but
            those within others, such as `reading.size`.
    """

    def __init__(self, verb: str, function: Any, *groups: Any, common: str = "") -> None:
        self.prog, self.function = f"foreframe {verb}", function
        own = {option.name: option for option in options_of(function)}
        more = own.pop("options", None)
        own = {name: option for name, option in own.items() if not name.startswith("options.")}
        own["import"] = Option("import", str, None, IMPORT)
        self.groups = {"": list(own.values())}
        for group in (*groups, *([] if more is None else [group_of(more.kind)])):
            self.groups[_about(group)] = options_of(group)
        self.options = {option.name: option for group in self.groups.values() for option in group}
        self._places = [name for name, option in self.options.items() if option.positional]
        known = [name for name in self.options if "." not in name]
        self.common = [*own, *(common.split() or known)]

    def help(self, everything: bool) -> str:
        """Return the help: the common options, or all."""
        usage = " ".join([self.prog, *map(str.upper, self._places), "[options]"])
        more = "" if everything else f"{self.prog} --help-all lists every option"
        parser = ArgumentParser(
            self.prog, usage, _about(self.function), epilog=more, add_help=False
        )
        for title, options in self.groups.items():
            group = parser.add_argument_group(title) if title else parser
            known = {option.name: option for option in options}
            shown = dict.fromkeys(known if everything else self.common)
            for option in (known[name] for name in shown if name in known):
                # In short a field's first clause says it; of the verb's own options all matters.
                short = title and not everything
                about = option.about.split("; ")[0] if short else option.about
                _add(group, option._replace(about=about))
        if everything:
            for flags in HELP:
                parser.add_argument(*flags, action="help", help=HELP[flags])
        return parser.format_help()

    def parsed(self, arguments: Sequence[str]) -> Given:
        """What the words say, in order, each value of its option's type. --import is done.

        Raises:
            ValueError: no such option, with the nearest; a word too many; a value of another type;
                a module that cannot be imported.
            SystemExit: after the help.
        """
        words = list(arguments)
        given: Given = []
        without_flag: list[str] = []
        modules: list[str] = []
        while words:
            word = words.pop(0)
            if word in HELP_FLAGS:
                print(self.help(word == ALL), end="")
                raise SystemExit(0)
            if not word.startswith("-") or word == "-":
                without_flag.append(word)
                continue
            flag, equals, text = word.partition("=")
            name = "output" if flag == "-o" else flag.removeprefix("--")
            kind = self._kind(name, flag)
            if kind is bool and not equals:
                text = words.pop(0) if words[:1] in (["true"], ["false"]) else "true"
            elif not equals:
                if not words or words[0].startswith("--"):
                    raise ValueError(f"{flag}: expected one argument")
                text = words.pop(0)
            if name == "import":
                modules.append(text)
                continue
            value, key = _value(kind, text, flag), tuple(name.split("."))
            if Sequence[str] in (kind, *get_args(kind)) and key in dict(given):
                earlier, value = dict(given)[key], [value] if isinstance(value, str) else value
                value = [*([earlier] if isinstance(earlier, str) else earlier), *value]
            given.append((key, value))
        for place in self._places:
            if without_flag and (place,) not in dict(given):
                several = get_origin(self.options[place].kind) is list
                given.append(((place,), without_flag if several else without_flag.pop(0)))
                without_flag = [] if several else without_flag
        if without_flag:
            word = brief(without_flag[0])
            raise ValueError(f"options begin with --, so there is no place for {word}")
        for module in modules:
            import_user_module(f"--import {module}", module)
        return given

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

    def run(self, arguments: Sequence[str], complete: Callable[..., Any] = dict) -> Any:
        """Call the function with what the words say, to which `complete` may add.

        Raises:
            ValueError: as `values`; errors of the function and of the dataclass.
        """
        values, hints = complete(self.values(arguments)), type_hints(self.function)
        named = [name for name in parameters(self.function) if name in values]
        words = check_types(self.function, {name: values.pop(name) for name in named}, "")
        if "options" in hints:
            words["options"] = converted(values, hints["options"], "")
        return self.function(**words)

    def _kind(self, name: str, flag: str) -> Any:
        """The type of an option; None in a mapping whose names are not known here, such as
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


def _value(kind: Any, text: str, where: str) -> Any:
    """What a flag says, as a value of a type: YAML, unless the option is a word. None is any type.

    Args:
        where: how messages name it.

    Raises:
        ValueError: not YAML, or another type.
    """
    if kind in (Any, str, str | None):
        return None if text == "null" and kind is not str else text
    from foreframe.base.yaml_files import plain_yaml  # which the help needs not

    value = plain_yaml(text, where)
    try:
        converted(value, kind or Any, where)
    except ValueError:
        if str not in get_args(kind) or isinstance(value, list | dict):
            raise
        return [text] if get_origin(kind) is list else text  # a name that looks like a number
    return value


def _add(group: Any, option: Option) -> None:
    about = help_of(option) if option.about else SUPPRESS
    if option.positional:
        several = "*" if get_origin(option.kind) is list else None
        group.add_argument(option.name, nargs=several, metavar=option.name.upper(), help=about)
        return
    flags = [f"--{option.name}", *(["-o"] if option.name == "output" else [])]
    group.add_argument(*flags, metavar="", help=about)


def _choices(option: Option) -> list[str]:
    return [word for word in get_args(option.kind) if isinstance(word, str)]


def help_of(option: Option) -> str:
    """What an option is, and its default."""
    about, value = option.about, option.default
    if choices := _choices(option):
        about = f"{'|'.join(choices)}: {about}"
    if isinstance(value, bool | int | float | str | tuple | list) and value not in ("", ()):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        about += f" {text}" if isinstance(value, list) else f" [{text}]"
    return about.replace("%", "%%")


def _about(signature: Any) -> str:
    doc = docs_of(signature)
    parts = filter(None, (doc.short_description, doc.long_description))
    return ". ".join(part.rstrip(".") for part in parts)
