"""PredRNN (Wang et al. 2017; its journal version Wang et al. 2021, arXiv 2103.09504): the cell, the
core, and networks of them.

Shapes: maps b d h w, hidden maps b k h w.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.addons.zoo.zigzag import ZigZag, ZigZagCell, hidden_map, updated
from foreframe.models.core import Hidden, Maps, check_cell
from foreframe.models.engine import Conv2d, pointwise, tanh
from foreframe.models.interface import State


class STLSTMCell(ZigZagCell):
    """One step of a spatiotemporal LSTM, ST-LSTM (Wang et al. 2021), which has two
    memories: c, its own, and M, which comes from the layer below and goes on to the one above. * is
    convolution, ∘ the elementwise product:

        i  = σ(W_xi * x + W_hi * h)          i' = σ(W'_xi * x + W_mi * M)
        f  = σ(W_xf * x + W_hf * h)          f' = σ(W'_xf * x + W_mf * M)
        g  = tanh(W_xg * x + W_hg * h)       g' = tanh(W'_xg * x + W_mg * M)
        c' = f ∘ c + i ∘ g                   M' = f' ∘ M + i' ∘ g'
        o  = σ(W_xo * x + W_ho * h + W_co * c' + W_mo * M')
        h' = o ∘ tanh(W_1x1 * [c', M'])

    i, f, g and o come from one convolution over [x, h], to which that over [c', M'] is added in o;
    i', f' and g' from one over [x, M]. Difference from the paper, as in the authors' code: there
    are no biases except a constant in f and f'.

    Args:
        channels: of x; 0 for a cell that takes no input.
        hidden: channels of h, c and M.
        kernel: odd side of the kernels; hidden maps keep the frame's size.
        forget_bias: constant added to f and f' before the sigmoid.
        increments: where gradients are on, also give i ∘ g and i' ∘ g', side by side, as "i".

    Raises:
        ValueError: for an even kernel or no hidden channels.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel: int = 5,
        forget_bias: float = 1.0,
        increments: bool = False,
    ) -> None:
        super().__init__()
        check_cell(channels, hidden, kernel)
        self.hidden, self.forget_bias, self.increments = hidden, forget_bias, increments
        same: dict[str, Any] = {"padding": kernel // 2, "bias": False}
        self.gates = Conv2d(channels + hidden, 4 * hidden, kernel, **same)
        self.memory_gates = Conv2d(channels + hidden, 3 * hidden, kernel, **same)
        self.output = Conv2d(2 * hidden, hidden, kernel, **same)
        self.mix = Conv2d(2 * hidden, hidden, 1, bias=False)

    def forward(self, x: Maps | None, M: Hidden | None, own: State) -> tuple[State, Hidden]:
        """(x, M, {h, c}) -> {h', c'}, M'."""
        gates, o = self.gates(x, own.get("h")).split([3 * self.hidden, self.hidden], dim=1)
        memory_gates = self.memory_gates(x, M)
        nothing = torch.zeros_like(o, dtype=torch.promote_types(o.dtype, torch.float32))
        M = nothing if M is None else M
        memories = _memories(gates, memory_gates, own.get("c", nothing), M, self.forget_bias)
        c, M = memories.chunk(2, dim=1)
        seen = memories.to(o.dtype)
        h = hidden_map(o, self.output(seen), self.mix(seen), torch.sigmoid)
        new = {"h": h, "c": c}
        if self.increments and torch.is_grad_enabled():
            new["i"] = _increments(gates, memory_gates)
        return new, M


@pointwise
def _memories(
    gates: Float[Tensor, "b k3 h w"],
    memory_gates: Float[Tensor, "b k3 h w"],
    c: Hidden,
    M: Hidden,
    forget_bias: float,
) -> Float[Tensor, "b k2 h w"]:
    """c' and M' side by side."""
    news = [updated(gates, c, forget_bias), updated(memory_gates, M, forget_bias)]
    return torch.cat(news, dim=1)


@pointwise
def _increments(
    gates: Float[Tensor, "b k3 h w"], memory_gates: Float[Tensor, "b k3 h w"]
) -> Float[Tensor, "b k2 h w"]:
    """i ∘ g and i' ∘ g' side by side, computed anew, since a forecast does without."""
    wide = torch.promote_types(gates.dtype, torch.float32)
    apart = [raw.to(wide).chunk(3, dim=1) for raw in (gates, memory_gates)]
    return torch.cat([torch.sigmoid(i) * tanh(g) for i, _, g in apart], dim=1)


class PredRNN(ZigZag):
    """Layers of ST-LSTM cells whose memory M goes through all of them in a zigzag.

    With `decouple` it is that of PredRNN-V2 (Wang et al. 2021): training's loss has a
    further term, by which the two memories of a cell learn different things,

        decouple · mean of |⟨ΔC, ΔM⟩| / (‖ΔC‖ ‖ΔM‖),    ΔC = W * (i ∘ g),  ΔM = W * (i' ∘ g')

    with products over space, and the mean over channels, layers, clips and frames; the 1x1
    convolution W serves all layers. A state then has, as "d0", two numbers a clip: the sum of these
    means over frames, and how many frames that were. Only training, with gradients on, adds to it.

    Args:
        channels: that the first layer takes; 0 for none.
        hidden: channels, one number a layer, all equal.
        kernel, forget_bias: of every cell, see `STLSTMCell`.
        decouple: weight of the term; 0 for a core without it.

    Raises:
        ValueError: as `ZigZag` and `STLSTMCell`.
    """

    def __init__(
        self,
        channels: int,
        /,
        hidden: Sequence[int] = (64, 64),
        kernel: int = 5,
        forget_bias: float = 1.0,
        decouple: float = 0.0,
    ) -> None:
        cells = (
            STLSTMCell(i, o, kernel, forget_bias, increments=decouple != 0)
            for i, o in pairwise((channels, *hidden))
        )
        super().__init__(hidden, cells)
        self.decouple, self.adapter = decouple, None
        if decouple:
            self.adapter = Conv2d(hidden[0], hidden[0], 1, bias=False)
            self.accumulated_states = ("d0",)

    def start(self, like: Maps) -> State:
        b, wide = like.shape[0], torch.promote_types(like.dtype, torch.float32)
        sums = {name: like.new_zeros(b, 2, dtype=wide) for name in self.accumulated_states}
        return super().start(like) | sums

    def step(self, x: Maps | None, state: State) -> State:
        after = super().step(x, state)
        if self.adapter is None:
            return after
        b, wide = after["m0"].shape[0], after["m0"].dtype
        sums = state.get("d0", after["m0"].new_zeros(b, 2))
        if torch.is_grad_enabled():
            layers = torch.cat([after.pop(f"i{k}") for k in range(len(self.hidden))])
            C, M = (self.adapter(part).flatten(2).to(wide) for part in layers.chunk(2, dim=1))
            alike = F.cosine_similarity(C, M, dim=2).abs().mean(dim=1)
            alike = alike.unflatten(0, (-1, b)).mean(dim=0)
            sums = sums + torch.stack([alike, torch.ones_like(alike)], dim=1)
        return after | {"d0": sums}

    def terms(self, state: State) -> dict[str, Float[Tensor, ""]]:
        if self.adapter is None:
            return {}
        alike, frames = state["d0"].sum(dim=0)
        return {"decoupling": self.decouple * alike / frames}


def published(core: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """The network in which OpenSTL compares such cores: 4 layers of 128 on 4x4 patches, fed its own
    frames.
    """
    args = {
        "core": {core: {"hidden": [128, 128, 128, 128], "kernel": 5, **more}},
        "codec": {"patches": {"size": 4}},
        "draw": {"kernel": 1, "sigmoid": False, "bias": False},
    }
    return "next_frame", args


def small(core: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """One that two CPU cores train: 2 layers of 32 on 8x8 patches."""
    args = {"core": {core: {"hidden": [32, 32], "kernel": 3, **more}}}
    return "next_frame", args | {"codec": {"patches": {"size": 8}}}


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "predrnn": published("predrnn"),
    "predrnnv2": published("predrnn", decouple=0.1),
    "predrnn_small": small("predrnn"),
    "predrnnv2_small": small("predrnn", decouple=0.1),
}
