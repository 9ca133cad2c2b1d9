"""The fast path of recurrent layers: convolutions and elementwise mathematics over many steps, with
the same values and gradients as plain torch. It knows no cell: cells are built from it.

- `Conv2d` is an `nn.Conv2d`. Within `one_pass` its maps lie channels last, its weights are cast to
  autocast's dtype once, and a part that is zero takes no part in the convolution.
- The gradients of its weights are taken of many steps in one convolution, since small
  weight-gradient convolutions are slow. With few weights, on a CPU, it is left to autograd.
- `pointwise` marks the elementwise part of a cell. Of it only the inputs are kept for the backward
  pass, which computes the rest again. Compiled, it is one kernel forward and one backward; else it
  runs over blocks of pixels.
"""

import types
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, wraps
from importlib.util import find_spec
from inspect import unwrap
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from foreframe.base.notes import warn
from foreframe.models.packed import (
    LAST,
    PackedConv2d,
    Span,
    Weights,
    computing_dtype,
    is_kept,
    kept_weights,
    runs_plain,
)

# Pixels whose gradients of weights are taken in one convolution: fewer are slow, and on a CPU many
# more are slow too.
AT_ONCE = 2**14
# With fewer weights than these, a convolution on a CPU is left to autograd. Gathering takes a time
# of its own, and spares what grows with the weights: laying them out and adding up their gradients
# at every step. On 8x8 and 16x16 maps, of 3x3 kernels, 32 -> 32 channels are faster by autograd,
# 64 -> 128 about as fast, and 128 -> 256 faster gathered.
FEW = 2**17
# Where it is not compiled, the elementwise part works on blocks whose largest map has so many
# values for each thread, of bfloat16, which is widened on the way, half as many: with the
# intermediate values about what a core's cache holds. Without blocks, a forecast
# by `tutorial` in bf16 takes 1.23 times the processor time, and a training, which then keeps the
# intermediate values, 2.1 times the memory in float32 and 3.3 times in bf16, though only .85 to .91
# of the time of a step.
BLOCK = 2**18
# Up to so many values of the first map, the elementwise part that is not compiled runs as it is
# written: keeping all of it takes less time than computing it again.
SMALL = 2**17

_current: ContextVar["one_pass | None"] = ContextVar("one_pass", default=None)


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
        self.weights: dict[tuple[nn.Module, torch.dtype], _Weights] = {}
        self.outer: list[one_pass | None] = []

    def __enter__(self) -> "one_pass":
        if not torch.compiler.is_compiling():
            self.outer.append(_current.get())
            _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if not torch.compiler.is_compiling():
            _current.set(self.outer.pop())

    def weights_of(self, conv: "Conv2d") -> "_Weights":
        """A convolution's weights in this pass, in autocast's dtype where that is on."""
        dtype = computing_dtype(conv, self.device)
        if (conv, dtype) not in self.weights:
            self.weights[conv, dtype] = _Weights(conv, dtype)
        return self.weights[conv, dtype]


def pass_for(tensor: Tensor) -> one_pass | None:
    """The pass that work on this tensor belongs to, if any."""
    run = None if runs_plain(tensor) else _current.get()
    return run if run is not None and run.device == tensor.device.type else None


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
        if not torch.is_grad_enabled() and is_kept(self):
            weights = kept_weights(self, run.device)
            return weights.convolve(_side_by_side(given, weights.dtype), spans)
        if run.device == "cpu" and self.weight.numel() < FEW:
            # As they come, since norms of groups of few channels are slow of maps channels last.
            last = any(part.stride(1) == 1 for part in given)
            layout = LAST if last else torch.preserve_format
            whole = _with_zeros(parts, rest)
            return super().forward(whole.to(computing_dtype(self, "cpu"), memory_format=layout))
        taped = run.weights_of(self)
        if torch.is_grad_enabled():
            token = taped.token()
            if token is not None or any(part.requires_grad for part in given):
                out: Tensor = _Convolution.apply(token, taped, spans, *given)
                return out
        return taped.convolve(_side_by_side(given, taped.dtype), spans)


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
    """The channels of each given part, where `rest` channels of zeros stand at the first None."""
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


