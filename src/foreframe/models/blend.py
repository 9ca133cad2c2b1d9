"""A forecast that begins exactly at a baseline's and learns where others are better.

Which baseline is best differs from recording to recording, and within one from place to place.
`Guides` runs several of them as one model; `Blend` is the head that mixes their frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.baselines import guide_of
from foreframe.models.codec import Beside, Upward, padded
from foreframe.models.head import REACH, Drift, Frames, Head, Hidden, Over, Raised
from foreframe.models.interface import Model, State
from foreframe.models.motion import EVIDENCE, NARROW, DenseMotion, blurred, displaced, exactly

Seen = Float[Tensor, "b s _ _ _"]  # as small as the network sees frames


class Guides(Model):
    """Several baselines as one model: their frames side by side along channels.

    Args:
        guides: names of `BASELINES`, or {name: its arguments}.
        hindcast: frames of the past that each guide forecasts from those before them, as evidence
            (`proven`); fewer where fewer were seen; 0 for none.

    Raises:
        ValueError: no guides, an unknown name, arguments that it does not take; a hindcast below 0.
    """

    def __init__(self, guides: Sequence[str | Mapping[str, Any]], hindcast: int = 0) -> None:
        super().__init__()
        if not guides:
            raise ValueError('guides are names of baselines, such as ["dense_motion"]')
        if hindcast < 0:
            raise ValueError(f"a hindcast is of 0 frames or more, not {hindcast}")
        self.each = [guide_of(guide) for guide in guides]  # without weights
        self.hindcast, self.channels = hindcast, None
        self.args = {"guides": list(guides), "hindcast": hindcast}
        self.moves = any(isinstance(of, DenseMotion) for of in self.each)
        self.evidence = EVIDENCE * self.moves + len(HINDCAST_LEADS) * len(guides) * (hindcast > 0)

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        after = self._encoded(past, state, "")
        if self.hindcast:
            # What was seen before the last frames, and those, by which it is judged.
            recent = past if state is None else torch.cat([state["recent"], past], dim=1)
            first = max(recent.shape[1] - self.hindcast, state is None)
            if first > 0:
                after |= self._encoded(recent[:, :first], state, "early_")
            elif state is not None:
                after |= {n: v for n, v in state.items() if n.startswith("early_")}
            after["recent"] = recent[:, first:]
        return after

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps _ h w"]:
        return torch.cat([frames for frames, _ in self._each(state, steps)], dim=2)

    def proven(
        self, state: State, steps: int, room: int = 0
    ) -> tuple[Float[Tensor, "b steps _ h w"], Float[Tensor, "b e h w"] | None]:
        """Their frames, with room for so many more beside them, and what speaks for each, place by
        place; None where nothing does: the evidence of the first dense motion among them, and the
        logarithms of the squared errors of all their hindcasts, one, some and `hindcast` frames
        ahead.
        """
        frames: Tensor | None = None
        evidence: list[Tensor] = []
        for k, (of, proof) in enumerate(self._each(state, steps, evident=True)):
            b, _, c, h, w = of.shape
            if frames is None:  # filled one by one, as large frames fill the memory
                frames = of.new_empty(b, steps, c * (len(self.each) + room), h, w)
            frames[:, :, k * c : (k + 1) * c] = of
            evidence += [proof] if proof is not None and not evidence else []
        assert frames is not None
        if self.hindcast:
            recent = state["recent"].float()
            seen = recent.shape[1]
            leads = [min(seen, max(1, round(of * self.hindcast))) - 1 for of in HINDCAST_LEADS]
            with exactly(recent):
                for of, _ in self._each(state, seen, "early_") if seen else ():
                    error = (of.float() - recent)[:, leads].square().mean(dim=2)
                    evidence.append((blurred(error, 1.5) + 1e-5).log() / 3 + 2.5)
                if not seen:  # of a single frame
                    evidence.append(recent.new_zeros(b, len(leads) * len(self.each), h, w))
        return frames, torch.cat([of.to(frames) for of in evidence], dim=1) if evidence else None

    def _encoded(self, past: Tensor, state: State | None, head: str) -> State:
        after: State = {}
        for k, guide in enumerate(self.each):
            before = None if state is None else _named(state, f"{head}{k}_")
            own = guide.encode(past, before)
            after |= {f"{head}{k}_{name}": value for name, value in own.items()}
        return after

    def _each(
        self, state: State, steps: int, head: str = "", evident: bool = False
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The frames of each guide; of dense motion what speaks for it, too, if `evident`."""
        for k, guide in enumerate(self.each):
            own = _named(state, f"{head}{k}_")
            if isinstance(guide, DenseMotion):
                V = guide.motion(own)
                evidence = guide.evidence(own, V) if evident else None
                yield guide.carried(own, V, steps), evidence
            else:
                yield guide.decode(own, steps), None


