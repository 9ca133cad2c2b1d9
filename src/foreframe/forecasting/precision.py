"""Number formats of network computations: float32, or bfloat16 for products.

torch is imported within functions: the command line reads the choices here.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import torch

Precision = Literal["32-true", "bf16-mixed", "auto"]
EXACT, HALF, AUTO = get_args(Precision)

FAST = ("AVX512", "AMX")  # CPU instructions with fast bfloat16


def multiplies_bfloat16(device: str) -> bool:
    """Whether the cpu, cuda or mps of this machine multiplies bfloat16 in hardware. Emulation takes
    up to ten times as long as float32.
    """
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device != "cpu" or torch.backends.cpu.get_cpu_capability() in FAST


def resolve_precision(precision: str, device: str) -> str:
    """Resolve "auto": bf16-mixed if the device multiplies bfloat16 in hardware, else 32-true. Other
    names are unchanged.
    """
    if precision != AUTO:
        return precision
    return HALF if multiplies_bfloat16(device) else EXACT


def computing(precision: str, device: "torch.device") -> AbstractContextManager[Any]:
    """A context for network computations in this `Precision`.

    "32-true" leaves a surrounding autocast, which the user has chosen, unchanged.
    """
    import torch

    if resolve_precision(precision, device.type) == EXACT:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
