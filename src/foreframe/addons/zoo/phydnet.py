"""PhyDNet: motion by a learnt partial differential equation, and all else by a recurrent core.

Le Guen and Thome 2020 (arXiv 2003.01460). Read top to bottom: the model, its cell, its blocks,
presets. Shapes: frames B T C H W; maps b d h w, where h and w are H and W over the stride.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.addons.zoo.frame_by_frame import FrameByFrame
from foreframe.base.schema import choice
from foreframe.models.checks import at_least, odd
from foreframe.models.codec import padded
from foreframe.models.engine import Conv2d, pointwise
from foreframe.models.interface import State, TrainingForecast, part_of, with_prefix
from foreframe.models.registry import CORES

Maps = Float[Tensor, "b d h w"]
Seen = tuple[Maps, Maps]  # e_p and e_r of a frame


class PhyDNet(FrameByFrame):
    """A frame u_t becomes maps for two branches, each with separate blocks and a memory; the sum of
    both decoded branches is the next frame (the paper's section 3):

        e_p, e_r = E_p(E(u_t)), E_r(E(u_t))
        h_p      = PhyCell(e_p, h_p)                     what moves by an equation
        h_r      = core(e_r, h_r)                        all else, by a ConvLSTM in the paper
        û_t+1    = σ(D(D_p(h_p) + D_r(h_r)))

    In the future it reads its own frames. Its state is the last frame, h_p, and the core's state.

    The training loss has a further term of the weights. It makes filter k of the cell's first
    convolution a derivative of order (k div q, k mod q), with q the kernel's side:

        M_b,k[i, j] = Σ_u,v  u^i / i!  v^j / j!  w_k,b[u, v]       the moments of filter k
        λ / steps · Σ_b  mean_k,i,j (M_b,k - Δ_k)²

    where b are the input channels, u and v run from the kernel's middle, and Δ_k is 1 at the
    place of that order and 0 elsewhere. The paper adds Frobenius norms over k, the code squares as
    here. Its loss is a sum over `steps` forecast frames, ours a mean; divided so, λ weighs the
    same.

    Difference from OpenSTL's code: training shows the true frame to each clip and lead time by
    chance (scheduled sampling), where theirs shows it to a whole batch.

    Args:
        channels: C of the frames.
        width: channels of the maps of E's first two blocks; all after them have twice as many.
        core: of the residual branch, a name of CORES, or {name: its arguments}.
        kernel: odd side q of the cell's filters, of which there are q².
        strides: of E's three blocks, each 1 or more; D goes back by the same.
        groups: groups of each group norm; q for the cell's filters.
        moment: λ, the weight of that term.

    Raises:
        ValueError: for choices that make no network.
    """

    bounded = True

    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        core: str | Mapping[str, Any] = "convlstm",
        kernel: int = 7,
        strides: Sequence[int] = (2, 1, 2),
        groups: int = 16,
        moment: float = 1.0,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, width=width, groups=groups, strides=strides)
        odd(kernel=kernel)
        at_least(0, moment=moment)
        if len(strides) != 3:
            raise ValueError(f"PhyDNet has three strides, not {list(strides)}")
        name, args = choice(CORES, core, "core")
        self.args["core"] = {name: args}
        self.channels, self.stride, self.moment = channels, math.prod(strides), moment
        d = 2 * width
        self.down = _blocks([channels, width, width, d], strides, groups)
        self.to_physical = _blocks([d, d, d], (1, 1), groups)
        self.to_residual = _blocks([d, d, d], (1, 1), groups)
        self.cell, self.core = PhyCell(d, kernel), CORES[name](d, **args)
        self.from_physical = _blocks([d, d, d], (1, 1), groups)
        self.from_residual = _blocks([self.core.hidden[-1], d, d], (1, 1), groups)
        self.up = _blocks([d, width, width], strides[:0:-1], groups, _raising)
        self.last = _raising(width, channels, strides[0])
        self.widest = max(kernel**2, *self.core.hidden)

    def read(self, past: Float[Tensor, "b t _ _ _"], state: State | None) -> Sequence[Seen]:
        maps = self.down(padded(past.flatten(0, 1), self.stride))
        e_p = self.to_physical(maps).unflatten(0, past.shape[:2])
        e_r = self.to_residual(maps).unflatten(0, past.shape[:2])
        return [*zip(e_p.unbind(dim=1), e_r.unbind(dim=1), strict=True)]

    def initial(self, seen: Seen) -> State:
        e_p, _ = seen
        wide = torch.promote_types(e_p.dtype, torch.float32)
        return {"physical": torch.zeros_like(e_p, dtype=wide)}

    def after(self, seen: Seen, state: State) -> State:
        e_p, e_r = seen
        residual = self.core.step(e_r, part_of(state, "residual_"))
        h = self.cell(e_p, state["physical"])
        return {"physical": h} | with_prefix("residual_", residual)

    def drawn(self, state: State) -> Float[Tensor, "b c _ _"]:
        """As D makes it, before its sigmoid."""
        h_p, h_r = state["physical"], self.core.maps(part_of(state, "residual_"))[-1]
        frame: Tensor = self.last(self.up(self.from_physical(h_p) + self.from_residual(h_r)))
        return frame

    def next_frames(self, state: State) -> Float[Tensor, "b 1 c h w"]:
        return torch.sigmoid(super().next_frames(state))

    def terms(self, made: TrainingForecast) -> dict[str, Float[Tensor, ""]]:
        """How far the cell's filters are from derivatives: see the class."""
        return {"moment": self.moment * self.cell.moment_error() / made.forecast.shape[1]}

    def start_at(self, mean: float) -> None:
        """Begin with frames of about `mean`."""
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, math.log(mean / (1 - mean)) if 0 < mean < 1 else 0.0)


