"""`Conv2d`: a convolution for cells, which run it at every step. The gradients of its weights are
gathered over the steps of a pass, since small weight-gradient convolutions are slow.
"""

from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from foreframe.models.engine.packed import (
    LAST,
    PackedConv2d,
    Span,
    Weights,
    computing_dtype,
    current_pass,
    kept_weights,
    runs_plain,
)
from foreframe.models.engine.torch_private import backward_pass

# With fewer weights than these, a convolution on a CPU is left to autograd. Gathering costs time.
# It saves work that grows with the weights: their layout and the sums of their gradients at every
# step. On 8x8 and 16x16 maps, of 3x3 kernels, 32 -> 32 channels are faster by autograd, 64 -> 128
# about as fast, and 128 -> 256 faster gathered.
FEW = 2**17

# Pixels whose gradients of weights are taken in one convolution: fewer are slow, and on a CPU many
# more are slow too.
GATHERED = 2**14


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
            return weights.convolve(_side_by_side(given, weights.dtype), spans)
        few = run.device == "cpu" and self.weight.numel() < FEW
        if few or backward_pass() is None:
            # As they come, since norms of groups of few channels are slow of maps channels last.
            last = any(part.stride(1) == 1 for part in given)
            layout = LAST if last else torch.preserve_format
            whole = _with_zeros(parts, rest)
            return super().forward(
                whole.to(computing_dtype(self, run.device), memory_format=layout)
            )
        tape = run.tape_of(self)
        out: Tensor = _GatheredConvolution.apply(tape.token(), tape, spans, *given)
        return out


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


def _side_by_side(parts: list[Tensor], dtype: torch.dtype) -> Tensor:
    """One map of all channels, channels last."""
    if len(parts) == 1:
        return parts[0].to(dtype, memory_format=LAST)
    b, _, h, w = parts[0].shape
    widths = [part.shape[1] for part in parts]
    whole = torch.empty(
        b, sum(widths), h, w, dtype=dtype, device=parts[0].device, memory_format=LAST
    )
    for place, part in zip(whole.split(widths, dim=1), parts, strict=True):
        place.copy_(part)
    return whole


