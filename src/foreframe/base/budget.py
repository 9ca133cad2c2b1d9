"""Memory budgets: sizes are checked before memory is allocated, with a message and a cure."""

import math
from collections.abc import Sequence

GIB = 2**30
USUAL = 10_000  # bytes of frames for each of a file: no recording reaches that by itself
_LONG = 16  # times the budget: shorter recordings may be as empty as they like, read in seconds


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


def check_frames_fit(
    frames: Sequence[int], itemsize: int, stored: int, budget: float, name: str
) -> None:
    """Refuse a recording that says it holds far more than its file can.

    Args:
        frames: the shape (T,C,H,W) by the header. A frame costs time however small it is, so it
            counts as at least 4 KiB.
        itemsize: bytes of a value.
        stored: bytes of the file or files.
        budget: GiB.

    Raises:
        OverBudgetError: more than 10,000 bytes of frames a byte of file, and more than 16 times the
            budget.
    """
    stated = frames[0] * max(4096, math.prod(frames[1:]) * itemsize)
    if stated > max(_LONG * budget * GIB, USUAL * stored):
        raise OverBudgetError(
            f"{name} says that it holds {frames[0]} frames of {'x'.join(map(str, frames[1:]))}, "
            f"{in_gib(stated)}, in {stored} bytes; check where it comes from, or raise budget to "
            f"{math.ceil(stated / _LONG / GIB)} if that is meant"
        )


def frames_at_once(shape: Sequence[int], most: int, budget: float) -> int:
    """How many frames (T,C,H,W) are worked on at once: `most`, or fewer big frames, at least 1.

    Statistics take 16 bytes a value while they are computed.
    """
    return max(1, min(most, int(budget * GIB / 2) // max(1, 16 * math.prod(shape[1:]))))


def in_gib(size: float) -> str:
    """Bytes as GiB, with three digits."""
    return f"{size / GIB:.3g} GiB"
