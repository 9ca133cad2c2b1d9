"""The fast path of recurrent layers: a ConvLSTM cell over many steps, equal to the plain cell, and faster.

`in_step(cells, like)` gives, for one pass over time, callables that stand for cells: (x, h, c) -> (h', c'), as
`ConvLSTMCell.forward`. What they do differently:

- Maps lie channels last, in the dtype of autocast where that is on; c stays in float32, so that small changes add up.
- The elementwise part runs over blocks of pixels that stay in the processor's cache, in place, and keeps four gates and c, where
  autograd would keep each intermediate. Compiled, as on CUDA where triton works, and on a CPU if asked for, it is one kernel.
- The backward pass of a step gives only the gradients that earlier steps wait for; those of the weights are taken of many steps in
  one convolution, since small weight-gradient convolutions are slow.
- A layer that has seen nothing (h and c None) spends no convolution on zeros.

The derivatives, with S = (i, f, o, g) after their nonlinearities, t = tanh(c'), and δ what comes from later:

    δo = δh' t o(1-o)             δc  = δc' + δh' o (1-t²) + W_co δo
    δi = δc g i(1-i)   δf = δc c f(1-f)   δg = δc i (1-g²)
    δc (of the step before) = δc f + W_ci δi + W_cf δf        δ[x,h] = Wᵀ * (δi, δf, δo, δg)
"""

import ctypes
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from foreframe.notes import Note

LAST = torch.channels_last
BLOCK = 2**18  # values of c that are worked on at a time: with their gates in float32, about what a core's cache holds
AT_ONCE = 2**14  # pixels of which the gradients of weights are taken in one convolution: fewer are slow, on a CPU many more too

