"""SimVP: all future frames at once from all past frames, by convolutions alone.

Gao et al. 2022 (arXiv 2206.05099), its successor with gated attention, Tan et al. 2022 (arXiv
2211.12509), and TAU (models/tau.py). Read top to bottom: the network, its spatial encoder and
decoder, the translators, presets, weights of the authors' code. Shapes: frames B T C H W; maps n d
h w with h = H/4.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.addons.zoo.batch_norm import BatchNorm
from foreframe.addons.zoo.tau import DilatedConv2d, TemporalAttention, differential_divergence
from foreframe.models.at_once import FromLastFrames
from foreframe.models.checks import at_least, odd, within
from foreframe.models.codec import padded
from foreframe.models.engine import PackedConv2d
from foreframe.models.interface import State, TrainingForecast

GROUPS = 8  # of the translators' grouped convolutions


class SimVP(FromLastFrames):
    """Frames, each on its own, go down to maps of a quarter of their size; a translator turns the
    maps of all past frames, stacked along channels, into maps of all future frames; these go up
    again, each with the first maps of a past frame added.

    Differences from the papers' code: it has no stochastic depth (rates from 0.01 down to 0 in
    training). Frames whose size 4 does not divide are padded at the bottom and right, and cropped
    again. The 2022 paper joins the first maps, and has transposed convolutions with LeakyReLU; its
    authors' later code, and this, add them, and have pixel shuffle with SiLU.

    With `patches` and translator "mixing", which no paper has, it suits processors that
    multiply matrices fast and move memory slowly: frames are folded into 4x4 patches, so that
    nothing runs at their full size, and all convolutions are dense or in few groups.

    Args:
        channels: C of the frames.
        frames: number of past frames that it sees, and of frames that it forecasts at once.
        spatial: channels of the maps of one frame (hid_S of the papers' code).
        temporal: channels of the translator between its ends (hid_T).
        blocks: of the translator (N_T); "inception" has as many down and as many up.
        translator: "inception" (2022: a U of sums of grouped convolutions of several sizes),
            "gated" (its successor, gSTA: large-kernel attention), "tau" (see `TemporalAttention`)
            or "mixing" (residual blocks of a grouped 5x5 convolution and two of 1x1, after
            ConvNeXt, Liu et al. 2022, arXiv 2201.03545).
        norm: of the translator: "group" norm over a clip, so that clips of a batch do not see each
            other and batches may be small, or "batch" norm, as the papers' "gated" and "tau" have.
        layers: convolutions down, and as many up (N_S); every second one halves the size.
        patches: fold 4x4 pixels into channels, instead of these convolutions.
        kernels: sides of the grouped convolutions of "inception".
        expansion: channels within the blocks of "gated" and "tau", as a multiple (mlp_ratio).
        divergence: weight of TAU's `differential_divergence` in training's loss (alpha).
        inputs: further channels of the past, which are not forecast.

    Raises:
        ValueError: for choices that do not fit each other.
    """

    def __init__(
        self,
        channels: int = 1,
        frames: int = 10,
        spatial: int = 64,
        temporal: int = 512,
        blocks: int = 8,
        translator: Literal["inception", "gated", "tau", "mixing"] = "gated",
        kernels: Sequence[int] = (3, 5, 7, 11),
        norm: Literal["group", "batch"] = "group",
        layers: int = 4,
        expansion: int = 8,
        divergence: float = 0.0,
        patches: bool = False,
        inputs: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, frames=frames, expansion=expansion)
        at_least(0, inputs=inputs, divergence=divergence)
        within(2, 1000, blocks=blocks)
        within(1, 16, layers=layers)
        odd(kernels=kernels)
        _check_groups(2 if translator in ("gated", "tau") else GROUPS, spatial, temporal)
        self.channels, self.inputs, self.frames, self.horizon = channels, inputs, frames, frames
        self.divergence = divergence
        # Strides of the encoder; the decoder uses them in reverse.
        side, strides = (4, [1]) if patches else (1, [1 + k % 2 for k in range(layers)])
        self.stride = side * math.prod(strides)
        self.fold, self.unfold = nn.PixelUnshuffle(side), nn.PixelShuffle(side)
        # Each frame of the past comes with the known inputs of its counterpart in the future.
        widths = ((channels + 2 * inputs) * side**2, *[spatial] * len(strides))
        self.encoder = nn.ModuleList(
            _down(i, o, s) for (i, o), s in zip(pairwise(widths), strides, strict=True)
        )
        self.translator = TRANSLATORS[translator](
            frames * spatial, temporal, blocks, NORMS[norm], kernels=kernels, expansion=expansion
        )
        self.decoder = nn.ModuleList(_up(spatial, s) for s in strides[::-1])
        self.to_frame = PackedConv2d(spatial, channels * side**2, 1)

    def next_frames(self, state: State) -> Float[Tensor, "b t c h w"]:
        """The next `frames` frames; see `AtOnce`."""
        past = self.seen(state)
        b, t, _, height, width = past.shape
        fine = x = self.encoder[0](self.fold(padded(past.flatten(0, 1), self.stride)))
        for layer in self.encoder[1:]:
            x = layer(x)
        stacked = self.translator(x.unflatten(0, (b, t)).flatten(1, 2))
        x = stacked.unflatten(1, (t, -1)).flatten(0, 1)
        for layer in self.decoder[:-1]:
            x = layer(x)
        frames = self.unfold(self.to_frame(self.decoder[-1](x + fine)))
        return frames[..., :height, :width].to(past.dtype).unflatten(0, (b, t))

    def terms(self, made: TrainingForecast) -> dict[str, Float[Tensor, ""]]:
        """`divergence` times TAU's term; of a single frame there is none."""
        if not self.divergence or made.forecast.shape[1] == 1:
            return {}
        return {"divergence": self.divergence * differential_divergence(*made[:2])}

    def start_at(self, mean: float) -> None:
        """Begin with frames of about `mean`."""
        assert self.to_frame.bias is not None
        nn.init.constant_(self.to_frame.bias, mean)


def _check_groups(unit: int, spatial: int, temporal: int) -> None:
    if min(spatial, temporal) < 1 or spatial % unit or temporal % (2 * unit):
        raise ValueError(
            f"SimVP takes multiples of {unit} spatial and of {2 * unit} temporal channels, not "
            f"{spatial} and {temporal}"
        )


def _down(channels: int, width: int, stride: int) -> nn.Module:
    return nn.Sequential(
        PackedConv2d(channels, width, 3, stride, padding=1), nn.GroupNorm(2, width), nn.SiLU()
    )


def _up(width: int, stride: int) -> nn.Module:
    """The inverse of `_down`: twice the size by pixel shuffle where that halved it."""
    widen = PackedConv2d(width, width * stride**2, 3, padding=1)
    return nn.Sequential(widen, nn.PixelShuffle(stride), nn.GroupNorm(2, width), nn.SiLU())


Norm = Callable[[int, int], nn.Module]  # of so many groups, and channels

NORMS: dict[str, Norm] = {"group": nn.GroupNorm, "batch": lambda _, width: BatchNorm(width)}


class _Inception(nn.Module):
    """A U of blocks: the output of each block on the way down is concatenated to the input of its
    counterpart on the way up.
    """

    def __init__(
        self, through: int, width: int, blocks: int, norm: Norm, kernels: Sequence[int], **_: Any
    ) -> None:
        super().__init__()
        mixed = partial(_Mixed, inner=width // 2, norm=norm, kernels=kernels)
        self.down = nn.ModuleList(mixed(i, width) for i in (through, *[width] * (blocks - 1)))
        outs = (*[width] * (blocks - 1), through)
        self.up = nn.ModuleList(mixed(2 * width if k else width, out) for k, out in enumerate(outs))

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b i h w"]:
        outputs: list[Tensor] = []
        for block in self.down:
            x = block(x)
            outputs.append(x)
        for k, block in enumerate(self.up):
            x = block(x if k == 0 else torch.cat([x, outputs[-1 - k]], dim=1))
        return x


class _Mixed(nn.Module):
    """1x1, then the sum of grouped convolutions of several sizes, each with its norm."""

    def __init__(
        self, channels: int, out: int, inner: int, norm: Norm, kernels: Sequence[int]
    ) -> None:
        super().__init__()
        self.reduce = PackedConv2d(channels, inner, 1)
        self.sizes = nn.ModuleList(
            nn.Sequential(
                PackedConv2d(inner, out, k, padding=k // 2, groups=GROUPS),
                norm(GROUPS, out),
                nn.LeakyReLU(0.2),
            )
            for k in kernels
        )

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        x = self.reduce(x)
        total: Tensor = sum(size(x) for size in self.sizes)
        return total


class _Attending(nn.Module):
    """Attention, then a perceptron at each place that sees its neighbours, with G the attention
    of a translator, s a number a channel, and 1x1 if channels change:

        a  = norm x
        x' = x + s_1 · (W_2 G(GELU(W_1 a)) + a)
        y  = x' + s_2 · MLP(norm x')
    """

    def __init__(
        self,
        channels: int,
        out: int,
        norm: Norm,
        expansion: int,
        attention: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        inner = expansion * channels
        self.norm_1, self.norm_2 = norm(1, channels), norm(1, channels)
        self.proj_1 = PackedConv2d(channels, channels, 1)
        self.attention = attention(channels)
        self.proj_2 = PackedConv2d(channels, channels, 1)
        self.mlp = nn.Sequential(
            PackedConv2d(channels, inner, 1),
            PackedConv2d(inner, inner, 3, padding=1, groups=inner),
            nn.GELU(),
            PackedConv2d(inner, channels, 1),
        )
        self.scale_1, self.scale_2 = (nn.Parameter(torch.full((channels,), 1e-2)) for _ in "12")
        self.out = PackedConv2d(channels, out, 1) if out != channels else nn.Identity()

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        a = self.norm_1(x)
        attended = self.proj_2(self.attention(F.gelu(self.proj_1(a)))) + a
        x = x + self.scale_1[:, None, None] * attended
        y: Tensor = self.out(x + self.scale_2[:, None, None] * self.mlp(self.norm_2(x)))
        return y


class _LargeKernel(nn.Module):
    """A kernel of 21x21 as 5x5, then 7x7 with holes of 3, channel by channel; of a 1x1 convolution
    of that one half gates the other.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = PackedConv2d(channels, channels, 5, padding=2, groups=channels)
        self.dilated = DilatedConv2d(channels)
        self.gate = PackedConv2d(channels, 2 * channels, 1)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        value, gate = self.gate(self.dilated(self.depthwise(x))).chunk(2, dim=1)
        y: Tensor = value * torch.sigmoid(gate)
        return y


class _Mixing(nn.Module):
    """x + a grouped 5x5 convolution around each place, mixed over channels by two of 1x1."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.conv = PackedConv2d(width, width, 5, padding=2, groups=GROUPS)
        self.norm = norm(1, width)
        self.mix = nn.Sequential(
            PackedConv2d(width, 2 * width, 1), nn.SiLU(), PackedConv2d(2 * width, width, 1)
        )

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        wide, _, narrow = self.mix
        y: Tensor = x + narrow(wide(self.norm(self.conv(x)), silu=True))
        return y


def _attending(
    attention: Callable[[int], nn.Module],
    through: int,
    width: int,
    blocks: int,
    norm: Norm,
    expansion: int,
    **_: Any,
) -> nn.Module:
    widths = [through, *[width] * (blocks - 1), through]
    parts = (_Attending(i, o, norm, expansion, attention) for i, o in pairwise(widths))
    return nn.Sequential(*parts)


def _mixing(through: int, width: int, blocks: int, norm: Norm, **_: Any) -> nn.Module:
    first, last = PackedConv2d(through, width, 1), PackedConv2d(width, through, 1)
    inner = (_Mixing(width, norm) for _ in range(blocks))
    return nn.Sequential(first, *inner, last)


TRANSLATORS: dict[str, Callable[..., nn.Module]] = {
    "inception": _Inception,
    "gated": partial(_attending, _LargeKernel),
    "tau": partial(_attending, TemporalAttention),
    "mixing": _mixing,
}
"""Builders of translators: channels of the stacked maps, `temporal`, `blocks`, a builder of norms,
and by name what some of them take.
"""

# As published on Moving MNIST; and what two CPU cores train.
FULL: dict[str, Any] = {"spatial": 64, "temporal": 512, "blocks": 8}
SMALL: dict[str, Any] = {
    "spatial": 16, "temporal": 96, "blocks": 6, "expansion": 2, "patches": True,
}  # fmt: skip

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "simvp_v1": ("simvp", {"translator": "inception", **FULL}),
    "simvp_v2": ("simvp", {"translator": "gated", "norm": "batch", **FULL}),
    "tau": ("simvp", {"translator": "tau", "norm": "batch", "divergence": 0.1, **FULL}),
    "simvp_v2_small": ("simvp", {"translator": "gated", **SMALL}),
    "tau_small": ("simvp", {"translator": "tau", "divergence": 0.1, **SMALL}),
    # For two CPU cores with matrix units, in an hour or two.
    "simvp_small": (
        "simvp",
        {"translator": "mixing", "spatial": 32, "temporal": 256, "blocks": 8, "patches": True},
    ),
}
