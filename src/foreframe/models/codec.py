"""Codecs: from frames to maps, and from maps back to (nearly) the size of frames.

A codec is the encoder; its `decoder` builds the way back, for the channels of a recurrent decoder's
maps. Skip maps, of one frame of each clip, join the maps on the way back, as in a U-Net.

Shapes: frames n C H W; maps n d h w, with h and w the frame's over `stride`, rounded up: frames
whose size the stride does not divide are padded at the bottom and right with their edge.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.checks import at_least
from foreframe.models.engine import PackedConv2d

Frames = Float[Tensor, "n c h w"]
Maps = Float[Tensor, "n _ _ _"]  # of any channels and size
Skips = list[Float[Tensor, "_ _ _ _"]]  # of one frame a clip, where n counts clips and steps


class Patches(nn.Module):
    """Fold size x size pixels into channels (space to depth); 1 leaves frames as they are.

    Args:
        channels: C of the frames.
        size: side of a patch.
        show_last: concatenate the patches of the last frame seen to the maps that are decoded.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, channels: int, /, size: int = 1, show_last: bool = False) -> None:
        super().__init__()
        at_least(1, size=size)
        self.stride, self.show_last = size, show_last
        self.width = self.width_of(channels)
        self.fold = nn.PixelUnshuffle(size)

    def forward(self, frames: Frames) -> list[Maps]:
        """(n,C,H,W) -> the maps (n, C*size², h, w), alone in a list."""
        return [self.fold(padded(frames, self.stride))]

    def skips(self, maps: list[Maps]) -> Skips:
        """Return the maps that the decoder uses."""
        return maps

    def width_of(self, channels: int) -> int:
        """Channels of the maps of such a codec, for frames of so many channels."""
        return channels * self.stride**2

    def decoder(self, maps: int, skips: int | None = None) -> "IdentityPath":
        """The decoder of maps of so many channels; its skip maps have `skips` channels, by default
        the codec's own.
        """
        return IdentityPath(maps + (skips or self.width) * self.show_last, self.stride)


class IdentityPath(nn.Module):
    """The decoder of patches: maps as they are, concatenated with the patches of a frame.

    Attributes:
        width: channels of the output.
        scale: ratio of the frame's size to the output's size.
        stride: ratio of the frame's size to the input's size.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.width, self.scale, self.stride = width, stride, stride

    def forward(self, maps: Maps, skips: Skips | None) -> Maps:
        """`skips` are of one frame a clip; `maps` may have several steps a clip."""
        return maps if skips is None else torch.cat([maps, _each_step(skips[0], maps)], dim=1)


class Strided(nn.Module):
    """One strided 3x3 convolution for each width, each halving the size, with norm and SiLU.

    Args:
        channels: C of the frames.
        widths: channels of the maps, finest first.
        norm: "group" norm over each frame, or "none": then a frame's forecast does not depend on
            how much is in it elsewhere.
        show_last: add the maps of the last frame seen, of each finer size, as they are decoded.

    Raises:
        ValueError: no width, or more than 16.
    """

    def __init__(
        self,
        channels: int,
        /,
        widths: Sequence[int] = (16, 32, 64),
        norm: Literal["group", "none"] = "group",
        show_last: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, widths=widths)
        if len(widths) > 16:
            raise ValueError(f"strided takes 16 widths at most, not {list(widths)}")
        self.widths, self.norm, self.show_last = tuple(widths), norm, show_last
        self.stride, self.width = 2 ** len(widths), widths[-1]
        self.down = nn.ModuleList(
            nn.Sequential(PackedConv2d(i, o, 3, stride=2, padding=1), _norm(o, norm), nn.SiLU())
            for i, o in pairwise((channels, *widths))
        )

    def forward(self, frames: Frames) -> list[Maps]:
        """(n,C,H,W) -> the maps of each size, finest first."""
        maps: list[Tensor] = []
        for layer in self.down:
            maps.append(layer(maps[-1] if maps else padded(frames, self.stride)))
        return maps

    def skips(self, maps: list[Maps]) -> Skips:
        """As of `Patches`: the maps of the finer sizes."""
        return maps[:-1]

    def width_of(self, channels: int) -> int:
        """As of `Patches`: the same for frames of any channels."""
        return self.width

    def decoder(self, maps: int, skips: int | None = None) -> "UpsamplingPath":
        """As of `Patches`; skip maps have `widths` channels."""
        return UpsamplingPath(maps, self.widths[-2::-1], self.norm, self.show_last)


class UpsamplingPath(nn.Module):
    """The decoder of strided maps: pixel shuffle doubles their size for each of `widths`.

    The last doubling is left to the head.

    Attributes:
        width, scale, stride: as of `IdentityPath`.
    """

    scale = 2

    def __init__(self, maps: int, widths: Sequence[int], norm: str, show_last: bool) -> None:
        super().__init__()
        self.stride = 2 ** (len(widths) + 1)
        self.up, self.skips = nn.ModuleList(), nn.ModuleList()
        for width in widths:
            convolution = PackedConv2d(maps, 4 * width, 3, padding=1)
            self.up.append(nn.Sequential(convolution, nn.PixelShuffle(2)))
            self.up.append(nn.Sequential(_norm(width, norm), nn.SiLU()))
            if show_last:
                self.skips.append(PackedConv2d(width, width, 3, padding=1))
            maps = width
        self.width = maps

    def forward(self, maps: Maps, skips: Skips | None) -> Maps:
        """As of `IdentityPath`."""
        for k in range(len(self.up) // 2):
            maps = self.up[2 * k](maps)
            if skips is not None:
                maps = maps + _each_step(self.skips[k](skips[-1 - k]), maps)
            maps = self.up[2 * k + 1](maps)
        return maps


def padded(frames: Frames, stride: int) -> Float[Tensor, "n c _ _"]:
    """Edge pixels repeated at the bottom and right, until `stride` divides both sides."""
    down, right = -frames.shape[-2] % stride, -frames.shape[-1] % stride
    return F.pad(frames, (0, right, 0, down), mode="replicate") if down or right else frames


def _each_step(skip: Tensor, maps: Maps) -> Maps:
    """`skip` has one frame a clip; repeat it for each step of the clip in `maps`."""
    return skip.repeat_interleave(maps.shape[0] // skip.shape[0], dim=0)


def _norm(width: int, norm: str) -> nn.Module:
    """Group norm over each frame, about 16 channels a group, or none.

    No norm spans a batch: its clips must not see each other.
    """
    if norm == "none":
        return nn.Identity()
    groups = next(n for n in range(max(1, width // 16), 0, -1) if width % n == 0)
    return nn.GroupNorm(groups, width)


CODECS: dict[str, type[Patches] | type[Strided]] = {"patches": Patches, "strided": Strided}
