"""Values from files, flags and calls, checked against the types of fields and parameters.

msgspec checks a value against a type; here are names, nested groups and messages in words.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import field, is_dataclass, make_dataclass
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from foreframe.base.wording import closest

Kind = TypeVar("Kind")
Given = list[tuple[tuple[str, ...], Any]]  # ("reading", "size"), [96, 128]: an option and its value

OWN = "install its package, or name its module by --import MODULE (in Python: import it first)"
DEPTH = 16  # of values within values
MOST = 2**63  # numbers stay below
LONG = 2**31  # frames, pixels, clips and the like are fewer
WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    str: "a word",
    bool: "true or false",
    list: "a list",
    tuple: "a list",
    Sequence: "a list",
    dict: "names and values",
    Mapping: "names and values",
}


class UnknownError(ValueError):
    """No model, or part of a model, has this name; `what` is its kind and the name."""

    def __init__(self, what: str, choose: str) -> None:
        super().__init__(f"{what} is unknown; {choose}; {OWN}")
        self.what = what


def typed(kind: type[Kind], values: Any, what: str) -> Kind:
    """`kind(**values)` of untrusted values.

    Args:
        kind: a dataclass; its own checks, of ranges, come after those of types.
        values: of any type, from a file or a call.
        what: the name of the values in messages; "" if the names of the fields are enough.

    Raises:
        ValueError: no mapping, a name that is no field, a missing field, a value of another type;
            errors of `kind`.
    """
    made = check_types(kind, values, what)
    for name, parameter in parameters(kind).items():
        if parameter.default is parameter.empty and name not in made:
            raise ValueError(f"{what} lacks {name}")
    try:
        return kind(**made)
    except ValueError as error:
        raise ValueError(f"{what}: {error}" if what else str(error)) from None


def check_types(kind: Any, values: Any, what: str) -> dict[str, Any]:
    """Arguments of `kind`, a class or a function, each converted to the type of its parameter.

    Raises:
        ValueError: no mapping; a name that is no parameter, with the nearest; the first value of
            another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{what} holds names and values, not {brief(values)}")
    known = parameters(kind)
    hints = dict.fromkeys(known, Any) | type_hints(kind)
    for name in values:
        if name not in known:
            meant = closest(str(name), known) or f"it takes {', '.join(known) or 'none'}"
            raise ValueError(f"{what} takes no argument {brief(name)}; {meant}".lstrip())
    return {
        name: converted(value, hints[name], f"{what}.{name}" if what else name)
        for name, value in values.items()
    }


def group_of(hint: Any) -> Any:
    """The dataclass that a type is, or that is annotated to it; None for others."""
    return next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)), None)


def optional(kind: type) -> Any:
    """A dataclass with the options of another one, each None where it is not given; groups of
    options are mappings of what is given.
    """
    given = []
    for name, hint in ((name, type_hints(kind)[name]) for name in parameters(kind)):
        group = group_of(hint)
        some = Annotated[dict[str, Any] | None, group] if group else hint
        given.append((name, some if some is Any or group else some | None, field(default=None)))
    about = {"__doc__": "What is not given is as in training."}
    name = f"Optional{kind.__name__}"
    return make_dataclass(name, given, bases=(kind,), namespace=about, frozen=True, kw_only=True)


def converted(value: Any, hint: Any, where: str) -> Any:
    """A value converted to a type. A mapping becomes the dataclass that the type is; with
    `Annotated[dict, kind]`, some fields of a dataclass, it stays one with checked values.

    Raises:
        ValueError: it is of another type, or a number too large or not finite.
    """
    import msgspec  # which `--help` needs not

    if hint is Any:
        return value
    group = group_of(hint)
    if group is not None and isinstance(value, Mapping):
        some = get_origin(hint) is Annotated
        return check_types(group, value, where) if some else typed(group, value, where)
    try:
        made = msgspec.convert(_of_numpy(value), hint)
    except msgspec.ValidationError:
        raise ValueError(f"{where} is {_in_words(hint)}, not {brief(value)}") from None
    except TypeError:  # a union of classes: the function that has it checks the value
        return value
    if made == inf and Literal["inf"] in get_args(hint):  # YAML's .inf
        return "inf"
    for number in made if isinstance(made, list | tuple) else [made]:
        if isinstance(number, int | float) and not abs(number) < MOST:
            raise ValueError(f"{where} is a finite number below 2**63, not {brief(number)}")
    return made


def _of_numpy(value: Any) -> Any:
    """Convert numbers of numpy to Python's, also in lists."""
    if isinstance(value, list | tuple):
        return [_of_numpy(inner) for inner in value]
    return value.item() if getattr(value, "shape", None) == () else value


