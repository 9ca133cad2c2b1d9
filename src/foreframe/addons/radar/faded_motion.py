"""The last frame moved along dense motion, and blurred the more the further ahead."""

from copy import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from foreframe.clips.scaling import Scaling
from foreframe.models.interface import Future, State, push_ring
from foreframe.models.motion import DenseMotion, exactly

FRAMES = 10  # that a state keeps
AHEAD = 6  # frames of the hindcast
SLOPES = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8)  # pixels of sigma a lead time
USUAL = 0.45  # of clips too short for a hindcast
REACH = 24  # pixels from which a blur takes values


class FadedMotion(DenseMotion):
    """Dense motion that fades: small features are soon unpredictable, so a forecast of least
    squared error smooths them. S-PROG (Seed 2003, Journal of Applied Meteorology 42, 381-388) does
    this by scale and by the autocorrelation of each. Here a Gaussian of σ = a (lead + 2) pixels
    blurs the frame. The slope a is the one that would have had the least squared error for the last
    frame, forecast from six frames earlier; it is .45 if fewer than ten frames were seen.

    With a known scaling (`in_units`) frames are blurred in the data's units, so that rain keeps its
    amount.

    Args:
        pairs: as of `DenseMotion`.
    """

    scaling: Scaling | None = None
    made_for = "mm/h"

    def __init__(self, pairs: int = 4) -> None:
        super().__init__(pairs)

    def in_units(self, scaling: Scaling) -> "FadedMotion":
        other = copy(self)
        other.scaling = scaling
        return other

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        """Keeps the last frames, and how many of them were seen."""
        return push_ring(past, state, FRAMES)

    def begin(self, state: State) -> State:
        begun = super().begin(state)
        lead = begun["V"].new_zeros(begun["V"].shape[0])
        return begun | {"slope": self.slope(state), "lead": lead}

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        frames, moved = super().step(state)
        lead = state["lead"] + 1
        faded = self.faded(frames[:, 0], state["slope"] * (lead + 2))
        return faded.unsqueeze(1), moved | {"slope": state["slope"], "lead": lead}

    def slope(self, state: State) -> Float[Tensor, " b"]:
        """The slope of each clip that would have been best for its last frame."""
        frames, seen = state["frames"], state["frames_seen"]
        early = {
            "frames": frames[:, :-AHEAD].contiguous(),
            "frames_seen": (seen - AHEAD).clamp(min=1),
        }
        begun = super().begin(early)
        for _ in range(AHEAD):
            forecast, begun = super().step(begun)
        truth, errors = self._amounts(frames[:, -1]), []
        for slope in SLOPES:
            sigma = seen.new_full(seen.shape, slope * (AHEAD + 2))
            error = self._amounts(self.faded(forecast[:, 0], sigma)) - truth
            errors.append(error.square().mean(dim=(1, 2, 3)))
        best = seen.new_tensor(SLOPES)[torch.stack(errors).argmin(dim=0)]
        return best.where(seen >= FRAMES, USUAL)

    def faded(
        self, frame: Float[Tensor, "b c h w"], sigma: Float[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """Each clip's frame, blurred by a Gaussian of so many pixels; edges are repeated."""
        b, c = frame.shape[:2]
        with exactly(frame):
            place = torch.arange(-REACH, REACH + 1, device=frame.device)
            weights = torch.exp(-0.5 * (place / sigma.clamp(min=0.01)[:, None]).square())
            weights = (weights / weights.sum(dim=1, keepdim=True)).repeat_interleave(c, dim=0)
            amounts = self._amounts(frame).flatten(0, 1).unsqueeze(0)
            wide = F.pad(amounts, (REACH, REACH, REACH, REACH), mode="replicate")
            rows = F.conv2d(wide, weights[:, None, :, None], groups=b * c)
            both = F.conv2d(rows, weights[:, None, None, :], groups=b * c).view(frame.shape)
            return (self.scaling.to_network(both) if self.scaling else both).to(frame.dtype)

    def _amounts(self, frame: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """In the data's units, where they are known."""
        return self.scaling.to_units(frame.float()) if self.scaling else frame.float()
