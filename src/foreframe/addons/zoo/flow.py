"""Members by flow matching: noise is turned, in a few passes, into possible errors of a forecast.

Flow matching is of Lipman et al. 2023 (arXiv 2210.02747) and Liu et al. 2023 (arXiv 2209.03003);
DiffCast (Yu et al. 2024, arXiv 2312.06734) samples the errors of a forecast by diffusion. Read top
to bottom: the model and its objective, its noise, its network. Shapes: frames B T C H W; maps
b d h w with h = H/4.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.clips.clip import Window
from foreframe.clips.keyed import further, normals
from foreframe.models.at_once import AtOnce
from foreframe.models.codec import padded
from foreframe.models.engine import PackedConv2d
from foreframe.models.interface import (
    Future,
    Past,
    State,
    TrainingForecast,
    pad_with_oldest,
    part_of,
    parts_of,
    peek,
    push_ring,
    with_prefix,
)
from foreframe.models.members_of import MembersOf
from foreframe.models.noise import first_lead

Frames = Float[Tensor, "b t c h w"]


class Flow(MembersOf, AtOnce):
    """A forecaster with frozen weights, whose forecast is m = (m_1 ... m_n), and a flow that
    samples its error r = y - m. Along

        r_t = t · r + (1 - t) · σ · z,        z normal, t from 0 to 1,

    a network learns r̂(r_t, t, m, past), the mean of r given r_t, from which the velocity of r_t is
    (r̂ - r_t) / (1 - t). A member begins with r_0 = σ · z of its key, follows that velocity in a
    few passes, which begin at `times`, and is m + r_1. At t = 0, r_t is independent of r, and the
    network gets zeros instead: all members share this pass.

    A pass from t to t' extrapolates r̂ from the pass before, which began at p, as a + b (1 - t)²:
    r̂ changes little when little noise is left. The velocity then has the integral

        r_t' = r_t + (t' - t) / (1 - t) · (r̂ - r_t) - (t' - t)² · b,
        b = (r̂ - r̂_p) / ((1 - t)² - (1 - p)²),

    exact to the second order, as in DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), at no further
    pass. With a constant r̂, the first order, few passes end near the mean: five of them keep two
    thirds to three quarters of the spread.

    The spread of r_1 is still too small: a network that has not learnt enough trusts r_t too
    little. Therefore r_1 is moved away from its mean, r̂ at t = 0:

        r = r̂_0 + γ (r_1 - r̂_0),        γ² = E (r - r̂_0)² / E (r_1 - r̂_0)²,

    where γ, the `inflation`, is measured for each lead time over the last clips of the training.
    `inflate` multiplies it, to make up for members that are clamped to a range.

    Members are thus as sharp as the true frames of the training, and the forecast without members
    equals m exactly. Training on with `--loss crps` judges members that have gone through all
    passes, so that fewer passes are enough, for rougher members.

    The state is that of m, and the last `frames` frames. Beyond `frames` steps a member continues
    from its own frames, which m encodes as it did the past; the forecast m continues as m does.

    Differences from the papers: the network predicts r̂ and not the velocity, since errors fill a
    small part of the space that noise fills (Li & He 2025, arXiv 2511.13720); it learns at the
    times at which passes begin, and at no other; and errors of r̂ are weighted by 1 / (1 - t), not
    by its square as errors of the velocity.

    Args:
        of: the forecaster m, {name: arguments} as `build_model` takes them, or a name alone. Its
            weights are trained before, and stay as they are. A training takes by default that of
            the weights with which it begins.
        channels: C of the frames.
        frames: number of frames that it forecasts at once, and of past frames that it sees.
        width: channels of the network's maps.
        blocks: of the network.
        spread: σ; about as large as large errors.
        times: at which passes begin, from 0; one pass each. Further training may have others.
        levels: number of those times at which a clip is learnt in one step.
        inputs: further channels of the past, which are not forecast.
        inflate: factor of γ; above 1 to make up for members that are clamped to a range.

    Raises:
        ValueError: for choices that do not fit each other.
    """

    channels: int
    losses = ("mse", "crps")
    free = ("times", "levels", "inflate")
    apart: Tensor

    def __init__(
        self,
        of: str | Mapping[str, Any],
        channels: int = 1,
        frames: int = 10,
        width: int = 192,
        blocks: int = 6,
        spread: float = 0.5,
        times: Sequence[float] = (0.0, 0.3, 0.5, 0.7, 0.85),
        levels: int = 2,
        inputs: int = 0,
        inflate: float = 1.0,
    ) -> None:
        super().__init__(of)
        if (self.of.channels, self.of.inputs) not in ((None, inputs), (channels, inputs)):
            sizes = {"channels": channels, "inputs": inputs} if inputs else {"channels": channels}
            ((name, args),) = self.args["of"].items()
            super().__init__({name: {**args, **sizes}})
        if min(channels, frames, blocks, levels) < 1 or width % GROUPS or width < 1:
            raise ValueError(
                "a flow needs 1 channel, frame, block and level or more and a width that "
                f"{GROUPS} divides, not {channels}, {frames}, {blocks}, {levels} and {width}"
            )
        for name, factor in (("spread", spread), ("inflate", inflate)):
            if not 0 < factor < math.inf:
                raise ValueError(f"{name} is a number above 0, not {factor}")
        if not times or times[0] != 0 or any(not a < b for a, b in pairwise((*times, 1.0))):
            raise ValueError(f"times begin at 0 and grow, each below 1, not {list(times)}")
        self.inflate = inflate
        self.channels, self.frames, self.horizon = channels, frames, frames
        self.spread, self.times, self.levels = spread, (*times, 1.0), levels
        self.stride = math.lcm(SIDE, self.of.stride)
        self.network = Network(channels * frames, width, blocks)
        # Root mean squares by lead time, over training: of r - r̂_0, and of r_1 - r̂_0.
        self.register_buffer("apart", torch.zeros(2, frames))

    def stride_in(self, size: Sequence[int]) -> int:
        return math.lcm(SIDE, self.of.stride_in(size))

    def encode(self, past: Past, state: State | None = None) -> State:
        """Keeps the state of m, and the last `frames` frames. Any T >= 1."""
        return push_ring(past, state, self.frames) | super().encode(past, state)

    def precompute(self, state: State, steps: int) -> State:
        m = self.of.decode(self.state_of(state), self.frames)
        return state | {"forecast": m, "mean_error": self._mean_error(self._shown(m, state))}

    def exogenous(self, state: State, steps: int) -> State:
        """With members: noise z for each block of `frames` frames. Otherwise: the inputs of m."""
        if "key" in state:
            return {"noise": _noise(state, steps, self.frames, self.channels)}
        return super().exogenous(state, steps)

    def begin(self, state: State) -> State:
        """Leave a member's state unchanged, since its own frames are encoded. Without members,
        prepare the state of m.
        """
        begun = super().begin(state)
        if "noise" in begun:
            return begun
        return with_prefix("of/", self.of.begin(self.state_of(begun)))

    def step(self, state: State, last: bool = False) -> tuple[Frames, State]:
        if "noise" in state:
            return AtOnce.step(self, state, last)
        m, inner = self.of.advance(part_of(state, "of/"), self.frames, last)
        return m, with_prefix("of/", inner)

    def rollout(self, state: State, steps: int) -> tuple[Frames, State]:
        """In steps of `frames` frames, also without members."""
        return AtOnce.rollout(self, state, steps)

    def next_frames(self, state: State) -> Frames:
        """m, plus an error that is sampled from the noise."""
        state = state if "mean_error" in state else self.precompute(state, self.frames)
        m, r_hat = state["forecast"], state["mean_error"]
        z = _padded(peek(state["noise"], 1)[:, 0]).to(_exact(m))
        r = self._integrated(self.spread * z, r_hat, self._shown(m, state))
        r = r_hat + self.inflation.view(-1, 1, 1, 1) * (r - r_hat)
        return m + r[..., : m.shape[-2], : m.shape[-1]].to(m.dtype)

    @property
    def inflation(self) -> Float[Tensor, " t"]:
        """The factor of each lead time by which members are moved away from their mean: `inflate`
        times γ, which is 1 before training.
        """
        truth, drawn = self.apart
        return self.inflate * (truth / drawn).where(drawn > 0, 1.0).clamp(max=LARGEST)

    def teacher_forced(self, clips: Past, window: Window) -> TrainingForecast:
        """m, which does not learn, and the errors of r̂ for `terms`."""
        parts = parts_of(clips, window, self.inputs)
        with torch.no_grad():
            state = self.of.encode(parts.past)
            if parts.known is not None:
                state["known"] = parts.known
            m = self.of.decode(state, self.frames)
            shown = self._shown(m, self.encode(parts.past))
        truth = parts.truth[:, : self.frames]
        future, _, h, w = truth.shape[1:]
        r = torch.zeros_like(m)
        r[:, :future] = (truth - m[:, :future]).nan_to_num()
        r, shown = (
            x.to(_exact(clips)).repeat_interleave(self.levels, dim=0) for x in (_padded(r), shown)
        )
        chosen = torch.rand(len(m), len(self.times) - 1).argsort(dim=1)[:, : self.levels]
        t = torch.tensor(self.times)[chosen.flatten()].to(r)
        along = t.view(-1, 1, 1, 1, 1)
        r_t = along * r + (1 - along) * self.spread * torch.randn_like(r)
        r_t = r_t.where(along > 0, 0)
        r_hat = self.network(r_t, t, shown, self.spread)
        r_hat, r = (x[:, :future, :, :h, :w] for x in (r_hat, r))
        there = truth.isfinite().to(r).repeat_interleave(self.levels, dim=0)
        error = there * (r_hat - r).square() / (1 - along)
        if self.training:
            self._compare(r[:1], there[:1], shown[:1])
        errors = {"error": error.flatten(1).sum(dim=1), "known": there.flatten(1).sum(dim=1)}
        return TrainingForecast(m[:, :future], truth, errors)

    def terms(self, made: TrainingForecast) -> dict[str, Float[Tensor, ""]]:
        """The mean over values, and over `levels` of the times t of each clip, of |r̂ - r|² / (1 -
        t), in units of σ²: so late times, whose errors are small, count about as much as early
        ones.
        """
        if "error" not in made.state:
            return {}
        error, known = made.state["error"].sum(), made.state["known"].sum()
        return {"flow": error / known.clamp(min=1) / self.spread**2}

    def _integrated(self, r: Frames, r_hat: Frames, shown: Float[Tensor, "b s c _ _"]) -> Frames:
        """r_0 to r_1; `r_hat` is r̂ at t = 0."""
        before, b = 0.0, torch.zeros_like(r_hat)
        for t, after in pairwise(self.times):
            if t > 0:
                last, r_hat = r_hat, self.network(r, r.new_full(r.shape[:1], t), shown, self.spread)
                b = (r_hat - last) / ((1 - t) ** 2 - (1 - before) ** 2)
            r = r + (after - t) / (1 - t) * (r_hat - r) - (after - t) ** 2 * b
            before = t
        return r

    @torch.no_grad()
    def _compare(self, r: Frames, there: Frames, shown: Float[Tensor, "b s c _ _"]) -> None:
        """Update `apart` by these clips, as a running mean of squares."""
        r_hat = self._mean_error(shown)
        drawn = self._integrated(self.spread * torch.randn_like(r_hat), r_hat, shown)
        _, future, _, h, w = r.shape
        r_hat, drawn = (x[:, :future, :, :h, :w] for x in (r_hat, drawn))
        n, kept = there.sum(dim=(0, 2, 3, 4)), self.apart[:, :future]
        squares = torch.stack([there * (x - r_hat).square() for x in (r, drawn)])
        mean = squares.sum(dim=(1, 3, 4, 5)) / n.clamp(min=1)
        kept.copy_((KEPT * kept.square() + (1 - KEPT) * mean).sqrt().where(n > 0, kept))

    def _mean_error(self, shown: Float[Tensor, "b s c _ _"]) -> Float[Tensor, "b t c _ _"]:
        """r̂ at t = 0: the mean error of m."""
        r = torch.zeros_like(shown[:, : self.frames], dtype=_exact(shown))
        return self.network(r, r.new_zeros(r.shape[0]), shown, self.spread)

    def _shown(self, m: Frames, state: State) -> Float[Tensor, "b s c _ _"]:
        """The network's input beside r_t: m, and the past, whose oldest frame is repeated where it
        has fewer than `frames`.
        """
        past = pad_with_oldest(state)[:, :, : self.channels]
        return torch.cat([_padded(m), _padded(past)], dim=1)


SIDE, GROUPS = 4, 8  # pixels of a patch; of convolutions
KEPT = 0.998  # weight of the former value in running means
LARGEST = 2.0  # γ, of a network that has hardly learnt


def _exact(frames: Tensor) -> torch.dtype:
    return torch.promote_types(frames.dtype, torch.float32)


def _padded(frames: Frames) -> Float[Tensor, "b t c _ _"]:
    return padded(frames.flatten(0, 1), SIDE).unflatten(0, frames.shape[:2])


@torch.no_grad()
def _noise(state: State, steps: int, frames: int, channels: int) -> Float[Tensor, "b n t c h w"]:
    """Normal numbers by key, lead time, channel, row and column (from the place), for each part of
    `frames` frames of the forecast and for frames as `_padded`.
    """
    key, like = state["key"], _padded(state["frames"][:, :1])
    place = state.get("place", key.new_zeros(len(key), 2))
    count = -(-steps // frames) * frames
    sizes = (count, channels, *like.shape[3:])
    lead, channel, row, column = (torch.arange(n, device=key.device) for n in sizes)
    lead = (first_lead(state) + lead).unflatten(1, (-1, 1, 1, 1))
    keys = further(key.view(-1, 1, 1, 1, 1), _FLOW, lead)
    keys = further(keys, channel.view(-1, 1, 1))
    row, column = (at + place[:, k, None] for k, at in enumerate((row, column)))
    keys = further(keys, row[:, None, None, :, None], column[:, None, None, None, :])
    return normals(keys).unflatten(1, (-1, frames))


_FLOW = 4  # part of the keys, so that numbers differ from the numbers of `Noise`


class Network(nn.Module):
    """Residual blocks over maps of 4x4 patches, all frames side by side in their channels. Each
    place is normalised on its own, so that a tile gives the same as the whole frame.
    """

    def __init__(self, frames: int, width: int, blocks: int) -> None:
        super().__init__()
        self.fold, self.unfold = nn.PixelUnshuffle(SIDE), nn.PixelShuffle(SIDE)
        self.reduce = PackedConv2d(3 * frames * SIDE**2, width, 1)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.out = PackedConv2d(width + 3 * frames * SIDE**2, frames * SIDE**2, 1)
        nn.init.normal_(self.out.weight, std=1e-3)  # at first a member is about m
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(
        self,
        r_t: Float[Tensor, "b t c h w"],
        t: Float[Tensor, " b"],
        shown: Future,
        spread: float,
    ) -> Float[Tensor, "b t c h w"]:
        x = torch.cat([r_t / spread, shown.to(r_t)], dim=1).flatten(1, 2)
        folded = self.fold(x)
        x = self.reduce(folded)
        waves = t[:, None] * math.pi * torch.arange(1, WAVES + 1, device=t.device)
        t = torch.cat([waves.sin(), waves.cos()], dim=1)
        for block in self.blocks:
            x = block(x, t)
        r = self.unfold(self.out(torch.cat([x, folded], dim=1)))
        return r.unflatten(1, r_t.shape[1:3]).to(r_t.dtype)


WAVES = 8  # sines and cosines of the time, each


class Block(nn.Module):
    """x + a grouped 5x5 convolution around each place, mixed over channels by two of 1x1, between
    which the time t is added.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = PackedConv2d(width, width, 5, padding=2, groups=GROUPS)
        self.time_embedding = nn.Linear(2 * WAVES, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = PackedConv2d(width, 2 * width, 1), PackedConv2d(2 * width, width, 1)

    def forward(
        self, x: Float[Tensor, "b d h w"], t: Float[Tensor, "b n"]
    ) -> Float[Tensor, "b d h w"]:
        y = self.norm(self.conv(x).movedim(1, -1)).movedim(-1, 1)
        return x + self.down(F.silu(self.up(y) + self.time_embedding(t)[:, :, None, None]))
