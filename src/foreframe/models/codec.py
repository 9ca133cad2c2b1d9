"""Codecs: from frames to maps, and from maps back to (nearly) the size of frames.

A codec is the way down; its `mirror` builds the way up, for the channels of the decoder's maps.
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

from foreframe.models.packed import PackedConv2d

Frames = Float[Tensor, "n c h w"]
Maps = Float[Tensor, "n _ _ _"]  # of any channels and size
Shown = list[Float[Tensor, "_ _ _ _"]]  # of one frame a clip, where n counts clips and steps


class Patches(nn.Module):
    """Fold size x size pixels into channels (space to depth); 1 leaves frames as they are.

    Args:
        channels: C of the frames.
        size: side of a patch.
        show_last: lay the patches of the last frame seen beside the maps on their way up.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, channels: int, /, size: int = 1, show_last: bool = False) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"patches have a size of 1 pixel or more, not {size}")
        self.stride, self.show_last = size, show_last
        self.width = self.width_of(channels)
        self.fold = nn.PixelUnshuffle(size)

    def forward(self, frames: Frames) -> list[Maps]:
        """(n,C,H,W) -> the maps (n, C*size², h, w), alone in a list."""
        return [self.fold(padded(frames, self.stride))]

    def skips(self, maps: list[Maps]) -> Shown:
        """Of these maps those that lie beside others on the way up."""
        return maps

    def width_of(self, channels: int) -> int:
        """Channels of the maps of such a codec, for frames of so many channels."""
        return channels * self.stride**2

    def mirror(self, maps: int, shown: int | None = None) -> "Beside":
        """The way up from maps of so many channels; the maps that are laid beside them have `shown`
        channels, by default the codec's own.
        """
        return Beside(maps + (shown or self.width) * self.show_last, self.stride)


class Beside(nn.Module):
    """The way up from patches: maps as they are, and the patches of a frame beside them.

    Attributes:
        width: channels of the output.
        scale: a frame's size over that of the output.
        stride: a frame's size over that of the input.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.width, self.scale, self.stride = width, stride, stride

    def forward(self, maps: Maps, shown: Shown | None) -> Maps:
        """`shown`: the `skips` of one frame a clip; `maps` may have several steps a clip."""
        return maps if shown is None else torch.cat([maps, _each_step(shown[0], maps)], dim=1)


class Strided(nn.Module):
    """One strided 3x3 convolution for each width, each halving the size, with norm and SiLU.

    Args:
        channels: C of the frames.
        widths: channels of the maps, finest first.
        norm: "group" norm over each frame, or "none": then a frame's forecast does not depend on
            how much is in it elsewhere.
        show_last: add the maps of the last frame seen, of each finer size, on the way up.

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
        if not 1 <= len(widths) <= 16 or min(widths) < 1:
            raise ValueError(
                f"strided takes 1 to 16 widths of 1 channel or more, not {list(widths)}"
            )
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

    def skips(self, maps: list[Maps]) -> Shown:
        """As of `Patches`: those of the finer sizes."""
        return maps[:-1]

    def width_of(self, channels: int) -> int:
        """As of `Patches`: the same for frames of any channels."""
        return self.width

    def mirror(self, maps: int, shown: int | None = None) -> "Upward":
        """As of `Patches`; the finer maps that are shown have `widths` channels."""
        return Upward(maps, self.widths[-2::-1], self.norm, self.show_last)


class Upward(nn.Module):
    """The way up from strided maps: pixel shuffle doubles their size for each of `widths`.

    The last doubling is left to the head.

    Attributes:
        width, scale, stride: as of `Beside`.
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

    def forward(self, maps: Maps, shown: Shown | None) -> Maps:
        """`shown`: the `skips` of one frame a clip; `maps` may have several steps a clip."""
        for k in range(len(self.up) // 2):
            maps = self.up[2 * k](maps)
            if shown is not None:
                maps = maps + _each_step(self.skips[k](shown[-1 - k]), maps)
            maps = self.up[2 * k + 1](maps)
        return maps


def padded(frames: Frames, stride: int) -> Float[Tensor, "n c _ _"]:
    """Edge pixels repeated at the bottom and right, until `stride` divides both sides."""
    down, right = -frames.shape[-2] % stride, -frames.shape[-1] % stride
    return F.pad(frames, (0, right, 0, down), mode="replicate") if down or right else frames


def _each_step(shown: Tensor, maps: Maps) -> Maps:
    """`shown` has one frame a clip; repeat it for each step of the clip in `maps`."""
    return shown.repeat_interleave(maps.shape[0] // shown.shape[0], dim=0)


def _norm(width: int, norm: str) -> nn.Module:
    """Group norm over each frame, about 16 channels a group, or none.

    No norm spans a batch: its clips must not see each other.
    """
    if norm == "none":
        return nn.Identity()
    groups = next(n for n in range(max(1, width // 16), 0, -1) if width % n == 0)
    return nn.GroupNorm(groups, width)


CODECS: dict[str, type[Patches] | type[Strided]] = {"patches": Patches, "strided": Strided}
