"""A weighted mean of baselines' forecasts and of blurs, taken in the data's units: for rain.

`Mixture` is the head; what is not said here is as in `Blend` (blend.py).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from foreframe.clips.scaling import Scaling
from foreframe.models.blend import REACH, Blend, Seen, magnified, pooled
from foreframe.models.heads import Frames, HeadSizes, Over
from foreframe.models.interface import State
from foreframe.models.motion import blurred, exactly

STRONGEST = 1.5  # times the mean of the levels
AS_IS = math.log(1 / (STRONGEST - 1))  # before the sigmoid: neither weaker nor stronger
HOUR = 12  # frames, of which lead times are shares
TINY = 1e-6  # of a total: it is dry
FINE = 3.0  # pixels: wider blurs are made of means of squares


class Mixture(Blend):
    """At each pixel a weighted mean of levels, made weaker or stronger:

        c · γ · Σ_k w_k level_k,    w = softmax(z),    γ = 1.5 σ(g + log 2)

    Levels are the guides' frames, and Gaussian blurs of the first guide's; z and g are computed
    from the hidden maps and start at 0. At each lead time c makes the total of a frame equal to the
    first guide's: a network trained on squared error would otherwise learn that less rain is safe.
    No value exceeds 1.5 times the largest of the levels, and pixels that are dry in all guides stay
    dry. For values of 0 or more.

    Levels are in the data's units (`in_units`): on a logarithmic scale a mean, and so a blur, loses
    rain, and a gain makes single pixels far too strong. In addition to the inputs of `Blend` the
    decoder sees the lead time, as a share of an hour of five-minute steps, so that blurs can gain
    weight.

    Args:
        sizes, guides, hindcast, blurs, short, kernel, over: as of `Blend`; blurs grow.

    Raises:
        ValueError: as `Blend`, or blurs that do not grow.
    """

    scaling = Scaling()
    shifts = False

    def __init__(
        self,
        sizes: HeadSizes,
        /,
        guides: Sequence[str | Mapping[str, Any]] = ("dense_motion", "persistence"),
        hindcast: int = 0,
        blurs: Sequence[float] = (1.5, 3.0, 6.0, 12.0),
        short: int | None = None,
        kernel: int = 3,
        over: Over = "last",
    ) -> None:
        if any(b <= a for a, b in pairwise(blurs)):
            raise ValueError(f"blurs of a mixture grow from one to the next, unlike {list(blurs)}")
        # `False`: without a drawn frame.
        super().__init__(sizes, guides, hindcast, blurs, False, short, kernel, over)

    @classmethod
    def guide_channels(cls, channels: int | None, args: Mapping[str, Any]) -> int:
        return super().guide_channels(channels, args) + 1  # the lead time

    def begin_guides(self, state: State) -> State:
        begun = super().begin_guides(state)
        first = next(iter(begun.values()))
        return begun | {"lead": first.new_zeros(first.shape[0])}

    def levels(self, state: State, steps: int) -> tuple[Frames, Seen, State]:
        """As of `Blend`, but levels are in the data's units."""
        frames, own = zip(*self.guide.forecasts(state, steps), strict=True)
        after = {name: value for part in own for name, value in part.items()}
        lead = state["lead"].unsqueeze(1) + torch.arange(1, steps + 1, device=frames[0].device)
        with exactly(frames[0]):
            levels = [self.scaling.to_units(of.float()) for of in frames]
            blur, before = levels[0], 0.0
            for sigma in self.blurs:  # one of the other: the squares of their widths add up
                blur, before = wider(blur, math.sqrt(sigma**2 - before**2)), sigma
                levels.append(blur)
        share = (lead / HOUR).view(*lead.shape, 1, 1, 1).to(frames[0])
        fed = self.fed(torch.cat(frames, dim=2), state, share.expand_as(frames[0][:, :, :1]))
        return torch.cat(levels, dim=2), fed, after | {"lead": lead[:, -1]}

    def scaled(self, levels: Frames) -> Frames:
        return self.scaling.to_network(levels)

    def blended(self, numbers: Seen, levels: Frames) -> Frames:
        """The mean of levels, on the network's scale."""
        numbers = self.enlarged(numbers, levels).float().unflatten(2, (-1, sum(self.parts)))
        of_guides, of_blurs, gain, _ = numbers.split(self.parts, dim=3)
        with exactly(levels):
            z = torch.cat([torch.zeros_like(gain), of_guides, of_blurs], dim=3)
            each = levels.unflatten(2, (z.shape[3], -1)).unbind(dim=2)
            mean = torch.zeros_like(each[0])
            for weight, level in zip(z.softmax(dim=3).unbind(dim=3), each, strict=True):
                mean = mean + weight * level
            amount = mean * STRONGEST * torch.sigmoid(gain.squeeze(3) + AS_IS)
            guide, own = (of.sum(dim=(-2, -1), keepdim=True) for of in (each[0], amount))
            amount = amount * torch.where(own > TINY, guide / own.clamp(min=TINY), 1)
            most = STRONGEST * levels.amax(dim=(2, 3, 4), keepdim=True)
            return self.scaling.to_network(amount.minimum(most)).to(levels.dtype)


def wider(frames: Frames, sigma: float) -> Frames:
    """Blurred by a Gaussian of so many pixels, a wide one of means of 2 x 2 or 4 x 4 pixels."""
    k = 2 ** sum(sigma > limit for limit in (FINE, 2 * FINE))
    return magnified(blurred(pooled(frames, k), sigma / k, REACH), k, frames)
