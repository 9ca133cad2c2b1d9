"""Limits of what the header of a file may say, checked before memory is taken.

A file of kilobytes may say that it holds terabytes, in good faith or not.
"""

import math
from collections.abc import Sequence

from foreframe.base.budget import GIB, OverBudgetError, in_gib
from foreframe.data.data_options import BUDGET

USUAL = 10_000  # bytes of frames for each of a file: no recording reaches that by itself
_LONG = 16  # times the budget: shorter recordings may be as empty as they like, read in seconds


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


def frames_at_once(shape: Sequence[int], most: int, budget: float = BUDGET) -> int:
    """How many frames (T,C,H,W) are worked on at once: `most`, or fewer big frames, at least 1.

    Statistics take 16 bytes a value while they are computed.
    """
    return max(1, min(most, int(budget * GIB / 2) // max(1, 16 * math.prod(shape[1:]))))
