"""A pass over time, for which prepared weights are kept."""

from itertools import count

import torch
from torch import Tensor, nn

from foreframe.models.engine.gathering import GatheredWeights
from foreframe.models.engine.packed import (
    PackedConv2d,
    computing_dtype,
    current_pass,
    runs_plain,
)

_numbers = count(1)


class one_pass:  # noqa: N801 - used as a function is
    """One pass over time, on the device of `like`, for which prepared weights are kept.

        run = one_pass(maps)
        with run:
            for step in range(steps):
                x, c = cell(x, h, c)

    It may be entered any number of times, within itself, and while gradients are computed, as
    activation checkpointing does. Gradients are of the first order only. Under `torch.compile`,
    export and tracing, and on devices other than CPU and CUDA, it does nothing: what runs is plain.

    Args:
        like: any tensor on the device of the pass.
        compiled: whether the elementwise part is compiled: see `why_not_compiled`. None: where that
            works, on CUDA at once and on a CPU from `PAYS` on.
    """

    def __init__(self, like: Tensor, compiled: bool | None = None) -> None:
        self.device, self.compiled = like.device.type, compiled
        self.weights: dict[tuple[nn.Module, torch.dtype], GatheredWeights] = {}
        self.outer: list[one_pass | None] = []
        self.number = next(_numbers)  # unlike an id, never that of an earlier pass

    def __enter__(self) -> "one_pass":
        if not torch.compiler.is_compiling():
            self.outer.append(current_pass.get())
            current_pass.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if not torch.compiler.is_compiling():
            current_pass.set(self.outer.pop())

    def weights_of(self, conv: PackedConv2d) -> GatheredWeights:
        """A convolution's weights in this pass, in autocast's dtype where that is on."""
        dtype = computing_dtype(conv, self.device)
        if (conv, dtype) not in self.weights:
            self.weights[conv, dtype] = GatheredWeights(conv, dtype)
        return self.weights[conv, dtype]


def pass_for(tensor: Tensor) -> one_pass | None:
    """The pass that work on this tensor belongs to, if any."""
    run: one_pass | None = None if runs_plain(tensor) else current_pass.get()
    return run if run is not None and run.device == tensor.device.type else None
