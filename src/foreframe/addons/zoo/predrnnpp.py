"""PredRNN++ (Wang et al. 2018, arXiv 1804.06300): the cell, the core, and networks of them.

Shapes: maps b d h w, hidden maps b k h w.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.addons.zoo.predrnn import published, small
from foreframe.addons.zoo.zigzag import ZigZag, ZigZagCell, hidden_map, updated
from foreframe.models.core import Hidden, Maps, check_cell
from foreframe.models.engine import Conv2d, pointwise, tanh
from foreframe.models.interface import State


class CausalLSTMCell(ZigZagCell):
    """One step of a causal LSTM (Wang et al. 2018), whose second memory, M, is written
    after the first, c, and from it. * is convolution, ∘ the elementwise product:

        i  = σ(W_xi * x + W_hi * h + W_ci * c)      i' = σ(W'_xi * x + W'_ci * c' + W_mi * M)
        f  = σ(W_xf * x + W_hf * h + W_cf * c)      f' = σ(W'_xf * x + W'_cf * c' + W_mf * M)
        g  = tanh(W_xg * x + W_hg * h + W_cg * c)   g' = tanh(W'_xg * x + W'_cg * c')
        c' = f ∘ c + i ∘ g                          M' = f' ∘ tanh(W_m * M) + i' ∘ g'
        o  = tanh(W_xo * x + W_ho * h + W_co * c' + W_mo * M')
        h' = o ∘ tanh(W_1x1 * [c', M'])

    Differences from the paper, as in the authors' code: g' does not depend on M, o depends on h,
    and there are no biases except a constant in f and f'.

    Args:
        channels: of x; 0 for a cell that takes no input.
        hidden: channels of h, c and M.
        kernel: odd side of the kernels; hidden maps keep the frame's size.
        forget_bias: constant added to f and f' before the sigmoid.

    Raises:
        ValueError: for an even kernel or no hidden channels.
    """

    def __init__(
        self, channels: int, hidden: int, kernel: int = 5, forget_bias: float = 1.0
    ) -> None:
        super().__init__()
        check_cell(channels, hidden, kernel)
        self.hidden, self.forget_bias = hidden, forget_bias
        same: dict[str, Any] = {"padding": kernel // 2, "bias": False}
        self.gates = Conv2d(channels + hidden, 4 * hidden, kernel, **same)  # i, f, g, o
        self.gates_of_c = Conv2d(hidden, 3 * hidden, kernel, **same)  # i, f, g
        self.memory_gates = Conv2d(channels + hidden, 3 * hidden, kernel, **same)  # i', f', g'
        self.gates_of_M = Conv2d(hidden, 3 * hidden, kernel, **same)  # i', f', and W_m
        self.output = Conv2d(2 * hidden, hidden, kernel, **same)
        self.mix = Conv2d(2 * hidden, hidden, 1, bias=False)

    def forward(self, x: Maps | None, M: Hidden | None, own: State) -> tuple[State, Hidden]:
        """(x, M, {h, c}) -> {h', c'}, M'."""
        gates, o = self.gates(x, own.get("h")).split([3 * self.hidden, self.hidden], dim=1)
        c = torch.zeros_like(o, dtype=torch.promote_types(o.dtype, torch.float32))
        if "c" in own:
            c = own["c"]
            gates = gates + self.gates_of_c(c)
        c = _first_memory(gates, c, self.forget_bias)
        raw = self.memory_gates(x, c)
        raw_of_M = torch.zeros_like(raw) if M is None else self.gates_of_M(M)
        M = _second_memory(raw, raw_of_M, c.dtype, self.forget_bias)
        seen = torch.cat([c, M], dim=1)
        c, M = seen.chunk(2, dim=1)  # views of it, so that they are kept once
        seen = seen.to(o.dtype)
        h = hidden_map(o + self.output(seen), None, self.mix(seen), tanh)
        return {"h": h, "c": c}, M


_first_memory = pointwise(updated)


@pointwise
def _second_memory(
    raw: Float[Tensor, "b k3 h w"],
    raw_of_M: Float[Tensor, "b k3 h w"],
    dtype: torch.dtype,
    forget_bias: float,
) -> Hidden:
    """M', in the precision of c'."""
    i, f, g = raw.to(dtype).chunk(3, dim=1)
    i_of_M, f_of_M, m = raw_of_M.to(dtype).chunk(3, dim=1)
    kept = torch.sigmoid(f + f_of_M + forget_bias)
    return torch.addcmul(torch.sigmoid(i + i_of_M) * tanh(g), kept, tanh(m))


@pointwise
def _highway(raw: Float[Tensor, "b k2 h w"], Z: Hidden) -> Hidden:
    p, s = raw.to(Z.dtype).chunk(2, dim=1)
    return Z + torch.sigmoid(s) * (tanh(p) - Z)


class PredRNNpp(ZigZag):
    """Layers of causal LSTM cells whose memory M goes through all of them in a zigzag, and a
    gradient highway unit between the first two (Wang et al. 2018), whose map Z layer 1 reads
    instead of the hidden map h of layer 0. Gradients reach far back through it:

        P  = tanh(W_px * h + W_pz * Z)
        S  = σ(W_sx * h + W_sz * Z)
        Z' = S ∘ P + (1 - S) ∘ Z

    A state has Z as "z1". As in the authors' code the highway begins with weights near zero.

    Args:
        channels: that the first layer takes; 0 for none.
        hidden: channels, one number a layer, all equal.
        kernel: of every cell and the highway.
        forget_bias: see `CausalLSTMCell`.

    Raises:
        ValueError: as `ZigZag` and `CausalLSTMCell`, or for a single layer.
    """

    def __init__(
        self,
        channels: int,
        /,
        hidden: Sequence[int] = (64, 64),
        kernel: int = 5,
        forget_bias: float = 1.0,
    ) -> None:
        sizes = pairwise((channels, *hidden))
        super().__init__(hidden, (CausalLSTMCell(i, o, kernel, forget_bias) for i, o in sizes))
        if len(hidden) < 2:
            raise ValueError("hidden has 2 layers or more, between which the highway is")
        k = hidden[0]
        self.highway = Conv2d(2 * k, 2 * k, kernel, padding=kernel // 2, bias=False)
        nn.init.uniform_(self.highway.weight, -1e-3, 1e-3)

    def start(self, like: Maps) -> State:
        state = super().start(like)
        return state | {"z1": state["m0"]}

    def between(self, k: int, state: State, after: State) -> Maps:
        below = super().between(k, state, after)
        if k != 1:
            return below
        Z = state.get("z1", torch.zeros_like(after["c0"]))
        after["z1"] = _highway(self.highway(below, state.get("z1")), Z)
        return after["z1"]


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "predrnnpp": published("predrnnpp"),
    "predrnnpp_small": small("predrnnpp"),
}
