"""Earthformer: all future frames at once, by attention along one axis of space and time after the
other.

Gao et al. 2022, "Earthformer: Exploring Space-Time Transformers for Earth System Forecasting"
(arXiv 2207.05833), with its axial cuboids: time, rows, columns. Read top to bottom: the network,
its positions, its layers, presets, the original's weights. Shapes: frames B T C H W; maps n d h w;
tokens b t h w d, one for each place of a map; global vectors b g d; in attention p q heads l e,
with the l places of an axis, and e of the d numbers for each head.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.addons.zoo.swinlstm import Merge
from foreframe.models.at_once import FromLastFrames
from foreframe.models.checks import at_least, within
from foreframe.models.codec import padded
from foreframe.models.engine import PackedConv2d
from foreframe.models.interface import State, pad_with_oldest, peek

Tokens = Float[Tensor, "b t h w d"]
Vectors = Float[Tensor, "b g d"]
Given = tuple[Tokens, Vectors | None, Float[Tensor, "b m h w d"] | None]
Heads = Float[Tensor, "*b heads _ e"]
AXES = TIME, *_ = 1, 2, 3  # of tokens: time, rows, columns


class Earthformer(FromLastFrames):
    """Convolutions and patch merging turn each past frame into tokens. Each level is half as large
    and twice as wide as the one before. Its layers attend along time, rows and columns in turn, and
    a few global vectors, connected with all places, link these axes. The result is the memory of
    that level. The future starts on the last level, as a query of positions alone.
    On the way up to frames its layers attend to each other's places, and to the memory at the same
    place.

    Differences from the authors' code: frames have any size and are padded at the bottom and right;
    positions are interpolated from the learnt ones; temporal attention spans all future frames, in
    theirs only `frames` at once, with zeros after the last; there is one rate of dropout instead of
    three.

    Args:
        channels: C of the frames.
        frames: number of past frames that it sees.
        horizon: number of frames that it forecasts at once.
        patch: side of the patches that frames are folded into first; as published none, 1.
        width: d of the first level.
        heads: of the attention; they divide `width`.
        levels: of the maps.
        encoder: blocks on each level, each of a layer along time, one along rows and one along
            columns.
        decoder: blocks on each level, each of the same three and a layer that looks at the memory.
            The first block of the last level only looks.
        vectors: number g of global vectors.
        places: (h,w) of the first level, half as many as patches: positions are learnt for these.
        dropout: share of values that training leaves out in each layer.
        inputs: further channels of the past, which are not forecast. Inputs known for the future
            are added to the query.

    Raises:
        ValueError: for choices that do not fit each other.
    """

    free = ("dropout",)

    def __init__(
        self,
        channels: int = 1,
        frames: int = 10,
        horizon: int = 10,
        patch: int = 1,
        width: int = 64,
        heads: int = 4,
        levels: int = 2,
        encoder: int = 4,
        decoder: int = 4,
        vectors: int = 8,
        places: Sequence[int] = (32, 32),
        dropout: float = 0.0,
        inputs: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, frames=frames, horizon=horizon, patch=patch, width=width)
        at_least(1, heads=heads, encoder=encoder, decoder=decoder, places=places)
        at_least(0, vectors=vectors, inputs=inputs)
        within(1, 8, levels=levels)
        within(0, 0.99, dropout=dropout)
        if width % heads or len(places) != 2 or levels * (encoder + decoder) > 250:
            raise ValueError(
                "Earthformer has heads that divide its width, places (h,w) and up to 250 blocks, "
                f"not {self.args}"
            )
        self.channels, self.inputs, self.frames, self.horizon = channels, inputs, frames, horizon
        self.patch, self.stride = patch, patch * 2**levels
        widths = [width * 2**k for k in range(levels)]
        sizes = [[-(-side // 2**k) for side in places] for k in range(levels)]
        self.add_way_from_frames((channels + inputs) * patch**2, widths, sizes[0], vectors)
        self.future = _Positions(horizon, sizes[-1], widths[-1])
        self.query = nn.Linear(widths[-1], widths[-1])
        self.known = PackedConv2d(inputs, widths[-1], self.stride, self.stride) if inputs else None
        self.encoder, self.decoder, self.looking = (nn.ModuleList() for _ in range(3))
        for k, size in enumerate(sizes):
            self.add_level(size, (widths[k], heads, dropout), encoder, decoder, k == levels - 1)
        self.add_way_to_frames(widths, channels * patch**2)

    def add_way_from_frames(
        self, numbers: int, widths: Sequence[int], places: Sequence[int], vectors: int
    ) -> None:
        """Build the layers from frames to the first level, and from each level to the next."""
        width = widths[0]
        self.shrink = nn.Sequential(*_smooth(numbers, width), *_smooth(width, width))
        self.merge, self.past = Merge(width, width), _Positions(self.frames, places, width)
        self.vectors = nn.Parameter(0.02 * torch.randn(vectors, width)) if vectors else None
        self.widen = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths) if vectors)
        self.down = nn.ModuleList(Merge(*pair) for pair in pairwise(widths))

    def add_way_to_frames(self, widths: Sequence[int], numbers: int) -> None:
        """Build the layers from each level to the one above, and from the first to frames."""
        self.up = nn.ModuleList(_doubled(i, o) for o, i in pairwise(widths))
        self.enlarge = _doubled(widths[0], widths[0])
        self.to_frame = nn.Sequential(
            *_smooth(widths[0], widths[0]), PackedConv2d(widths[0], numbers, 1)
        )

    def add_level(
        self, size: Sequence[int], each: Sequence[Any], encoder: int, decoder: int, last: bool
    ) -> None:
        """Build the blocks of a level; `each` are a layer's width, heads and dropout."""
        past, future = [self.frames, *size], [self.horizon, *size]
        self.encoder.append(_blocks(encoder, past, *each, self.vectors is not None))
        self.decoder.append(_blocks(decoder - last, future, *each))
        self.looking.append(_blocks(decoder, [self.frames + self.horizon], *each))

    def next_frames(self, state: State) -> Float[Tensor, "b t c h w"]:
        """The next `horizon` frames; see `AtOnce`."""
        past = pad_with_oldest(state)
        b, _, _, height, width = past.shape
        memory = self.remembered(past)
        x = self.query(self.future(*memory[-1][1].shape[2:4])).expand(b, -1, -1, -1, -1)
        if self.known is not None:
            known = peek(state["known"], self.horizon).flatten(0, 1)
            x = x + _tokens(self.known(padded(known, self.stride)), b)
        for k in reversed(range(len(memory))):
            blocks = self.decoder[k].children()
            for n, look in enumerate(self.looking[k].children()):
                if n or k < len(self.up):
                    x, *_ = next(blocks)((x, None, None))
                x, *_ = look((x, *memory[k]))
            x = _tokens(self.up[k - 1](_maps(x)), b) if k else x
        frames = F.pixel_shuffle(self.to_frame(self.enlarge(_maps(x))), self.patch)
        return frames[..., :height, :width].to(past.dtype).unflatten(0, (b, self.horizon))

    def remembered(self, past: Float[Tensor, "b t _ h w"]) -> list[tuple[Tensor | None, Tensor]]:
        """Global vectors (b,g,d) and tokens (b,t,h,w,d), as each level of the encoder ends with
        them.
        """
        b, t = past.shape[:2]
        maps = F.pixel_unshuffle(padded(past.flatten(0, 1), self.stride), self.patch)
        x = self.merge(self.shrink(maps).permute(0, 2, 3, 1)).unflatten(0, (b, t))
        x = x + self.past(*x.shape[2:4])
        g = None if self.vectors is None else self.vectors.repeat(b, 1, 1)
        memory = []
        for k, blocks in enumerate(self.encoder):
            if k:
                x = self.down[k - 1](x.flatten(0, 1)).unflatten(0, (b, t))
                g = None if g is None else self.widen[k - 1](g)
            x, g, _ = blocks((x, g, None))
            memory.append((g, x))
        return memory

    def start_at(self, mean: float) -> None:
        """Begin with frames of about `mean`."""
        nn.init.constant_(self.to_frame[-1].bias, mean)  # type: ignore[arg-type]


