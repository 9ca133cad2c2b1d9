"""`pointwise`: the elementwise part of a cell, of which only the inputs are kept for the backward
pass.
"""

import types
from collections.abc import Callable
from functools import cache, wraps
from importlib.util import find_spec
from inspect import unwrap
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from foreframe.base.notes import warn
from foreframe.models.engine.convolutions import pass_for
from foreframe.models.engine.packed import LAST, runs_plain

# If it is not compiled, the elementwise part works on blocks: the largest map of a block has this
# number of values for each thread, half of it for bfloat16, which is widened. With intermediate
# values this fits into the cache of a core. Without blocks, a forecast by `tutorial` in bf16 takes
# 1.23 times the processor time. A training step then takes .85 to .91 of the time, but 2.1 times
# the memory in float32 and 3.3 times in bf16, for the intermediate values.
BLOCK = 2**18
# Upper bound of values of the first map for plain autograd: storing everything takes less time than
# computing it again.
SMALL = 2**17
# Values of a cell's first map after which a process on a CPU compiles what it computes from them:
# this work takes about as long as compiling (up to 12 seconds), so at worst a process loses half of
# its time. About 25 forecasts of 4 clips by `tutorial`.
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
def compiles(device: str) -> bool:
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


def pointwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a cell's elementwise mathematics, written in plain torch, as one kernel.

    `function` takes maps (b,c,h,w), at least one, where c may differ; tensors of other than four
    dimensions, as weights of the channels (c,1,1), which every pixel sees; and anything else that
    is no tensor. It returns a map or a tuple of maps. The result at a pixel may depend only on the
    maps at that pixel.

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
            compiled = (current.device == "cuda" or work >= PAYS) and compiles(current.device)
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
    """1 - 2σ(-2x), exact except for the last bit: on a CPU torch's tanh costs six sigmoids."""
    return torch.rsub(torch.sigmoid(-2 * x), 1, alpha=2)


class _Ways:
    """A function of pixels (n,c,1,1), and its gradients."""

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
    """Make tensors contiguous and no views, alone or in tuples; other values are not changed.
    Otherwise a compiler would compile again for each layout and each kind of view.
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

    # Each has a separate code object: a compiler counts attempts by code object, and gives up after
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
        return None, *(
            None if shape is None else _as_map(next(into), shape) for shape in ctx.shapes
        )


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 4


def _rows(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Convert maps (b,c,h,w) to pixels (n,c,1,1), without a copy if they are channels last. A
    compiler then meets only two sizes, n and c, for all frame sizes.
    """

    def row(value: Any) -> Any:
        if _is_map(value):
            return value.detach().permute(0, 2, 3, 1).reshape(-1, value.shape[1], 1, 1)
        return value.detach() if isinstance(value, Tensor) else value

    return tuple(row(value) for value in inputs)


def _as_map(rows: Tensor, shape: torch.Size) -> Tensor:
    """Pixels as a map, channels last, of the size of a map; tensors of other shapes unchanged."""
    if len(shape) != 4:
        return rows
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
