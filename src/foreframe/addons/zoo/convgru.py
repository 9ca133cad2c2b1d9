"""The convolutional GRU of Ballas et al. 2016 (arXiv 1511.06432): cell and core.

Shapes: maps b d h w, hidden maps b k h w.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.checks import at_least
from foreframe.models.core import Core, Hidden, Maps, check_cell
from foreframe.models.engine import Conv2d, pointwise, tanh
from foreframe.models.interface import State


class ConvGRUCell(nn.Module):
    """One step of a convolutional GRU (Ballas et al. 2016, equations 4 to 7); * is convolution, ∘
    the elementwise product:

        z  = σ(W_z * x + U_z * h + b_z)
        r  = σ(W_r * x + U_r * h + b_r)
        h~ = tanh(W * x + U * (r ∘ h) + b)
        h' = (1 - z) ∘ h + z ∘ h~

    z and r come from one convolution over [x, h], in this order, h~ from a second one over
    [x, r ∘ h]. The paper has no biases.

    Args:
        channels: of x; 0 for a cell that takes no input.
        hidden: channels of h.
        kernel: odd side of the kernels; hidden maps keep the frame's size.
        bias: one bias a gate and channel.

    Raises:
        ValueError: for an even kernel or no hidden channels.
    """

    def __init__(self, channels: int, hidden: int, kernel: int = 3, bias: bool = True) -> None:
        super().__init__()
        check_cell(channels, hidden, kernel)
        self.hidden, padding = hidden, kernel // 2
        self.gates = Conv2d(channels + hidden, 2 * hidden, kernel, padding=padding, bias=bias)
        self.candidate = Conv2d(channels + hidden, hidden, kernel, padding=padding, bias=bias)

    def forward(self, x: Maps | None, h: Hidden | None) -> Hidden:
        """(x, h) -> h'. Pass None for x where the cell takes no input, for h where it saw nothing.

        Raises:
            ValueError: both are None.
        """
        if x is None and h is None:
            raise ValueError("a cell without input needs a state to begin from")
        gates = self.gates(x, h)
        if h is None:
            wide = torch.promote_types(gates.dtype, torch.float32)
            h = torch.zeros_like(gates[:, : self.hidden], dtype=wide)
            return _mixed(gates, self.candidate(x, None), h)
        return _mixed(gates, self.candidate(x, _reset(gates, h)), h)


@pointwise
def _reset(gates: Float[Tensor, "b k2 h w"], h: Hidden) -> Hidden:
    """r ∘ h."""
    _, r = gates.to(h.dtype).chunk(2, dim=1)
    return (torch.sigmoid(r) * h).to(gates.dtype)


@pointwise
def _mixed(gates: Float[Tensor, "b k2 h w"], candidate: Hidden, h: Hidden) -> Hidden:
    """h', in the precision of h, which is never less than float32, so that small changes add up."""
    z = torch.sigmoid(gates[:, : h.shape[1]].to(h.dtype))
    return h + z * (tanh(candidate.to(h.dtype)) - h)


class ConvGRU(Core):
    """Layers of ConvGRU cells; the h of each is the x of the next. Its state is h of each layer.

    Args:
        channels: that the first layer takes; 0 for none.
        hidden: channels, one number a layer.
        kernel, bias: of every cell, see `ConvGRUCell`.

    Raises:
        ValueError: no layer, or as `ConvGRUCell`.
    """

    def __init__(
        self,
        channels: int,
        /,
        hidden: Sequence[int] = (64, 64),
        kernel: int = 3,
        bias: bool = True,
    ) -> None:
        super().__init__()
        at_least(1, hidden=hidden)
        self.hidden = tuple(hidden)
        self.cells = nn.ModuleList(
            ConvGRUCell(i, o, kernel, bias) for i, o in pairwise((channels, *hidden))
        )

    def step(self, x: Maps | None, state: State) -> State:
        after: State = {}
        for k, cell in enumerate(self.cells):
            x = after[f"h{k}"] = cell(x, state.get(f"h{k}"))
        return after