class _Weights(Weights):
    """A convolution's weights in one pass, and the tape of their gradients."""

    def __init__(self, conv: Conv2d, dtype: torch.dtype) -> None:
        super().__init__(conv, dtype)
        self.tape = _Tape(self)
        self._token: Tensor | None = None

    def token(self) -> Tensor | None:
        """The token of `_Gathered` that every step takes, if gradients of weights are needed."""
        if self._token is None and (
            self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)
        ):
            self._token = _Gathered.apply(self.tape, self.weight, self.bias)
        return self._token

    def backward(self, D: Tensor, v: Tensor, weight: Tensor, input: bool) -> Any:
        """From the gradient D of the output to that of `v`, or to those of weight and bias."""
        biased = not input and self.bias is not None
        sizes, which = [len(weight)] if biased else None, [input, not input, biased]
        # The last three: not transposed, no padding of the output, one group.
        how = (self.stride, self.padding, self.dilation, False, [0, 0], 1)
        return torch.ops.aten.convolution_backward(D, v, weight, sizes, *how, which)


class _Convolution(torch.autograd.Function):
    """Parts -> their convolution. Gradients of weights go to the pass's tape, from where
    `_Gathered` brings them to the parameters.
    """

    @staticmethod
    def forward(
        ctx: Any, token: Any, weights: _Weights, spans: tuple[Span, ...], *parts: Tensor
    ) -> Tensor:
        v = _side_by_side(list(parts), weights.dtype)
        ctx.weights, ctx.spans = weights, spans
        ctx.kinds = [part.dtype for part in parts]
        ctx.save_for_backward(v)
        return weights.convolve(v, spans)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, D: Tensor) -> Any:
        weights: _Weights = ctx.weights
        (v,) = ctx.saved_tensors
        needs_weight, _, _, *needs = ctx.needs_input_grad
        D = D.to(weights.dtype, memory_format=LAST)
        if needs_weight:
            weights.tape.add(v, D, ctx.spans)
        wanted = tuple(span for span, needed in zip(ctx.spans, needs, strict=True) if needed)
        if not wanted:
            return (None,) * len(ctx.needs_input_grad)
        widths = [stop - start for start, stop in wanted]
        # Only the size of `v` matters.
        into = weights.backward(D, v[:, : sum(widths)], weights.part(wanted), True)[0]
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
    def forward(ctx: Any, tape: "_Tape", weight: Any, bias: Any) -> Any:
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


