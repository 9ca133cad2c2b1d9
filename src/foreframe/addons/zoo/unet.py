"""U-Net: all future frames at once from all past frames, by dense convolutions on patches alone.

A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) of residual blocks (He et al. 2016, arXiv
1603.05027), on frames stacked along channels. No paper has quite this one: it has nothing that
processors with matrix units are slow at, which are convolutions of few channels, in groups, or at
the frames' full size. Shapes: frames B T C H W; maps b d h w with h = H/4, and half of that a
level down.
"""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.at_once import FromLastFrames
from foreframe.models.checks import at_least, within
from foreframe.models.codec import padded
from foreframe.models.engine import LAST, PackedConv2d
from foreframe.models.interface import State

SIDE = 4  # of a patch, in pixels
LEAK = 0.05  # slope beyond the range in training
Maps = Float[Tensor, "b d h w"]


class UNet(FromLastFrames):
    """The past frames X are folded into patches of 4x4 pixels and stacked along channels. A U of
    residual blocks converts them to the future frames Y:

        x = W * fold X
        Y = unfold(V * SiLU(norm U_0(x)))

    with convolutions * of 3x3, and a group norm over all channels of a clip, so that clips of a
    batch do not see each other. Level k of the U is blocks, the level below, and as many blocks
    again. Fold and unfold halve and double the maps' size, with a 1x1 convolution each. The lowest
    level is only blocks:

        U_k(x) = blocks(x' + unfold(V_k * U_{k+1}(W_k * fold x'))),    x' = blocks(x)

    Y is cut to [0,1], in training with a small slope beyond it, by which gradients come back: a
    pixel that is to be 0 may lie anywhere below. For digits, the squared error after 400 steps is
    3 % lower than without, and the background cleaner.

    A forecast by squared error is a haze about what is unsure: p where a pixel is 1 with
    probability p, and else 0. With a share s of absolute error it would be (p - s/2) / (1 - s), cut
    to [0,1] (see the loss `mix`), which is darker below a half and brighter above. This is made of
    p when it forecasts, and not in training, where absolute errors keep a network at black frames
    for long: after 200 steps with s = .4 the squared error was 152, and without it 124.

    Ronneberger et al. concatenate x' and the maps from below, and pool; with one level this is a
    ResNet. Frames whose size the smallest maps do not divide are padded at the bottom and right,
    and cropped again.

    Args:
        channels: C of the frames.
        frames: number of past frames that it sees, and of frames that it forecasts at once.
        widths: channels d of the maps, one number a level.
        blocks: number of blocks, one number a level; of all levels but the lowest twice.
        inputs: further channels of the past, which are not forecast.
        sharpen: the share s; 0 leaves forecasts as they are.

    Raises:
        ValueError: levels of other numbers in widths and in blocks, or of more than 8; a number
            below 1, of inputs below 0, or more than 1000 blocks; a sharpen outside [0,0.99].
    """

    free = ("sharpen",)

    def __init__(
        self,
        channels: int = 1,
        frames: int = 10,
        widths: Sequence[int] = (128, 256),
        blocks: Sequence[int] = (2, 4),
        inputs: int = 0,
        sharpen: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, frames=frames, widths=widths, blocks=blocks)
        at_least(0, inputs=inputs)
        within(0, 0.99, sharpen=sharpen)
        if len(widths) != len(blocks) or len(widths) > 8 or sum(blocks) > 1000:
            raise ValueError(
                "UNet takes as many widths as blocks, 8 at most, and 1000 blocks in all, not "
                f"{widths} and {blocks}"
            )
        self.channels, self.inputs, self.frames, self.horizon = channels, inputs, frames, frames
        self.sharpen, self.stride = sharpen, SIDE * 2 ** (len(widths) - 1)
        self.fold, self.unfold = nn.PixelUnshuffle(SIDE), nn.PixelShuffle(SIDE)
        # Each frame of the past comes with the known inputs of its counterpart in the future.
        seen, made = (frames * of * SIDE**2 for of in (channels + 2 * inputs, channels))
        self.first = PackedConv2d(seen, widths[0], 3, padding=1)
        self.levels = _Level(widths, blocks)
        self.norm = nn.GroupNorm(1, widths[0])
        self.last = PackedConv2d(widths[0], made, 3, padding=1)

    def next_frames(self, state: State) -> Float[Tensor, "b t c h w"]:
        """The next `frames` frames; see `AtOnce`."""
        past = self.seen(state)
        height, width = past.shape[-2:]
        stacked = self.fold(padded(past.flatten(1, 2), self.stride))
        # Maps that lie channels last are an eighth faster on matrix units.
        x = self.levels(self.first(stacked.contiguous(memory_format=LAST)))
        frames = self.unfold(self.last(F.silu(self.norm(x))))
        frames = frames[..., :height, :width].to(past.dtype).unflatten(1, (self.frames, -1))
        if self.training:
            inside = frames.clamp(0, 1)
            return inside + LEAK * (frames - inside)
        return ((frames - self.sharpen / 2) / (1 - self.sharpen)).clamp(0, 1)

    def start_at(self, mean: float) -> None:
        """Begin with frames of about `mean`."""
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, mean)


class _Level(nn.Module):
    """U_k, with the levels below in it."""

    def __init__(self, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        (width, *below), (count, *rest) = widths, blocks
        self.down = _blocks(width, count)
        self.below = _Level(below, rest) if below else None
        if below:
            self.smaller = PackedConv2d(4 * width, below[0], 1)
            self.larger = PackedConv2d(below[0], 4 * width, 1)
            self.up = _blocks(width, count)

    def forward(self, x: Maps) -> Maps:
        x = self.down(x)
        if self.below is not None:
            low = self.below(self.smaller(F.pixel_unshuffle(x, 2)))
            x = self.up(x + F.pixel_shuffle(self.larger(low), 2))
        return x


def _blocks(width: int, count: int) -> nn.Module:
    return nn.Sequential(*(Block(width) for _ in range(count)))


class Block(nn.Module):
    """x + V * SiLU(W * norm x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.W, self.V = (PackedConv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Maps) -> Maps:
        y: Tensor = x + self.V(self.W(self.norm(x), silu=True))
        return y


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # Two CPU cores with matrix units train these in minutes, and in hours.
    "unet_small": ("unet", {"widths": [64, 128], "blocks": [2, 4], "sharpen": 0.3}),
    "unet": ("unet", {"widths": [128], "blocks": [8]}),
}
