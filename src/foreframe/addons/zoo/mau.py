"""MAU, the motion-aware unit: a recurrent cell that looks back at several of its states at once.

Chang et al. 2021 (NeurIPS, openreview qwtfY-3ibt7). Read top to bottom: the model, its cell,
presets. Shapes: frames B T C H W; maps b d h w, where h and w are H and W over the stride.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.addons.zoo.frame_by_frame import FrameByFrame
from foreframe.models.checks import at_least, odd, within
from foreframe.models.codec import padded
from foreframe.models.engine import Conv2d, channels_last, pointwise
from foreframe.models.interface import State

Maps = Float[Tensor, "b d h w"]
History = list[Maps]  # of the last steps, oldest first; zeros before the first


class MAU(FrameByFrame):
    """A frame becomes maps S, which go up through layers of motion-aware units (`MAUCell`); the S
    that leaves the last one is decoded to the next frame. In the future it reads its own frames.

    Its state holds, of each layer, the S that entered it and the T that left it at the last `tau`
    steps; and the last frame.

    Differences from OpenSTL's code: norms over a map have one weight and bias per channel. In
    theirs each place has one, too, so a network works for one frame size only. Weights that the
    code never uses are omitted, and skips, which its recipe for Moving MNIST does not use.

    Args:
        channels: C of the frames.
        width: channels of all maps.
        layers: of units.
        kernel: odd side of their kernels.
        tau: how many steps a unit looks back.
        halvings: strided convolutions down, and transposed ones up.
        patch: side of the patches that frames are folded into before these.

    Raises:
        ValueError: for sizes that make no network.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        layers: int = 4,
        kernel: int = 5,
        tau: int = 5,
        halvings: int = 2,
        patch: int = 1,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, width=width, layers=layers, tau=tau, patch=patch)
        odd(kernel=kernel)
        within(0, 16, halvings=halvings)
        self.channels, self.patch, self.stride = channels, patch, patch * 2**halvings
        self.tau, self.widest = tau, width
        down = [Conv2d(channels * patch**2, width, 1)]
        down += [Conv2d(width, width, 3, stride=2, padding=1) for _ in range(halvings)]
        self.down = nn.ModuleList(down)
        self.cells = nn.ModuleList(MAUCell(width, kernel) for _ in range(layers))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(width, width, 3, 2, padding=1, output_padding=1)
            for _ in range(halvings)
        )
        self.last = Conv2d(width, channels * patch**2, 1)

    def read(self, past: Float[Tensor, "b t _ _ _"], state: State | None) -> Sequence[Maps]:
        folded = F.pixel_unshuffle(padded(past.flatten(0, 1), self.stride), self.patch)
        maps = channels_last(folded)
        for layer in self.down:
            maps = F.leaky_relu(layer(maps), 0.2)
        return maps.unflatten(0, past.shape[:2]).unbind(dim=1)

    def initial(self, S: Maps) -> State:
        histories = (history for k in range(len(self.cells)) for history in self._names(k))
        return {name: torch.zeros_like(S) for history in histories for name in history}

    def after(self, S: Maps, state: State) -> State:
        after: State = {}
        for k, cell in enumerate(self.cells):
            s_names, t_names = self._names(k)
            entered, left = [state[n] for n in s_names], [state[n] for n in t_names]
            into = S
            T, S = cell(S, entered, left)
            after |= zip(s_names, [*entered[1:], into], strict=True)
            after |= zip(t_names, [*left[1:], T], strict=True)
        return after | {"hidden": S}

    def drawn(self, state: State) -> Float[Tensor, "b c _ _"]:
        maps = state["hidden"]
        for layer in self.up:
            maps = layer(maps)
            maps = maps if layer is self.up[-1] else F.leaky_relu(maps, 0.2)
        return F.pixel_shuffle(self.last(maps), self.patch)

    def start_at(self, mean: float) -> None:
        """Begin with frames of about `mean`."""
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, mean)

    def _names(self, k: int) -> list[list[str]]:
        """Names of layer k in the state: S that entered it, and T that left it, oldest first."""
        return [[f"{kind}{k}_{n}_ago" for n in range(self.tau, 0, -1)] for kind in "st"]