def _smooth(channels: int, width: int) -> nn.Sequential:
    """In 16 groups, where they divide the width."""
    convolution, groups = PackedConv2d(channels, width, 3, padding=1), 1 if width % 16 else 16
    return nn.Sequential(convolution, nn.GroupNorm(groups, width), nn.LeakyReLU(0.1))


def _doubled(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2.0), PackedConv2d(channels, width, 3, padding=1))


def _tokens(maps: Float[Tensor, "n d h w"], b: int) -> Tokens:
    return maps.permute(0, 2, 3, 1).unflatten(0, (b, -1))


def _maps(x: Tokens) -> Float[Tensor, "n d h w"]:
    return x.flatten(0, 1).permute(0, 3, 1, 2)


class _Positions(nn.Module):
    """P[t,y,x] = P_T[t] + P_HW[y,x], learnt for one size and interpolated for others."""

    def __init__(self, times: int, places: Sequence[int], width: int) -> None:
        super().__init__()
        self.times = nn.Parameter(0.02 * torch.randn(times, width))
        self.places = nn.Parameter(0.02 * torch.randn(math.prod(places), width))
        self.size = list(places)

    def forward(self, h: int, w: int) -> Float[Tensor, "t h w d"]:
        places = self.places.T.unflatten(1, self.size)[None]
        places = F.interpolate(places, (h, w), mode="bilinear")[0]
        return self.times[:, None, None] + places.permute(1, 2, 0)


