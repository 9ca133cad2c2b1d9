"""Units as people spell them: "mm h-1", "mm/h" and "mm hr^-1" are one.

Pint does the arithmetic; it is pure Python, so that it installs wherever foreframe does (cf-units,
which wraps UDUNITS, has no wheels for ARM Linux and older macOS). Here the spellings of CF and
UDUNITS ("m2 s-1", "kg.m-2", "degrees_Celsius") are put into its own.
"""

import re
from functools import lru_cache
from math import isclose, isfinite
from typing import Any

# Pint takes half a second to import, so it is imported where two units are spelt differently.

_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_NAMES = (  # of pint's units: what CF, UDUNITS and weather services call them besides
    "@alias degree_Celsius = Celsius = deg_C = degrees_Celsius = degree_celsius = degrees_celsius",
    "@alias degree_Celsius = C",  # there are no coulombs on maps
    "@alias kelvin = Kelvin = deg_K = degree_Kelvin = degrees_Kelvin = degrees_kelvin",
    "millibar = 1e-3 * bar = mb",
    "@alias degree = degrees_north = degree_north = degrees_east = degree_east",
    "@alias meter = gpm",
)


def same_unit(a: str, b: str) -> bool:
    """Whether two units are one, however spelt: a number in the one is the same in the other.

    What no unit is known for, such as "dBZ", is compared as text, without regard to capitals and
    spaces. Channels have a unit each: "K, m/s" and "K, m s-1" are the same.
    """
    if a == b:
        return True
    if "," in a and a.count(",") == b.count(","):
        return all(same_unit(*pair) for pair in zip(_each(a), _each(b), strict=True))
    if _parsed(a) is None or _parsed(b) is None:
        return "".join(a.split()).lower() == "".join(b.split()).lower()
    line = _line(a, b)
    return (
        line is not None and isclose(line[0], 1, rel_tol=1e-9) and isclose(line[1], 0, abs_tol=1e-9)
    )


def check_units(units: str, wanted: str, what: str, why: str = "this was trained on") -> None:
    """Refuse `what` if it is in other units than those wanted; one without units is taken at its
    word.

    Raises:
        ValueError: with the conversion that is needed, where there is one.
    """
    if units and wanted and not same_unit(units, wanted):
        how = conversion(units, wanted)
        raise ValueError(
            f"{what} is in {units}, but {why} {wanted}: convert it first{f' ({how})' * bool(how)}"
        )


def conversion(a: str, b: str) -> str:
    """How numbers in `a` become numbers in `b`, e.g. "K = degC + 273.15"; "" where they do not."""
    line = _line(a, b)
    if line is None:
        return ""
    factor, offset = line
    times = "" if isclose(factor, 1, rel_tol=1e-9) else f" * {factor:.6g}"
    plus = (
        ""
        if isclose(offset, 0, abs_tol=1e-9)
        else f" {'+' if offset > 0 else '-'} {abs(offset):.6g}"
    )
    return f"{b} = {a}{times}{plus}"


def _each(units: str) -> list[str]:
    return [unit.strip() for unit in units.split(",")]


@lru_cache(1024)
def _line(a: str, b: str) -> tuple[float, float] | None:
    """Factor and offset from numbers in `a` to numbers in `b`; None where one of them is not known,
    or they measure different things.
    """
    one, other = _parsed(a), _parsed(b)
    if one is None or other is None or one[1].dimensionality != other[1].dimensionality:
        return None
    registry = _registry()
    try:
        zero, full = (
            registry.Quantity(x * one[0], one[1]).to(other[1]).magnitude / other[0]
            for x in (0.0, 1.0)
        )
    except Exception:  # of many kinds: a decibel of zero, a product of two temperatures
        return None
    return (full - zero, zero) if isfinite(zero) and isfinite(full) else None


@lru_cache(1024)
def _parsed(text: str) -> tuple[float, Any] | None:
    """A number and pint's unit: "0.1 mm" is 0.1 of them; None for what is no unit."""
    text, registry = _in_pints_words(text), _registry()
    # A file says what its unit is: nothing may be raised to a power but a unit, and to a small one.
    small = re.findall(r"[A-Za-z°%]\*\*\(?[-+]?\d\d?(?![\d.eE])", text)
    if not text or len(text) > 100 or text.count("**") != len(small):
        return None
    try:
        found = registry.Quantity(text)
        number, unit = found.magnitude, found.units
        return (float(number), unit) if isfinite(number) and number > 0 else None
    except Exception:  # half a dozen kinds, from pint and from Python's tokenizer
        return None


def _in_pints_words(text: str) -> str:
    """ "kg.m-2 s-1" -> "kg m**-2 s**-1"; "mm h⁻¹", "mm h^-1" and "mm h**-1" -> "mm h**-1"."""
    text = (
        text.strip()
        .translate(_POWERS)
        .replace("·", " ")
        .replace("^", "**")
        .replace("µ", "u")
        .replace("μ", "u")
    )
    text = re.sub(r"\s*\*\*\s*", "**", text)
    text = re.sub(r"(?<=[A-Za-z0-9)])\.(?=[A-Za-z(])", " ", text)  # UDUNITS multiplies with a dot
    # And raises without a sign.
    return re.sub(r"(?<=[A-Za-z°%])(?<![\d.][eE])(?=[-+]?\d)", "**", text)


@lru_cache(1)
def _registry() -> Any:
    from pint import UnitRegistry

    registry: Any = UnitRegistry()
    for line in _NAMES:
        registry.define(line)
    return registry
