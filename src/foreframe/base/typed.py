"""Dataclasses from the values of a file, each checked against the type of its field."""

import inspect
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from foreframe.base.wording import closest

Kind = TypeVar("Kind")

OWN = "if it is your own, name its module: --import MODULE (in Python: import it first)"
DEPTH = 16  # of values within values
MOST = 2**63  # whole numbers stay below


class UnknownError(ValueError):
    """No model, or part of one, is registered by this name: `what` says of what kind, and which."""

    def __init__(self, what: str, choose: str) -> None:
        super().__init__(f"{what} is unknown; {choose}; {OWN}")
        self.what = what


def typed(kind: type[Kind], values: Any, what: str) -> Kind:
    """`kind(**values)`, where `values` may be anything at all.

    Args:
        kind: a dataclass; its own checks, of ranges, come after those of the types.
        values: from a file.
        what: how the message names them, or "" where their names say enough.

    Raises:
        ValueError: no mapping, a name that is no field, a field without value, a value of another
            type, or what `kind` raises.
    """
    check_types(kind, values, what)
    for field in fields(kind):  # type: ignore[arg-type]
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values:
            raise ValueError(f"{what} lacks {field.name}")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{what}: {error}" if what else str(error)) from None


def check_types(kind: Any, values: Any, what: str) -> None:
    """Refuse names that are no parameters of `kind`, a class or a function, and values of other
    types than theirs. A mapping may stand for a dataclass, and is looked into.

    Raises:
        ValueError: the first of them, with the nearest name, or the type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{what} holds names and values, not {brief(values)}")
    known = parameters(kind)
    hints = dict.fromkeys(known, Any) | type_hints(kind)
    for name, value in values.items():
        if name not in known:
            meant = closest(str(name), known) or f"it takes {', '.join(known) or 'none'}"
            raise ValueError(f"{what} takes no argument {brief(name)}; {meant}")
        path = f"{what}.{name}" if what else name
        hint = hints[name]
        nested = [part for part in (hint, *get_args(hint)) if is_dataclass(part)]
        if nested and isinstance(value, Mapping):
            check_types(nested[0], value, path)
        elif not matches(value, hint):
            raise ValueError(f"{path} is {describe_type(hint)}, not {brief(value)}")


def merged(before: Any, change: Any) -> Any:
    """Arguments with a change in them, to all levels; where both are {a kind: its arguments} of
    different kinds, the change alone.
    """
    if not isinstance(before, Mapping) or not isinstance(change, Mapping):
        return change
    if len(before) == len(change) == 1 and set(before) != set(change):
        parts = (*before.values(), *change.values())
        if all(value is None or isinstance(value, Mapping) for value in parts):
            return change
    return {**before, **{name: merged(before.get(name), value) for name, value in change.items()}}


def choice(kinds: Mapping[str, Any], given: Any, what: str) -> tuple[str, dict[str, Any]]:
    """One of several kinds, and all of its arguments, from plain values: its name, or
    {its name: arguments}.

    Args:
        kinds: classes or functions by name; their positional-only parameters are not for `given`.
        given: maybe a stranger's.
        what: how the message names it.

    Raises:
        ValueError: no such kind, more than one, or arguments that it does not take.
    """
    named = {given: {}} if isinstance(given, str) else given
    if isinstance(named, Mapping) and len(named) > 1:
        raise ValueError(
            f"{what} is one of {', '.join(kinds)}, not {len(named)} at once: {brief(list(named))}"
        )
    if not isinstance(named, Mapping) or len(named) != 1:
        raise ValueError(
            f"{what} is one of {', '.join(kinds)}, or {{one of them: its arguments}}, not "
            f"{brief(given)}"
        )
    name, args = next(iter(named.items()))
    if name not in kinds:
        raise UnknownError(f"{what} {brief(name)}", f"choose {', '.join(kinds)}")
    args = {} if args is None else args
    check_types(kinds[name], args, f"{what} {name}")
    defaults = {
        p.name: p.default for p in parameters(kinds[name]).values() if p.default is not p.empty
    }
    return name, {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in (defaults | args).items()
    }


def parameters(kind: Any) -> dict[str, inspect.Parameter]:
    """What a class or a function may be given by name."""
    known = inspect.signature(kind).parameters.values()
    return {p.name: p for p in known if p.kind is not p.POSITIONAL_ONLY}


def type_hints(kind: Any) -> dict[str, Any]:
    """The types of the parameters of a class or a function, with what is annotated to them."""
    make = kind.__init__ if isinstance(kind, type) else kind  # type: ignore[misc]
    return get_type_hints(make, include_extras=True)


def is_plain(hint: Any) -> bool:
    """Whether a type is one of plain values: numbers, words, lists and mappings of them."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return True
    kinds: list[Any] = [Any, Union, types.UnionType, types.NoneType, int, float, str, bool]
    kinds += [list, tuple, dict, Sequence, Mapping]
    return (origin or hint) in kinds and all(is_plain(part) for part in inside if part is not ...)