Step = Callable[[Tensor | None, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]


def in_step(cells: Iterable[Any], like: Tensor, compiled: bool = False) -> list[Step]:
    """Callables (x, h, c) -> (h', c') that stand for `cells` during one pass over time, on the device of `like`.

    x is (b,d,h,w), or None for a cell without input; h and c are (b,k,h,w), both None at the beginning. Gradients are of the first
    order only. Where the fast path does not go (under torch.compile and export; on devices other than CPU and CUDA) the cells
    themselves are given.

    Args:
        cells: each with `hidden`, `gates` (a Conv2d over [x, h] for i, f, o, g), `forget_bias` and `peephole`, as `ConvLSTMCell`.
        compiled: on a CPU too, compile the elementwise part: see `check_compiler`.
    """
    if like.device.type not in ("cpu", "cuda") or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return list(cells)
    return [_Fast(cell, like.device.type, compiled) for cell in cells]


class _Fast:
    """A cell's weights as one pass over time uses them."""

    def __init__(self, cell: Any, device: str, compiled: bool) -> None:
        self.compiled = compiled or device == "cuda"
        weight, bias = cell.gates.weight, cell.gates.bias
        self.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        self.wide = torch.promote_types(self.dtype, torch.float32)  # of c, and of everything elementwise
        self.hidden, self.inputs, self.padding = cell.hidden, weight.shape[1] - cell.hidden, list(cell.gates.padding)
        self.weight = weight.detach().to(self.dtype, memory_format=LAST)
        self.peephole = None if cell.peephole is None else cell.peephole.detach().to(self.wide).flatten(1)
        shift = weight.new_zeros(4, cell.hidden)
        shift[1] = cell.forget_bias
        self.bias = None if bias is None and not cell.forget_bias else shift.flatten()
        if bias is not None:
            self.bias = self.bias + bias.detach()
        self.tape = _Tape(self.weight, self.padding, self.hidden, self.wide)
        learnt = (weight, bias, cell.peephole)
        learns = torch.is_grad_enabled() and any(p is not None and p.requires_grad for p in learnt)
        self.token: Tensor | None = _Gathered.apply(self.tape, *learnt) if learns else None

    @cached_property
    def weight_x(self) -> Tensor:
        return self.weight[:, : self.inputs].contiguous(memory_format=LAST)

    @cached_property
    def weight_h(self) -> Tensor:
        return self.weight[:, self.inputs :].contiguous(memory_format=LAST)

    def __call__(self, x: Tensor | None, h: Tensor | None, c: Tensor | None) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in (x, h, c, self.token)):
            made: tuple[Tensor, Tensor] = _OneStep.apply(x, h, c, self.token, self)
            return made
        _, h, c = gated(self.convolved(x, h)[1], c, self.peephole, False, self.compiled)
        return h, c

    def convolved(self, x: Tensor | None, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """What went into the convolution, [x, h] or what there is of it, and the gates that came out."""
        if x is not None and h is not None:
            b, d, height, width = x.shape
            v = torch.empty(b, d + self.hidden, height, width, dtype=self.dtype, device=x.device, memory_format=LAST)
            v[:, :d].copy_(x)
            v[:, d:].copy_(h)
        elif x is not None or h is not None:
            v = (h if x is None else x).to(self.dtype, memory_format=LAST)  # type: ignore[union-attr]
        else:
            raise ValueError("a cell without input needs a state to begin from")
        weight = self.weight if x is None or h is not None else self.weight_x
        bias = None if self.bias is None else self.bias.to(self.dtype)
        return v, F.conv2d(v, weight, bias, padding=self.padding)


class _OneStep(torch.autograd.Function):
    """(x, h, c) -> (h', c'). Gradients of weights go to the cell's tape, from where `_Gathered` brings them to the parameters."""

    @staticmethod
    def forward(ctx: Any, x: Any, h: Any, c: Any, token: Any, fast: _Fast) -> Any:
        v, gates = fast.convolved(x, h)
        S, new_h, new_c = gated(gates, c, fast.peephole, True, fast.compiled)
        ctx.fast, ctx.had_x, ctx.had_h = fast, x is not None, h is not None
        ctx.kinds = [None if one is None else one.dtype for one in (x, h, c)]
        ctx.save_for_backward(v, S, c, new_c)
        ctx.set_materialize_grads(False)
        return new_h, new_c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh: Any, dc: Any) -> Any:
        fast: _Fast = ctx.fast
        v, S, c, new_c = ctx.saved_tensors
        needs_x, needs_h, needs_c, needs_weight, _ = ctx.needs_input_grad
        tape = fast.tape if needs_weight else None
        D, dc = gated_backward(S, c, new_c, dh, dc, fast.peephole, tape, fast.compiled)
        if tape is not None:
            tape.add(v, D, slice(None) if not ctx.had_x or ctx.had_h else slice(fast.inputs))
        dx = dh = None
        if ctx.had_x and ctx.had_h and needs_x:
            dx, dh = _into(v, D, fast.weight, fast.padding).split([fast.inputs, fast.hidden], dim=1)
        elif needs_x:
            dx = _into(v, D, fast.weight_x, fast.padding)
        elif needs_h:
            dh = _into(v[:, -fast.hidden :], D, fast.weight_h, fast.padding)
        made = ((dx, needs_x), (dh, needs_h), (dc, needs_c))
        gradients = [
            one.to(kind) if needed and one is not None else None for (one, needed), kind in zip(made, ctx.kinds, strict=True)
        ]
        return *gradients, None, None


def _into(v: Tensor, D: Tensor, weight: Tensor, padding: list[int]) -> Tensor:
    """The gradient of a convolution's input, of the size of `v`."""
    return _convolution_backward(D, v, weight, padding, [True, False, False])[0]


def _convolution_backward(D: Tensor, v: Tensor, weight: Tensor, padding: list[int], which: list[bool]) -> Any:
    return torch.ops.aten.convolution_backward(D, v, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, which)


class _Gathered(torch.autograd.Function):
    """Parameters -> a token that every step takes. Since each step gives it back, this backward runs after theirs."""

    @staticmethod
    def forward(ctx: Any, tape: "_Tape", weight: Any, bias: Any, peephole: Any) -> Any:
        ctx.tape = tape
        ctx.shapes = [None if one is None else one.shape for one in (weight, bias, peephole)]
        ctx.kind = weight.dtype
        ctx.set_materialize_grads(False)
        return weight.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, token: Any) -> Any:
        gathered = zip(ctx.tape.taken(), ctx.shapes, ctx.needs_input_grad[1:], strict=True)
        return None, *(one.view(shape).to(ctx.kind) if needed and one is not None else None for one, shape, needed in gathered)


