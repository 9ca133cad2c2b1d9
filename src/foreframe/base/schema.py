"""Values from files, flags and calls, checked against the types of fields and parameters.

msgspec checks a value against a type; here are names, nested groups and messages in words.
"""

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from foreframe.base.wording import closest

Kind = TypeVar("Kind")

OWN = "if it is your own, name its module: --import MODULE (in Python: import it first)"
DEPTH = 16  # of values within values
MOST = 2**63  # numbers stay below
WORDS = {
    "int": "a whole number",
    "float": "a finite number",
    "str": "a word",
    "bool": "true or false",
    "array": "a list",
    "object": "names and values",
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
    for field in fields(kind):  # type: ignore[arg-type]
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values:
            raise ValueError(f"{what} lacks {field.name}")
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


def converted(value: Any, hint: Any, where: str) -> Any:
    """A value converted to a type. A mapping becomes the dataclass that the type is; with
    `Annotated[dict, kind]`, some fields of a dataclass, it stays one with checked values.

    Raises:
        ValueError: it is of another type, or a number too large or not finite.
    """
    if hint is Any:
        return value
    group = group_of(hint)
    if group is not None and isinstance(value, Mapping):
        some = get_origin(hint) is Annotated
        return check_types(group, value, where) if some else typed(group, value, where)
    value = plain(value)
    try:
        made = msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise ValueError(_in_words(str(error), value, hint, where)) from None
    except TypeError:  # a union of classes: the function that has it checks the value
        return value
    for number in made if isinstance(made, list | tuple) else [made]:
        if isinstance(number, int | float) and not abs(number) < MOST:
            kind = "a whole number below 2**63" if isinstance(number, int) else WORDS["float"]
            raise ValueError(f"{where} is {kind}, not {brief(number)}")
    return made


def plain(value: Any) -> Any:
    """Convert numbers of numpy to Python's, also in lists."""
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value.item() if getattr(value, "shape", None) == () else value


def _in_words(error: str, value: Any, hint: Any, where: str) -> str:
    """msgspec's "Expected `int | null`, got `str` - at `$[1]`" with our names and the value."""
    for index in re.findall(r"\[(\d+)\]", error):
        value, where = value[int(index)], f"{where}[{index}]"
    found = re.match("Expected `(.+?)`( of length [0-9]+)?", error)
    kinds = "float" if found is None else "object" if "`key`" in error else found[1]
    names = [WORDS.get(name, name) for name in kinds.split(" | ")]
    if choices := dict.fromkeys(_choices(hint)):
        others = [getattr(part, "__name__", "") for part in get_args(hint)]
        names = [*(WORDS[of] for of in others if of in WORDS), f"one of {', '.join(choices)}"]
    elif found and found[2]:
        names = [f"a list{found[2]}"]
    if where.startswith("--") and len(names) > 1:  # nobody types null: a flag is left out
        names = [name for name in names if name != "null"]
    return f"{where} is {' or '.join(names)}, not {brief(value)}"


def _choices(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [str(word) for word in get_args(hint)]
    return [word for part in get_args(hint) for word in _choices(part)]


def is_plain(hint: Any) -> bool:
    """Whether a type is one of plain values: numbers, words, lists and mappings of them."""
    try:
        return "CustomType" not in str(msgspec.inspect.type_info(hint))
    except TypeError:
        return False


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
    """The parameters of a class or a function that can be passed by name."""
    known = inspect.signature(kind).parameters.values()
    return {p.name: p for p in known if p.kind is not p.POSITIONAL_ONLY}


def type_hints(kind: Any) -> dict[str, Any]:
    """The types of the parameters of a class or a function, with what is annotated to them."""
    make = kind.__init__ if isinstance(kind, type) else kind  # type: ignore[misc]
    return get_type_hints(make, include_extras=True)


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
    """An untrusted value for a message: one line, not long, no control characters."""
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
