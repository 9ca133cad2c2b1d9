"""The type of every head: from the decoder's hidden maps to frames.

A head is given the maps that the codec brought up to (nearly) a frame's size, the hidden maps
themselves, and frames to draw upon: the last one seen, or its guide's; of members also noise, by
which what moves goes astray. Shapes: b clips, s steps; frames b s C H W; hidden maps b s d i j;
raised maps (b·s) w h w; noise b s n i j.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.codec import Beside, Upward
from foreframe.models.interface import Model

Frames = Float[Tensor, "b s _ h w"]
Hidden = Float[Tensor, "b s d i j"]
Raised = Float[Tensor, "_ _ _ _"]
Drift = Float[Tensor, "b s n i j"]
Over = Literal["last", "all"]

REACH = 3.0  # sigma at which the blurs of heads are cut off


class Head(nn.Module):
    """What all heads share: one convolution from raised maps to some numbers a pixel.

    Attributes:
        over: whether the "last" layer's hidden map is read, or those of "all" layers, side by side.
        feed: what the decoder is fed at each step: the "maps" of its last layer of the step before
            (first the encoder's), its own "frame" (first the last one seen), "nothing", what the
            "guide" forecasts for that step, or what several "guides" do and what speaks for them.
        guide: the baseline that a head draws upon, or several as one.
        bounded: whether its frames always lie in (0,1).
        short: the shorter side of what the network sees of large frames; None for all of them.
        drifts: how many channels of smooth noise it takes, by which members move; they differ from
            place to place and are the same at all lead times.
    """

    feed: Literal["maps", "frame", "nothing", "guide", "guides"] = "maps"
    bounded = False
    short: int | None = None
    drifts = 0

    def __init__(
        self, numbers: int, up: Beside | Upward, kernel: int, over: Over, bias: bool = True
    ) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"a head's kernel has an odd side, not {kernel}")
        self.over = over
        self.guide: Model | None = None
        width, padding = numbers * up.scale**2, kernel // 2
        self.last = nn.Conv2d(up.width, width, kernel, padding=padding, bias=bias)
        self.unfold = nn.PixelShuffle(up.scale)

    @classmethod
    def told_by(cls, channels: int | None, args: Mapping[str, Any]) -> int:
        """How many channels the decoder is fed of several guides, where such a head has these
        arguments.
        """
        return 0

    def go_astray(self, read: int) -> None:
        """Build what it needs for members alone, of a model with noise, from hidden maps of `read`
        channels.
        """

    def begin_small(self, std: float) -> None:
        """At first next to nothing is drawn."""
        nn.init.normal_(self.last.weight, std=std)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    def numbers(self, raised: Raised, like: Tensor) -> Frames:
        """(b·s,w,h,w) -> (b,s,numbers,H,W), of the size and dtype of `like`, which has b clips."""
        drawn = self.unfold(self.last(raised))[..., : like.shape[-2], : like.shape[-1]]
        return drawn.to(like.dtype).unflatten(0, (like.shape[0], -1))

    def factor(self, size: Sequence[int]) -> int:
        """The k of which k x k pixels of frames (H,W) are one to the network."""
        return 1

    def reduced(self, frames: Frames) -> Float[Tensor, "b s _ _ _"]:
        """Frames as small as the network is to see them."""
        return frames

    def forward(
        self, raised: Raised, maps: Hidden, upon: Tensor, drift: Drift | None = None
    ) -> Frames:
        raise NotImplementedError

    def start_at(self, mean: float) -> None:
        """Before training forecast about `mean` everywhere, unless the head draws upon a frame."""
