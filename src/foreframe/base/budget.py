"""How much memory may be taken: checked by sizes before any is taken, with a message and a cure."""

import math
from collections.abc import Sequence

GIB = 2**30


class OverBudgetError(ValueError):
    """A request, or what a file says that it holds, takes more memory than the budget.

    The file itself may be whole.
    """


def check_budget(need: float, budget: float, what: str, cure: str = "") -> None:
    """Refuse what would take more than the budget.

    Args:
        need: bytes of memory.
        budget: GiB.
        what: needs them, for the message.
        cure: what would help beside a larger budget.

    Raises:
        OverBudgetError: more is needed than the budget.
    """
    if need > budget * GIB:
        cures = f"{cure}, or raise budget" if cure else "raise budget"
        raise OverBudgetError(
            f"{what} would take {in_gib(need)} of memory, more than the budget of {budget:g} GiB; "
            f"{cures} to {math.ceil(need / GIB)} if that is meant"
        )


def check_stretch(shape: Sequence[int], itemsize: int, budget: float, beside: float = 0) -> None:
    """Refuse frames (T,C,H,W) that would take more than the budget when they are read at once.

    Args:
        itemsize: bytes that a value takes.
        beside: bytes that reading takes beside them.

    Raises:
        OverBudgetError: more is needed than the budget.
    """
    what = f"a stretch of {shape[0]} frames of {'x'.join(map(str, shape[1:]))}"
    check_budget(math.prod(shape) * itemsize + beside, budget, what, "read fewer")


def in_gib(size: float) -> str:
    """Bytes as GiB, of a few digits."""
    return f"{size / GIB:.3g} GiB"
