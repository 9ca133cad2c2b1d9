"""Convolutions of forecasts: their weights are made ready once, not at every call.

A convolution casts its weights to autocast's dtype and, in oneDNN, lays them out as the processor
multiplies them. For the small maps of a single clip, this takes as long as the rest, since every
call repeats it. Without gradients both are done once here, until the weights change.
"""

from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.engine.torch_private import convolve_packed, packed, packs

LAST = torch.channels_last

Span = tuple[int, int]  # from one channel to another


class Weights:
    """A convolution's weights in one dtype."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        self.weight, self.bias, self.dtype = conv.weight, conv.bias, dtype
        self.stride, self.dilation = list(conv.stride), list(conv.dilation)
        self.padding = [int(side) for side in conv.padding]
        self.groups = conv.groups
        self.cast = conv.weight.detach().to(dtype, memory_format=LAST)
        self.cast_bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        self.parts: dict[tuple[Span, ...], Tensor] = {}
        self.packed: dict[tuple[Span, ...], Tensor] = {}

    def part(self, spans: tuple[Span, ...]) -> Tensor:
        """The weights of some channels of the input; of all of them without spans."""
        if not spans or sum(stop - start for start, stop in spans) == self.cast.shape[1]:
            return self.cast
        if spans not in self.parts:
            some = torch.cat([self.cast[:, start:stop] for start, stop in spans], dim=1)
            self.parts[spans] = some.contiguous(memory_format=LAST)
        return self.parts[spans]

    def convolve(self, v: Tensor, spans: tuple[Span, ...] = (), silu: bool = False) -> Tensor:
        """The convolution of maps in this dtype, channels last, and perhaps SiLU of it."""
        how = self.padding, self.stride, self.dilation, self.groups
        if v.device.type != "cpu" or not packs(self.dtype):
            weight = self.part(spans)
            out = F.conv2d(
                v, weight, self.cast_bias, self.stride, self.padding, self.dilation, self.groups
            )
            return F.silu(out) if silu else out
        if spans not in self.packed:
            self.packed[spans] = packed(self.part(spans), how, list(v.shape))
        return convolve_packed(v, self.packed[spans], self.cast_bias, how, silu)


class Kept(Weights):
    """Weights that are ready, with a copy of the parameters that they were made of.

    Torch counts changes in `_version`, but fused optimizers and writes to `parameter.data` are not
    counted. Therefore the values are compared, once in a pass.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__(conv, dtype)
        self.copies = [p.detach().clone() for p in _parameters(conv)]
        self.checked = 0  # number of the pass that compared them last

    def equals(self, conv: nn.Conv2d) -> bool:
        """Whether the parameters have these values. Not compared on a GPU, which would have to
        finish its work first.
        """
        now = _parameters(conv)
        alike = len(now) == len(self.copies) and conv.weight.device.type == "cpu"
        return alike and all(_equal(*pair) for pair in zip(now, self.copies, strict=True))


def _parameters(conv: nn.Conv2d) -> list[Tensor]:
    return [p.detach() for p in (conv.weight, conv.bias) if p is not None]


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.dtype == b.dtype == torch.float32:  # NumPy takes a fifth of torch's time
        return np.array_equal(a.numpy(), b.numpy())
    return a.dtype == b.dtype and torch.equal(a, b)


current_pass: ContextVar[Any] = ContextVar("current_pass", default=None)
"""The `one_pass` that runs, if any."""

_kept: WeakKeyDictionary[nn.Module, dict[torch.dtype, Kept]] = WeakKeyDictionary()


def runs_plain(tensor: Tensor) -> bool:
    """Whether what works on this tensor is to be plain torch: under `torch.compile`, export and
    tracing, and on devices other than CPU and CUDA.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    return tensor.device.type not in ("cpu", "cuda")


def computing_dtype(conv: nn.Conv2d, device: str) -> torch.dtype:
    """Return autocast's dtype if autocast is on, otherwise the dtype of the weights."""
    on = torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if on else conv.weight.dtype


def kept_weights(conv: nn.Conv2d, device: str) -> Weights:
    """The weights of a convolution for forecasts, made ready again if they have changed."""
    dtype, run = computing_dtype(conv, device), current_pass.get()
    kept = _kept.setdefault(conv, {}).get(dtype)
    checked = kept is not None and run is not None and kept.checked == run.number
    if kept is None or not (checked or kept.equals(conv)):
        kept = _kept[conv][dtype] = Kept(conv, dtype)
    kept.checked = 0 if run is None else run.number
    return kept


class PackedConv2d(nn.Conv2d):
    """An `nn.Conv2d` that keeps its weights ready where no gradients are computed."""

    def forward(
        self, x: Float[Tensor, "*b i h w"], silu: bool = False
    ) -> Float[Tensor, "*b o _ _"]:
        """The convolution, and SiLU of it where that follows: in one kernel, if it can be."""
        plain = torch.is_grad_enabled() or runs_plain(x)
        if plain or x.dim() != 4 or isinstance(self.padding, str) or self.padding_mode != "zeros":
            out = super().forward(x)
            return F.silu(out) if silu else out
        weights = kept_weights(self, x.device.type)
        return weights.convolve(x.to(weights.dtype, memory_format=LAST), silu=silu)