class MAUCell(nn.Module):
    """One step of a motion-aware unit; * is convolution, ∘ the elementwise product, N a norm over
    all values of a map, and sums of j run over the last τ steps:

        q_j   = <S_j, N(W_q * S)> / √(values of S)          how well a former S fits
        trend = Σ_j softmax_j(q) T_j                        T_j left the unit when S_j entered it
        u     = σ(N(W_u * T))
        F     = u ∘ T + (1 - u) ∘ trend                     what moved, and how it went on before
        t_g, t_t, t_s = N(W_t * F)
        s_g, s_t, s_s = N(W_s * S)
        T'    = σ(t_g) ∘ t_t + (1 - σ(t_g)) ∘ s_t
        S'    = σ(s_g) ∘ s_s + (1 - σ(s_g)) ∘ t_s

    Before the first step all S_j and T_j are zeros, and take part in the softmax. W_q and W_s are
    one convolution. All have biases.

    Args:
        width: channels of S and T.
        kernel: odd side of the kernels.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.width = width

        def convolution(outputs: int) -> Conv2d:
            return Conv2d(width, outputs, kernel, padding=kernel // 2)

        self.spatial = convolution(4 * width)
        self.norm_query, self.norm_spatial = (nn.GroupNorm(1, n * width) for n in (1, 3))
        self.fusion, self.norm_fusion = convolution(width), nn.GroupNorm(1, width)
        self.temporal, self.norm_temporal = convolution(3 * width), nn.GroupNorm(1, 3 * width)

    def forward(self, S: Maps, entered: History, left: History) -> tuple[Maps, Maps]:
        """(S, former S, former T) -> (T', S')."""
        query, s = self.spatial(S).split([self.width, 3 * self.width], dim=1)
        query, s = self.norm_query(query), self.norm_spatial(s)
        values = self.width * torch.ones_like(query[:1, :1]).sum()  # exported, a size is no number
        fit = torch.stack([(S_j * query).sum(dim=(1, 2, 3)) for S_j in entered], dim=1)
        weights = torch.softmax(fit / values.sqrt(), dim=1)
        trend = torch.zeros_like(S)
        for w, T_j in zip(weights.unbind(dim=1), left, strict=True):
            trend = trend + w.view(-1, 1, 1, 1) * T_j
        fused = _fused(self.norm_fusion(self.fusion(left[-1])), left[-1], trend)
        t = self.norm_temporal(self.temporal(fused))
        return _mixed(t, s, S)


@pointwise
def _fused(u: Maps, T: Maps, trend: Maps) -> Maps:
    return torch.lerp(trend.to(T.dtype), T, torch.sigmoid(u.to(T.dtype)))


@pointwise
def _mixed(
    t: Float[Tensor, "b d3 h w"], s: Float[Tensor, "b d3 h w"], S: Maps
) -> tuple[Maps, Maps]:
    """T' and S', in the precision of S."""
    t_g, t_t, t_s = t.to(S.dtype).chunk(3, dim=1)
    s_g, s_t, s_s = s.to(S.dtype).chunk(3, dim=1)
    T = torch.lerp(s_t, t_t, torch.sigmoid(t_g))
    return T, torch.lerp(t_s, s_s, torch.sigmoid(s_g))


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # Chang et al. 2021 on Moving MNIST, as OpenSTL has it: without recall.
    "mau": ("mau", {"width": 64, "layers": 4}),
    # For two CPU cores: 4x4 patches, and maps an eighth of the frame's size.
    "mau_small": ("mau", {"width": 32, "layers": 2, "kernel": 3, "patch": 4, "halvings": 1}),
}
