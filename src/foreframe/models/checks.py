"""Checks of the numbers that networks are built of; each names the argument in one line."""

import math
from collections.abc import Sequence

Numbers = float | Sequence[float]


def within(least: float, most: float, **given: Numbers) -> None:
    """Refuse a number, or one in a list, that is not in [least, most], and a list of none.

    Raises:
        ValueError: names the first of them.
    """
    for name, value in given.items():
        numbers = value if isinstance(value, Sequence) else [value]
        if not numbers or not all(least <= n <= most and n < math.inf for n in numbers):
            range_ = f"at least {least}" if most == math.inf else f"from {least} to {most}"
            raise ValueError(f"{name} must be {range_}, not {value}")


def at_least(least: float, **given: Numbers) -> None:
    """As `within`, without an upper bound."""
    within(least, math.inf, **given)


def odd(**kernels: int | Sequence[int]) -> None:
    """Refuse sides of kernels that are even or below 1: only odd ones keep the maps' size.

    Raises:
        ValueError: names the first of them.
    """
    at_least(1, **kernels)
    for name, value in kernels.items():
        if not all(side % 2 for side in (value if isinstance(value, Sequence) else [value])):
            raise ValueError(f"{name} must be odd, not {value}")