class _Tape(Weights):
    """A convolution's weights in one pass, and the gradients of its parameters, gathered over the
    steps of one backward pass.
    """

    def __init__(self, conv: PackedConv2d, dtype: torch.dtype) -> None:
        super().__init__(conv, dtype)
        self.wide = torch.promote_types(dtype, torch.float32)
        self.waiting: list[tuple[Tensor, Tensor]] = []
        self.spans: tuple[Span, ...] = ()
        self.number: int | None = None  # of the backward pass, as autograd counts them
        self._token: Tensor | None = None

    def token(self) -> Tensor | None:
        """The token of `_Gathered` that every step takes, if gradients of weights are needed."""
        if self._token is None and (
            self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)
        ):
            self._token = _Gathered.apply(self, self.weight, self.bias)
        return self._token

    def begin(self) -> None:
        """Drop what an earlier backward pass left, as one for gradients of inputs alone does."""
        number = backward_pass()
        if number != self.number:
            self.number = number
            self.waiting.clear()
            self.packed.clear()  # for forward; the gradients take their memory
            self.of_weight = torch.zeros_like(self.cast, dtype=self.wide)
            bias = self.bias
            self.of_bias = None if bias is None else torch.zeros_like(bias, dtype=self.wide)

    def add(self, v: Tensor, D: Tensor, spans: tuple[Span, ...]) -> None:
        """A step's input and the gradients of its output; `spans` of the weights took part."""
        self.begin()
        if spans != self.spans:
            self.flush()
        self.spans = spans
        self.waiting.append((v, D))
        if sum(D.shape[0] * D.shape[2] * D.shape[3] for _, D in self.waiting) >= GATHERED:
            self.flush()

    def flush(self) -> None:
        if not self.waiting:
            return
        v, D = (
            torch.cat(steps) if len(steps) > 1 else steps[0]
            for steps in zip(*self.waiting, strict=True)
        )
        clips = len(v) if v.is_cuda else max(1, GATHERED // (D.shape[2] * D.shape[3]))
        part = self.part(self.spans)
        for some_D, some_v in zip(D.split(clips), v.split(clips), strict=True):
            _, weight, bias = self.backward(some_D, some_v, part, False)
            widths = [stop - start for start, stop in self.spans]
            for span, gradient in zip(self.spans, weight.split(widths, dim=1), strict=True):
                self.of_weight[:, slice(*span)] += gradient
            if self.of_bias is not None:
                self.of_bias += bias
        self.waiting.clear()

    def taken(self) -> tuple[Tensor, Tensor | None]:
        self.flush()
        self.number = None  # the next backward pass begins with zeros
        weight, bias = self.of_weight.contiguous(), self.of_bias
        del self.of_weight, self.of_bias
        return weight, bias

    def backward(self, D: Tensor, v: Tensor, weight: Tensor, input: bool) -> Any:
        """Return the gradient of `v`, or the gradients of weight and bias, from the output's, D."""
        biased = not input and self.bias is not None
        sizes, which = [len(weight)] if biased else None, [input, not input, biased]
        # The last three: not transposed, no padding of the output, one group.
        how = (self.stride, self.padding, self.dilation, False, [0, 0], 1)
        return torch.ops.aten.convolution_backward(D, v, weight, sizes, *how, which)


class _GatheredConvolution(torch.autograd.Function):
    """Parts -> their convolution. Gradients of weights go to the pass's tape, from where
    `_Gathered` brings them to the parameters.
    """

    @staticmethod
    def forward(
        ctx: Any, token: Any, tape: _Tape, spans: tuple[Span, ...], *parts: Tensor
    ) -> Tensor:
        v = _side_by_side(list(parts), tape.dtype)
        ctx.tape, ctx.spans = tape, spans
        ctx.kinds = [part.dtype for part in parts]
        ctx.save_for_backward(v)
        return tape.convolve(v, spans)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, D: Tensor) -> Any:
        tape: _Tape = ctx.tape
        (v,) = ctx.saved_tensors
        needs_weight, _, _, *needs = ctx.needs_input_grad
        D = D.to(tape.dtype, memory_format=LAST)
        if needs_weight:
            tape.add(v, D, ctx.spans)
        wanted = tuple(span for span, needed in zip(ctx.spans, needs, strict=True) if needed)
        if not wanted:
            return (None,) * len(ctx.needs_input_grad)
        widths = [stop - start for start, stop in wanted]
        # Only the size of `v` matters.
        into = tape.backward(D, v[:, : sum(widths)], tape.part(wanted), True)[0]
        parts = iter(into.split(widths, dim=1))
        gradients = [
            next(parts).to(kind) if needed else None
            for needed, kind in zip(needs, ctx.kinds, strict=True)
        ]
        return None, None, None, *gradients


class _Gathered(torch.autograd.Function):
    """Parameters -> a token that every step takes. As each step comes before it in the backward
    pass, its own backward runs after all of theirs.
    """

    @staticmethod
    def forward(ctx: Any, tape: _Tape, weight: Any, bias: Any) -> Any:
        ctx.tape = tape
        ctx.kinds = [weight.dtype, None if bias is None else bias.dtype]
        ctx.set_materialize_grads(False)
        return weight.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, token: Any) -> Any:
        gathered = zip(ctx.tape.taken(), ctx.kinds, ctx.needs_input_grad[1:], strict=True)
        return None, *(
            value.to(kind) if needed and value is not None else None
            for value, kind, needed in gathered
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
        self.tapes: dict[tuple[nn.Module, torch.dtype], _Tape] = {}
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

    def tape_of(self, conv: PackedConv2d) -> _Tape:
        """A convolution's weights in this pass, in autocast's dtype where that is on."""
        dtype = computing_dtype(conv, self.device)
        if (conv, dtype) not in self.tapes:
            self.tapes[conv, dtype] = _Tape(conv, dtype)
        return self.tapes[conv, dtype]


def pass_for(tensor: Tensor) -> one_pass | None:
    """The pass that work on this tensor belongs to, if any."""
    run: one_pass | None = None if runs_plain(tensor) else current_pass.get()
    return run if run is not None and run.device == tensor.device.type else None