class _Tape:
    """Gradients of a convolution's parameters, gathered over the steps of one backward pass."""

    def __init__(self, weights: _Weights) -> None:
        self.weights = weights
        self.wide = torch.promote_types(weights.dtype, torch.float32)
        self.waiting: list[tuple[Tensor, Tensor]] = []
        self.spans: tuple[Span, ...] = ()
        self.number: int | None = None  # of the backward pass, as autograd counts them

    def begin(self) -> None:
        """Drop what an earlier backward pass left, as one for gradients of inputs alone does."""
        number = torch._C._current_graph_task_id()
        if number != self.number:
            self.number = number
            self.waiting.clear()
            self.weights.packed.clear()  # for forward; the gradients take their memory
            self.weight = torch.zeros_like(self.weights.cast, dtype=self.wide)
            bias = self.weights.bias
            self.bias = None if bias is None else torch.zeros_like(bias, dtype=self.wide)

    def add(self, v: Tensor, D: Tensor, spans: tuple[Span, ...]) -> None:
        """A step's input and the gradients of its output; `spans` of the weights took part."""
        self.begin()
        if spans != self.spans:
            self.flush()
        self.spans = spans
        self.waiting.append((v, D))
        if sum(D.shape[0] * D.shape[2] * D.shape[3] for _, D in self.waiting) >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if not self.waiting:
            return
        v, D = (
            torch.cat(steps) if len(steps) > 1 else steps[0]
            for steps in zip(*self.waiting, strict=True)
        )
        clips = len(v) if v.is_cuda else max(1, AT_ONCE // (D.shape[2] * D.shape[3]))
        part = self.weights.part(self.spans)
        for some_D, some_v in zip(D.split(clips), v.split(clips), strict=True):
            _, weight, bias = self.weights.backward(some_D, some_v, part, False)
            widths = [stop - start for start, stop in self.spans]
            for span, gradient in zip(self.spans, weight.split(widths, dim=1), strict=True):
                self.weight[:, slice(*span)] += gradient
            if self.bias is not None:
                self.bias += bias
        self.waiting.clear()

    def taken(self) -> tuple[Tensor, Tensor | None]:
        self.flush()
        self.number = None  # the next backward pass begins with zeros
        weight, bias = self.weight.contiguous(), self.bias
        del self.weight, self.bias
        return weight, bias


# The elementwise part.


def pointwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a cell's elementwise mathematics, written once in plain torch, as one kernel of its own.

    `function` takes maps (b,c,h,w), at least one, where c may differ; tensors of other than four
    dimensions, as weights of the channels (c,1,1), which every pixel sees; and anything else that
    is no tensor. It gives a map or a tuple of maps. What it gives at a pixel may depend on the maps
    at that pixel alone.

    Outside of `one_pass` it is the function itself. Within, gradients are of the first order only,
    and nothing is kept for them but what went in, unless maps are small.
    """
    plain = unwrap(function)  # tests add checks of types, which are of whole maps

    @cache
    def ways(compiled: bool) -> _Ways:
        return _Ways(plain, compiled)

    work = 0  # values of the first map so far, of those that are compiled by themselves

    @wraps(function)
    def run(*inputs: Any) -> Any:
        nonlocal work
        like = next(value for value in inputs if _is_map(value))
        current = pass_for(like)
        if current is None:
            return function(*inputs)
        tensors = (value for value in inputs if isinstance(value, Tensor))
        learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        compiled = bool(current.compiled)
        if current.compiled is None and (current.device == "cuda" or like.numel() > SMALL):
            work += like.numel() * (3 if learns else 1)
            compiled = (current.device == "cuda" or work >= PAYS) and _compiles(current.device)
        if not compiled and like.numel() <= SMALL:
            return plain(*inputs)
        if learns:
            return _Pointwise.apply(ways(compiled), *inputs)
        return _maps(ways(compiled).forward(*_rows(inputs)), like)

    return run


def channels_last(maps: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h w"]:
    """The same maps, laid out so that a cell that takes them computes on maps channels last."""
    return maps if runs_plain(maps) else maps.contiguous(memory_format=LAST)


@unwrap  # cells call it where they are compiled: checks of types would be traced, too
def tanh(x: Tensor) -> Tensor:
    """1 - 2σ(-2x), exact but for the last bit: on a CPU torch's tanh takes six sigmoids."""
    return torch.rsub(torch.sigmoid(-2 * x), 1, alpha=2)


class _Ways:
    """A function of pixels (n,c,1,1), and the gradients of its inputs from those of its outputs."""

    def __init__(self, function: Callable[..., Any], compiled: bool) -> None:
        self.function = function
        self.forward, self.backward = self._forward, self._backward
        if compiled:
            forward = torch.compile(function, dynamic=True)
            backward = torch.compile(_backward_of(function), dynamic=True)
            self.forward = lambda *inputs: forward(*_bare(inputs))
            self.backward = lambda inputs, gradients: backward(_bare(inputs), _bare(gradients))

    def _forward(self, *inputs: Any) -> Any:
        outs = [self.function(*block) for block in _blocks(inputs)]
        if len(outs) == 1:
            return outs[0]
        if isinstance(outs[0], Tensor):
            return torch.cat(outs)
        return tuple(torch.cat(parts) for parts in zip(*outs, strict=True))

    def _backward(self, inputs: tuple[Any, ...], gradients: tuple[Tensor, ...]) -> list[Tensor]:
        """Gradients of the tensors among the inputs."""
        n, blocks = len(inputs), []
        for block in _blocks((*inputs, *gradients)):
            given = [
                value.detach().requires_grad_() if isinstance(value, Tensor) else value
                for value in block[:n]
            ]
            with torch.enable_grad():
                out = self.function(*given)
            tensors = [value for value in given if isinstance(value, Tensor)]
            out = (out,) if isinstance(out, Tensor) else out
            blocks.append(torch.autograd.grad(out, tensors, block[n:], materialize_grads=True))
        if len(blocks) == 1:
            return list(blocks[0])
        return [
            torch.cat(parts) if _is_map(parts[0]) else torch.stack(parts).sum(dim=0)
            for parts in zip(*blocks, strict=True)
        ]


def _bare(value: Any) -> Any:
    """Tensors, alone or in tuples, made contiguous and no views; anything else as it is. A compiler
    would compile anew for each layout and for each kind of map that rows are a view of.
    """
    if isinstance(value, tuple):
        return tuple(map(_bare, value))
    return value.contiguous().data if isinstance(value, Tensor) else value


def _backward_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """(inputs, gradients of outputs) -> gradients of the tensors among the inputs, in one piece."""

    def backward(inputs: Any, gradients: Any) -> Any:
        # Typed as Any, and with a lambda: where tests check types, a compiler would meet another
        # checker at each call.
        places = [place for place, value in enumerate(inputs) if isinstance(value, Tensor)]
        out, back, *_ = torch.func.vjp(
            lambda *tensors: function(
                *(
                    tensors[places.index(place)] if place in places else value
                    for place, value in enumerate(inputs)
                )
            ),
            *[inputs[place] for place in places],
        )
        return back(gradients if isinstance(out, tuple) else gradients[0])

    # Each with a code object of its own: a compiler counts attempts by these, and gives up after
    # some.
    backward = unwrap(backward)
    code = backward.__code__.replace(co_name=f"backward_of_{function.__name__}")
    return types.FunctionType(code, backward.__globals__, code.co_name, None, backward.__closure__)


class _Pointwise(torch.autograd.Function):
    """A marked function of maps, of which only the inputs are kept."""

    @staticmethod
    def forward(ctx: Any, ways: _Ways, *inputs: Any) -> Any:
        rows = _rows(inputs)
        ctx.ways = ways
        ctx.others = [None if isinstance(value, Tensor) else value for value in rows]
        ctx.shapes = [value.shape if isinstance(value, Tensor) else None for value in inputs]
        ctx.save_for_backward(*(value for value in rows if isinstance(value, Tensor)))
        out = ways.forward(*rows)
        outs = (out,) if isinstance(out, Tensor) else out
        ctx.outs = [(value.shape, value.dtype) for value in outs]
        ctx.set_materialize_grads(False)  # they would not lie channels last
        return _maps(out, next(value for value in inputs if _is_map(value)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        kept = iter(ctx.saved_tensors)
        inputs = tuple(
            other if shape is None else next(kept)
            for other, shape in zip(ctx.others, ctx.shapes, strict=True)
        )
        like = next(value for value in inputs if _is_map(value))
        given = tuple(
            like.new_zeros(shape, dtype=dtype) if gradient is None else gradient
            for gradient, (shape, dtype) in zip(_rows(gradients), ctx.outs, strict=True)
        )
        into = iter(ctx.ways.backward(inputs, given))
        shaped: list[Tensor | None] = []
        for shape in ctx.shapes:
            if shape is None:
                shaped.append(None)
            else:
                gradient = next(into)
                shaped.append(_as_map(gradient, shape) if len(shape) == 4 else gradient)
        return None, *shaped


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4


def _rows(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Maps (b,c,h,w) as pixels (n,c,1,1), without a copy where they lie channels last, so that a
    compiler meets only two sizes, n and c, whatever the frame's size.
    """

    def row(value: Any) -> Any:
        if _is_map(value):
            return value.detach().permute(0, 2, 3, 1).reshape(-1, value.shape[1], 1, 1)
        return value.detach() if isinstance(value, Tensor) else value

    return tuple(row(value) for value in inputs)


def _as_map(rows: Tensor, shape: torch.Size) -> Tensor:
    b, _, h, w = shape
    return rows.view(b, h, w, -1).permute(0, 3, 1, 2)


def _maps(out: Any, like: Tensor) -> Any:
    """Pixels as maps, channels last, of the size of `like`."""
    if isinstance(out, Tensor):
        return _as_map(out, like.shape)
    return tuple(_as_map(value, like.shape) for value in out)


def _blocks(inputs: tuple[Any, ...]) -> Any:
    """The inputs in parts of some pixels each; on CUDA all at once."""
    maps = [value for value in inputs if _is_map(value)]
    values = BLOCK * torch.get_num_threads() * maps[0].element_size() // 4
    n, size = len(maps[0]), max(1, values // max(value.shape[1] for value in maps))
    if maps[0].is_cuda or n <= size:
        return [inputs]
    return [
        tuple(value[at : at + size] if _is_map(value) else value for value in inputs)
        for at in range(0, n, size)
    ]


# Values of a cell's first map after which a process on a CPU compiles what it computes from them:
# so far it has taken about as long as compiling will, which may take 12 seconds, so that a process
# loses half of its time to it at the worst. About 25 forecasts of 4 clips by `tutorial`.
PAYS = 2**32
WORTH = 2**17  # values of a layer's map from which compiling is earned back within a minute


@cache
def why_not_compiled(device: str) -> str:
    """Why the elementwise part cannot be compiled for "cpu" or "cuda" here, in a line; "" where it
    can.

    On a CPU that takes a C++ compiler, on CUDA triton and a GPU that is not too old. Finding out
    takes some seconds, once.
    """
    if device == "cuda" and find_spec("triton") is None:
        return "triton is not installed"
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(8, device=device))
    except Exception as error:  # of torch's, of the operating system's, as it happens to fail
        if device == "cuda":
            return (str(error).splitlines() or [type(error).__name__])[0]
        return "there is no C++ compiler here that works (g++, or what CXX names)"
    return ""


@cache
def _compiles(device: str) -> bool:
    """Whether compiling works here; said in a line, once."""
    why = why_not_compiled(device)
    if not why and device == "cpu":
        warn(
            "recurrent cells are compiled from here on, which so long a run pays back; --compile "
            "false, or model.compiled = False in Python, leaves that out"
        )
    if why and device == "cuda" and find_spec("triton") is not None:
        warn(f"recurrent cells are not compiled, and slower for it: {why}")
    return not why
