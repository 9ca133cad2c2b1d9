"""Sprites: a few things that keep their looks and move as wholes, before a dark background.

Layers of sprites that are found, followed and drawn as wholes are of Jojic & Frey 2001 ("Learning
flexible sprites in video layers"); forecasts by the look and the track of each object are of Hsieh
et al. 2018 (DDPAE, arXiv 1806.04166). Read top to bottom: the model, how sprites are cut out and
drawn, its four networks. Shapes: frames B T C H W, of sprites b k c t h w; a sprite's picture
b k c s s; probabilities of its row and of its column b k 2 t p.
"""

import math
from itertools import chain, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.addons.zoo.unet import Block
from foreframe.clips.keyed import further, normals
from foreframe.models.at_once import FromLastFrames
from foreframe.models.checks import at_least
from foreframe.models.engine import PackedConv2d
from foreframe.models.interface import (
    Future,
    State,
    TrainingForecast,
    deciding_size,
    peek,
)
from foreframe.models.motion import exactly

SIDE = 4  # of a patch, in pixels
ROUNDS = 2  # for each sprite, before the rounds of all
# Rounds of all that are found, after each sprite and after the last, in training and in forecasts.
# Two after the last are as good on average, but so unsettled that rounding errors grow to 1e-3.
LEARNING, FORECASTING = (0, 1), (2, 4)
CORRECTING = 5  # further rounds of a forecast, which start from the corrected past
TRUST = 0.3  # weight of the corrected past as a prior
EVIDENCE = 0.25  # nats for a pixel of a sprite that is where a frame has one, at first
ABSENCE = 0.6  # of that, against each that is where a frame is black, at first
LEFT = 0.2, 0.25  # share of the light that earlier sprites leave: less is none, more is another
TINY = 0.1  # of a frame
WHOLE = 0.7  # share of a picture that is all of it
DIM = 0.1  # darker pixels do not count in a centre of mass
SURE = 1e-3  # lower bound of a probability that is corrected
SLOW = 10  # times slower than other weights learn these two numbers

Frames = Float[Tensor, "b _ c t h w"]  # of each sprite, or the same for all
Pictures = Float[Tensor, "b k c s s"]
Places = Float[Tensor, "b k 2 t p"]  # a probability, or the logarithm of one
Tracks = Float[Tensor, "b k 2 2*t p"]  # of the past, and of as many future frames
Windows = Float[Tensor, "b k 2 1 t h s"]


