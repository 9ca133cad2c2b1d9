"""Number formats of network computations: float32, or bfloat16 for products.

torch is imported within functions: the command line reads the choices here.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

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


@contextmanager
def computing(precision: str, device: "torch.device", model: "Module") -> Iterator[None]:
    """A context for forecasts of a network in this `Precision`, in evaluation mode. Afterwards its
    modules train as before.

    "32-true" leaves a surrounding autocast, which the user has chosen, unchanged.
    """
    import torch

    half = resolve_precision(precision, device.type) != EXACT
    trained = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            yield
    finally:
        for module in trained:
            module.training = True