class _Tape:
    """Gradients of a cell's parameters, gathered over the steps of one backward pass."""

    def __init__(self, weight: Tensor, padding: list[int], hidden: int, wide: torch.dtype) -> None:
        self.of, self.padding, self.hidden, self.wide = weight, padding, hidden, wide
        self.waiting: list[tuple[Tensor, Tensor]] = []
        self.columns = slice(None)
        self.number: int | None = None  # of the backward pass, as autograd counts them

    def begin(self) -> None:
        """Drop what an earlier backward pass left that never came to the parameters, as `torch.autograd.grad` of inputs does."""
        number = torch._C._current_graph_task_id()
        if number != self.number:
            self.number = number
            self.waiting.clear()
            self.weight = torch.zeros_like(self.of, dtype=self.wide)
            self.bias = self.weight.new_zeros(4, self.hidden)
            self.peephole = self.weight.new_zeros(3, self.hidden)

    def add(self, v: Tensor, D: Tensor, columns: slice) -> None:
        """A step's input and gradients of gates; `columns` of the weights took part."""
        if columns != self.columns:
            self.flush()
        self.columns = columns
        self.waiting.append((v, D))
        if sum(one.shape[0] * one.shape[2] * one.shape[3] for one, _ in self.waiting) >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if self.waiting:
            v, D = (torch.cat(those) if len(those) > 1 else those[0] for those in zip(*self.waiting, strict=True))
            weight, clips = self.of[:, self.columns], len(v)
            if not v.is_cuda:
                clips = max(1, AT_ONCE // (v.shape[2] * v.shape[3]))
            for some in zip(D.split(clips), v.split(clips), strict=True):
                self.weight[:, self.columns] += _convolution_backward(*some, weight, self.padding, [False, True, False])[1]
            self.waiting.clear()

    def taken(self) -> tuple[Tensor, Tensor, Tensor]:
        self.flush()
        self.number = None  # what is given away is not added to again
        return self.weight.contiguous(), self.bias, self.peephole


# The elementwise part. Maps are seen as rows: n = b*h*w pixels of k values.


def gated(
    gates: Tensor, c: Tensor | None, peephole: Tensor | None, keep: bool, compiled: bool = False
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gates (b,4k,h,w) before their nonlinearities, and c -> S (4,n,k), or (n,4,k) where `compiled`, or None where it is not to be
    kept; h' and c' (b,k,h,w)."""
    b, k4, height, width = gates.shape
    k, n, wide = k4 // 4, b * height * width, torch.promote_types(gates.dtype, torch.float32)
    before, past = _rows(gates, gates.dtype).view(n, 4, k), None if c is None else _rows(c, wide)
    if compiled:
        past = torch.zeros(n, k, dtype=wide, device=gates.device) if past is None else past  # one kernel serves all steps
        S, new_h, new_c = _compiled(whole_gated, gates.device.type)(before, past, peephole, keep)
        return S, _maps(new_h, gates), _maps(new_c, gates)
    before = before.transpose(0, 1)
    S = gates.new_empty(4, n, k) if keep else None
    new_h, new_c = gates.new_empty(n, k), gates.new_empty(n, k, dtype=wide)
    for rows in _blocks(n, k):
        s = _scratch("gates", before[:, rows].shape, wide).copy_(before[:, rows])
        t = _scratch("t", s.shape[1:], wide)
        C = new_c[rows]
        if peephole is None:
            s[:3].sigmoid_()
        else:
            if past is not None:
                s[:2].addcmul_(past[rows], peephole[:2, None])
            s[:2].sigmoid_()
        i, f, o, g = s
        _tanh(g, out=g)
        if past is None:
            torch.mul(i, g, out=C)
        else:
            torch.mul(f, past[rows], out=C).addcmul_(i, g)
        if peephole is not None:
            o.addcmul_(C, peephole[2]).sigmoid_()
        new_h[rows] = _tanh(C, out=t).mul_(o)
        if S is not None:
            S[:, rows] = s
    return S, _maps(new_h, gates), _maps(new_c, gates)


def _tanh(x: Tensor, out: Tensor) -> Tensor:
    """2σ(2x) - 1, right to the last bit of 1: on a CPU torch's tanh takes six times as long as its sigmoid."""
    return torch.mul(x, 2, out=out).sigmoid_().mul_(2).sub_(1)


def gated_backward(
    S: Tensor,
    c: Tensor | None,
    new_c: Tensor,
    dh: Tensor | None,
    dc: Tensor | None,
    peephole: Tensor | None,
    tape: _Tape | None,
    compiled: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """From the gradients of h' and c' to those of the gates (b,4k,h,w) and of c. Those of bias and peepholes go to the tape."""
    wide = new_c.dtype
    cell = _rows(new_c, wide)
    n, k = cell.shape
    past, later_h, later_c = (None if one is None else _rows(one, one.dtype) for one in (c, dh, dc))
    if compiled:
        nothing = torch.zeros_like(cell) if past is None or later_c is None else None
        given = (nothing if past is None else past, cell, later_h, nothing if later_c is None else later_c, peephole)
        D, before, bias, peepholes = _compiled(whole_gated_backward, S.device.type)(S, *given)
        if tape is not None:
            tape.begin()
            tape.bias += bias
            tape.peephole += 0 if peepholes is None else peepholes
        return _maps(D.flatten(1), new_c), None if past is None else _maps(before, new_c)
    D = S.new_empty(n, 4, k)
    before = None if past is None else torch.empty_like(past)
    if tape is not None:
        tape.begin()
    for rows in _blocks(n, k):
        s = _scratch("gates", S[:, rows].shape, wide).copy_(S[:, rows])
        d, t, e, δc = (_scratch(name, shape, wide) for name, shape in (("d", s.shape), *((x, s.shape[1:]) for x in "tec")))
        (i, f, o, g), (δi, δf, δo, δg) = s, d
        C = cell[rows]
        if later_h is None:
            δo.zero_()
            δc.zero_()
        else:
            e.copy_(later_h[rows])
            _tanh(C, out=t)
            torch.mul(e, t, out=δo)
            torch.ops.aten.tanh_backward.grad_input(e.mul_(o), t, grad_input=δc)
        if later_c is not None:
            δc.add_(later_c[rows])
        if peephole is not None:
            torch.ops.aten.sigmoid_backward.grad_input(δo, o, grad_input=δo)
            δc.addcmul_(δo, peephole[2])
        torch.mul(δc, g, out=δi)
        if past is None:
            δf.zero_()
        else:
            torch.mul(δc, past[rows], out=δf)
        squashed = 2 if peephole is not None else 3
        torch.ops.aten.sigmoid_backward.grad_input(d[:squashed], s[:squashed], grad_input=d[:squashed])
        torch.ops.aten.tanh_backward.grad_input(torch.mul(δc, i, out=δg), g, grad_input=δg)
        if before is not None:
            δ = torch.mul(δc, f, out=before[rows])
            if peephole is not None:
                δ.addcmul_(δi, peephole[0]).addcmul_(δf, peephole[1])
        D[rows].transpose(0, 1).copy_(d)
        if tape is not None:
            tape.bias += d.sum(dim=1)
            if peephole is not None:
                tape.peephole[2] += torch.mul(δo, C, out=t).sum(dim=0)
                if past is not None:
                    tape.peephole[0] += torch.mul(δi, past[rows], out=t).sum(dim=0)
                    tape.peephole[1] += torch.mul(δf, past[rows], out=t).sum(dim=0)
    return _maps(D.flatten(1), new_c), None if before is None else _maps(before, new_c)


# The same as plain functions of whole tensors, which a compiler makes one kernel of.


def whole_gated(gates: Tensor, c: Tensor, peephole: Tensor | None, keep: bool) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gates (n,4,k) before their nonlinearities, and c (n,k) -> S (n,4,k) where `keep`, h' and c' (n,k)."""
    i, f, o, g = gates.to(c.dtype).unbind(1)
    if peephole is not None:
        i, f = i + c * peephole[0], f + c * peephole[1]
    i, f, g = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g)
    new_c = f * c + i * g
    o = torch.sigmoid(o if peephole is None else o + new_c * peephole[2])
    S = torch.stack([i, f, o, g], dim=1).to(gates.dtype) if keep else None
    return S, (o * torch.tanh(new_c)).to(gates.dtype), new_c


def whole_gated_backward(
    S: Tensor, c: Tensor, new_c: Tensor, dh: Tensor | None, dc: Tensor, peephole: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of the gates (n,4,k), of c (n,k), of the bias (4,k) and the peepholes (3,k)."""
    i, f, o, g = S.to(new_c.dtype).unbind(1)
    t = torch.tanh(new_c)
    e = torch.zeros_like(t) if dh is None else dh.to(t.dtype)
    δo = e * t * o * (1 - o)
    δc = dc + e * o * (1 - t * t)
    δc = δc if peephole is None else δc + δo * peephole[2]
    δi, δf, δg = δc * g * i * (1 - i), δc * c * f * (1 - f), δc * i * (1 - g * g)
    before = δc * f if peephole is None else δc * f + δi * peephole[0] + δf * peephole[1]
    bias = torch.stack([one.sum(dim=0) for one in (δi, δf, δo, δg)])
    peepholes = None
    if peephole is not None:
        peepholes = torch.stack([(δi * c).sum(dim=0), (δf * c).sum(dim=0), (δo * new_c).sum(dim=0)])
    return torch.stack([δi, δf, δo, δg], dim=1).to(S.dtype), before, bias, peepholes


@cache
def _compiled(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """One kernel of it; on CUDA where it can be compiled there, else as it stands."""
    return torch.compile(function, dynamic=True) if device == "cpu" or _cuda_compiles() else function


@cache
def _cuda_compiles() -> bool:
    """Whether triton is installed, and works: it wants a C compiler, and a GPU that is not too old."""
    if find_spec("triton") is None:
        return False
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(8, device="cuda"))
    except Exception as error:
        why = str(error).splitlines()[0]
        warnings.warn(Note(f"ConvLSTM cells are not compiled, and slower for it: {why}"), stacklevel=2)
        return False
    return True


def check_compiler() -> None:
    """Whether the elementwise part can be compiled for a CPU here: that takes a C++ compiler, and some seconds once.

    Raises:
        ValueError: there is none that works.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(8))
    except Exception as error:  # of torch's, of the operating system's, as it happens to fail
        raise ValueError(
            "there is no C++ compiler here that works (g++, or what CXX names); install one, or do not compile"
        ) from error


def _blocks(n: int, k: int) -> list[slice]:
    size = max(1, BLOCK // k)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _rows(maps: Tensor, dtype: torch.dtype) -> Tensor:
    """(b,k,h,w) -> (n,k): no copy where maps lie channels last."""
    return maps.to(dtype).permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    """(n,k) -> (b,k,h,w) channels last, of the size of `like`."""
    b, _, height, width = like.shape
    return rows.view(b, height, width, -1).permute(0, 3, 1, 2)


def keep_memory() -> None:
    """Have this process keep for its next step the memory that a step gives back (glibc; elsewhere nothing happens).

    Without it every large tensor on a CPU is asked of the system anew, and the system clears it page by page. The price: what is
    free again is not seen by other processes. For a process that is there to train.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: large tensors come from the heap too,
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: whose end is never given back,
        mallopt(-2, 2**26)  # M_TOP_PAD: and which grows by 64 MiB


def give_memory_back() -> None:
    """What this process holds free goes back to the system (glibc), so that using it again counts in a measured peak."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


_held = threading.local()


def _scratch(name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Memory to work in, kept between calls: asking the system for it anew costs more than the work. One set for each thread."""
    size = shape.numel()
    held: Tensor | None = getattr(_held, f"{name} {dtype}", None)
    if held is None or held.numel() < size:
        with torch.inference_mode(False):  # else it could not be used outside of it
            held = torch.empty(size, dtype=dtype)
        setattr(_held, f"{name} {dtype}", held)
    return held[:size].view(shape)