def matches(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; numpy's numbers are numbers, true and false are none."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return matches(value, inside[0])
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(matches(value, part) for part in inside)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inside)
    if hint is None or hint is types.NoneType:
        return value is None
    if hint in (int, float):  # numpy's numbers count as such
        number = isinstance(value, Integral) or (
            hint is float and isinstance(value, Real) and math.isfinite(value)
        )
        return number and not isinstance(value, bool) and abs(value) < MOST
    if origin in (tuple, list, Sequence):
        kinds = inside or (Any,)
        return isinstance(value, list | tuple) and all(matches(inner, kinds[0]) for inner in value)
    if (origin or hint) in (dict, Mapping):
        return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    return isinstance(value, origin or hint) if isinstance(origin or hint, type) else True


def describe_type(hint: Any) -> str:
    """A type in words: "a whole number or null"."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return describe_type(inside[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe_type(part) for part in inside))
    if origin is Literal:
        return f"one of {', '.join(map(str, inside))}"
    if origin in (tuple, list, Sequence):
        return f"a list, each of it {describe_type(inside[0])}" if inside else "a list"
    names = {
        int: "a whole number",
        float: "a finite number",
        str: "a word",
        bool: "true or false",
        dict: "names and values",
    }
    kind = origin or hint
    plain = kind is Mapping or is_dataclass(kind)
    other = "names and values" if plain else f"a {getattr(kind, '__name__', kind)}"
    return names.get(kind, "null" if hint is types.NoneType else other)


def check_plain(value: Any, what: str, depth: int = 0) -> None:
    """Refuse all but plain values: numbers, strings, and lists and mappings of them, not too deep.

    Raises:
        ValueError: something else, a number that is NaN, a name that is no string.
    """
    if depth > DEPTH:
        raise ValueError(f"{what} is nested more than {DEPTH} deep")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{what} has a name that is no text: {brief(name)}")
            path = f"{what}.{brief(name, quoted=False)}" if depth < 2 else what
            check_plain(inner, path, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_plain(inner, what, depth + 1)
    elif isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{what} is not a number")
    elif not (value is None or isinstance(value, bool | int | float | str)):
        raise ValueError(f"{what} is a {type(value).__name__}, not a plain value")


def brief(value: Any, quoted: bool = True) -> str:
    """A value of a stranger in a message: one line, not long, no control characters."""
    if isinstance(value, str):
        text = value if len(value) <= 120 else value[:120] + "..."
        text = "".join(c if c.isprintable() else "?" for c in text)
        return repr(text) if quoted else text
    if value is None or isinstance(value, bool | float):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else "a number of more than 20 digits"
    short = isinstance(value, list | tuple) and len(value) <= 4
    if short and not any(isinstance(inner, list | tuple | Mapping) for inner in value):
        return f"[{', '.join(brief(inner) for inner in value)}]"
    return f"a {type(value).__name__}"
