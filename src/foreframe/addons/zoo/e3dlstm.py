"""E3D-LSTM, the eidetic 3D LSTM: recurrent layers over a window of two frames, which recall all of
their last memories.

Wang et al. 2019 (ICLR, openreview B1lKS2AqtX). Read top to bottom: the model, its cell, presets.
Shapes: frames B T C H W; maps b d2 h w, where h and w are H and W over the patch, and d2 channels
of both times of the window, (channel, time).
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from foreframe.addons.zoo.frame_by_frame import FrameByFrame
from foreframe.models.checks import at_least, odd
from foreframe.models.codec import padded
from foreframe.models.engine import Conv2d, pointwise, tanh
from foreframe.models.interface import State

Maps = Float[Tensor, "b d2 h w"]
Gates = Float[Tensor, "b _ h w"]  # the same at both times
History = Float[Tensor, "b n d2 h w"]  # C of the last steps, oldest first
Real = Bool[Tensor, "b n"]  # which of these steps there were


class E3DLSTM(FrameByFrame):
    """Each frame enters layers of `E3DLSTMCell` together with the frame before it, and a projection
    of the last layer is the next frame. Layers share a memory M, which goes up through them
    at each frame, and from the last on to the first of the next frame. In the future it reads its
    own frames.

    Its state holds, of each layer, H and the last `tau` memories C, zeros before the first; M; how
    many steps these are of, `tau` at most; and the last frame.

    Differences from OpenSTL's code: there the layers hand on the M that they were given, so it
    stays zero; a value to recall is one place's, where theirs is a run of neighbouring places of a
    channel; they recall all steps, this one the last `tau`; the norm over a map has a weight for
    each channel and time. In theirs each place has one, too, so a network works for one frame size
    only.

    Args:
        channels: C of the frames.
        width: channels of all maps.
        layers: of cells.
        kernel: odd side of their kernels, which are two frames deep.
        tau: how many memories C a layer recalls.
        patch: side of the patches that frames are folded into.

    Raises:
        ValueError: for sizes that make no network.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 128,
        layers: int = 4,
        kernel: int = 5,
        tau: int = 20,
        patch: int = 4,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, width=width, layers=layers, tau=tau, patch=patch)
        odd(kernel=kernel)
        self.channels, self.stride, self.tau, self.widest = channels, patch, tau, 2 * width
        inputs = [channels * patch**2] + [width] * (layers - 1)
        self.cells = nn.ModuleList(E3DLSTMCell(n, width, kernel) for n in inputs)
        self.last = Conv2d(2 * width, inputs[0], 1, bias=False)

    def read(self, past: Float[Tensor, "b t _ _ _"], state: State | None) -> Sequence[Maps]:
        """Each frame, and the one before it."""
        before = torch.zeros_like(past[:, 0]) if state is None else state["frame"].to(past.dtype)
        frames = torch.cat([before.unsqueeze(1), past], dim=1)
        folded = F.pixel_unshuffle(padded(frames.flatten(0, 1), self.stride), self.stride)
        folded = folded.unflatten(0, frames.shape[:2])
        return torch.stack([folded[:, :-1], folded[:, 1:]], dim=3).flatten(2, 3).unbind(dim=1)

    def initial(self, X: Maps) -> State:
        zeros = X.new_zeros(X.shape[0], self.widest, *X.shape[-2:])
        C = zeros.unsqueeze(1).repeat(1, self.tau, 1, 1, 1)
        state = {"m": zeros, "seen": X.new_zeros(X.shape[0])}
        for k in range(len(self.cells)):
            state |= {f"h{k}": zeros, f"c{k}": C}
        return state

    def after(self, H: Maps, state: State) -> State:
        # The memory before the first step, zero, is one of them.
        age = torch.arange(self.tau - 1, -1, -1, device=H.device)
        real = age <= state["seen"].unsqueeze(1)
        M, after = state["m"], State()
        for k, cell in enumerate(self.cells):
            C = state[f"c{k}"]
            H, newest, M = cell(H, state[f"h{k}"], C, M, real)
            after |= {f"h{k}": H, f"c{k}": torch.cat([C[:, 1:], newest.unsqueeze(1)], dim=1)}
        return after | {"m": M, "seen": (state["seen"] + 1).clamp(max=self.tau)}

    def drawn(self, state: State) -> Float[Tensor, "b c _ _"]:
        return F.pixel_shuffle(self.last(state[f"h{len(self.cells) - 1}"]), self.stride)


