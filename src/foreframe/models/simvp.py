"""SimVP: all future frames at once from all past frames, by convolutions alone.

Gao et al. 2022 (arXiv 2206.05099), and its successor with gated attention, Tan et al. 2022 (arXiv
2211.12509). Read top to bottom: the network, its spatial encoder and decoder, the translators,
presets. Shapes: frames B T C H W; maps n d h w with h = H/4.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.at_once import AtOnce
from foreframe.models.interface import State, counted, filled, first_of, joined, kept
from foreframe.models.motion import displaced
from foreframe.models.noise import NoiseInjection
from foreframe.models.packed import PackedConv2d, Sequential

GROUPS = 8  # of the translators' grouped convolutions
# Of the spatial encoder's four convolutions; the decoder goes back the same way.
STRIDES = (1, 2, 1, 2)


class SimVP(AtOnce):
    """Frames, each on its own, go down to maps of a quarter of their size; a translator turns the
    maps of all past frames, stacked along channels, into those of all future frames; and these go
    up again, each with the first maps of a past frame added.

    The state is the last `frames` frames; where fewer were seen the oldest one is repeated before
    them.

    Where it differs from the papers' code: group norm over a clip where they have batch norm, so
    that clips of a batch do not see each other and batches may be small. Frames whose size 4 does
    not divide are padded at the bottom and right, and cropped again.

    With `patches` and translator "mixing", which neither paper has, it suits processors that
    multiply matrices fast and move memory slowly: frames are folded into 4x4 patches, so that
    nothing runs at their full size, and all convolutions are dense or in few groups.

    Args:
        channels: C of the frames.
        frames: number of past frames that it sees, and of frames that it forecasts at once.
        spatial: channels of the maps of one frame (hid_S of the papers' code).
        temporal: channels of the translator between its ends (hid_T).
        blocks: of the translator (N_T); "inception" has as many down and as many up.
        translator: "inception" (2022: a U of sums of grouped convolutions of several sizes),
            "gated" (its successor: large-kernel attention) or "mixing" (residual blocks of a
            grouped 5x5 convolution and two of 1x1, after ConvNeXt, Liu et al. 2022, arXiv
            2201.03545).
        patches: fold 4x4 pixels into channels, in place of the four convolutions down and up.
        kernels: sides of the grouped convolutions of "inception".
        inputs: further channels of the past, which are not forecast.
        noise: arguments of `Noise`, by name: it is added to the input of each block of the
            translator ("inception" counts as one), local channels once for each `frames` frames.
            Members' frames are also displaced by σ·d pixels, where d are normal numbers, much alike
            nearby and the same for all frames, and σ in (0,4) is how uncertain their place is. None
            for a model of one future.

    Raises:
        ValueError: for choices that do not fit each other.
    """

    stride = 4

    def __init__(
        self,
        channels: int = 1,
        frames: int = 10,
        spatial: int = 64,
        temporal: int = 512,
        blocks: int = 8,
        translator: str = "gated",
        kernels: Sequence[int] = (3, 5, 7, 11),
        patches: bool = False,
        inputs: int = 0,
        noise: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if min(channels, frames) < 1 or inputs < 0:
            raise ValueError(
                "SimVP needs 1 channel and 1 frame or more, and 0 inputs or more, not "
                f"{channels}, {frames} and {inputs}"
            )
        if translator not in TRANSLATORS:
            raise ValueError(
                f"translator {translator!r} is unknown; choose inception, gated or mixing"
            )
        if not 2 <= blocks <= 1000:
            raise ValueError(f"a translator has 2 blocks or more, and 1000 at most, not {blocks}")
        divides = spatial % GROUPS == 0 and temporal % (2 * GROUPS) == 0
        odd = all(k % 2 == 1 for k in kernels)
        if min(spatial, temporal, *kernels) < 1 or not divides or not odd:
            raise ValueError(
                f"SimVP takes multiples of {GROUPS} spatial and of {2 * GROUPS} temporal channels "
                f"and odd kernels, not {spatial}, {temporal} and {kernels}"
            )
        self.args = {
            "channels": channels, "frames": frames, "spatial": spatial, "temporal": temporal,
            "blocks": blocks, "translator": translator, "kernels": list(kernels),
            "patches": patches,
        }  # fmt: skip
        if inputs:
            self.args["inputs"] = inputs
        self.channels, self.inputs, self.frames, self.horizon = channels, inputs, frames, frames
        side, strides = (4, (1,)) if patches else (1, STRIDES)
        self.fold, self.unfold = nn.PixelUnshuffle(side), nn.PixelShuffle(side)
        # Each frame of the past comes with the known inputs of its counterpart in the future.
        widths = ((channels + 2 * inputs) * side**2, *[spatial] * len(strides))
        self.encoder = nn.ModuleList(
            _down(i, o, s) for (i, o), s in zip(pairwise(widths), strides, strict=True)
        )
        build = TRANSLATORS[translator]
        self.translator, noisy = build(frames * spatial, temporal, blocks, kernels)
        self.decoder = nn.ModuleList(_up(spatial, s) for s in strides[::-1])
        self.to_frame = PackedConv2d(spatial, channels * side**2, 1)
        self.noise_injection: NoiseInjection | None = None
        if noise is not None:
            self.add_noise_inputs(noise, noisy, spatial)

    def add_noise_inputs(self, noise: Mapping[str, Any], widths: Sequence[int], maps: int) -> None:
        """Build what makes members differ: noise for parts of the translator whose inputs have
        these `widths`, and how far frames are displaced, from maps of so many channels.
        """
        self.args["noise"] = dict(noise)
        self.draws = True
        self.noise_injection = NoiseInjection(noise, self.stride, widths, drift=2)
        # At first a third of a pixel. A mean over the surroundings, since in an empty place nothing
        # says how far away it may look for something.
        self.displacement_scale = PackedConv2d(maps, 2, 1)
        nn.init.normal_(self.displacement_scale.weight, std=0.02)
        self.displacement_scale.bias = nn.Parameter(torch.full((2,), -2.4))
        self.surroundings = nn.AvgPool2d(5, 1, padding=2, count_include_pad=False)

    def encode(self, past: Float[Tensor, "b t _ h w"], state: State | None = None) -> State:
        """Keeps the last `frames` frames, and how many of them were seen. Any T >= 1."""
        return {
            "frames": kept(past, state, "frames", self.frames),
            "seen": counted(past, state, "seen", self.frames),
        }

    def outside(self, state: State, steps: int) -> State:
        """The noise of members, one for each `frames` frames."""
        if self.noise_injection is None or "key" not in state:
            return {}
        size = [-(-side // self.stride) for side in state["frames"].shape[-2:]]
        leads = range(0, steps, self.frames)
        return {"noise": self.noise_injection.noise(state, leads, size)}

    def last_inputs(self, state: State) -> Float[Tensor, "b i h w"]:
        return state["frames"][:, -1, self.channels :]

    def next_frames(self, state: State) -> Float[Tensor, "b t c h w"]:
        """The next `frames` frames; see `AtOnce`."""
        past = filled(state["frames"], state["seen"])
        if self.inputs:
            past = joined(past, first_of(state["known"], self.frames))
        b, t, _, height, width = past.shape
        right, below = -width % self.stride, -height % self.stride
        x = F.pad(past.flatten(0, 1), (0, right, 0, below), mode="replicate")
        fine = x = self.encoder[0](self.fold(x))
        for layer in self.encoder[1:]:
            x = layer(x)
        stacked, drift = self._translated(x.unflatten(0, (b, t)).flatten(1, 2), state)
        maps = x = stacked.unflatten(1, (t, -1)).flatten(0, 1)
        for layer in self.decoder[:-1]:
            x = layer(x)
        frames = self.unfold(self.to_frame(self.decoder[-1](x + fine)))
        if drift is not None:
            scale = self.surroundings(self.displacement_scale(maps).float())
            scale = self.stride * torch.sigmoid(scale)
            shift = (scale.unflatten(0, (b, t)) * drift).flatten(0, 1)
            shift = F.interpolate(shift, scale_factor=self.stride, mode="bilinear")
            frames = displaced(frames, shift, mode="bicubic")
        return frames[..., :height, :width].to(past.dtype).unflatten(0, (b, t))

    def _translated(
        self, x: Float[Tensor, "b i h w"], state: State
    ) -> tuple[Float[Tensor, "b i h w"], Float[Tensor, "b 1 n h w"] | None]:
        """The translator's maps, and of members the drift that displaces their frames."""
        if self.noise_injection is None or "noise" not in state:
            return self.translator(x), None
        added, drift = self.noise_injection(first_of(state["noise"], 1))
        whole = isinstance(self.translator, _Inception)
        blocks: Iterable[nn.Module] = [self.translator] if whole else self.translator.children()
        for block, noise in zip(blocks, added, strict=True):
            x = block(x if noise is None else x + noise[:, 0])
        return x, drift

    def start_at(self, mean: float) -> None:
        """Begin with frames of about `mean`."""
        assert self.to_frame.bias is not None
        nn.init.constant_(self.to_frame.bias, mean)


def _down(channels: int, width: int, stride: int) -> nn.Module:
    return nn.Sequential(
        PackedConv2d(channels, width, 3, stride, padding=1), nn.GroupNorm(2, width), nn.SiLU()
    )


def _up(width: int, stride: int) -> nn.Module:
    """The mirror of `_down`: twice the size by pixel shuffle where that halved it."""
    widen = PackedConv2d(width, width * stride**2, 3, padding=1)
    return nn.Sequential(widen, nn.PixelShuffle(stride), nn.GroupNorm(2, width), nn.SiLU())


class _Inception(nn.Module):
    """A U of blocks: the output of each block on the way down is laid beside the input of its
    mirror image on the way up.
    """

    def __init__(self, through: int, width: int, blocks: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _Mixed(i, width, kernels, width) for i in (through, *[width] * (blocks - 1))
        )
        outs = (*[width] * (blocks - 1), through)
        self.up = nn.ModuleList(
            _Mixed(2 * width if k else width, out, kernels, width) for k, out in enumerate(outs)
        )

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

    def __init__(self, channels: int, out: int, kernels: tuple[int, ...], width: int) -> None:
        super().__init__()
        inner = width // 2
        self.narrow = PackedConv2d(channels, inner, 1)
        self.sizes = nn.ModuleList(
            nn.Sequential(
                PackedConv2d(inner, out, k, padding=k // 2, groups=GROUPS),
                nn.GroupNorm(GROUPS, out),
                nn.LeakyReLU(0.2),
            )
            for k in kernels
        )

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        x = self.narrow(x)
        total: Tensor = sum(size(x) for size in self.sizes)
        return total


class _Gated(nn.Module):
    """x + s1 · attention(norm x), then x + s2 · mlp(norm x), then 1x1 if channels change."""

    def __init__(self, channels: int, out: int, expansion: int = 8) -> None:
        super().__init__()
        inner = expansion * channels
        self.norm_1, self.norm_2 = nn.GroupNorm(1, channels), nn.GroupNorm(1, channels)
        self.attention = _LargeKernel(channels)
        self.mlp = nn.Sequential(
            PackedConv2d(channels, inner, 1),
            PackedConv2d(inner, inner, 3, padding=1, groups=inner),
            nn.GELU(),
            PackedConv2d(inner, channels, 1),
        )
        small = torch.full((channels, 1, 1), 1e-2)
        self.scale_1, self.scale_2 = nn.Parameter(small), nn.Parameter(small.clone())
        self.out = PackedConv2d(channels, out, 1) if out != channels else nn.Identity()

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        x = x + self.scale_1 * self.attention(self.norm_1(x))
        y: Tensor = self.out(x + self.scale_2 * self.mlp(self.norm_2(x)))
        return y


class _LargeKernel(nn.Module):
    """A kernel of 21x21 as 5x5, then 7x7 with holes of 3, channel by channel; of a 1x1 convolution
    of that one half gates the other.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before, self.after = (
            PackedConv2d(channels, channels, 1),
            PackedConv2d(channels, channels, 1),
        )
        self.near = PackedConv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = PackedConv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.gate = PackedConv2d(channels, 2 * channels, 1)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        value, gate = self.gate(self.far(self.near(F.gelu(self.before(x))))).chunk(2, dim=1)
        y: Tensor = self.after(value * torch.sigmoid(gate)) + x
        return y


class _Mixing(nn.Module):
    """x + a grouped 5x5 convolution around each place, mixed over channels by two of 1x1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = PackedConv2d(width, width, 5, padding=2, groups=GROUPS)
        self.norm = nn.GroupNorm(1, width)
        self.mix = Sequential(
            PackedConv2d(width, 2 * width, 1), nn.SiLU(), PackedConv2d(2 * width, width, 1)
        )

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        y: Tensor = x + self.mix(self.norm(self.around(x)))
        return y


Translator = tuple[nn.Module, Sequence[int]]
"""The module, and the channels of the input of each of its parts; 0 where no noise is added."""


def _inception(through: int, width: int, blocks: int, kernels: Sequence[int]) -> Translator:
    return _Inception(through, width, blocks, tuple(kernels)), [through]


def _gated(through: int, width: int, blocks: int, _: Sequence[int]) -> Translator:
    widths = [through, *[width] * (blocks - 1), through]
    return nn.Sequential(*(_Gated(i, o) for i, o in pairwise(widths))), widths[:-1]


def _mixing(through: int, width: int, blocks: int, _: Sequence[int]) -> Translator:
    first, last = PackedConv2d(through, width, 1), PackedConv2d(width, through, 1)
    inner = (_Mixing(width) for _ in range(blocks))
    return nn.Sequential(first, *inner, last), [0, *[width] * blocks, 0]


TRANSLATORS: dict[str, Callable[[int, int, int, Sequence[int]], Translator]] = {
    "inception": _inception,
    "gated": _gated,
    "mixing": _mixing,
}
"""Builders of translators: channels of the stacked maps, `temporal`, `blocks`, `kernels`."""

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # Gao et al. 2022 on Moving MNIST.
    "simvp2022": (
        "simvp",
        {"translator": "inception", "spatial": 64, "temporal": 512, "blocks": 8},
    ),
    # Its successor with gated attention, on Moving MNIST.
    "simvp_gated": (
        "simvp",
        {"translator": "gated", "spatial": 64, "temporal": 512, "blocks": 8},
    ),
    # What two CPU cores with matrix units train in an hour or two.
    "simvp_small": (
        "simvp",
        {"translator": "mixing", "spatial": 32, "temporal": 256, "blocks": 8, "patches": True},
    ),
}
