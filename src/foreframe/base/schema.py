"""Validation of values from files, flags and calls against the types of fields and parameters.

msgspec validates a value; this module adds names, nested groups, ranges and readable messages.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from foreframe.base.wording import closest

Kind = TypeVar("Kind")
Given = list[tuple[tuple[str, ...], Any]]  # ("reading", "size"), [96, 128]: an option and its value

OWN = "install its package, or name its module by --import MODULE (in Python: import it first)"
DEPTH = 16  # levels of nested values
MOST = 2**63  # upper bound of numbers
LONG = 2**31  # upper bound of counts, such as frames, pixels and clips
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


@dataclass(frozen=True)
class Range:
    """The values that a number may have, as an annotation of its type."""

    least: float = -inf
    above: float = -inf
    most: float = inf
    below: float = LONG

    def check(self, name: str, value: float) -> None:
        """Raise a ValueError with this name if the value is out of range."""
        for holds, words, limit in (
            (value >= self.least, "at least", self.least),
            (value > self.above, "above", self.above),
            (value <= self.most, "at most", self.most),
            (value < self.below, "below", self.below),
        ):
            if not holds:
                raise ValueError(f"{name} must be {words} {limit}, not {value}")


PositiveInt = Annotated[int, Range(least=1)]
NonNegativeInt = Annotated[int, Range(least=0)]
PositiveFloat = Annotated[float, Range(above=0)]
NonNegativeFloat = Annotated[float, Range(least=0)]


class Checked:
    """A dataclass of options whose constructor checks the range of each number, words, and, by
    `check`, conditions on several options. `typed` converts and checks their types.
    """

    def __post_init__(self) -> None:
        for option in fields(self):  # type: ignore[arg-type]
            value = getattr(self, option.name)
            check_word(option.name, value)
            _check_range(option.name, value, option.type)
        self.check()

    def check(self) -> None:
        """Raise a ValueError if the options contradict each other."""


def _check_range(name: str, value: Any, hint: Any) -> None:
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, int | float):
            for limits in _limits_of(hint):
                limits.check(name, number)


def _limits_of(hint: Any) -> Iterator[Range]:
    """Yield each range in a type."""
    for part in get_args(hint):
        if isinstance(part, Range):
            yield part
        else:
            yield from _limits_of(part)


class UnknownError(ValueError):
    """Unknown name of a model or its part; `what` is the kind and the name."""

    def __init__(self, what: str, choose: str) -> None:
        super().__init__(f"{what} is unknown; {choose}; {OWN}")
        self.what = what


def typed(kind: type[Kind], values: Any, what: str) -> Kind:
    """Return `kind(**values)` for untrusted values.

    Args:
        kind: a dataclass; ranges of its numbers are checked after the types.
        values: of any type, from a file or a call.
        what: the name of the values in messages; "" if the names of the fields suffice.

    Raises:
        ValueError: values that are not a mapping; an unknown or a missing field; a value of another
            type; errors of `kind`.
    """
    made = check_types(kind, values, what)
    for name, parameter in parameters(kind).items():
        if parameter.default is parameter.empty and name not in made:
            raise ValueError(f"{what} lacks {name}")
    try:
        options, hints = kind(**made), type_hints(kind)
        for name, value in made.items():  # of dataclasses that are not `Checked`
            _check_range(name, value, hints.get(name))
        return options
    except ValueError as error:
        raise ValueError(f"{what}: {error}" if what else str(error)) from None


def check_types(kind: Any, values: Any, what: str) -> dict[str, Any]:
    """Return arguments of a class or a function, converted to the types of its parameters.

    Raises:
        ValueError: values that are not a mapping; an unknown parameter, with the closest name; the
            first value of another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{what} is names and values, not {brief(values)}")
    known = parameters(kind)
    hints = dict.fromkeys(known, Any) | type_hints(kind)
    for name in values:
        if name not in known:
            meant = closest(str(name), known) or f"choose {', '.join(known) or 'none'}"
            raise ValueError(f"{what} takes no argument {brief(name)}; {meant}".lstrip())
    return {
        name: converted(value, hints[name], f"{what}.{name}" if what else name)
        for name, value in values.items()
    }