class E3DLSTMCell(nn.Module):
    """One step of a layer; * is a convolution over both times to one, which stands for both, ∘ the
    elementwise product, LN a norm over all values of a map:

        R, I, G  = σ(W_xr*X + W_hr*H), σ(W_xi*X + W_hi*H), tanh(W_xg*X + W_hg*H)
        C'       = I ∘ G + LN(C + softmax(R · C_past^T) · C_past)           recall, not scaled
        I', F'   = σ(W'_xi*X + W_mi*M), σ(W'_xf*X + W_mf*M + 1)
        M'       = I' ∘ tanh(W'_xg*X + W_mg*M) + F' ∘ tanh(W_mm*M)
        O        = σ(tanh(W_xo*X + W_ho*H + W_co*C' + W_mo*M'))
        H'       = O ∘ tanh(W_1x1x1 * [C', M'])

    As in OpenSTL's code, F' weighs M after one more convolution, and O has a tanh before its σ. A
    convolution over both times is one of two dimensions over their channels. No biases.

    Args:
        inputs: channels of X at one time.
        width: channels of H, C and M.
        kernel: odd side of the kernels.
    """

    def __init__(self, inputs: int, width: int, kernel: int) -> None:
        super().__init__()
        self.width = width

        def convolution(inputs: int, outputs: int) -> Conv2d:
            return Conv2d(2 * inputs, outputs, kernel, padding=kernel // 2, bias=False)

        self.gates = convolution(inputs + width, 4 * width)  # r, i, g, o
        self.memory_gates = convolution(inputs + width, 3 * width)  # i', f', g'
        self.memory = convolution(width, width)
        self.output = convolution(2 * width, width)
        self.mix = Conv2d(2 * width, width, 1, bias=False)
        self.norm = nn.GroupNorm(1, 2 * width)

    def forward(
        self, X: Float[Tensor, "b i2 h w"], H: Maps, past: History, M: Maps, real: Real
    ) -> tuple[Maps, Maps, Maps]:
        """(X, H, C of the last steps, M, which steps there were) -> (H', C', M')."""
        C = past[:, -1]
        gates = self.gates(X, H)
        remembered = self.norm(C + self.recalled(gates[:, : self.width], past, real).to(C.dtype))
        C = _cell(gates, remembered.to(C.dtype))
        M = _memory(self.memory_gates(X, M), self.memory(M), M)
        times = [torch.cat([C[:, k::2], M[:, k::2]], dim=1) for k in (0, 1)]
        mixed = torch.stack([self.mix(each) for each in times], dim=2).flatten(1, 2)
        return _hidden(gates, self.output(C, M), mixed, H), C, M

    def recalled(self, r: Gates, past: History, real: Real) -> Maps:
        """softmax(R · C_past^T) · C_past, where R = σ(r)."""
        R = self.values(_twice(torch.sigmoid(r)).to(past.dtype).unsqueeze(1))
        C = self.values(past)
        mask = real.unsqueeze(2).expand(-1, -1, R.shape[2]).flatten(1)
        A = F.scaled_dot_product_attention(R, C, C, mask[:, None, None], scale=1.0)
        return A.transpose(2, 3).reshape(past[:, -1].shape)

    def values(self, maps: History) -> Float[Tensor, "b 1 _ d"]:
        """The values of one head: the channels of each step, time and place."""
        maps = maps.unflatten(2, (self.width, 2)).movedim(2, -1)
        return maps.reshape(maps.shape[0], 1, -1, self.width)


def _twice(gates: Gates) -> Maps:
    """At both times."""
    return gates.repeat_interleave(2, dim=1)


@pointwise
def _cell(gates: Gates, remembered: Maps) -> Maps:
    _, i, g, _ = gates.to(remembered.dtype).chunk(4, dim=1)
    return remembered + _twice(torch.sigmoid(i) * tanh(g))


@pointwise
def _memory(gates: Gates, m: Gates, M: Maps) -> Maps:
    """M', in the precision of M."""
    i, f, g = gates.to(M.dtype).chunk(3, dim=1)
    return _twice(torch.sigmoid(i) * tanh(g) + torch.sigmoid(f + 1) * tanh(m.to(M.dtype)))


@pointwise
def _hidden(gates: Gates, o: Gates, mixed: Maps, H: Maps) -> Maps:
    """H', in the precision of H."""
    o = gates.chunk(4, dim=1)[3].to(H.dtype) + o.to(H.dtype)
    return _twice(torch.sigmoid(tanh(o))) * tanh(mixed.to(H.dtype))


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # As OpenSTL has it for Moving MNIST, 10 + 10 frames: every step is recalled.
    "e3dlstm": ("e3dlstm", {"width": 128, "layers": 4, "kernel": 5, "tau": 20, "patch": 4}),
    # For two CPU cores.
    "e3dlstm_small": ("e3dlstm", {"width": 16, "layers": 2, "kernel": 3, "tau": 5, "patch": 8}),
}