class Sprites(FromLastFrames):
    """A frame is black where none of K sprites is. Sprite k is a picture S_k of s x s pixels; its
    top row is p with probability A_kt(p), and its left column with B_kt(p). Frames are

        Y_t = 1 - Π_k (1 - y_kt),    y_kt = a_kt S_k b_ktᵀ,    a_kt[i,j] = A_kt(i - j),

    each pixel the chance that some sprite covers it: the mean over what may be, for which a squared
    error asks. A sprite of which A and B are sure is moved by whole pixels, and as sharp after ten
    frames as in the first.

    Sprites are found one after the other, each in what those before it have not explained, and then
    all together. O = Π (1 - y), over the others, is what they leave of a frame. A forecast fades a
    sprite out if those before it leave less than a quarter of the light. A convolutional network
    begins with ln A and ln B of all frames at once, X O in patches of 4x4 pixels; then in rounds,
    as in expectation maximisation,

        S = σ(6 Σ_t aᵀ X b ⊙ aᵀ O b / Σ_t aᵀ O b - 3 + a network of all aᵀ X b and aᵀ O b),
        ln A(p) = what it began with + β Σ_ij S[i,j] (E b)[p + i, j],    E = X O - γ (1 - X),

    and B alike: a pixel of S supports a place if the frame has an unexplained pixel there, opposes
    it if the frame is black, and is ignored if another sprite covers it. Gradients go through all
    of it.

    A perceptron reads the places of one sprite, and returns corrected places of the past and the
    places of the future. It treats rows and columns alike. It sees both, because the speed along
    one axis limits the speed along the other. It learns speeds and walls. The position of a digit
    inside its window is arbitrary, so places are shifted to the centre of mass of S. A forecast
    repeats rounds from the corrected past.

    The training loss includes the past, drawn from the sprites that were found (`terms`); their
    places are not labelled. A member has one place for each sprite and frame: the quantile of A and
    of B that is drawn once for all lead times, since who is too fast stays so. It is as sharp as
    the truth.

    Frames are padded to `side` x `side`; larger ones are reduced by a whole number, and forecasts
    enlarged again.

    Differences from the papers: places are probabilities of whole rows and columns, not latents or
    a latent vector's pose; nothing is behind sprites, and none is in front of another.

    Args:
        channels: C of the frames.
        frames: number of past frames that it sees, and of frames that it forecasts at once.
        side: of the frames in pixels; where walls are is learnt for it.
        sprites: their number K; there may be fewer.
        size: side s of a sprite in pixels, of which an eighth may lie outside of the frame.
        width: channels of the convolutional network.
        blocks: of it.
        hidden: width of the perceptron.

    Raises:
        ValueError: a number below 1; a side that 4 and a size that 8 does not divide, or a size
            above the side.
    """

    free = ("sprites",)
    draws, reduces, sized = True, True, True
    channels: int
    stride = SIDE

    def __init__(
        self,
        channels: int = 1,
        frames: int = 10,
        side: int = 64,
        sprites: int = 2,
        size: int = 32,
        width: int = 64,
        blocks: int = 4,
        hidden: int = 336,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, frames=frames, side=side, sprites=sprites, size=size)
        at_least(1, width=width, blocks=blocks, hidden=hidden)
        if side % SIDE or size % (2 * SIDE) or size > side:
            raise ValueError(
                f"a side is a multiple of {SIDE}, and a sprite's size one of {2 * SIDE}, at most "
                f"the side: not {side} and {size}"
            )
        self.channels, self.frames, self.horizon = channels, frames, frames
        self.side, self.size, self.sprites = side, size, sprites
        self.places = _Places(channels, frames, side, size, width, blocks)
        self.appearance = _Appearance(channels, frames)
        self.last_picture = _LastPicture(channels, frames)
        self.motion = _Motion(frames, self.places.count, hidden)
        self.log_evidence = nn.Parameter(SLOW * torch.tensor([EVIDENCE, ABSENCE]).log())

    def precompute(self, state: State, steps: int) -> State:
        """Compute the part that members share: all except their places."""
        return state | self._found(state)

    def exogenous(self, state: State, steps: int) -> State:
        """With members: a normal number for each sprite's row and column in each block of `frames`
        frames.
        """
        if "key" not in state:
            return {}
        repeats = -(-steps // self.frames)
        number = torch.arange(repeats * self.sprites * 2, device=state["key"].device)
        noise = normals(further(state["key"][:, None], number))
        return {"noise": noise.view(-1, repeats, self.sprites, 2)}

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        return super().step(state if "pictures" in state else state | self._found(state), last)

    def freeze_encoder(self) -> None:
        """Freeze the search for sprites; training continues for their motion."""
        self.requires_grad_(False)
        self.motion.requires_grad_(True)

    def next_frames(self, state: State) -> Future:
        """The next `frames` frames; see `AtOnce`."""
        where = state["future"]
        if "noise" in state:
            normal = peek(state["noise"], 1)[:, 0, :, :, None, None]
            quantile = (1 + torch.erf(normal / math.sqrt(2))) / 2
            index = (where.cumsum(dim=-1) < quantile).sum(dim=-1)
            last = where.shape[-1] - 1  # the sum may be a little less than 1
            chosen = F.one_hot(index.clamp(max=last), last + 1).to(where)
            # Gradients as of the probabilities (straight-through, Bengio et al. 2013).
            where = chosen + (where - where.detach())
        return self._frames(where, state)

    def terms(self, made: TrainingForecast) -> dict[str, Float[Tensor, ""]]:
        """The squared error of the past, drawn again."""
        again = self._frames(made.state["past"], made.state)
        return {"past": F.mse_loss(again, self.seen(made.state).to(again))}

    def _reduction(self, state: State) -> int:
        """Return the factor by which large frames are reduced."""
        return -(-max(deciding_size(state["frames"].shape[-2:])) // self.side)

    def _frames(self, where: Places, state: State) -> Future:
        """Frames of the size of those seen, with sprites at these places."""
        seen, k = state["frames"], self._reduction(state)
        with exactly(seen):
            y = drawn(windows(where, self.side, self.size), state["pictures"])
            frames = (1 - (1 - y).prod(dim=1)).transpose(1, 2)
            if k > 1:
                large = F.interpolate(frames.flatten(0, 1), scale_factor=k, mode="bilinear")
                frames = large.unflatten(0, frames.shape[:2])
            return frames[..., : seen.shape[-2], : seen.shape[-1]].to(seen.dtype)

    def _found(self, state: State) -> State:
        """Names of a state that has frames: the sprites' `pictures`, and the probabilities of their
        places in the `past` and in the `future`.
        """
        frames, k = self.seen(state), self._reduction(state)
        if k > 1:
            frames = F.avg_pool3d(frames, (1, k, k), ceil_mode=True)
        below, beside = (self.side - n for n in frames.shape[-2:])
        X = F.pad(frames, (0, beside, 0, below)).transpose(1, 2).unsqueeze(1)
        X = X.to(torch.promote_types(X.dtype, torch.float32))
        learns = self.training and self.log_evidence.requires_grad
        first, where, at, S, there = self._search(X, LEARNING if learns else FORECASTING)
        with exactly(X):
            S = there * self.appearance(cut(at, X), cut(at, of_others(drawn(at, S))))
            tracks = self._tracks(where, at, S, X)
            for _ in range(0 if learns else CORRECTING):
                past = tracks[..., : self.frames, :].detach()
                at = windows(past.exp(), self.side, self.size)
                O = of_others(drawn(at, S))
                where, at, S = self._round(first + TRUST * past, at, X, O)
                S = there * S
                tracks = self._tracks(where, at, S, X)
            past, future = tracks.exp().split(self.frames, dim=-2)
            at = windows(past, self.side, self.size)
            S = there * self.last_picture(cut(at, X), cut(at, of_others(drawn(at, S))), S)
            return {"pictures": S, "past": past, "future": future}

    def _search(
        self, X: Frames, rounds: tuple[int, int]
    ) -> tuple[Places, Places, Windows, Pictures, Float[Tensor, "b k 1 1 1"]]:
        """Return each sprite's initial places, its places, the windows there, its picture, and its
        presence.

        Args:
            rounds: of all sprites that are found, after each and after the last.
        """
        O, found = torch.ones_like(X), []
        for k in range(self.sprites):
            # In training each sprite is there, so that it has gradients.
            there = presence(X, O) if rounds[0] else torch.ones_like(X[:, :, :1, 0, :1, :1])
            first = self.places((X * O)[:, 0])
            with exactly(X):
                at = windows(first.exp(), self.side, self.size)
                for _ in range(ROUNDS):
                    where, at, _ = self._round(first, at, X, O)
                S = there * self.appearance(cut(at, X), cut(at, O))
                found.append((first, where, at, S, there))
                first, where, at, S, there = (
                    torch.cat(each, dim=1) for each in zip(*found, strict=True)
                )
                for _ in range(rounds[k == self.sprites - 1]):
                    where, at, S = self._round(first, at, X, of_others(drawn(at, S)))
                    S = there * S
                found = [(first, where, at, S, there)]
                O = (1 - drawn(at, S)).prod(dim=1, keepdim=True)
        return first, where, at, S, there

    def _tracks(self, where: Places, at: Windows, S: Pictures, X: Frames) -> Tracks:
        """Return the log-probabilities of past and future places by the motion network."""
        centre = centre_of_mass(cut(at, X).detach(), S.detach())
        off = centre.round()
        tracks = self.motion(moved(where, off).softmax(dim=-1), centre - off)
        return moved(tracks, -off).log_softmax(dim=-1)

    def _round(
        self, first: Places, at: Windows, X: Frames, O: Frames
    ) -> tuple[Places, Windows, Pictures]:
        """Update the places by the pictures in these windows. Return the places, the windows there,
        and the pictures.
        """
        S = self.appearance(cut(at, X), cut(at, O))
        beta, gamma = (self.log_evidence / SLOW).exp()
        where = first + beta * scores(X * (O + gamma) - gamma, at, S)
        return where, windows(where.softmax(dim=-1), self.side, self.size), S


# How sprites are cut out and drawn. Both are products with a, b, which are skewed by reshaping: of
# rows of n + 1 numbers, one after the other, the j-th number of row j comes n numbers after the one
# before, and so below it where they are read as rows of n.


def windows(where: Places, side: int, s: int) -> Windows:
    """a[i,j] = A(i - j) for each row i of a frame and j of a sprite; columns alike."""
    p, margin = where.shape[-1], s // 8
    n = p + s - 1
    rows = F.pad(where, (0, n + 1 - p)).unsqueeze(-2).expand(*where.shape[:-1], s, -1)
    skewed = rows.flatten(-2)[..., : s * n].unflatten(-1, (s, n))
    return skewed[..., margin : margin + side].transpose(-1, -2).unsqueeze(3)


def cut(at: Windows, frames: Frames) -> Float[Tensor, "b k c t s s"]:
    """aᵀ X b: what is in the sprites' windows."""
    a, b = at.select(2, 0), at.select(2, 1)
    return a.transpose(-1, -2) @ frames @ b


def drawn(at: Windows, S: Pictures) -> Frames:
    """y = a S bᵀ."""
    a, b = at.select(2, 0), at.select(2, 1)
    return a @ S.unsqueeze(3) @ b.transpose(-1, -2)


def scores(E: Frames, at: Windows, S: Pictures) -> Places:
    """Σ_ij S[i,j] (E b)[p + i, j] of each row p, over channels; columns alike."""
    margin = S.shape[-1] // 8
    seen = torch.stack([E, E.transpose(-1, -2)], dim=2) @ at.flip(2)
    picture = torch.stack([S, S.transpose(-1, -2)], dim=2).unsqueeze(4)
    of_rows = F.pad((picture @ seen.transpose(-1, -2)).sum(dim=3), (margin, margin))
    s, n = of_rows.shape[-2:]
    skewed = F.pad(of_rows.flatten(-2), (0, s)).unflatten(-1, (s, n + 1))
    return skewed[..., : n - s + 1].sum(dim=-2)


def presence(X: Frames, O: Frames) -> Float[Tensor, "b 1 1 1 1"]:
    """Return how much of a further sprite there is in what others leave of the frames: 0 to 1."""
    whole, left = (light.sum(dim=(2, 3, 4, 5))[..., None, None, None] for light in (X, X * O))
    least, most = LEFT
    return ((left / whole.clamp(min=TINY) - least) / (most - least)).clamp(0, 1)


def centre_of_mass(x: Float[Tensor, "b k c t s s"], S: Pictures) -> Float[Tensor, "b k 2"]:
    """Return a sprite's centre of mass in pixels below and right of its window's centre, at most a
    quarter of the window. Only the sprite stays in the darkest values of its windows x; if most of
    S is missing there, some frame is misplaced, and S itself counts.
    """
    line = torch.arange(S.shape[-1], device=S.device) - S.shape[-1] / 2
    darkest = x.amin(dim=3)
    total = (darkest.sum(dim=(2, 3, 4)), S.sum(dim=(2, 3, 4)))
    whole = (total[0] > WHOLE * total[1])[..., None, None, None]
    mass = torch.where(whole, darkest, (S - DIM).relu()).sum(dim=2)
    by_axis = torch.stack([mass.sum(dim=-1), mass.sum(dim=-2)], dim=2)
    centre = (by_axis * line).sum(dim=-1) / by_axis.sum(dim=-1).clamp(min=TINY)
    return centre.clamp(-(S.shape[-1] // 4), S.shape[-1] // 4)


def moved(where: Places, by: Float[Tensor, "b k 2"]) -> Places:
    """Logarithms of probabilities, of places so many pixels further on."""
    p = where.shape[-1]
    index = torch.arange(p, device=where.device) - by.long().unsqueeze(-1)
    inside = index.clamp(0, p - 1)
    there = (inside == index).unsqueeze(-2)
    found = where.gather(-1, inside.unsqueeze(-2).expand_as(where))
    return found.where(there, where.amin(dim=-1, keepdim=True))


def of_others(y: Frames) -> Frames:
    """Π (1 - y) over the other sprites."""
    left = (1 - y).unbind(dim=1)
    one = torch.ones_like(left[0])
    others = [(*left[:k], *left[k + 1 :]) for k in range(len(left))]
    return torch.stack([math.prod(each, start=one) for each in others], dim=1)


class _Places(nn.Module):
    """From all frames what one sprite's places begin with, ln A and ln B."""

    def __init__(
        self, channels: int, frames: int, side: int, size: int, width: int, blocks: int
    ) -> None:
        super().__init__()
        self.centre, self.count = size // 2 - size // 8, side - size + size // 4 + 1
        self.first = PackedConv2d(channels * frames * SIDE**2 + 2, width, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.norm = nn.GroupNorm(1, width)
        self.last = PackedConv2d(width, frames * SIDE**2, 3, padding=1)
        nn.init.normal_(self.last.weight, std=0.02)

    def forward(self, frames: Float[Tensor, "b c t h w"]) -> Places:
        folded = F.pixel_unshuffle(frames.flatten(1, 2), SIDE)
        line = _line(folded.shape[-1], folded)
        grid = torch.stack(torch.meshgrid(line, line, indexing="ij"))
        grid = grid.expand(folded.shape[0], -1, -1, -1)
        x = self.blocks(self.first(torch.cat([folded, grid], dim=1)))
        maps = F.pixel_shuffle(self.last(F.silu(self.norm(x))), SIDE)
        # At the window's centre.
        there = slice(self.centre, self.centre + self.count)
        maps = maps[..., there, there].unsqueeze(1).to(frames.dtype)
        rows_and_columns = torch.stack([maps.logsumexp(dim=-1), maps.logsumexp(dim=-2)], dim=2)
        return rows_and_columns.log_softmax(dim=-1)


class _Appearance(nn.Module):
    """S from the content x of a sprite's windows in each frame, and the share o that other sprites
    leave.
    """

    def __init__(self, channels: int, frames: int, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            PackedConv2d(2 * channels * (frames + 1), width, 3, padding=1),
            nn.SiLU(),
            PackedConv2d(width, width, 3, padding=1),
            nn.SiLU(),
            PackedConv2d(width, channels, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "b k c t s s"], o: Float[Tensor, "b _ c t s s"]) -> Pictures:
        m = (x * o).sum(dim=3, keepdim=True) / (o.sum(dim=3, keepdim=True) + TINY)
        seen = torch.cat([x, o.expand_as(x), m, x.amin(dim=3, keepdim=True)], dim=3)
        odds = self.layers(seen.flatten(2, 3).flatten(0, 1)).unflatten(0, seen.shape[:2])
        return torch.sigmoid(odds + 6 * m.squeeze(3) - 3)


class _LastPicture(nn.Module):
    """A sprite's last picture: σ(10 S - 5 + a network of S and the content of its windows)."""

    def __init__(self, channels: int, frames: int, width: int = 32) -> None:
        super().__init__()
        widths = (channels * (2 * frames + 3), width, width, width)
        layers = [(PackedConv2d(a, b, 3, padding=1), nn.SiLU()) for a, b in pairwise(widths)]
        self.layers = nn.Sequential(*chain(*layers), PackedConv2d(width, channels, 3, padding=1))

    def forward(
        self, x: Float[Tensor, "b k c t s s"], o: Float[Tensor, "b k c t s s"], S: Pictures
    ) -> Pictures:
        alone = o**3  # a pixel that another sprite half covers says little
        m = (x * alone).sum(dim=3) / (alone.sum(dim=3) + TINY)
        seen = torch.stack([S, m, x.amin(dim=3)], dim=3)
        seen = torch.cat([x, o, seen], dim=3).flatten(2, 3).flatten(0, 1)
        return torch.sigmoid(10 * S - 5 + self.layers(seen).unflatten(0, S.shape[:2]))


class _Motion(nn.Module):
    """Corrected past places and future places of a sprite: residual blocks on the probabilities,
    their means, and the distance of these means from the last one.
    """

    def __init__(self, frames: int, places: int, hidden: int) -> None:
        super().__init__()
        self.frames = frames
        self.first = nn.Linear(frames * (places + 2) + 1, hidden)
        self.blocks = nn.ModuleList(_Perceptron(hidden) for _ in range(3))
        self.norm, self.last = nn.LayerNorm(hidden), nn.Linear(hidden, 2 * frames * places)
        nn.init.normal_(self.last.weight, std=0.01)

    def forward(self, p: Places, rest: Float[Tensor, "b k 2"]) -> Tracks:
        """Map probabilities to log-probabilities; `rest` is the fraction of a pixel of the centre
        of mass.
        """
        mean = (p * _line(p.shape[-1], p)).sum(dim=-1, keepdim=True)
        # Each of about the same size: a sure place is one of many numbers.
        seen = [p * p.shape[-1] ** 0.5 / 2, 2 * mean, 2 * (mean - mean[..., -1:, :])]
        z = self.first(torch.cat([torch.cat(seen, dim=-1).flatten(-2), 4 * rest[..., None]], -1))
        for block in self.blocks:
            z = block(z)
        past, future = self.last(self.norm(z)).unflatten(-1, (2, self.frames, -1)).unbind(dim=-3)
        return torch.cat([past + p.clamp(min=SURE).log(), future], dim=-2)


def _line(places: int, like: Tensor) -> Float[Tensor, " n"]:
    """Return equally spaced float32 numbers from -1 to 1."""
    return torch.linspace(-1, 1, places, device=like.device)


class _Perceptron(nn.Module):
    """z + V SiLU(W [norm z, norm z of the other axis])."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.W, self.V = nn.Linear(2 * hidden, hidden), nn.Linear(hidden, hidden)

    def forward(self, z: Float[Tensor, "*b 2 d"]) -> Float[Tensor, "*b 2 d"]:
        x = self.norm(z)
        y: Tensor = z + self.V(F.silu(self.W(torch.cat([x, x.flip(-2)], dim=-1))))
        return y


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {"sprites": ("sprites", {})}
