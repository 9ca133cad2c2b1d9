"""Private functions of torch that the fast path uses; no other file uses any. A release of torch
may remove them: a function here reports a missing name, and its caller then uses a slower way with
the same values.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor


def backward_pass() -> int | None:
    """The number of the backward pass that runs, as autograd counts them; None where torch does not
    tell: then gradients of weights are not gathered (`convolutions.Conv2d`).
    """
    number = getattr(torch._C, "_current_graph_task_id", None)
    return None if number is None else int(number())


@cache
def packs(dtype: torch.dtype) -> bool:
    """Return whether oneDNN packs weights of this dtype here, as torch's compiler does it.
    Otherwise convolutions are torch's (`packed.Weights`).
    """
    able = torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name)
        for name in ("_reorder_convolution_weight", "_convolution_pointwise")
    )
    if not able or not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return False
    in_bf16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(in_bf16()))


def packed(weight: Tensor, how: tuple[Any, ...], size: list[int]) -> Tensor:
    """A convolution's weight as oneDNN multiplies it, for maps of that size; where it `packs`.

    Args:
        how: padding, stride, dilation and groups.
    """
    laid_out: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *how, size)
    return laid_out


def convolve_packed(
    v: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...], silu: bool
) -> Tensor:
    """The convolution of maps with a `packed` weight, and perhaps SiLU of it."""
    then = "swish" if silu else "none"
    run = torch.ops.mkldnn._convolution_pointwise
    out: Tensor = run(v, weight, bias, *how, then, [], "")
    return out
