"""Heads: from the decoder's hidden maps to frames.

`Draw` a frame from them; `Carry` the last frame along and draw the rest; `Blend` (blend.py) mixes
the forecasts of baselines.

Shapes: b clips, s steps; frames b s C H W; hidden maps b s d i j; raised maps, which the codec
brought up to (nearly) a frame's size, (b·s) w h w.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.checks import odd
from foreframe.models.codec import IdentityPath, UpsamplingPath, padded
from foreframe.models.engine import PackedConv2d
from foreframe.models.interface import Model, Past, State
from foreframe.models.registry import Registry

Frames = Float[Tensor, "b s _ h w"]
Hidden = Float[Tensor, "b s d i j"]
Raised = Float[Tensor, "_ _ _ _"]
Sums = Float[Tensor, "b k i j"]
Over = Literal["last", "all"]


class HeadSizes(NamedTuple):
    """Sizes of a head's inputs and outputs, its constructor's first argument.

    Attributes:
        channels: of the frames; None for any number.
        width: channels of the hidden maps that it reads.
        up: the codec's decoder, whose maps it turns into frames.
    """

    channels: int | None
    width: int
    up: IdentityPath | UpsamplingPath


class HeadInputs(NamedTuple):
    """Inputs of a head.

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
        over: read the hidden map of the "last" layer, or the maps of "all" layers.
        bias: of the convolution.

    Attributes:
        feed: what the decoder is fed at each step: the "maps" of its last layer of the step before
            (first the encoder's), its own "frame" (first the last one seen), "nothing", or what
            several baselines, the "guides", forecast for that step.
        guide: the baselines whose forecasts it mixes, as one model; None without any.
        bounded: whether all its frames are in (0,1).
        short: shorter side in pixels to which large frames are reduced; None to reduce none.
        sums_channels: number of channels of sums over lead times, such as displacements.

    Raises:
        ValueError: an even kernel.
    """

    feed: Literal["maps", "frame", "nothing", "guides"] = "maps"
    bounded = False
    short: int | None = None
    sums_channels = 0
    begin: Callable[[State], State]  # of guides: ready to step
    next_levels: Callable[[State, int], tuple[Frames, Any, State]]  # levels, what is fed, the state

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

    def encode(self, targets: Past, state: State | None) -> State:
        """Return what the head itself keeps of frames without inputs, on from `state`."""
        return {}

    def exogenous(self, state: State, steps: int) -> State:
        """See `Model.exogenous`."""
        return {}

    def precompute(self, state: State, steps: int) -> State:
        """See `Model.precompute`."""
        return state

    def lead_times(self, frame: Float[Tensor, "b c h w"], steps: int) -> int:
        """Return the number of lead times to forecast together."""
        return steps

    def scaled(self, levels: Frames) -> Frames:
        """Return levels on the network's scale."""
        return levels

    def initialize(self, std: float) -> None:
        """Let the convolution begin at numbers of about that size."""
        nn.init.normal_(self.last.weight, std=std)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    def start_at(self, mean: float) -> None:
        """Before training forecast about `mean` everywhere, unless frames are carried or mixed."""

    @classmethod
    def guide_channels(cls, channels: int | None, args: Mapping[str, Any]) -> int:
        """Return the number of channels of the decoder's input from guides with these arguments."""
        return 0

    def factor(self, size: Sequence[int]) -> int:
        """The k of which k x k pixels of frames (H,W) are one to the network."""
        return 1

    def reduced(self, frames: Frames) -> Float[Tensor, "b s _ _ _"]:
        """Frames as small as the network sees them."""
        return frames


class Draw(Head):
    """Draw the frame.

    Args:
        sizes: of inputs and outputs.
        kernel: odd side of the last convolution.
        over: see `Head`.
        sigmoid: squash frames into (0,1).
        bias: of the last convolution.

    Raises:
        ValueError: an even kernel.
    """

    def __init__(
        self,
        sizes: HeadSizes,
        /,
        kernel: int = 3,
        over: Over = "last",
        sigmoid: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__(sizes.channels or 1, sizes.up, kernel, over, bias)
        self.bounded = sigmoid

    def forward(self, given: HeadInputs) -> tuple[Frames, None]:
        drawn = self.numbers(given.raised, given.frames)
        return torch.sigmoid(drawn) if self.bounded else drawn, None

    def start_at(self, mean: float) -> None:
        """Without this, thousands of steps may go into learning that most pixels are dark."""
        if self.last.bias is None:
            return
        if self.bounded:
            mean = torch.logit(torch.tensor(min(max(mean, 1e-3), 1 - 1e-3))).item()
        nn.init.constant_(self.last.bias, mean)


class DrawAndFeed(Draw):
    """`Draw` with a choice of the decoder's input.

    Args:
        feed: "maps", "frame" or "nothing": see `Head`.
        kernel, over, sigmoid, bias: as of `Draw`.
    """

    def __init__(
        self,
        sizes: HeadSizes,
        /,
        feed: Literal["maps", "frame", "nothing"] = "maps",
        kernel: int = 3,
        over: Over = "last",
        sigmoid: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__(sizes, kernel, over, sigmoid, bias)
        self.feed = feed


class Carry(Head):
    """Carry every patch of the last frame to where the hidden maps say that it will be, and draw
    only what is added to that. Not of the ConvLSTM's paper; cf. the motion kernels of Finn et al.
    2016 (arXiv 1605.07157).

    A 1x1 convolution gives for each patch and step a velocity in pixels, summed over the steps to a
    displacement; for rows and columns the width of a Gaussian, its uncertainty; and a weight in
    (0,1). A patch's pixels i, j are blurred by that Gaussian, moved, and added up where patches
    meet:

        frame[y, x] = Σ patches Σ i,j  k(y - row - i) · weight · pixel[i, j] · k(x - column - j)

    which is two small matrix products. Their size grows with the frame's area times its side, over
    the patch's, whose side is the codec's stride.

    Args:
        sizes, kernel, over: as of `Draw`.
        feed: "maps" or "nothing": see `Head`.
    """

    # Pixels a frame for an output of 1; the narrowest Gaussian in pixels.
    speed, sharpest = 4.0, 0.45
    sums_channels = 2

    def __init__(
        self,
        sizes: HeadSizes,
        /,
        feed: Literal["maps", "nothing"] = "maps",
        kernel: int = 3,
        over: Over = "last",
    ) -> None:
        super().__init__(sizes.channels or 1, sizes.up, kernel, over)
        self.initialize(0.01)
        self.feed, self.patch = feed, sizes.up.stride
        self.motion = PackedConv2d(sizes.width, 5, 1)
        nn.init.normal_(self.motion.weight, std=0.02)
        # At rest, a little blurred, nearly whole.
        self.motion.bias = nn.Parameter(torch.tensor([0.0, 0.0, 1.0, 1.0, 4.0]))

    def forward(self, given: HeadInputs) -> tuple[Frames, Sums]:
        """`sums` are the displacements so far, in pixels."""
        carried, sums = self.carried(given.maps, given.frames, given.sums)
        return self.numbers(given.raised, given.frames) + carried, sums

    def carried(
        self,
        maps: Hidden,
        last: Float[Tensor, "b c h w"],
        sums: Sums | None = None,
    ) -> tuple[Frames, Sums]:
        """Return the last frame with its patches moved for each step, and the displacements."""
        b, steps, _, i, j = maps.shape
        h, w = last.shape[-2:]
        p, c = self.patch, last.shape[1]
        motion = self.motion(maps.flatten(0, 1)).to(last.dtype).unflatten(0, (b, steps))
        moved = torch.cumsum(self.speed * motion[:, :, :2], dim=1)
        moved = moved if sums is None else moved + sums.unsqueeze(1)
        sums = moved[:, -1]
        spread = F.softplus(motion[:, :, 2:4])
        widths = (self.sharpest + spread).flatten(3).unbind(dim=2)
        row = p * torch.arange(i, device=last.device)[:, None] + moved[:, :, 0]
        column = p * torch.arange(j, device=last.device) + moved[:, :, 1]
        # With n = i j patches: (b,steps,n,p,H), and of columns (b,steps,n,p,W).
        k_rows = _kernel(row.flatten(2), widths[0], p, i * p, maps.dtype)
        k_columns = _kernel(column.flatten(2), widths[1], p, j * p, maps.dtype)
        weight = torch.sigmoid(motion[:, :, 4]).flatten(2)[:, :, None, :, None, None]
        patches = F.pixel_unshuffle(padded(last, p), p).view(b, 1, c, p, p, i * j)
        # (b,steps,c,n,p,p), columns first, and the last pixel first, as the kernels have them.
        patches = patches.permute(0, 1, 2, 5, 4, 3).flip(-1, -2) * weight
        left = (patches @ k_rows.unsqueeze(2)).flatten(3, 4)  # (b,steps,c,np,H)
        frames = left.transpose(-1, -2) @ k_columns.flatten(2, 3).unsqueeze(2)
        return frames[..., :h, :w].to(last.dtype), sums


def _kernel(start: Tensor, width: Tensor, patch: int, size: int, dtype: torch.dtype) -> Tensor:
    """(...,patch,size) in that dtype: where a patch's rows (or columns), the last one first, go
    when the first goes to `start`, by a Gaussian of that width.
    """
    d = torch.arange(1 - patch, size, device=start.device) - start[..., None]
    # Far from its centre about 1e-12, not a denormal number, which processors handle slowly.
    k = torch.exp((-0.5 * (d / width[..., None]) ** 2).clamp(min=-28.0))
    k = k / (k.sum(dim=-1, keepdim=True) + 1e-3)  # what leaves the frame is lost
    k = k.to(dtype)  # of the products, before values are repeated for each pixel of a patch
    if torch.compiler.is_exporting():  # where the size of a view may not be a variable
        pixel = torch.arange(patch, device=start.device)[:, None]
        return k[..., pixel + torch.arange(size, device=start.device)]
    return k.unfold(-1, size, 1).contiguous()  # else its product is taken patch by patch


HEADS: Registry[type[Head]] = Registry(
    {"draw": "heads:DrawAndFeed", "carry": "heads:Carry", "blend": "blend:Blend"}, "heads"
)
"""Heads of an encoder-decoder; the other ways to step ahead have `Draw` alone."""