def _blocks(count: int, lengths: Sequence[int], *each: Any) -> nn.Sequential:
    """Blocks with a layer for each axis that has a length; `each` are further arguments of
    layers.
    """
    axes = [*zip(AXES, lengths, strict=False)]
    blocks = ([_Layer(*axis, *each) for axis in axes] for _ in range(count))
    return nn.Sequential(*(nn.Sequential(*layers) for layers in blocks))


class _Layer(nn.Module):
    """Attention along one axis, then a feed-forward part; each is added to what goes in:

    Y = X + W_o softmax(Q [K, K_g]ᵀ / √e + [β, 0]) [V, V_g],    Z = Y + W_2 GELU(W_1 LN(Y)),
    Q, K, V = W_q LN(X), W_k LN(X), W_v LN(X),    Q_g, K_g, V_g = W_g LN(g)

    where β is learnt for each distance i - j between places of the axis, up to a largest distance.
    The global vectors g attend to all places of all frames:

    g' = g + W_u softmax(Q_g Kᵀ / √e) V

    A layer that looks at the memory attends, at each place, from the future frames i to the tokens
    M of the past frames j: then K, V = W_k M, W_v M and K_g, V_g = W_k g, W_v g.

    Args:
        axis: of AXES.
        length: of the axis, for which β is learnt; of one that looks, of past and future.
        vectors: whether it has W_g and W_u.
    """

    def __init__(
        self, axis: int, length: int, width: int, heads: int, dropout: float, vectors: bool = False
    ) -> None:
        super().__init__()
        self.axis, self.farthest, self.each = axis, length - 1, (heads, width // heads)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.q, self.kv = (nn.Linear(width, n * width, bias=False) for n in (1, 2))
        self.out = nn.Linear(width, width)
        self.beta = nn.Parameter(0.02 * torch.randn(2 * length - 1, heads))
        if vectors:
            self.global_norm = nn.LayerNorm(width)
            self.global_qkv = nn.Linear(width, 3 * width, bias=False)
            self.global_out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(4 * width, width), nn.Dropout(dropout),
        )  # fmt: skip

    def forward(self, given: Given) -> Given:
        """(X, g, M) -> (Z, g', M)."""
        x, g, memory = given
        z = self.norm(x).movedim(self.axis, 3)
        (q,) = self._of_heads(self.q(z))
        k, v = self._of_heads(self.kv(z if memory is None else memory.movedim(TIME, 3)))
        i, j = (torch.arange(part.shape[-2], device=x.device) for part in (q, k))
        apart = (i[:, None] - j).clamp(-self.farthest, self.farthest)
        bias = self.beta[apart + self.farthest].permute(2, 0, 1)
        if g is not None:
            sides = self.global_qkv(self.global_norm(g)) if memory is None else self.kv(g)
            *q_g, k_g, v_g = self._of_heads(sides)
            if memory is None:
                everywhere = (part.movedim(3, 1).flatten(2, 4) for part in (k, v))
                g = g + self.dropout(self.global_out(self._attended(*q_g, *everywhere)))
            k, v = (
                torch.cat([part, more[:, None, None].expand(*part.shape[:3], -1, -1, -1)], dim=-2)
                for part, more in ((k, k_g), (v, v_g))
            )
            bias = F.pad(bias, (0, g.shape[1]))
        y = self.out(self._attended(q, k, v, bias))
        x = x + self.dropout(y.movedim(3, self.axis))
        return x + self.feed_forward(x), g, memory

    def _of_heads(self, y: Float[Tensor, "*b l _"]) -> Float[Tensor, "n *b heads l e"]:
        """Split the outputs of a linear layer, such as keys and values."""
        return y.unflatten(-1, (-1, *self.each)).movedim(-3, 0).transpose(-3, -2)

    def _attended(self, q: Heads, k: Heads, v: Heads, bias: Tensor | None = None) -> Tensor:
        b, dropout = q.shape[:-3], self.dropout.p if self.training else 0.0
        q, k, v = (part.flatten(0, -4) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, bias, dropout)
        return y.unflatten(0, b).transpose(-3, -2).flatten(-2)


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # Gao et al. 2022 on Moving MNIST; with vectors=0 their Earthformer w/o global.
    "earthformer": ("earthformer", {"vectors": 8, "dropout": 0.1}),
    # For two CPU cores.
    "earthformer_small": (
        "earthformer",
        {"patch": 4, "width": 48, "heads": 3, "encoder": 1, "decoder": 1, "places": [8, 8]},
    ),
}
