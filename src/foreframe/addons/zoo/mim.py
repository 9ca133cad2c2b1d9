"""MIM, Memory In Memory (Wang et al. 2019, arXiv 1811.07490): the block, the core, and networks of
them.

Shapes: maps b d h w, hidden maps b k h w.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.addons.zoo.predrnn import STLSTMCell, published, small
from foreframe.addons.zoo.zigzag import ZigZag, ZigZagCell, hidden_map
from foreframe.models.convlstm import ConvLSTMCell
from foreframe.models.core import Hidden, Maps
from foreframe.models.engine import Conv2d, pointwise, tanh
from foreframe.models.interface import State


class MIMBlock(ZigZagCell):
    """One step of a Memory-In-Memory block (Wang et al. 2019, section 3.2): an ST-LSTM in which a
    cascade of two recurrent cells replaces the forget gate. The first one, MIM-N, sees
    how h of the layer below changed, and gives D (see `MIM`); the second one, MIM-S, makes T of it,
    what is kept of C. * is convolution, ∘ the elementwise product:

        i  = σ(W_xi * x + W_hi * h)          i' = σ(W_xi * x + W_mi * M)
                                             f' = σ(W_xf * x + W_mf * M + 1)
        g  = tanh(W_xg * x + W_hg * h)       g' = tanh(W_xg * x + W_mg * M)
        T, S' = MIM-S(D, C, S)               M' = f' ∘ M + i' ∘ g'
        C' = T + i ∘ g
        o  = σ(W_xo * x + W_ho * h + W_mo * M)
        h' = o ∘ tanh(W_1x1 * [C', M'])

    MIM-S is a `ConvLSTMCell` with peepholes whose hidden map is C and whose cell state S is its
    own. Differences from the paper, as in the authors' code: x has the same weights in the gates of
    C and of M; o depends on M and neither on C' nor M'; there are no biases except the constants in
    forget gates. Differences from that code: S begins from zero in every clip, and gradients go
    through it from step to step, where theirs goes on with the last batch's and cuts gradients off;
    peepholes hold one number a channel, not one a pixel, for frames of any size.

    Args:
        hidden: channels of x, D, h, C, S and M.
        kernel: odd side of the kernels; hidden maps keep the frame's size.
    """

    keeps = ("h", "c", "s")

    def __init__(self, hidden: int, kernel: int) -> None:
        super().__init__()
        self.hidden = hidden
        same: dict[str, Any] = {"padding": kernel // 2, "bias": False}
        self.input = Conv2d(hidden, 4 * hidden, kernel, **same)
        self.temporal = Conv2d(hidden, 3 * hidden, kernel, **same)
        self.spatial = Conv2d(hidden, 4 * hidden, kernel, **same)
        self.stationary = peephole_lstm(hidden, kernel)
        self.mix = Conv2d(2 * hidden, hidden, 1, bias=False)

    def forward(self, x: Maps | None, M: Hidden | None, own: State) -> tuple[State, Hidden]:
        """([x, D], M, {h, c, s}) -> {h', c', s'}, M'; x alone where nothing was seen."""
        assert x is not None
        assert M is not None
        if own:
            x, D = x.chunk(2, dim=1)
            T, S = self.stationary(D, own["c"], own["s"])
            temporal = self.temporal(own["h"])
        else:
            T, S = torch.zeros_like(x), torch.zeros_like(M)
            temporal = torch.cat([T, T, T], dim=1)
        memories, o = _memories(self.input(x), temporal, self.spatial(M), T, M)
        h = hidden_map(o, None, self.mix(memories.to(o.dtype)), torch.sigmoid)
        c, M = memories.chunk(2, dim=1)
        return {"h": h, "c": c, "s": S}, M


def peephole_lstm(hidden: int, kernel: int) -> ConvLSTMCell:
    """MIM-N and MIM-S."""
    return ConvLSTMCell(hidden, hidden, kernel, False, True, forget_bias=1.0)


@pointwise
def _memories(
    input: Float[Tensor, "b k4 h w"],
    temporal: Float[Tensor, "b k3 h w"],
    spatial: Float[Tensor, "b k4 h w"],
    T: Hidden,
    M: Hidden,
) -> tuple[Float[Tensor, "b k2 h w"], Hidden]:
    """C' and M' side by side, in the precision of M, which is never less than float32; and o before
    its sigmoid.
    """
    i_x, g_x, f_x, o_x = input.to(M.dtype).chunk(4, dim=1)
    i_h, g_h, o_h = temporal.to(M.dtype).chunk(3, dim=1)
    i_m, g_m, f_m, o_m = spatial.to(M.dtype).chunk(4, dim=1)
    C = T + torch.sigmoid(i_x + i_h) * tanh(g_x + g_h)
    new = torch.sigmoid(i_x + i_m) * tanh(g_x + g_m)
    M = torch.addcmul(new, torch.sigmoid(f_x + f_m + 1), M)
    return torch.cat([C, M], dim=1), (o_x + o_h + o_m).to(input.dtype)


class MIM(ZigZag):
    """A layer of ST-LSTM and layers of MIM blocks, whose memory M goes through all of them in a
    zigzag. Between two layers a MIM-N computes D. The first uses the change of the hidden map of
    the first layer since the last frame, the others the D below:

        D_1, N_1' = MIM-N_1(h_0' - h_0, D_1, N_1)
        D_k, N_k' = MIM-N_k(D_k-1', D_k, N_k)

    As MIM-S, a MIM-N is a `ConvLSTMCell` with peepholes. The first frame has no change, so that D
    is zero. A state has further D as "d1", ..., N as "n1", ..., S as "s1", ..., and as "t0" whether
    there was a frame.

    Args:
        channels: that the first layer takes; 0 for none.
        hidden: channels, one number a layer, all equal.
        kernel: odd side of all kernels.

    Raises:
        ValueError: a single layer, or as `ZigZag` and `STLSTMCell`.
    """

    def __init__(
        self,
        channels: int,
        /,
        hidden: Sequence[int] = (64, 64),
        kernel: int = 5,
    ) -> None:
        if len(hidden) < 2:
            raise ValueError("MIM has 2 layers or more: hidden is a list of their channels")
        first, *further = hidden
        blocks = [MIMBlock(width, kernel) for width in further]
        super().__init__(hidden, [STLSTMCell(channels, first, kernel), *blocks])
        self.differences = nn.ModuleList(peephole_lstm(width, kernel) for width in further)
        self.per_layer = (*self.per_layer, "d", "n")

    def start(self, like: Float[Tensor, "b _ h w"]) -> State:
        begun = super().start(like)
        for k in range(1, len(self.hidden)):
            begun |= {f"d{k}": begun[f"h{k}"], f"n{k}": begun[f"s{k}"]}
        return begun | {"t0": like.new_zeros(like.shape[0])}

    def between(self, k: int, state: State, after: State) -> Float[Tensor, "b _ h w"]:
        """The hidden map of the layer below, joined with D after the first frame."""
        below = after[f"h{k - 1}"]
        after["t0"] = below.new_ones(below.shape[0])
        if not state:
            wide = torch.promote_types(below.dtype, torch.float32)
            D, N = torch.zeros_like(below), torch.zeros_like(below, dtype=wide)
            after |= {f"d{k}": D, f"n{k}": N}
            return below
        if k == 1:
            there = state["t0"].view(-1, 1, 1, 1) > 0
            change = (below - state["h0"]).where(there, 0)
        else:
            change = after[f"d{k - 1}"]
        D, N = self.differences[k - 1](change, state[f"d{k}"], state[f"n{k}"])
        after |= {f"d{k}": D, f"n{k}": N}
        return torch.cat([below, D], dim=1)


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "mim": published("mim"),
    "mim_small": small("mim"),
}
