"""`Conv2d`: a convolution for cells, which run it at every step."""

import torch
from torch import Tensor

from foreframe.models.engine.gathering import GatheredConvolution, pass_for, side_by_side
from foreframe.models.engine.packed import (
    LAST,
    PackedConv2d,
    Span,
    computing_dtype,
    kept_weights,
)
from foreframe.models.engine.torch_private import backward_pass

# With fewer weights than these, a convolution on a CPU is left to autograd. Gathering costs time.
# It saves work that grows with the weights: their layout and the sums of their gradients at every
# step. On 8x8 and 16x16 maps, of 3x3 kernels, 32 -> 32 channels are faster by autograd, 64 -> 128
# about as fast, and 128 -> 256 faster gathered.
FEW = 2**17


class Conv2d(PackedConv2d):
    """A convolution that takes its maps in parts, and gathers its gradients over one pass.

    The parts lie side by side along channels. None stands for zeros, in all channels that the other
    parts leave: `conv(x, None)`. Within `one_pass` these are left out of the convolution.
    """

    def forward(self, *parts: Tensor | None) -> Tensor:  # type: ignore[override]
        """Parts (b,d,h,w) -> (b,k,h,w).

        Raises:
            ValueError: every part is None.
        """
        given = [part for part in parts if part is not None]
        if not given:
            raise ValueError("a convolution needs a map: not every part may be None")
        rest = self.in_channels - sum(part.shape[-3] for part in given)  # channels of None parts
        if rest < 0 or (rest and len(given) == len(parts)):
            raise ValueError(
                f"this convolution takes {self.in_channels} channels, not {self.in_channels - rest}"
            )
        run = pass_for(given[0])
        dense = self.groups == 1 and self.padding_mode == "zeros"
        plain = run is None or not dense or isinstance(self.padding, str) or given[0].dim() != 4
        if run is None or plain:
            return super().forward(_with_zeros(parts, rest))
        spans = _spans(parts, rest)
        if not torch.is_grad_enabled():
            weights = kept_weights(self, run.device)
            return weights.convolve(side_by_side(given, weights.dtype), spans)
        few = run.device == "cpu" and self.weight.numel() < FEW
        if few or backward_pass() is None:
            # As they come, since norms of groups of few channels are slow of maps channels last.
            last = any(part.stride(1) == 1 for part in given)
            layout = LAST if last else torch.preserve_format
            whole = _with_zeros(parts, rest)
            return super().forward(
                whole.to(computing_dtype(self, run.device), memory_format=layout)
            )
        taped = run.weights_of(self)
        if torch.is_grad_enabled():
            token = taped.token()
            if token is not None or any(part.requires_grad for part in given):
                out: Tensor = GatheredConvolution.apply(token, taped, spans, *given)
                return out
        return taped.convolve(side_by_side(given, taped.dtype), spans)


def _with_zeros(parts: tuple[Tensor | None, ...], rest: int) -> Tensor:
    """One map, with `rest` channels of zeros where the first None stands."""
    whole = []
    for part in parts:
        if part is not None:
            whole.append(part)
        elif rest:
            like = next(part for part in parts if part is not None)
            whole.append(like.new_zeros(like.shape[0], rest, *like.shape[2:]))
            rest = 0
    return torch.cat(whole, dim=1) if len(whole) > 1 else whole[0]


def _spans(parts: tuple[Tensor | None, ...], rest: int) -> tuple[Span, ...]:
    """Return the channels of each part; the first None stands for `rest` channels of zeros."""
    spans, start = [], 0
    for part in parts:
        if part is None:
            start, rest = start + rest, 0
        else:
            spans.append((start, start + part.shape[1]))
            start += part.shape[1]
    return tuple(spans)
