"""The numbers that a network computes in: float32, or bfloat16 where it multiplies.

torch is imported in functions alone: the command line reads the choices here.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import torch

Precision = Literal["32-true", "bf16-mixed", "auto"]
EXACT, HALF, AUTO = get_args(Precision)

FAST = ("AVX512", "AMX")  # instructions of the CPUs that bfloat16 is fast on


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


def resolve_precision(precision: str, device: str) -> str:
    """`precision` as it is, but for "auto": bf16-mixed where this machine's cpu, cuda or mps
    multiplies bfloat16, else 32-true.
    """
    if precision != AUTO:
        return precision
    return HALF if multiplies_bfloat16(device) else EXACT


def computing(precision: str, device: "torch.device") -> AbstractContextManager[Any]:
    """A context in which a network computes in this `Precision`.

    "32-true" leaves an autocast around it as it is: the user has asked for that.

    Raises:
        ValueError: a device that has no bfloat16.
    """
    import torch

    if resolve_precision(precision, device.type) == EXACT:
        return nullcontext()
    try:
        return torch.autocast(device.type, torch.bfloat16)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"precision {HALF} cannot be used on {device.type} here: {reason}"
        ) from error