def _in_words(hint: Any) -> str:
    """A type in the words of messages: "a list, each a whole number"."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if kind in (Union, UnionType):
        return " or ".join(_in_words(part) for part in parts if part is not NoneType)
    words = WORDS.get(kind, "names and values")
    if words != "a list" or not parts:
        return words
    length = f" of length {len(parts)}" if kind is tuple and Ellipsis not in parts else ""
    return f"{words}{length}, each {_in_words(parts[0])}"


def merged(before: Any, change: Any) -> Any:
    """Arguments with a change merged in at all levels; the change alone if both are
    {kind: arguments} of different kinds.
    """
    if not isinstance(before, Mapping) or not isinstance(change, Mapping):
        return change
    if len(before) == len(change) == 1 and set(before) != set(change):
        parts = (*before.values(), *change.values())
        if all(value is None or isinstance(value, Mapping) for value in parts):
            return change
    return {**before, **{name: merged(before.get(name), value) for name, value in change.items()}}


def put(values: Mapping[str, Any], given: Given) -> dict[str, Any]:
    """`values` changed by others. What is given for a part of a mapping is merged into that part:
    see `merged`.
    """
    changed = dict(values)
    for (name, *inner), value in given:
        if inner:
            before = changed.get(name)
            args = before if isinstance(before, Mapping) else {}
            for part in reversed(inner[1:]):
                value = {part: value}
            value = {**args, inner[0]: merged(args.get(inner[0]), value)}
        changed[name] = value
    return changed


def one_of(given: Any, expected: str) -> tuple[Any, Any]:
    """Name and arguments of what is given as {name: arguments}, or as a name alone; not checked.

    Raises:
        ValueError: neither of these, by what is `expected`.
    """
    named = {given: {}} if isinstance(given, str) else given
    if not isinstance(named, Mapping) or len(named) != 1:
        several = isinstance(named, Mapping) and named
        found = f"{len(named)} at once" if several else brief(given)
        raise ValueError(f"{expected}, not {found}")
    name, args = next(iter(named.items()))
    return name, {} if args is None else args


def choice(kinds: Mapping[str, Any], given: Any, what: str) -> tuple[str, dict[str, Any]]:
    """The name of one of several kinds and all of its arguments, with defaults, from plain values:
    its name, or {its name: arguments}.

    Args:
        kinds: classes or functions by name; their positional-only parameters are not for `given`.
        given: untrusted.
        what: its name in messages.

    Raises:
        ValueError: no such kind, more than one, or arguments that it does not take.
    """
    either = f"{what} is one of {', '.join(kinds)}, or {{one of them: its arguments}}"
    name, args = one_of(given, either)
    if name not in kinds:
        raise UnknownError(f"{what} {brief(name)}", f"choose {', '.join(kinds)}")
    check_types(kinds[name], args, f"{what} {name}")
    known = parameters(kinds[name]).values()
    defaults = {p.name: p.default for p in known if p.default is not p.empty}
    return name, {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in (defaults | args).items()
    }


def parameters(kind: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a class or a function that have a name and can be passed by it."""
    known = inspect.signature(kind).parameters.values()
    return {p.name: p for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def type_hints(kind: Any) -> dict[str, Any]:
    """The types of the parameters of a class or a function, with what is annotated to them."""
    make = kind.__init__ if isinstance(kind, type) else kind  # type: ignore[misc]
    return get_type_hints(make, include_extras=True)


def check_at_least(least: float, **options: float | None) -> None:
    """Refuse options below `least`, or of `LONG` and more; None is accepted.

    Raises:
        ValueError: names the first of them.
    """
    for name, value in options.items():
        if value is not None and not least <= value < LONG:
            limits = f"below {LONG:,}" if value >= LONG else f"at least {least}"
            raise ValueError(f"{name} must be {limits}, not {value}")


def check_above_0(**options: float | None) -> None:
    """Refuse options of 0 and below, or of `LONG` and more; None is accepted.

    Raises:
        ValueError: names the first of them.
    """
    for name, value in options.items():
        if value is not None and not 0 < value < LONG:
            raise ValueError(f"{name} must be above 0, not {value}")


def check_words(**options: Any) -> None:
    """Refuse text that is empty, or has a NUL character; other types are accepted.

    Raises:
        ValueError: names the first of them.
    """
    for name, text in options.items():
        if isinstance(text, str) and (not text.strip() or "\0" in text):
            raise ValueError(f"{name} is empty, or holds what no name can: {text!r}")


def check_plain(value: Any, what: str, depth: int = 0) -> None:
    """Refuse all but plain values: numbers, strings, and lists and mappings of them, not too deep.

    Raises:
        ValueError: something else, or a number that is NaN.
    """
    if depth > DEPTH:
        raise ValueError(f"{what} is nested more than {DEPTH} deep")
    if isinstance(value, Mapping | list | tuple):
        inner = (*value, *value.values()) if isinstance(value, Mapping) else value
        for part in inner:
            check_plain(part, what, depth + 1)
    elif not isinstance(value, bool | int | float | str | None) or value != value:
        raise ValueError(
            f"{what} is not a number, a word, or lists and names of them: {brief(value)}"
        )


def brief(value: Any, quoted: bool = True) -> str:
    """An untrusted value for a message: one line, not long, no control characters."""
    if isinstance(value, str):
        text = value if len(value) <= 120 else value[:120] + "..."
        text = "".join(c if c.isprintable() else "?" for c in text)
        return repr(text) if quoted else text
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    if isinstance(value, bool | int | float | None):
        return str(value)
    short = isinstance(value, list | tuple) and len(value) <= 4
    if short and not any(isinstance(inner, list | tuple | Mapping) for inner in value):
        return f"[{', '.join(brief(inner) for inner in value)}]"
    return f"a {type(value).__name__}"
