"""Memory budgets: checks of sizes before memory is allocated."""

import math
from collections.abc import Sequence

GIB = 2**30
USUAL = 10_000  # bytes of frames per byte of a file: an upper bound of real recordings
_LONG = 16  # budgets: recordings below are read in seconds, however well they compress


class OverBudgetError(ValueError):
    """A request or a file needs more memory than the budget; the file may be intact."""


def check_budget(need: float, budget: float, what: str, cure: str = "") -> None:
    """Check that a need of memory is within the budget.

    Args:
        need: bytes of memory.
        budget: GiB.
        what: the subject of the message.
        cure: a cure other than a larger budget.

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
    """Check that frames (T,C,H,W) to read at once are within the budget.

    Args:
        itemsize: bytes of a value.
        beside: additional bytes for reading.

    Raises:
        OverBudgetError: the need exceeds the budget.
    """
    what = f"a stretch of {shape[0]} frames of {'x'.join(map(str, shape[1:]))}"
    check_budget(math.prod(shape) * itemsize + beside, budget, what, "read fewer")


def check_frames_fit(
    frames: Sequence[int], itemsize: int, stored: int, budget: float, name: str
) -> None:
    """Check that a recording is not far larger than its file can be.

    Args:
        frames: the shape (T,C,H,W) in the header. Even a small frame costs time, so it counts as
            at least 4 KiB.
        itemsize: bytes of a value.
        stored: bytes of the file or files.
        budget: GiB.

    Raises:
        OverBudgetError: more than 10,000 bytes of frames per byte of file, and more than 16 times
            the budget.
    """
    stated = frames[0] * max(4096, math.prod(frames[1:]) * itemsize)
    if stated > max(_LONG * budget * GIB, USUAL * stored):
        raise OverBudgetError(
            f"the header of {name} has {frames[0]} frames of {'x'.join(map(str, frames[1:]))}, "
            f"{in_gib(stated)}, in {stored} bytes; check its origin, or raise budget to "
            f"{math.ceil(stated / _LONG / GIB)} if that is meant"
        )


def frames_at_once(shape: Sequence[int], most: int, budget: float) -> int:
    """Return how many frames (T,C,H,W) to process at once: `most`, or fewer big frames, at least 1.

    Statistics need 16 bytes a value.
    """
    return max(1, min(most, int(budget * GIB / 2) // max(1, 16 * math.prod(shape[1:]))))


def in_gib(size: float) -> str:
    """Return bytes as GiB, with three digits."""
    return f"{size / GIB:.3g} GiB"
