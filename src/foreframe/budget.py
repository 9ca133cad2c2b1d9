"""How much memory one thing may take: asked of sizes, before any is taken, and said in words where
it is too much.
"""

import math

GIB = 2**30


class OverBudgetError(ValueError):
    """What is asked for, or what a file claims, takes more memory than may be taken: the file may
    be whole.
    """


def check_budget(need: float, budget: float, what: str, cure: str = "") -> None:
    """Refuse what would take more than the budget.

    Args:
        need: bytes of memory.
        budget: GiB.
        what: takes them, for the message.
        cure: what else than a larger budget would help.

    Raises:
        OverBudgetError: more is needed than the budget.
    """
    if need > budget * GIB:
        raise OverBudgetError(
            f"{what} would take {in_gib(need)} of memory, more than the budget of {budget:g} GiB; "
            f"{cure + ', or ' if cure else ''}raise budget to {math.ceil(need / GIB)} if that is "
            "meant"
        )


def in_gib(size: float) -> str:
    """Bytes as GiB, of a few digits."""
    return f"{size / GIB:.3g} GiB"
