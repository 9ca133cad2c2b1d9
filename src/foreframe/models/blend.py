"""A forecast that begins exactly at a baseline's and learns where others are better.

Which baseline is best differs from recording to recording, and within one from place to place.
`Guides` runs several of them as one model; `Blend` is the head that mixes their frames.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.models.baselines import guide_of
from foreframe.models.codec import Beside, Upward
from foreframe.models.head import REACH, Frames, Head, Hidden, Over, Raised
from foreframe.models.motion import EVIDENCE, DenseMotion, blurred, exactly, pixels, sampled
from foreframe.models.promise import Model, State


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
        self.each = [guide_of(guide) for guide in guides]  # without weights
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
        self.begin_small(0.0)  # drawn all the same: a seed gives what is built later its numbers
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
