"""A forecast that begins exactly at a baseline's and learns where others are better.

Which baseline is best differs from recording to recording, and within one from place to place.
`Blend` is the head that mixes their frames; guides.py runs them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.models.checks import at_least
from foreframe.models.codec import padded
from foreframe.models.guides import Guides, evidence_channels
from foreframe.models.heads import Frames, Head, HeadInputs, HeadSizes, Over, Sums
from foreframe.models.interface import (
    Past,
    State,
    deciding_size,
    part_of,
    peek,
    pop,
    with_prefix,
)
from foreframe.models.motion import NARROW, blurred, displaced, exactly

Seen = Float[Tensor, "b s _ _ _"]  # as small as the network sees frames

REACH = 3.0  # sigma at which blurs are cut off
BYTES = 2**28  # of a clip's levels at a time


class Blend(Head):
    """Baselines' forecasts, mixed at each pixel as the hidden maps say, beginning exactly at the
    first of them:

        gain · (shifted + Σ_k w_k (level_k - first)) + drawn

    where `shifted` is the first guide's frame, moved by some pixels; levels are the other guides'
    frames and Gaussian blurs of the first's; and w_k = z_k / (1 + Σ|z|), so that no weight grows
    beyond 1. Shift, z and what is drawn are 0 at first, and the gain, in (0,2), is 1. Without what
    is drawn, what is dry in all guides stays dry.

    Frames may have any number of channels where the network takes any: it sees their mean then, and
    shift, weights, gain and what is drawn are the same for each.

    Large frames have large motions in pixels and cost much time. With `short`, the network reads
    means of k x k pixels, where the integer k makes the shorter side about `short` pixels. Its
    outputs are interpolated, and shift and blurs are k times as wide. The mixed frames of the
    guides keep their size.

    Args:
        sizes, kernel, over: as of `Draw` (heads.py); `sizes.channels` may be None.
        guides: names of `BASELINES`, or {name: its arguments}; training begins at the first.
        hindcast: as of `Guides`, for the network to see.
        blurs: widths of the Gaussians, in pixels.
        draw: add what is drawn, too.
        short: shorter side in pixels to which large frames are reduced, about; None to reduce none.

    Raises:
        ValueError: as `Guides`, an even kernel, a blur that is not above 0, or a `short` below 8.
    """

    feed = "guides"
    shifts = True

    def __init__(
        self,
        sizes: HeadSizes,
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
        at_least(NARROW, short=NARROW if short is None else short)
        guide = Guides(guides, hindcast)
        # For each channel: the weights of other guides and of blurs, the gain, what is drawn.
        parts = (len(guide.each) - 1, len(blurs), 1, int(draw))
        numbers = (sizes.channels or 1) * sum(parts) + 2 * self.shifts
        super().__init__(numbers, sizes.up, kernel, over)
        self.initialize(0.0)  # drawn all the same: a seed gives what is built later its numbers
        self.channels, self.parts = sizes.channels, parts
        self.blurs, self.draw, self.short = tuple(blurs), draw, short
        self.guide: Guides = guide

    @classmethod
    def guide_channels(cls, channels: int | None, args: Mapping[str, Any]) -> int:
        guides, hindcast = args["guides"], args["hindcast"]
        return (channels or 1) * len(guides) + evidence_channels(guides, hindcast)

    def encode(self, targets: Past, state: State | None) -> State:
        guides = self.guide.encode(targets, state and part_of(state, "guide/"))
        return with_prefix("guide/", guides)

    def exogenous(self, state: State, steps: int) -> State:
        if "levels" in state:
            return {}
        return with_prefix("guide/", self.guide.exogenous(part_of(state, "guide/"), steps))

    def begin(self, state: State) -> State:
        if "levels" in state:
            return {name: state[name] for name in ("levels", "fed")}
        return with_prefix("guide/", self.begin_guides(part_of(state, "guide/")))

    def precompute(self, state: State, steps: int) -> State:
        if "levels" in state:
            return state
        begun = self.begin(state | self.exogenous(state, steps))
        levels, fed, _ = self.levels(part_of(begun, "guide/"), steps)
        rest = {name: value for name, value in state.items() if not name.startswith("guide/")}
        return rest | {"levels": levels, "fed": fed}

    def next_levels(self, state: State, steps: int) -> tuple[Frames, Seen, State]:
        if "levels" in state:
            levels, fed = (peek(state[name], steps) for name in ("levels", "fed"))
            return levels, fed, {name: pop(state[name], steps) for name in ("levels", "fed")}
        levels, fed, guides = self.levels(part_of(state, "guide/"), steps)
        return levels, fed, with_prefix("guide/", guides)

    def begin_guides(self, state: State) -> State:
        """The guides, ready to step; the evidence as small as the network sees frames."""
        begun = self.guide.begin(state)
        if "evidence" not in begun:
            return begun
        evidence = begun["evidence"].unsqueeze(1)
        seen = self.reduced(evidence)
        if self.guide.moves:  # V of dense motion is in pixels
            V, errors = seen.tensor_split([2], dim=2)
            seen = torch.cat([V / self.factor(evidence.shape[-2:]), errors], dim=2)
        return begun | {"evidence": seen[:, 0]}

    def lead_times(self, frame: Float[Tensor, "b c h w"], steps: int) -> int:
        """Few of large frames, since the levels of each lead time are in memory."""
        levels = len(self.guide.each) + len(self.blurs)
        return max(1, BYTES // (levels * frame[:1].nbytes))

    def levels(self, state: State, steps: int) -> tuple[Frames, Seen, State]:
        """Return all levels of the next steps (the guides' frames, and blurs of the first guide's),
        the input of the decoder at each step (see `fed`), and the guides' state after these steps.
        """
        n = len(self.guide.each)
        levels: Tensor | None = None
        own: State = {}
        for k, (frames, after_steps) in enumerate(self.guide.forecasts(state, steps)):
            b, _, c, h, w = frames.shape
            if levels is None:  # filled one by one, as large frames fill the memory
                levels = frames.new_empty(b, steps, c * (n + len(self.blurs)), h, w)
            levels[:, :, k * c : (k + 1) * c] = frames
            own |= after_steps
        assert levels is not None
        first = levels[:, :, :c].clone()  # in whose place nothing is written, for gradients
        with exactly(first):
            small = self.reduced(first)
            for k, sigma in enumerate(self.blurs, n):
                blur = self.enlarged(blurred(small, sigma, REACH), first)
                levels[:, :, k * c : (k + 1) * c] = blur
        return levels, self.fed(levels[:, :, : n * c], state), own

    def fed(self, frames: Frames, state: State, *more: Frames) -> Seen:
        """Return the decoder's input: the guides' frames, `more` and the evidence, reduced."""
        if self.channels is None:
            frames = frames.unflatten(2, (len(self.guide.each), -1)).mean(dim=3)
        seen = self.reduced(torch.cat([frames, *more], dim=2) if more else frames)
        if "evidence" not in state:
            return seen
        evidence = state["evidence"].to(seen).unsqueeze(1).expand(-1, seen.shape[1], -1, -1, -1)
        return torch.cat([seen, evidence], dim=2)

    def factor(self, size: Sequence[int]) -> int:
        short = min(deciding_size(size))
        return 1 if self.short is None else max(1, round(short / self.short))

    def reduced(self, frames: Frames) -> Seen:
        return pooled(frames, self.factor(frames.shape[-2:]))

    def enlarged(self, numbers: Seen, like: Frames) -> Frames:
        """Enlarge outputs of the network to the size of `like`."""
        return magnified(numbers, self.factor(like.shape[-2:]), like)

    def forward(self, given: HeadInputs) -> tuple[Frames, Sums | None]:
        return self.blended(self.numbers(given.raised, given.frames), given.frames), given.sums

    def blended(self, numbers: Seen, levels: Frames) -> Frames:
        """Levels mixed as the numbers say."""
        n = 1 + self.parts[0] + self.parts[1]
        first, *others = levels.unflatten(2, (n, -1)).unbind(dim=2)
        k = self.factor(levels.shape[-2:])
        shift, numbers = self.enlarged(numbers, levels).tensor_split([2], dim=2)
        numbers = numbers.unflatten(2, (-1, sum(self.parts)))
        of_guides, of_blurs, gain, drawn = numbers.split(self.parts, dim=3)
        with exactly(levels):
            shifted = displaced(first, k * shift)
        weights = [*of_guides.unbind(dim=3), *of_blurs.unbind(dim=3)]
        total = 1 + sum(weight.abs() for weight in weights)
        blend = shifted
        for level, weight in zip(others, weights, strict=True):
            blend = blend + weight / total * (level - first)
        blend = 2 * torch.sigmoid(gain.squeeze(3)) * blend
        return (blend + drawn.squeeze(3) if self.draw else blend).to(levels.dtype)


def pooled(frames: Frames, k: int) -> Seen:
    """Return means of k x k pixels."""
    if k == 1:
        return frames
    return F.avg_pool2d(padded(frames.flatten(0, 1), k), k).unflatten(0, frames.shape[:2])


def magnified(small: Seen, k: int, like: Frames) -> Frames:
    """Return frames k times as large, linear between pixels, cropped to the size of `like`."""
    if k == 1:
        return small
    large = F.interpolate(small.flatten(0, 1), scale_factor=k, mode="bilinear")
    return large[..., : like.shape[-2], : like.shape[-1]].unflatten(0, like.shape[:2])