class PhyCell(nn.Module):
    """A step of an equation, corrected by the observation as in a Kalman filter (the paper's
    section 3.2); * is convolution, ∘ the elementwise product:

        h~ = h + Φ(h),         Φ(h) = c * norm(w * h)    filters w, weighted by c
        K  = σ(W_u * e + W_h * h + b)
        h' = h~ + K ∘ (e - h~)

    K depends on h and not on h~, and is in (0,1), as in OpenSTL's code.

    Args:
        width: channels of e and h.
        kernel: side of the filters w.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.kernel, count = kernel, kernel**2
        self.filters = Conv2d(width, count, kernel, padding=kernel // 2)
        self.norm = nn.GroupNorm(kernel, count)
        self.weighted = Conv2d(count, width, 1)
        self.gain = Conv2d(2 * width, width, 3, padding=1)

    def forward(self, e: Maps, h: Maps) -> Maps:
        """(e, h) -> h', in the precision of h, so that small changes add up."""
        return _corrected(self.gain(e, h), self.weighted(self.norm(self.filters(h))), e, h)

    def moment_error(self) -> Float[Tensor, ""]:
        """Σ_b mean_k,i,j (M_b,k - Δ_k)²: see `PhyDNet`."""
        q, w = self.kernel, self.filters.weight
        u = torch.arange(q, device=w.device, dtype=w.dtype) - q // 2
        with torch.autocast(w.device.type, enabled=False):
            P = torch.stack([u**i / math.factorial(i) for i in range(q)])
            M = P @ w @ P.T
        Δ = torch.eye(q**2, device=w.device, dtype=w.dtype).view(q**2, 1, q, q)
        return (M - Δ).square().mean(dim=(0, 2, 3)).sum()


@pointwise
def _corrected(gain: Maps, change: Maps, e: Maps, h: Maps) -> Maps:
    K, h = torch.sigmoid(gain.to(h.dtype)), h + change.to(h.dtype)
    return h + K * (e.to(h.dtype) - h)


def _lowering(i: int, o: int, stride: int) -> Conv2d:
    return Conv2d(i, o, 3, stride=stride, padding=1)


def _raising(i: int, o: int, stride: int) -> nn.Conv2d | nn.ConvTranspose2d:
    """A transposed convolution; of stride 1 a plain one, which is the same with weights turned."""
    if stride == 1:
        return _lowering(i, o, 1)
    return nn.ConvTranspose2d(i, o, 3, stride, padding=1, output_padding=stride - 1)


def _blocks(
    widths: Sequence[int],
    strides: Sequence[int],
    groups: int,
    convolution: Callable[[int, int, int], nn.Module] = _lowering,
) -> nn.Sequential:
    """Convolutions from each of these widths to the next, each with norm and LeakyReLU."""
    return nn.Sequential(
        *(
            nn.Sequential(convolution(i, o, stride), nn.GroupNorm(groups, o), nn.LeakyReLU(0.2))
            for (i, o), stride in zip(pairwise(widths), strides, strict=True)
        )
    )


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # Le Guen and Thome 2020 on Moving MNIST.
    "phydnet": ("phydnet", {"core": {"convlstm": {"hidden": [128, 128, 64], "kernel": 3}}}),
    # For two CPU cores: maps an eighth of the frame's size, and 5x5 filters.
    "phydnet_small": (
        "phydnet",
        {
            "width": 16,
            "core": {"convlstm": {"hidden": [32], "kernel": 3}},
            "kernel": 5,
            "strides": [2, 2, 2],
            "groups": 8,
        },
    ),
}