STRETCH = 2**28  # bytes of a clip's levels that are mixed at a time
HINDCAST_LEADS = (0.2, 0.6, 1.0)  # of the hindcast's frames


def _named(state: State, head: str) -> State:
    """The part of a state whose names begin so, without that."""
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

    A member, of a model with noise, goes astray: all levels are moved by s·d pixels, and what is
    behind the gain grows by r·e, where d (two) and e are normal numbers, much alike in places near
    each other and the same at all lead times; s and r are how unsure motion and growth are, of each
    lead time a number above 0, which the hidden maps say, added up until then. And it hedges less,
    since other members are elsewhere: blurs have a share of their weights in (0,1), which the
    hidden maps say, too, and which is small at first.

    Large frames are large motions, in pixels, and much to run a network over. Where `short` is
    given, the network sees means of k x k pixels, k being the whole number that brings their
    shorter side nearest to `short`; what it says is interpolated, shift and blurs are k times as
    wide, and the guides' frames, which are mixed, stay as fine as they are.

    Args:
        channels, read, up, kernel, over: as of `Draw`; channels may be None.
        guides: names of `BASELINES`, or {name: its arguments}; training begins at the first.
        hindcast: as of `Guides`, for the network to see.
        blurs: widths of the Gaussians, in pixels.
        draw: add what is drawn, too.
        short: pixels of the shorter side of what the network sees of large frames, about; None for
            all of them.

    Raises:
        ValueError: as `Guides`, an even kernel, a blur that is not above 0, or a `short` below 8.
    """

    feed = "guides"
    drifts = 3
    # Of members at first: .3 pixels a lead time and .05 of growth, before softplus; .12 of the
    # weights of blurs, before the sigmoid.
    unsure = (-1.0, -1.0, -3.0, -2.0)
    haste = 4.0  # what is learnt of members settles late; so it is this many times as fast

    def __init__(
        self,
        channels: int | None,
        read: int,
        up: Beside | Upward,
        /,
        guides: Sequence[str | Mapping[str, Any]] = ("dense_motion", "persistence"),
        hindcast: int = 0,
        blurs: Sequence[float] = (1.0, 3.0),
        draw: bool = True,
        short: int | None = None,
        kernel: int = 3,
        over: Over = "last",
    ) -> None:
        if not all(sigma > 0 for sigma in blurs):
            raise ValueError(f"blurs are widths in pixels above 0, not {list(blurs)}")
        if short is not None and short < NARROW:
            raise ValueError(f"short is a side of {NARROW} pixels or more, not {short}")
        guide = Guides(guides, hindcast)
        each = len(guide.each) - 1 + len(blurs) + 1 + draw
        super().__init__((channels or 1) * each + 2, up, kernel, over)
        self.begin_small(0.0)  # drawn all the same: a seed gives what is built later its numbers
        self.channels, self.each = channels, each
        self.blurs, self.draw, self.short = tuple(blurs), draw, short
        self.guide: Guides = guide
        self.stride = up.stride
        self.of_members: nn.Conv2d | None = None

    @classmethod
    def told_by(cls, channels: int | None, args: Mapping[str, Any]) -> int:
        guide = Guides(args["guides"], args["hindcast"])
        return (channels or 1) * len(guide.each) + guide.evidence

    def go_astray(self, read: int) -> None:
        self.of_members = nn.Conv2d(read, 4, 1)
        nn.init.normal_(self.of_members.weight, std=0.02)
        self.of_members.bias = nn.Parameter(torch.zeros(4))

    def guided(self, state: State, steps: int) -> tuple[Frames, Seen]:
        """All levels: the guides' frames, and blurs of the first's. And what the decoder is fed at
        each step: the guides' frames and what speaks for them, as small as the network sees frames.
        """
        levels, evidence = self.guide.proven(state, steps, room=len(self.blurs))
        c = levels.shape[2] // (len(self.guide.each) + len(self.blurs))
        n = c * len(self.guide.each)
        first = levels[:, :, :c].clone()  # in whose place nothing is written, for gradients
        with exactly(first):
            small = self.reduced(first)
            for at, sigma in zip(range(n, levels.shape[2], c), self.blurs, strict=True):
                levels[:, :, at : at + c] = self.enlarged(blurred(small, sigma, REACH), first)
        told = levels[:, :, :n]
        if self.channels is None:
            told = told.unflatten(2, (len(self.guide.each), -1)).mean(dim=3)
        told = self.reduced(told)
        if evidence is not None:
            each = self.reduced(evidence.unsqueeze(1))
            if self.guide.moves:  # a motion is in pixels
                V, errors = each.tensor_split([2], dim=2)
                each = torch.cat([V / self.factor(first.shape[-2:]), errors], dim=2)
            told = torch.cat([told, each.expand(-1, steps, -1, -1, -1)], dim=2)
        return levels, told

    def factor(self, size: Sequence[int]) -> int:
        return 1 if self.short is None else max(1, round(min(size) / self.short))

    def reduced(self, frames: Frames) -> Seen:
        """Means of k x k pixels."""
        k = self.factor(frames.shape[-2:])
        if k == 1:
            return frames
        return F.avg_pool2d(padded(frames.flatten(0, 1), k), k).unflatten(0, frames.shape[:2])

    def enlarged(self, numbers: Seen, like: Frames, stride: int = 1) -> Frames:
        """From what the network saw, or its maps of that stride, to frames as large as `like`,
        between pixels linearly.
        """
        k = stride * self.factor(like.shape[-2:])
        if k == 1:
            return numbers
        large = F.interpolate(numbers.flatten(0, 1), scale_factor=k, mode="bilinear")
        return large[..., : like.shape[-2], : like.shape[-1]].unflatten(0, like.shape[:2])

    def astray(self, maps: Hidden, drift: Drift, like: Frames) -> tuple[Frames, Frames, Frames]:
        """How far members go astray, in pixels as the network sees them; what is added behind their
        gain; and their share of the weights of blurs: at each place of `like`.
        """
        assert self.of_members is not None
        told = self.of_members(maps.flatten(0, 1)).float().unflatten(0, maps.shape[:2])
        told = self.haste * told + told.new_tensor(self.unsure).view(-1, 1, 1)
        astray = torch.cumsum(F.softplus(told[:, :, :3]), dim=1) * drift
        each = torch.cat([astray, torch.sigmoid(told[:, :, 3:])], dim=2)
        far, growth, share = self.enlarged(each, like, self.stride).split([2, 1, 1], dim=2)
        return far, growth, share

    def forward(
        self, raised: Raised, maps: Hidden, upon: Frames, drift: Drift | None = None
    ) -> Frames:
        k = self.factor(upon.shape[-2:])
        seen = upon[..., : -(-upon.shape[-2] // k), : -(-upon.shape[-1] // k)]
        numbers = self.numbers(raised, seen)
        if drift is not None:  # which adds up over the steps
            return self.blended(numbers, upon, maps, drift)
        n = max(1, STRETCH // upon[:1, 0].nbytes)
        stretches = zip(numbers.split(n, dim=1), upon.split(n, dim=1), strict=True)
        return torch.cat([self.blended(*of) for of in stretches], dim=1)

    def blended(
        self,
        numbers: Seen,
        upon: Frames,
        maps: Hidden | None = None,
        drift: Drift | None = None,
    ) -> Frames:
        """Levels mixed as the numbers say, and astray with a drift; of large frames a few steps at
        a time, as many maps of their size are held.
        """
        gain = len(self.guide.each) - 1 + len(self.blurs)
        first, *levels = upon.unflatten(2, (1 + gain, -1)).unbind(dim=2)
        k = self.factor(first.shape[-2:])
        numbers = self.enlarged(numbers, first)
        shift = numbers[:, :, :2]
        # For each channel as many numbers as levels, the one behind the gain, what is drawn.
        own = list(numbers[:, :, 2:].unflatten(2, (-1, self.each)).unbind(dim=3))
        far = None
        if drift is not None:
            assert maps is not None
            far, growth, share = self.astray(maps, drift, first)
            shift, own[gain] = shift + far, own[gain] + growth
            for blur in range(gain - len(self.blurs), gain):
                own[blur] = own[blur] * share
        with exactly(first):
            blend = displaced(first, k * shift)
            if far is not None:
                every = displaced(upon, k * far)
                first, *levels = every.unflatten(2, (1 + gain, -1)).unbind(dim=2)
        z = own[:gain]
        total = 1 + sum(of.abs() for of in z)
        for level, of in zip(levels, z, strict=True):
            blend = blend + of / total * (level - first)
        blend = 2 * torch.sigmoid(own[gain]) * blend
        return (blend + own[-1] if self.draw else blend).to(upon.dtype)
