"""The convolutional LSTM of Shi et al. 2015 (arXiv 1506.04214): cell, core, and networks of them.

Shapes: maps b d h w, hidden maps b k h w.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.checks import at_least
from foreframe.models.core import Core, Hidden, Maps, check_cell
from foreframe.models.engine import Conv2d, pointwise, tanh
from foreframe.models.interface import State


class ConvLSTMCell(nn.Module):
    """One step of a convolutional LSTM (Shi et al. 2015, equation 3); * is convolution, ∘ the
    elementwise product:

        i  = σ(W_xi * x + W_hi * h + W_ci ∘ c  + b_i)
        f  = σ(W_xf * x + W_hf * h + W_cf ∘ c  + b_f)
        c' = f ∘ c + i ∘ tanh(W_xg * x + W_hg * h + b_g)
        o  = σ(W_xo * x + W_ho * h + W_co ∘ c' + b_o)
        h' = o ∘ tanh(c')

    All four gates come from one convolution over [x, h], in the order i, f, o, g. It differs from
    the paper in one respect: the peepholes W_ci, W_cf, W_co hold one number a channel, not one a
    pixel, so that the cell runs on frames of any size; they may be left out, as most later code
    does.

    Args:
        channels: of x; 0 for a cell that takes no input.
        hidden: channels of h and c.
        kernel: odd side of the kernel, or (rows, columns); hidden maps keep the frame's size.
        bias: one bias a gate and channel.
        peepholes: let the gates see the cell state.
        forget_bias: constant added to f before its sigmoid.

    Raises:
        ValueError: for an even kernel or no hidden channels.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel: int | tuple[int, int] = 3,
        bias: bool = True,
        peepholes: bool = False,
        forget_bias: float = 0.0,
    ) -> None:
        super().__init__()
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        check_cell(channels, hidden, kernel)
        self.hidden, self.forget_bias = hidden, forget_bias
        padding = (rows // 2, columns // 2)
        self.gates = Conv2d(
            channels + hidden, 4 * hidden, (rows, columns), padding=padding, bias=bias
        )
        self.peephole = nn.Parameter(torch.zeros(3, hidden, 1, 1)) if peepholes else None

    def forward(self, x: Maps | None, h: Hidden | None, c: Hidden | None) -> tuple[Hidden, Hidden]:
        """(x, h, c) -> (h', c'). Pass None for x where the cell takes no input, and for h and c
        where it has seen nothing.

        Raises:
            ValueError: all of them are None.
        """
        if x is None and h is None:
            raise ValueError("a cell without input needs a state to begin from")
        gates = self.gates(x, h)
        if c is None:
            wide = torch.promote_types(gates.dtype, torch.float32)
            c = torch.zeros_like(gates[:, : self.hidden], dtype=wide)
        peephole = None if self.peephole is None else self.peephole.unsqueeze(1)
        return _after_convolution(gates, c, peephole, self.forget_bias)


@pointwise
def _after_convolution(
    gates: Float[Tensor, "b k4 h w"],
    c: Hidden,
    peephole: Float[Tensor, "3 1 k _ _"] | None,
    forget_bias: float,
) -> tuple[Hidden, Hidden]:
    """The equations, in the precision of c, which is never less than float32, so that small changes
    add up; h' is of the gates' precision.
    """
    i, f, o, g = gates.to(c.dtype).chunk(4, dim=1)
    if peephole is not None:
        W_ci, W_cf, W_co = peephole
        i, f = i + W_ci * c, f + W_cf * c
    f = f + forget_bias if forget_bias else f  # a pass over all values
    c = torch.addcmul(torch.sigmoid(i) * tanh(g), torch.sigmoid(f), c)
    o = torch.sigmoid(o if peephole is None else o + W_co * c)
    return (o * tanh(c)).to(gates.dtype), c


class ConvLSTM(Core):
    """Layers of ConvLSTM cells; the h of each is the x of the next. A state is all h and c.

    Args:
        channels: that the first layer takes; 0 for none.
        hidden: channels, one number a layer.
        kernel, bias, peepholes, forget_bias: of every cell, see `ConvLSTMCell`.

    Raises:
        ValueError: no layer, or as `ConvLSTMCell`.
    """

    per_layer = ("h", "c")

    def __init__(
        self,
        channels: int,
        /,
        hidden: Sequence[int] = (64, 64),
        kernel: int = 3,
        bias: bool = True,
        peepholes: bool = False,
        forget_bias: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, hidden=hidden)
        self.hidden = tuple(hidden)
        self.cells = nn.ModuleList(
            ConvLSTMCell(i, o, kernel, bias, peepholes, forget_bias)
            for i, o in pairwise((channels, *hidden))
        )

    def start(self, like: Maps) -> State:
        hidden = super().start(like)
        wide = torch.promote_types(like.dtype, torch.float32)
        return hidden | {f"c{k}": hidden[f"h{k}"].to(wide) for k in range(len(self.hidden))}

    def step(self, x: Maps | None, state: State) -> State:
        after: State = {}
        for k, cell in enumerate(self.cells):
            x, c = cell(x, state.get(f"h{k}"), state.get(f"c{k}"))
            after |= {f"h{k}": x, f"c{k}": c}
        return after


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # The 2020 tutorial's network, as its code has it: 2+2 layers, the decoder from zero, hidden
    # maps fed back.
    "tutorial": (
        "encoder_decoder",
        {
            "core": {"convlstm": {"hidden": [64, 64], "kernel": 3}},
            "start": "zeros",
            "output": {"draw": {"feed": "maps", "kernel": 3}},
        },
    ),
    # Shi et al. 2015, section 4.1: 4x4 patches, 5x5 kernels, 128-64-64 hidden channels, a mirrored
    # forecaster that is fed nothing.
    "shi2015": (
        "encoder_decoder",
        {
            "core": {"convlstm": {"hidden": [128, 64, 64], "kernel": 5, "peepholes": True}},
            "codec": {"patches": {"size": 4}},
            "start": "mirrored",
            "output": {"draw": {"feed": "nothing", "kernel": 1, "over": "all"}},
        },
    ),
    # The LSTM that Shi et al. 2015 compare with, in the same network: on the one patch that a whole
    # frame of 64x64 is, a convolution of kernel 1 is a fully connected layer.
    "fc_lstm": (
        "encoder_decoder",
        {
            "core": {"convlstm": {"hidden": [2048, 2048], "kernel": 1, "peepholes": True}},
            "codec": {"patches": {"size": 64}},
            "start": "mirrored",
            "output": {"draw": {"feed": "nothing", "kernel": 1}},
        },
    ),
    # OpenSTL's ConvLSTM-S: one stack that runs on, fed its own frames, without what its code has
    # and never uses: some weights, and a forget offset of 1.
    "openstl": (
        "next_frame",
        {
            "core": {"convlstm": {"hidden": [128, 128, 128, 128], "kernel": 5, "bias": False}},
            "codec": {"patches": {"size": 4}},
            "draw": {"kernel": 1, "sigmoid": False, "bias": False},
        },
    ),
    # Two CPU cores train this network in minutes. Its maps have an eighth of the frames' size, so a
    # step is cheap and a 3x3 kernel reaches far. The head moves patches of the last frame and draws
    # only the rest; drawing everything from memory takes far longer to learn.
    "quick": (
        "encoder_decoder",
        {
            "core": {"convlstm": {"hidden": [64], "kernel": 3, "forget_bias": 1.0}},
            "codec": {"strided": {"widths": [16, 32, 64], "show_last": True}},
            "start": "states",
            "output": {"carry": {"feed": "maps"}},
        },
    ),
    # For radar: optical flow moves the last frame. A small ConvLSTM reads this frame at each lead
    # time and learns growth, decay and blurring. It draws nothing and has no norms, since both
    # cause rain at dry places for storms unlike the training data. Needs OpenCV.
    "nowcast": (
        "encoder_decoder",
        {
            "core": {"convlstm": {"hidden": [48], "kernel": 3, "forget_bias": 1.0}},
            "codec": {"strided": {"widths": [24, 48], "norm": "none", "show_last": True}},
            "start": "states",
            "output": {
                "blend": {"guides": ["optical_flow"], "blurs": [1.5, 4.0, 10.0], "draw": False}
            },
        },
    ),
    # For any recording, and the default: baselines move the last frame or repeat it. A ConvLSTM
    # reads their frames and the evidence for each, mixes them at each place, shifts them and draws
    # a correction. An untrained network equals the first baseline.
    "guided": (
        "encoder_decoder",
        {
            "channels": None,
            "core": {"convlstm": {"hidden": [64], "kernel": 3, "forget_bias": 1.0}},
            "codec": {"strided": {"widths": [16, 32, 64], "norm": "none", "show_last": True}},
            "start": "states",
            "output": {
                "blend": {
                    "guides": ["dense_motion", "persistence", "mean", "linear_motion"],
                    "hindcast": 5,
                    "short": 112,
                }
            },
        },
    ),
}
