"""What a network computes in: float32, bfloat16 where it multiplies, or whichever is faster here.

torch is imported in functions alone: the command line reads the choices here.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import torch

Precision = Literal["32-true", "bf16-mixed", "auto"]
EXACT, HALF, AUTO = get_args(Precision)

FAST = ("AVX512", "AMX")  # instructions of the CPUs that bfloat16 is fast on

LEAST, MOST = 3, 7  # rounds of a timing
SECONDS = 1.0  # after which no round is added to the least


def check_precision(precision: str) -> None:
    """Refuse a name that is none of `Precision`.

    Raises:
        ValueError: with the choices.
    """
    if precision not in (EXACT, HALF, AUTO):
        raise ValueError(f"precision {precision!r} is unknown; choose {EXACT}, {HALF} or {AUTO}")


def multiplies_bfloat16(device: str) -> bool:
    """Whether products in bfloat16 are fast on this machine's cpu, cuda or mps: others emulate
    them, and take up to ten times as long as in float32.
    """
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device != "cpu" or torch.backends.cpu.get_cpu_capability() in FAST


def computing(precision: str, device: "torch.device") -> AbstractContextManager[Any]:
    """A context in which a network computes in "32-true" or "bf16-mixed".

    The first leaves an autocast around it as it is: the user has asked for that.

    Raises:
        ValueError: a device that has no bfloat16.
    """
    import torch

    if precision == EXACT:
        return nullcontext()
    try:
        return torch.autocast(device.type, torch.bfloat16)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"precision {HALF} cannot be used on {device.type} here: {reason}"
        ) from error


def times_as_fast(forecast: Callable[[], Any], device: "torch.device") -> float:
    """How many times as fast `forecast` is in half precision as in float32; 0 on a device without.

    Both run once unmeasured, and then in turn, so that other work on the machine slows both. The
    result is the median of the rounds.

    Args:
        forecast: returns when its result is computed: on a GPU it must wait for it.
    """

    def seconds(precision: str) -> float:
        began = time.perf_counter()
        with computing(precision, device):
            forecast()
        return time.perf_counter() - began

    try:
        seconds(HALF)
    except ValueError:
        return 0.0
    seconds(EXACT)
    rounds: list[float] = []
    began = time.perf_counter()
    while len(rounds) < LEAST or (len(rounds) < MOST and time.perf_counter() - began < SECONDS):
        rounds.append(seconds(EXACT) / seconds(HALF))
    return median(rounds)


def faster(ratio: float) -> str:
    """What "auto" takes where half precision is `ratio` times as fast; less than 5 % is no gain."""
    return HALF if round(ratio, 1) > 1 else EXACT


def choice_in_words(ratio: float) -> str:
    """What "auto" took, and why."""
    if faster(ratio) == HALF:
        return f"precision auto: {HALF}, {ratio:.1f} times as fast as {EXACT} here"
    if not ratio:
        return f"precision auto: {EXACT}, since {HALF} cannot be used here"
    return f"precision auto: {EXACT}, since {HALF} is {ratio:.1f} times as fast here"
