"""Members by flow matching: noise is carried, in a few passes, to what a forecast may err by.

Flow matching is of Lipman et al. 2023 (arXiv 2210.02747) and Liu et al. 2023 (arXiv 2209.03003);
what a forecast errs by is drawn by a diffusion in DiffCast (Yu et al. 2024, arXiv 2312.06734). Read
top to bottom: the model and its objective, its noise, its network. Shapes: frames B T C H W; maps
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

from foreframe.base.typed import brief
from foreframe.clips.clip import Window
from foreframe.clips.keyed import further, normals
from foreframe.models.codec import padded
from foreframe.models.interface import Learnt, Loss, Model, State, known_inputs, part_of, parts_of
from foreframe.models.recurrent import AtOnce

Frames = Float[Tensor, "b t c h w"]


class Flow(AtOnce):
    """A forecaster m = (m_1 ... m_n) that is trained already, and what it errs by, r = y - m, drawn
    by a flow: along

        r_t = t · r + (1 - t) · σ · z,        z normal, t from 0 to 1,

    a network learns r̂(r_t, t, m, past), the mean of r given r_t, from which the velocity of r_t is
    (r̂ - r_t) / (1 - t). A member begins with r_0 = σ · z of its key, is carried along it in the
    few passes that begin at `times`, and is m + r_1. At t = 0, where r_t says nothing of r, the
    network sees zeros in its place: a pass that all members share.

    A pass from t to t' takes r̂ to go on as it did since the pass before, from p: as a + b (1 -
    t)², since it settles where little of the noise is left. Then the velocity has the integral

        r_t' = r_t + (t' - t) / (1 - t) · (r̂ - r_t) - (t' - t)² · b,
        b = (r̂ - r̂_p) / ((1 - t)² - (1 - p)²),

    exact to the second order, as that of DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095) is, for
    no further pass. With r̂ as it is at t, the first order, few passes end near the mean: five of
    them keep two thirds to three quarters of what members should differ by.

    What is drawn so differs by less than it should: a network that has not learnt enough trusts r_t
    too little. So what it drew, r_1, is taken farther from its mean, which is r̂ at t = 0:

        r = r̂_0 + γ (r_1 - r̂_0),        γ² = E (r - r̂_0)² / E (r_1 - r̂_0)²,

    where γ, the `inflation`, is of each lead time, over the last clips of the training; `inflate`
    times that, where members are then cut to a range and differ by less for it.

    So members are as sharp as the truth that the network has seen, however blurred m is, and the
    forecast without members is m, to the bit. A training that goes on by `--loss crps` draws
    members through all passes and judges those, so that fewer passes are enough, if members may be
    rougher.

    It has the model interface of `foreframe.models`: its state is that of m, and the last `frames`
    frames. A member that looks beyond `frames` steps goes on from its own frames, which m sees as
    it saw the past; m alone goes on in its own way.

    Where it differs from the papers: the network gives r̂ and not the velocity, since what a
    forecast errs by has few ways to be and noise has all (Li & He 2025, arXiv 2511.13720); it
    learns at the times at which passes begin, and at no other; and errors of r̂ are weighted by 1 /
    (1 - t), where those of the velocity would be by its square.

    Args:
        of: the forecaster m, {name: arguments} as `build_model` takes them, or a name alone. Its
            weights are learnt before, and stay as they are. A training takes by default that of the
            weights with which it begins.
        channels: C of the frames.
        frames: how many it forecasts at once, and how many of the past it looks at.
        width: channels of the network's maps.
        blocks: of the network.
        spread: σ; of about the size that errors have where they are large.
        times: at which passes begin, from 0; as many are made. A training that goes on may have
            others, and learns to do with those.
        levels: times t, of all, at which a clip is learnt in one step.
        inputs: further channels of the past, which m sees and does not forecast.
        inflate: so many times γ; more than 1 to make up for what a cut takes of members.

    Raises:
        ValueError: for choices that do not fit each other.
    """

    draws = True
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
        super().__init__()
        from foreframe.models import build_model, model_name  # which know this model, too

        named = {of: {}} if isinstance(of, str) else of
        if len(named) != 1:
            raise ValueError(f"a flow is of one model, {{name: arguments}}, not of {brief(of)}")
        name, args = next(iter(named.items()))
        self.of = build_model(name, args)
        if (self.of.channels, self.of.inputs) not in ((None, inputs), (channels, inputs)):
            sizes = {"channels": channels, "inputs": inputs} if inputs else {"channels": channels}
            self.of = build_model(name, {**(args or {}), **sizes})
        self.of.requires_grad_(False)
        if min(channels, frames, blocks, levels) < 1 or width % GROUPS or width < 1:
            raise ValueError(
                "a flow needs 1 channel, frame, block and level or more and a width that "
                f"{GROUPS} divides, not {channels}, {frames}, {blocks}, {levels} and {width}"
            )
        if not 0 < spread < math.inf:
            raise ValueError(f"spread is a number above 0, not {spread}")
        if not 0 < inflate < math.inf:
            raise ValueError(f"inflate is a number above 0, not {inflate}")
        if not times or times[0] != 0 or any(not a < b for a, b in pairwise((*times, 1.0))):
            raise ValueError(f"times begin at 0 and grow, each below 1, not {list(times)}")
        self.args = {
            "of": {model_name(self.of): self.of.args}, "channels": channels, "frames": frames,
            "width": width, "blocks": blocks, "spread": spread, "times": list(times),
            "levels": levels,
        }  # fmt: skip
        if inputs:
            self.args["inputs"] = inputs
        if inflate != 1:
            self.args["inflate"] = inflate
        self.inflate = inflate
        self.channels, self.inputs, self.frames, self.horizon = channels, inputs, frames, frames
        self.spread, self.times, self.levels = spread, (*times, 1.0), levels
        self.stride, self.reduces = math.lcm(SIDE, self.of.stride), self.of.reduces
        self.network = Network(channels * frames, width, blocks)
        # Root mean squares, by lead time, of how far from r̂ at t = 0 the truth was in training, and
        # what was drawn for it.
        self.register_buffer("apart", torch.zeros(2, frames))

    def stride_in(self, size: Sequence[int]) -> int:
        return math.lcm(SIDE, self.of.stride_in(size))

    def encode(self, past: Float[Tensor, "b t _ h w"], state: State | None = None) -> State:
        """What m keeps, and the last `frames` frames. Any T >= 1."""
        own = self.of.encode(past, None if state is None else part_of(state, "of/"))
        seen = past[:, -self.frames :]
        if state is not None:
            seen = torch.cat([state["seen"].to(past.dtype), seen], dim=1)[:, -self.frames :]
        return {"seen": seen} | {f"of/{name}": value for name, value in own.items()}

    def shared(self, state: State, steps: int) -> State:
        m = self._forecast(state, self.frames)
        return {**state, "forecast": m, "meant": self._meant(self._shown(m, state["seen"]))}

    def decode(self, state: State, steps: int) -> Float[Tensor, "b steps c h w"]:
        return super().decode(state, steps) if "key" in state else self._forecast(state, steps)

    def next_frames(self, state: State, first: int) -> Frames:
        """m, and what is drawn for it."""
        state = state if "meant" in state else self.shared(state, self.frames)
        m, meant = state["forecast"], state["meant"]
        z = _noise(state, first, _padded(m)).to(_exact(m))
        r = self._carried(self.spread * z, meant, self._shown(m, state["seen"]))
        r = meant + self.inflation.view(-1, 1, 1, 1) * (r - meant)
        return m + r[..., : m.shape[-2], : m.shape[-1]].to(m.dtype)

    @property
    def inflation(self) -> Float[Tensor, " t"]:
        """By how much members of each lead time are taken farther from their mean: `inflate` times
        γ, which is 1 before anything is learnt.
        """
        truth, drawn = self.apart
        return self.inflate * (truth / drawn).where(drawn > 0, 1.0).clamp(max=LARGEST)

    def learn(self, clips: Float[Tensor, "b t _ h w"], window: Window, loss: Loss) -> Learnt:
        """The mean over values, and over `levels` of the times t of each clip, of |r̂ - r|² / (1 -
        t), in units of σ²: by that weight late times, whose errors are small, count about as early
        ones. The chosen loss is not asked.
        """
        parts = parts_of(clips, window, self.inputs)
        with torch.no_grad():
            state = self.of.encode(parts.past)
            if parts.known is not None:
                state["known"] = parts.known
            m = self.of.decode(state, self.frames)
            shown = self._shown(m, parts.past_of_targets[:, -self.frames :])
        truth = parts.truth[:, : self.frames]
        future, _, h, w = truth.shape[1:]
        r = torch.zeros_like(m)
        r[:, :future] = (truth - m[:, :future]).nan_to_num()
        r, shown = (
            x.to(_exact(clips)).repeat_interleave(self.levels, dim=0) for x in (_padded(r), shown)
        )
        asked = torch.rand(len(m), len(self.times) - 1).argsort(dim=1)[:, : self.levels]
        t = torch.tensor(self.times)[asked.flatten()].to(r)
        along = t.view(-1, 1, 1, 1, 1)
        r_t = along * r + (1 - along) * self.spread * torch.randn_like(r)
        r_t = r_t.where(along > 0, 0)
        meant = self.network(r_t, t, shown, self.spread)
        meant, r = (x[:, :future, :, :h, :w] for x in (meant, r))
        there = truth.isfinite().to(r).repeat_interleave(self.levels, dim=0)
        error = there * (meant - r).square() / (1 - along)
        mean = error.sum() / there.sum().clamp(min=1) / self.spread**2
        if self.training:
            self._compare(r[:1], there[:1], shown[:1])
        return Learnt(mean, m[:, :future] + meant[:: self.levels].to(m.dtype), {})

    def known(self, state: State, steps: int) -> Float[Tensor, "b steps i h w"]:
        return known_inputs(state, steps, state["seen"][:, -1, self.channels :])

    def start_at(self, mean: float) -> None:
        """As m begins."""
        self.of.start_at(mean)

    def train(self, mode: bool = True) -> "Flow":
        super().train(mode)
        self.of.eval()
        return self

    def begun_by(self, trained: Model) -> Model:
        return self if isinstance(trained, Flow) else self.of

    def _carried(self, r: Frames, meant: Frames, shown: Float[Tensor, "b s c _ _"]) -> Frames:
        """r_0 to r_1; `meant` is r̂ at t = 0."""
        before, b = 0.0, torch.zeros_like(meant)
        for t, after in pairwise(self.times):
            if t > 0:
                last, meant = meant, self.network(r, r.new_full((len(r),), t), shown, self.spread)
                b = (meant - last) / ((1 - t) ** 2 - (1 - before) ** 2)
            r = r + (after - t) / (1 - t) * (meant - r) - (after - t) ** 2 * b
            before = t
        return r

    @torch.no_grad()
    def _compare(self, r: Frames, there: Frames, shown: Float[Tensor, "b s c _ _"]) -> None:
        """How far from their mean the truth and a draw are: a step of a mean over clips."""
        meant = self._meant(shown)
        drawn = self._carried(self.spread * torch.randn_like(meant), meant, shown)
        _, future, _, h, w = r.shape
        meant, drawn = (x[:, :future, :, :h, :w] for x in (meant, drawn))
        n, kept = there.sum(dim=(0, 2, 3, 4)), self.apart[:, :future]
        squares = torch.stack([there * (x - meant).square() for x in (r, drawn)])
        mean = squares.sum(dim=(1, 3, 4, 5)) / n.clamp(min=1)
        kept.copy_((KEPT * kept.square() + (1 - KEPT) * mean).sqrt().where(n > 0, kept))

    def _forecast(self, state: State, steps: int) -> Frames:
        known = {"known": state["known"]} if "known" in state else {}
        return self.of.decode(part_of(state, "of/") | known, steps)

    def _meant(self, shown: Float[Tensor, "b s c _ _"]) -> Float[Tensor, "b t c _ _"]:
        """r̂ at t = 0, where r_t says nothing of r: the mean of what m errs by."""
        r = torch.zeros_like(shown[:, : self.frames], dtype=_exact(shown))
        return self.network(r, r.new_zeros(len(r)), shown, self.spread)

    def _shown(self, m: Frames, past: Float[Tensor, "b p _ h w"]) -> Float[Tensor, "b s c _ _"]:
        """What the network sees beside r_t: of fewer past frames the oldest stands in."""
        past = past[:, :, : self.channels]
        oldest = past[:, :1].expand(-1, self.frames - past.shape[1], -1, -1, -1)
        return torch.cat([_padded(m), _padded(torch.cat([oldest, past], dim=1))], dim=1)


SIDE, GROUPS = 4, 8  # pixels of a patch; of convolutions
KEPT = 0.998  # of a mean over clips, at each step
LARGEST = 2.0  # inflation, of a network that has hardly learnt to draw


def _exact(frames: Tensor) -> torch.dtype:
    return torch.promote_types(frames.dtype, torch.float32)


def _padded(frames: Frames) -> Float[Tensor, "b t c _ _"]:
    return padded(frames.flatten(0, 1), SIDE).unflatten(0, frames.shape[:2])


def _noise(state: State, first: int, like: Frames) -> Frames:
    """Normal numbers of each clip's key at (lead time, channel, row, column), lead times from
    `first`, rows and columns from its place.
    """
    key = state["key"]
    place = state.get("place", key.new_zeros(len(key), 2))
    lead, channel, row, column = (torch.arange(n, device=key.device) for n in like.shape[1:])
    keys = further(key.view(-1, 1, 1, 1, 1), _FLOW, (first + lead).view(-1, 1, 1, 1))
    keys = further(keys, channel.view(-1, 1, 1))
    row, column = (at + place[:, k, None] for k, at in enumerate((row, column)))
    return normals(further(keys, row[:, None, None, :, None], column[:, None, None, None, :]))


_FLOW = 4  # so that these are no numbers of `Noise`


class Network(nn.Module):
    """Residual blocks over maps of 4x4 patches, all frames side by side in their channels; each
    place normalised on its own, so that a tile has what the whole has.
    """

    def __init__(self, frames: int, width: int, blocks: int) -> None:
        super().__init__()
        self.fold, self.unfold = nn.PixelUnshuffle(SIDE), nn.PixelShuffle(SIDE)
        self.narrow = nn.Conv2d(3 * frames * SIDE**2, width, 1)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.out = nn.Conv2d(width + 3 * frames * SIDE**2, frames * SIDE**2, 1)
        nn.init.normal_(self.out.weight, std=1e-3)  # at first a member is about m
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(
        self,
        r_t: Float[Tensor, "b t c h w"],
        t: Float[Tensor, " b"],
        shown: Float[Tensor, "b s c h w"],
        spread: float,
    ) -> Float[Tensor, "b t c h w"]:
        x = torch.cat([r_t / spread, shown.to(r_t)], dim=1).flatten(1, 2)
        folded = self.fold(x)
        x = self.narrow(folded)
        waves = t[:, None] * math.pi * torch.arange(1, WAVES + 1, device=t.device)
        t = torch.cat([waves.sin(), waves.cos()], dim=1)
        for block in self.blocks:
            x = block(x, t)
        r = self.unfold(self.out(torch.cat([x, folded], dim=1)))
        return r.unflatten(1, r_t.shape[1:3]).to(r_t.dtype)


WAVES = 8  # sines and cosines of the time, each


class Block(nn.Module):
    """x + a grouped 5x5 convolution around each place, mixed over channels by two of 1x1, which are
    told the time.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 5, padding=2, groups=GROUPS)
        self.at = nn.Linear(2 * WAVES, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, width, 1)

    def forward(
        self, x: Float[Tensor, "b d h w"], t: Float[Tensor, "b n"]
    ) -> Float[Tensor, "b d h w"]:
        y = self.norm(self.around(x).movedim(1, -1)).movedim(-1, 1)
        return x + self.down(F.silu(self.up(y) + self.at(t)[:, :, None, None]))