def group_of(hint: Any) -> Any:
    """Return the dataclass that a type is or that annotates it; None for others."""
    parts = (hint, *get_args(hint))
    return next((one for one in parts if isinstance(one, type) and is_dataclass(one)), None)


def optional(kind: type) -> Any:
    """Return a dataclass with the options of another one, which are None unless the user sets them;
    groups of options are mappings.
    """
    options = []
    for name, hint in type_hints(kind).items():
        group = group_of(hint)
        some = Annotated[dict[str, Any] | None, group] if group else hint
        options.append((name, some if some is Any or group else some | None, field(default=None)))
    about = {"__doc__": "Options left None keep the training's value."}
    name = f"Optional{kind.__name__}"
    return make_dataclass(name, options, bases=(kind,), namespace=about, frozen=True, kw_only=True)


def converted(value: Any, hint: Any, where: str) -> Any:
    """Convert a value to a type. A mapping becomes the dataclass that the type is; with
    `Annotated[dict, kind]`, some fields of a dataclass, it stays a mapping with checked values.

    Raises:
        ValueError: a value of another type; a number that is too large or not finite.
    """
    import msgspec  # which `--help` does not need

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
    except TypeError:  # a union of classes, which the function with this parameter checks
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
    """Return the words for a type in messages: "a list, each a whole number"."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is Annotated:
        return _in_words(parts[0])
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
    """Merge a change into arguments at all levels. The change replaces them if both are
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
    """Change `values` by the user's options: options of a part of a mapping are merged into it
    (`merged`), others replace a value.
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
    """Return name and arguments, unchecked, from {name: arguments} or a name alone.

    Raises:
        ValueError: another value; the message begins with `expected`.
    """
    named = {given: {}} if isinstance(given, str) else given
    if not isinstance(named, Mapping) or len(named) != 1:
        several = isinstance(named, Mapping) and named
        found = f"{len(named)} at once" if several else brief(given)
        raise ValueError(f"{expected}, not {found}")
    name, args = next(iter(named.items()))
    return name, {} if args is None else args


def choice(kinds: Mapping[str, Any], given: Any, what: str) -> tuple[str, dict[str, Any]]:
    """Return the name of one of several kinds and all of its arguments, with defaults.

    Args:
        kinds: classes or functions by name; their positional-only parameters are ignored.
        given: untrusted: a name, or {name: arguments}.
        what: the name of the value in messages.

    Raises:
        ValueError: an unknown kind, several kinds, or invalid arguments.
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
    """Return the parameters of a class or a function that can be passed by name."""
    known = inspect.signature(kind).parameters.values()
    return {p.name: p for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def type_hints(kind: Any) -> dict[str, Any]:
    """Return the types of the parameters of a class or a function, with their annotations."""
    make = kind.__init__ if isinstance(kind, type) else kind  # type: ignore[misc]
    hints = get_type_hints(make, include_extras=True)
    return {name: hint for name, hint in hints.items() if name != "return"}


def check_at_least(least: float, **options: float | None) -> None:
    """Check that options are at least `least` and below `LONG`, or None.

    Raises:
        ValueError: names the first option that is not.
    """
    for name, value in options.items():
        if value is not None:
            Range(least).check(name, value)


def check_word(name: str, text: Any) -> None:
    """Check that text is neither empty nor has a NUL character; ignores other types.

    Raises:
        ValueError: it is or has.
    """
    if isinstance(text, str) and (not text.strip() or "\0" in text):
        raise ValueError(f"{name} is empty or has a NUL character: {text!r}")


def check_plain(value: Any, what: str, depth: int = 0) -> None:
    """Check that a value is plain: numbers, strings, and lists and mappings of them, not too deep.

    Raises:
        ValueError: another value, or NaN.
    """
    if depth > DEPTH:
        raise ValueError(f"{what} is nested more than {DEPTH} deep")
    if isinstance(value, Mapping | list | tuple):
        inner = (*value, *value.values()) if isinstance(value, Mapping) else value
        for part in inner:
            check_plain(part, what, depth + 1)
    elif not isinstance(value, bool | int | float | str | None) or value != value:
        raise ValueError(
            f"{what} has {brief(value)}, which is not a number, a word, a list or a mapping"
        )


def brief(value: Any, quoted: bool = True) -> str:
    """Return an untrusted value for a message: a short line without control characters."""
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
