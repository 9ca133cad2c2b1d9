"""Comparison of units in different spellings: "mm h-1", "mm/h" and "mm hr^-1" are the same.

Pint does the arithmetic. It is pure Python and installs everywhere, unlike cf-units, which wraps
UDUNITS and lacks wheels for ARM Linux and older macOS. This module translates spellings of CF and
UDUNITS ("m2 s-1", "kg.m-2", "degrees_Celsius") to Pint's.
"""

import math
import re
from functools import lru_cache
from math import isclose, isfinite
from typing import Any

# Pint takes half a second to import, so it is imported only for different spellings.

_SIGNS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-") | {
    ord(sign): plain for sign, plain in (("·", " "), ("^", "**"), ("µ", "u"), ("μ", "u"))
}
_NAMES = (  # of CF, UDUNITS and weather services for pint's units
    "@alias degree_Celsius = Celsius = deg_C = degrees_Celsius = degree_celsius = degrees_celsius",
    "@alias degree_Celsius = C",  # there are no coulombs on maps
    "@alias kelvin = Kelvin = deg_K = degree_Kelvin = degrees_Kelvin = degrees_kelvin",
    "millibar = 1e-3 * bar = mb",
    "@alias degree = degrees_north = degree_north = degrees_east = degree_east",
    "@alias meter = gpm",
)


def same_unit(a: str, b: str) -> bool:
    """Whether two spellings mean the same unit.

    Unknown units, such as "dBZ", are compared as text, ignoring case and spaces. Units of several
    channels are compared in order: "K, m/s" and "K, m s-1" are the same.
    """
    if a == b:
        return True
    if "," in a and a.count(",") == b.count(","):
        pairs = zip(a.split(","), b.split(","), strict=True)
        return all(same_unit(one.strip(), other.strip()) for one, other in pairs)
    if _parsed(a) is None or _parsed(b) is None:
        return "".join(a.split()).lower() == "".join(b.split()).lower()
    factor, offset = _line(a, b) or (math.nan, math.nan)
    return isclose(factor, 1, rel_tol=1e-9) and isclose(offset, 0, abs_tol=1e-9)


def check_units(units: str, wanted: str, what: str, why: str = "this was trained on") -> None:
    """Check that `what` has the wanted units or none.

    Raises:
        ValueError: other units; the message includes the conversion, if possible.
    """
    if units and wanted and not same_unit(units, wanted):
        formula = conversion(units, wanted)
        how = f" ({formula})" if formula else ""
        raise ValueError(f"{what} is in {units}, but {why} {wanted}: convert it first{how}")


def conversion(a: str, b: str) -> str:
    """The formula from numbers in `a` to numbers in `b`, e.g. "K = degC + 273.15"; "" if there is
    none.
    """
    line = _line(a, b)
    if line is None:
        return ""
    factor, offset = line
    formula = f"{b} = {a}"
    if not isclose(factor, 1, rel_tol=1e-9):
        formula += f" * {factor:.6g}"
    if not isclose(offset, 0, abs_tol=1e-9):
        formula += f" {'+' if offset > 0 else '-'} {abs(offset):.6g}"
    return formula


@lru_cache(1024)
def _line(a: str, b: str) -> tuple[float, float] | None:
    """Factor and offset from numbers in `a` to numbers in `b`; None if there is no linear
    conversion.
    """
    parsed, target = _parsed(a), _parsed(b)
    if parsed is None or target is None:
        return None
    (scale, unit), (per, wanted) = parsed, target
    if unit.dimensionality != wanted.dimensionality:
        return None
    quantity = _registry().Quantity
    try:
        zero, one = (quantity(x * scale, unit).to(wanted).magnitude / per for x in (0.0, 1.0))
    except Exception:  # various types: a decibel of zero, a product of two temperatures
        return None
    return (one - zero, zero) if isfinite(zero) and isfinite(one) else None


@lru_cache(1024)
def _parsed(text: str) -> tuple[float, Any] | None:
    """A factor and pint's unit, e.g. 0.1 and mm for "0.1 mm"; None if it is not a unit."""
    text, registry = _in_pints_words(text), _registry()
    # Text of an untrusted file: only units may be raised, and only to a small power.
    small = re.findall(r"[A-Za-z°%]\*\*\(?[-+]?\d\d?(?![\d.eE])", text)
    if not text or len(text) > 100 or text.count("**") != len(small):
        return None
    try:
        quantity = registry.Quantity(text)
        number = quantity.magnitude
        return (float(number), quantity.units) if isfinite(number) and number > 0 else None
    except Exception:  # half a dozen types, from pint and from Python's tokenizer
        return None


def _in_pints_words(text: str) -> str:
    """ "kg.m-2 s-1" -> "kg m**-2 s**-1"; "mm h⁻¹", "mm h^-1" and "mm h**-1" -> "mm h**-1"."""
    text = text.strip().translate(_SIGNS)
    text = re.sub(r"\s*\*\*\s*", "**", text)
    # UDUNITS multiplies with a dot, and raises to a power without a sign.
    text = re.sub(r"(?<=[A-Za-z0-9)])\.(?=[A-Za-z(])", " ", text)
    return re.sub(r"(?<=[A-Za-z°%])(?<![\d.][eE])(?=[-+]?\d)", "**", text)


@lru_cache(1)
def _registry() -> Any:
    from pint import UnitRegistry

    registry: Any = UnitRegistry()
    for line in _NAMES:
        registry.define(line)
    return registry
