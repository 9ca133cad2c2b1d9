"""The type of every head: from the decoder's hidden maps to frames.

Shapes: b clips, s steps; frames b s C H W; hidden maps b s d i j; raised maps, which the codec
brought up to (nearly) a frame's size, (b·s) w h w.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.checks import odd
from foreframe.models.codec import IdentityPath, UpsamplingPath
from foreframe.models.engine import PackedConv2d
from foreframe.models.interface import Model

Frames = Float[Tensor, "b s _ h w"]
Hidden = Float[Tensor, "b s d i j"]
Raised = Float[Tensor, "_ _ _ _"]
Sums = Float[Tensor, "b k i j"]
Over = Literal["last", "all"]


class HeadInputs(NamedTuple):
    """What a head makes frames of.

    Attributes:
        raised: the hidden maps, decoded by the codec.
        maps: the hidden maps.
        frames: the last one seen (b,c,h,w), or what `Blend` mixes at each step (b,s,_,h,w).
        sums: what the head added up over the lead times before, such as displacements.
    """

    raised: Raised
    maps: Hidden
    frames: Tensor
    sums: Sums | None = None


class Head(nn.Module):
    """One convolution from raised maps to some numbers a pixel; a subclass makes frames of them.

    Args:
        numbers: how many a pixel.
        up: the codec's way up.
        kernel: odd side of the convolution.
        over: whether the "last" layer's hidden map is read, or those of "all" layers, side by side.
        bias: of the convolution.

    Attributes:
        feed: what the decoder is fed at each step: the "maps" of its last layer of the step before
            (first the encoder's), its own "frame" (first the last one seen), "nothing", or what
            several baselines, the "guides", forecast for that step.
        guide: the baselines whose forecasts it mixes, as one model; None without any.
        bounded: whether its frames always lie in (0,1).
        short: the shorter side of what the network sees of large frames; None for all of them.
        sums_channels: of what it adds up over lead times, such as displacements.

    Raises:
        ValueError: an even kernel.
    """

    feed: Literal["maps", "frame", "nothing", "guides"] = "maps"
    bounded = False
    short: int | None = None
    sums_channels = 0

    def __init__(
        self,
        numbers: int,
        up: IdentityPath | UpsamplingPath,
        kernel: int,
        over: Over,
        bias: bool = True,
    ) -> None:
        super().__init__()
        odd(kernel=kernel)
        self.over = over
        self.guide: Model | None = None
        width, padding = numbers * up.scale**2, kernel // 2
        self.last = PackedConv2d(up.width, width, kernel, padding=padding, bias=bias)
        self.unfold = nn.PixelShuffle(up.scale)

    def forward(self, given: HeadInputs) -> tuple[Frames, Sums | None]:
        """The next frames, and the sums after them."""
        raise NotImplementedError

    def numbers(self, raised: Raised, frames: Tensor) -> Frames:
        """(b·s,w,h,w) -> (b,s,numbers,H,W), in the dtype of these frames, which have b clips, and
        as large as the network sees them.
        """
        k = self.factor(frames.shape[-2:])
        h, w = (-(-side // k) for side in frames.shape[-2:])
        numbers = self.unfold(self.last(raised))[..., :h, :w]
        return numbers.to(frames.dtype).unflatten(0, (frames.shape[0], -1))

    def initialize(self, std: float) -> None:
        """Let the convolution begin at numbers of about that size."""
        nn.init.normal_(self.last.weight, std=std)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    def start_at(self, mean: float) -> None:
        """Before training forecast about `mean` everywhere, unless frames are carried or mixed."""

    @classmethod
    def guide_channels(cls, channels: int | None, args: Mapping[str, Any]) -> int:
        """How many channels the decoder is fed of the guides that these arguments name."""
        return 0

    def factor(self, size: Sequence[int]) -> int:
        """The k of which k x k pixels of frames (H,W) are one to the network."""
        return 1

    def reduced(self, frames: Frames) -> Float[Tensor, "b s _ _ _"]:
        """Frames as small as the network sees them."""
        return frames
