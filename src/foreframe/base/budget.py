"""Memory budgets: sizes are checked before memory is allocated, with a message and a cure."""

import math
from collections.abc import Sequence

GIB = 2**30


class OverBudgetError(ValueError):
    """A request, or the content of a file, would take more memory than the budget.

    The file itself may be intact.
    """


def check_budget(need: float, budget: float, what: str, cure: str = "") -> None:
    """Refuse a need of memory beyond the budget.

    Args:
        need: bytes of memory.
        budget: GiB.
        what: the subject of the message.
        cure: another cure beside a larger budget.

    Raises:
        OverBudgetError: the need exceeds the budget.
    """
    if need > budget * GIB:
        cures = f"{cure}, or raise budget" if cure else "raise budget"
        raise OverBudgetError(
            f"{what} would take {in_gib(need)} of memory, more than the budget of {budget:g} GiB; "
            f"{cures} to {math.ceil(need / GIB)} if that is meant"
        )


def check_stretch(shape: Sequence[int], itemsize: int, budget: float, beside: float = 0) -> None:
    """Refuse to read frames (T,C,H,W) at once that would exceed the budget.

    Args:
        itemsize: bytes of a value.
        beside: further bytes that reading needs.

    Raises:
        OverBudgetError: the need exceeds the budget.
    """
    what = f"a stretch of {shape[0]} frames of {'x'.join(map(str, shape[1:]))}"
    check_budget(math.prod(shape) * itemsize + beside, budget, what, "read fewer")


def in_gib(size: float) -> str:
    """Bytes as GiB, with three digits."""
    return f"{size / GIB:.3g} GiB"
