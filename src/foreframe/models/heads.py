"""Heads: from the decoder's hidden maps to frames.

`Draw` a frame from them; `Carry` the last frame along and draw the rest; `Correct` what a baseline
forecasts; `Mix` that with blurs of it; `Blend` several baselines, beginning at the first. Each is
given the maps that the codec brought up to (nearly) a frame's size, the hidden maps themselves, and
frames to draw upon: the last one seen, or its guide's. Shapes: b clips, s steps; frames b s C H W;
hidden maps b s d i j; raised maps (b·s) w h w.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.baselines import BASELINES
from foreframe.models.codec import Beside, Upward, padded
from foreframe.models.motion import EVIDENCE, DenseMotion, blurred, exactly, pixels, sampled
from foreframe.models.promise import Model, State
from foreframe.typed import choice

Frames = Float[Tensor, "b s _ h w"]
Hidden = Float[Tensor, "b s d i j"]
Raised = Float[Tensor, "_ _ _ _"]
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
        told: how many channels the decoder is fed of several guides.
        bounded: whether its frames always lie in (0,1).
    """

    feed: Literal["maps", "frame", "nothing", "guide", "guides"] = "maps"
    bounded = False
    told = 0

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

    def begin_small(self, std: float) -> None:
        """At first next to nothing is drawn."""
        nn.init.normal_(self.last.weight, std=std)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    def numbers(self, raised: Raised, like: Tensor) -> Frames:
        """(b·s,w,h,w) -> (b,s,numbers,H,W), of the size and dtype of `like`, which has b clips."""
        drawn = self.unfold(self.last(raised))[..., : like.shape[-2], : like.shape[-1]]
        return drawn.to(like.dtype).unflatten(0, (like.shape[0], -1))

    def forward(self, raised: Raised, maps: Hidden, upon: Tensor) -> Frames:
        raise NotImplementedError

    def start_at(self, mean: float) -> None:
        """Before training forecast about `mean` everywhere, unless the head draws upon a frame."""


class Draw(Head):
    """Draw the frame.

    Args:
        channels, read, up: of the frames, of the hidden maps that are read; the codec's way up.
        kernel: odd side of the last convolution.
        over: see `Head`.
        sigmoid: squash frames into (0,1).
        bias: of the last convolution.

    Raises:
        ValueError: an even kernel.
    """

    def __init__(
        self,
        channels: int,
        read: int,
        up: Beside | Upward,
        /,
        kernel: int = 3,
        over: Over = "last",
        sigmoid: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__(channels, up, kernel, over, bias)
        self.bounded = sigmoid

    def forward(self, raised: Raised, maps: Hidden, upon: Tensor) -> Frames:
        drawn = self.numbers(raised, upon)
        return torch.sigmoid(drawn) if self.bounded else drawn

    def start_at(self, mean: float) -> None:
        """Without this, thousands of steps may go into learning that most pixels are dark."""
        if self.last.bias is None:
            return
        if self.bounded:
            mean = torch.logit(torch.tensor(min(max(mean, 1e-3), 1 - 1e-3))).item()
        nn.init.constant_(self.last.bias, mean)


class DrawAndFeed(Draw):
    """`Draw`, and a choice of what the decoder is fed.

    Args:
        feed: "maps", "frame" or "nothing": see `Head`.
        kernel, over, sigmoid, bias: as of `Draw`.
    """

    def __init__(
        self,
        channels: int,
        read: int,
        up: Beside | Upward,
        /,
        feed: Literal["maps", "frame", "nothing"] = "maps",
        kernel: int = 3,
        over: Over = "last",
        sigmoid: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__(channels, read, up, kernel, over, sigmoid, bias)
        self.feed = feed


class Carry(Head):
    """Carry every patch of the last frame to where the hidden maps say that it will be, and draw
    only what is added to that. Not of the ConvLSTM's paper; cf. the motion kernels of Finn et al.
    2016 (arXiv 1605.07157).

    A 1x1 convolution gives for each patch and step a velocity in pixels, summed over the steps to a
    displacement; for rows and columns the width of a Gaussian, which is how unsure it is; and a
    weight in (0,1). A patch's pixels i, j are blurred by that Gaussian, moved, and added up where
    patches meet:

        frame[y, x] = Σ patches Σ i,j  k(y - row - i) · weight · pixel[i, j] · k(x - column - j)

    which is two small matrix products. Their size grows with the frame's area times its side, over
    the patch's, whose side is the codec's stride.

    Args:
        channels, read, up, kernel, over: as of `Draw`.
        feed: "maps" or "nothing": see `Head`.
    """

    # Pixels a frame for an output of 1; the narrowest Gaussian in pixels.
    speed, sharpest = 4.0, 0.45

    def __init__(
        self,
        channels: int,
        read: int,
        up: Beside | Upward,
        /,
        feed: Literal["maps", "nothing"] = "maps",
        kernel: int = 3,
        over: Over = "last",
    ) -> None:
        super().__init__(channels, up, kernel, over)
        self.begin_small(0.01)
        self.feed, self.patch = feed, up.stride
        self.motion = nn.Conv2d(read, 5, 1)
        nn.init.normal_(self.motion.weight, std=0.02)
        # At rest, a little blurred, nearly whole.
        self.motion.bias = nn.Parameter(torch.tensor([0.0, 0.0, 1.0, 1.0, 4.0]))

    def forward(self, raised: Raised, maps: Hidden, upon: Float[Tensor, "b c h w"]) -> Frames:
        return self.numbers(raised, upon) + self.carried(maps, upon)

    def carried(self, maps: Hidden, last: Float[Tensor, "b c h w"]) -> Frames:
        """The last frame, each patch where it is by each step."""
        b, steps, _, i, j = maps.shape
        h, w = last.shape[-2:]
        p = self.patch
        last = padded(last, p)
        c = last.shape[1]
        motion = self.motion(maps.flatten(0, 1)).to(last.dtype).unflatten(0, (b, steps))
        moved = torch.cumsum(self.speed * motion[:, :, :2], dim=1)
        width = self.sharpest + F.softplus(motion[:, :, 2:4])
        row = p * torch.arange(i, device=last.device)[:, None] + moved[:, :, 0]
        column = p * torch.arange(j, device=last.device) + moved[:, :, 1]
        k_rows = _kernel(row, width[:, :, 0], p, i * p).unsqueeze(2)  # (b,steps,1,i,j,p,H)
        k_columns = _kernel(column, width[:, :, 1], p, j * p)  # (b,steps,i,j,p,W)
        weight = torch.sigmoid(motion[:, :, 4])[:, :, None, :, :, None, None]
        # (b,steps,c,i,j,p,p)
        patches = last.reshape(b, 1, c, i, p, j, p).transpose(4, 5) * weight
        left = (patches.transpose(-1, -2) @ k_rows).flatten(3, 5)  # (b,steps,c,ijp,H)
        frames = left.transpose(-1, -2) @ k_columns.flatten(2, 4).unsqueeze(2)
        return frames[..., :h, :w].to(last.dtype)


def _kernel(start: Tensor, width: Tensor, patch: int, size: int) -> Tensor:
    """(...,patch,size): where a patch's rows (or columns) go when the first goes to `start`."""
    place = torch.arange(1 - patch, size, device=start.device)
    k = torch.exp(-0.5 * ((place - start[..., None]) / width[..., None]) ** 2)
    k = k / (k.sum(dim=-1, keepdim=True) + 1e-3)  # what leaves the frame is lost
    return k.unfold(-1, size, 1).flip(-2)


class Correct(Head):
    """Add what is drawn to what a baseline forecasts: untrained, it is nearly that baseline.

    Args:
        channels, read, up, kernel, over: as of `Draw`.
        guide: a name of `BASELINES`, or {name: its arguments}, such as {"cycle": {"period": 24}}.

    Raises:
        ValueError: an even kernel, an unknown guide, arguments that it does not take.
    """

    feed = "guide"

    def __init__(
        self,
        channels: int,
        read: int,
        up: Beside | Upward,
        /,
        guide: str | Mapping[str, Any] = "persistence",
        kernel: int = 3,
        over: Over = "last",
    ) -> None:
        super().__init__(channels, up, kernel, over)
        self.begin_small(0.001)
        self.guide = _guide(guide)

    def forward(self, raised: Raised, maps: Hidden, upon: Frames) -> Frames:
        return self.numbers(raised, upon) + upon


class Mix(Head):
    """Draw nothing, but mix at each pixel what a baseline forecasts, that blurred by Gaussians, and
    nothing; what is dry stays dry, whatever was trained on. Each value is

        factor · Σ weight_k · level_k

    with the guide's frame, its blurs and zero for levels, positive weights that add up to 1
    (softmax), and a factor in (0,2). At first nearly all weight is on the guide's frame.

    Args:
        channels, read, up, kernel, over: as of `Draw`.
        guide: as of `Correct`.
        blurs: widths of the Gaussians, in pixels.

    Raises:
        ValueError: as `Correct`, or a blur that is not above 0.
    """

    feed = "guide"

    def __init__(
        self,
        channels: int,
        read: int,
        up: Beside | Upward,
        /,
        guide: str | Mapping[str, Any] = "optical_flow",
        blurs: Sequence[float] = (1.5, 4.0, 10.0),
        kernel: int = 3,
        over: Over = "last",
    ) -> None:
        if not all(sigma > 0 for sigma in blurs):
            raise ValueError(f"blurs are widths in pixels above 0, not {list(blurs)}")
        super().__init__(channels * (len(blurs) + 3), up, kernel, over)
        self.begin_small(0.001)
        self.blurs = tuple(blurs)
        self.guide = _guide(guide)

    def forward(self, raised: Raised, maps: Hidden, upon: Frames) -> Frames:
        # For each channel the K+2 numbers behind the weights, and the one behind the factor.
        numbers = self.numbers(raised, upon).unflatten(2, (upon.shape[2], len(self.blurs) + 3))
        first = torch.zeros(len(self.blurs) + 2, device=upon.device)
        first[0] = 4.0
        weights = torch.softmax(numbers[:, :, :, :-1] + first.view(-1, 1, 1), dim=3)
        with exactly(upon):
            blurs = [blurred(upon, sigma, REACH) for sigma in self.blurs]
        levels = torch.stack([upon, *blurs, torch.zeros_like(upon)], dim=3)
        return 2 * torch.sigmoid(numbers[:, :, :, -1]) * (weights * levels).sum(dim=3)


class Guides(Model):
    """Several baselines as one model: their frames side by side along channels.

    Args:
        guides: names of `BASELINES`, or {name: its arguments}.

    Raises:
        ValueError: none, an unknown name, arguments that it does not take.
    """

    def __init__(self, guides: Sequence[str | Mapping[str, Any]]) -> None:
        super().__init__()
        if not guides:
            raise ValueError('guides are names of baselines, such as ["dense_motion"]')
        self.each = [_guide(guide) for guide in guides]  # without weights
        self.args, self.channels = {"guides": list(guides)}, None

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        after: State = {}
        for k, guide in enumerate(self.each):
            before = None if state is None else self._own(state, k)
            own = guide.encode(past, before)
            after |= {f"{k}_{name}": value for name, value in own.items()}
        return after

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps _ h w"]:
        return self.proven(state, steps)[0]

    def proven(
        self, state: State, steps: int
    ) -> tuple[Float[Tensor, "b steps _ h w"], Float[Tensor, "b e h w"] | None]:
        """Their frames, and what speaks for the first dense motion among them, if there is one."""
        frames: list[Tensor] = []
        evidence = None
        for k, guide in enumerate(self.each):
            own = self._own(state, k)
            if isinstance(guide, DenseMotion):
                V = guide.motion(own)
                frames.append(guide.carried(own, V, steps))
                evidence = guide.evidence(own, V) if evidence is None else evidence
            else:
                frames.append(guide.decode(own, steps))
        return torch.cat(frames, dim=2), evidence

    def _own(self, state: State, k: int) -> State:
        head = f"{k}_"
        return {n.removeprefix(head): v for n, v in state.items() if n.startswith(head)}


class Blend(Head):
    """Several baselines' forecasts, mixed at each pixel as the hidden maps say, beginning exactly
    at the first of them:

        gain · (shifted + Σ_k w_k (level_k - first)) + drawn

    where `shifted` is the first guide's frame, moved by some pixels; levels are the other guides'
    frames and Gaussian blurs of the first's; and w_k = z_k / (1 + Σ|z|), so that no weight grows
    beyond 1. Shift, z and what is drawn are 0 at first, and the gain, in (0,2), is 1. Without what
    is drawn, what is dry in all guides stays dry.

    Frames may have any number of channels where the network takes any: it sees their mean then, and
    shift, weights, gain and what is drawn are the same for each.

    Args:
        channels, read, up, kernel, over: as of `Draw`; channels may be None.
        guides: names of `BASELINES`, or {name: its arguments}; training begins at the first.
        blurs: widths of the Gaussians, in pixels.
        draw: add what is drawn, too.

    Raises:
        ValueError: as `Guides`, an even kernel, or a blur that is not above 0.
    """

    feed = "guides"

    def __init__(
        self,
        channels: int | None,
        read: int,
        up: Beside | Upward,
        /,
        guides: Sequence[str | Mapping[str, Any]] = ("dense_motion", "persistence"),
        blurs: Sequence[float] = (1.0, 3.0),
        draw: bool = True,
        kernel: int = 3,
        over: Over = "last",
    ) -> None:
        if not all(sigma > 0 for sigma in blurs):
            raise ValueError(f"blurs are widths in pixels above 0, not {list(blurs)}")
        guide = Guides(guides)
        each = len(guide.each) - 1 + len(blurs) + 1 + draw
        super().__init__((channels or 1) * each + 2, up, kernel, over)
        nn.init.zeros_(self.last.weight)
        self.begin_small(0.0)
        self.channels, self.each = channels, each
        self.blurs, self.draw = tuple(blurs), draw
        self.guide: Guides = guide
        dense = any(isinstance(of, DenseMotion) for of in guide.each)
        self.told = (channels or 1) * len(guide.each) + EVIDENCE * dense

    def guided(self, state: State, steps: int) -> tuple[Frames, Frames]:
        """The guides' frames, and what the decoder is fed at each step: these, and what speaks for
        them.
        """
        upon, evidence = self.guide.proven(state, steps)
        told = upon
        if self.channels is None:
            told = upon.unflatten(2, (len(self.guide.each), -1)).mean(dim=3)
        if evidence is not None:
            each = evidence.to(told).unsqueeze(1).expand(-1, steps, -1, -1, -1)
            told = torch.cat([told, each], dim=2)
        return upon, told

    def forward(self, raised: Raised, maps: Hidden, upon: Frames) -> Frames:
        first, *levels = upon.unflatten(2, (len(self.guide.each), -1)).unbind(dim=2)
        numbers = self.numbers(raised, upon)
        with exactly(first):
            levels += [blurred(first, sigma, REACH) for sigma in self.blurs]
            places = pixels(numbers[:, :, :2].flatten(0, 1)) + numbers[:, :, :2].flatten(0, 1)
            blend = sampled(first.flatten(0, 1).float(), places.float()).view(first.shape)
        # For each channel as many numbers as levels, the one behind the gain, what is drawn.
        own = numbers[:, :, 2:].unflatten(2, (-1, self.each)).unbind(dim=3)
        z = own[: len(levels)]
        total = 1 + sum(of.abs() for of in z)
        for level, of in zip(levels, z, strict=True):
            blend = blend + of / total * (level - first)
        blend = 2 * torch.sigmoid(own[len(levels)]) * blend
        return (blend + own[-1] if self.draw else blend).to(upon.dtype)


def _guide(guide: str | Mapping[str, Any]) -> Model:
    name, args = choice(BASELINES, guide, "guide")
    return BASELINES[name](**args)


HEADS: dict[str, type[Head]] = {
    "draw": DrawAndFeed,
    "carry": Carry,
    "correct": Correct,
    "mix": Mix,
    "blend": Blend,
}
"""Those of an encoder-decoder; the other ways to step ahead have `Draw` alone."""
