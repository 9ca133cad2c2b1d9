"""PredFormer: all future frames at once from all past frames, by attention alone.

Tang et al. 2024, "Video Prediction Transformers without Recurrence or Convolution" (arXiv
2410.04733). Read top to bottom: the network, its positions, transformers, the original's weights,
presets. Shapes: frames B T C H W; tokens B T N D, the N patches of a frame row by row; in a
transformer sequences S L D.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.at_once import FromLastFrames
from foreframe.models.checks import at_least, within
from foreframe.models.codec import padded
from foreframe.models.interface import State

AXES = {"T": "temporal", "S": "space", "F": "space_temporal"}  # as the original's code names them


class PredFormer(FromLastFrames):
    """Each patch of a past frame becomes a token with an embedding of its place and time. Gated
    transformers process all tokens, and each token becomes the patch at its place in a future
    frame:

        Z_0 = W_e patches + P,    Z_i = G_i(Z_i-1),    future patches = W_h LN(Z_I)

    Differences from the authors' code: positions P are computed for any frame size and number of
    frames, which are fixed there; frames whose size `patch` does not divide are padded at the
    bottom and right, and cropped again; one rate of dropout stands for two; and tokens keep their
    places, where their Fac-S-T (order ST in one block) reads them before W_h in another order than
    they lie.

    Args:
        channels: C of the frames.
        frames: number of past frames that it sees, and of frames that it forecasts at once.
        patch: side of the patches in pixels.
        width: D, numbers in a token.
        heads: of the attention; they divide `width`.
        expansion: width of the feed-forward part, in units of `width`.
        order: of the transformers in a block, a letter each: T is attention over the times of a
            place, S over the places of a frame, F over both at once (full attention). TSST is the
            paper's quadruplet.
        blocks: number of repetitions of this order, with separate weights.
        layers: of each transformer. The paper's interleaved variants have 1, the factorised ones
            (order TS or ST) 12 in 1 block, full attention 24.
        dropout: share of values that training leaves out in each layer.
        drop_path: stochastic depth (Huang et al. 2016, arXiv 1603.09382): share of sequences for
            which training leaves out the attention of a layer, or its feed-forward part.
        inputs: further channels of the past, which are not forecast.

    Raises:
        ValueError: for choices that do not fit each other.
    """

    free = ("frames", "dropout", "drop_path")

    def __init__(
        self,
        channels: int = 1,
        frames: int = 10,
        patch: int = 8,
        width: int = 256,
        heads: int = 8,
        expansion: int = 4,
        order: str = "TSST",
        blocks: int = 6,
        layers: int = 1,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        inputs: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, frames=frames, patch=patch, width=width, heads=heads)
        at_least(1, expansion=expansion, blocks=blocks, layers=layers)
        at_least(0, inputs=inputs)
        if width % heads or width % 2:
            raise ValueError(f"width must be even and a multiple of heads, not {width} and {heads}")
        if not order or {*order} - {*AXES}:
            raise ValueError(f"order is of the letters T, S and F, such as TSST, not {order!r}")
        if (deep := blocks * len(order) * layers) > 1000:
            raise ValueError(f"blocks x order x layers are {deep} layers; 1000 at most")
        within(0, 0.99, dropout=dropout, drop_path=drop_path)
        self.channels, self.inputs, self.frames, self.horizon = channels, inputs, frames, frames
        self.stride = patch
        # Each frame of the past comes with the known inputs of its counterpart in the future.
        self.embedding = nn.Linear((channels + 2 * inputs) * patch**2, width)
        self.transformers = nn.ModuleList(
            _Transformer(axis, layers, width, heads, expansion, dropout, drop_path)
            for axis in order * blocks
        )
        self.norm, self.to_patch = nn.LayerNorm(width), nn.Linear(width, channels * patch**2)

    def next_frames(self, state: State) -> Float[Tensor, "b t c h w"]:
        """The next `frames` frames; see `AtOnce`."""
        past = self.seen(state)
        b, t, _, height, width = past.shape
        maps = F.pixel_unshuffle(padded(past.flatten(0, 1), self.stride), self.stride)
        rows, columns = maps.shape[-2:]
        tokens = self.embedding(maps.flatten(2).transpose(1, 2)).unflatten(0, (b, t))
        tokens = tokens + positions(t, rows * columns, tokens.shape[-1], past)
        for transformer in self.transformers:
            tokens = transformer(tokens)
        patches = self.to_patch(self.norm(tokens)).flatten(0, 1).transpose(1, 2)
        frames = F.pixel_shuffle(patches.unflatten(2, (rows, columns)), self.stride)
        return frames[..., :height, :width].to(past.dtype).unflatten(0, (b, t))

    def start_at(self, mean: float) -> None:
        """Begin with frames of about `mean`."""
        nn.init.constant_(self.to_patch.bias, mean)


def positions(t: int, n: int, width: int, like: Tensor) -> Float[Tensor, "t n d"]:
    """Sinusoids of one index k = t·N + n over time and space, on the device of `like`:

    P[k, 2j] = sin(k / 10000^(2j/D)),    P[k, 2j+1] = cos(k / 10000^(2j/D))
    """
    dtype, device = torch.promote_types(like.dtype, torch.float32), like.device
    frequencies = 10000 ** (-torch.arange(0, width, 2, dtype=dtype, device=device) / width)
    angles = torch.arange(t * n, dtype=dtype, device=device)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).view(t, n, width)


class _Transformer(nn.Module):
    """G: layers over one axis of the tokens, and a norm; nothing leads around it."""

    def __init__(
        self, axis: str, layers: int, width: int, heads: int, expansion: int, *rates: float
    ) -> None:
        super().__init__()
        self.axis = axis
        each = (_Layer(width, heads, expansion, *rates) for _ in range(layers))
        self.layers = nn.Sequential(*each, nn.LayerNorm(width))

    def forward(self, tokens: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t n d"]:
        b, t, n, _ = tokens.shape
        if self.axis == "T":
            s = self.layers(tokens.transpose(1, 2).flatten(0, 1))
            return s.unflatten(0, (b, n)).transpose(1, 2)
        if self.axis == "S":
            return self.layers(tokens.flatten(0, 1)).unflatten(0, (b, t))
        return self.layers(tokens.flatten(1, 2)).unflatten(1, (t, n))


class _Layer(nn.Module):
    """A gated transformer layer, of which each of the two parts is added to what goes in:

    Y = Z + MSA(LN(Z)),    Z' = Y + SwiGLU(LN(Y)),
    MSA(X) = W_o [softmax(Q_h K_hᵀ / √d) V_h] of all heads h,    Q, K, V = W_q X, W_k X, W_v X,
    SwiGLU(X) = W_2 (SiLU(W_g X) ⊙ W_x X)
    """

    def __init__(
        self, width: int, heads: int, expansion: int, dropout: float, drop_path: float
    ) -> None:
        super().__init__()
        self.heads, self.drop_path = heads, drop_path
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.gated = nn.Linear(width, 2 * expansion * width)
        self.fc2 = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)
        for part in (self.qkv, self.out, self.gated, self.fc2):
            nn.init.normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)

    def forward(self, s: Float[Tensor, "s l d"]) -> Float[Tensor, "s l d"]:
        s = s + self._stochastic_depth(self.dropout(self.attention(self.norm_1(s))))
        return s + self._stochastic_depth(self.dropout(self.feed_forward(self.norm_2(s))))

    def attention(self, s: Float[Tensor, "s l d"]) -> Float[Tensor, "s l d"]:
        q, k, v = self.qkv(s).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return y

    def feed_forward(self, s: Float[Tensor, "s l d"]) -> Float[Tensor, "s l d"]:
        gate, value = self.gated(s).chunk(2, dim=-1)
        y: Tensor = self.fc2(self.dropout(F.silu(gate) * value))
        return y

    def _stochastic_depth(self, branch: Float[Tensor, "s l d"]) -> Float[Tensor, "s l d"]:
        """Drop the branch of some sequences, and scale the others up to keep the mean."""
        if not (self.training and self.drop_path):
            return branch
        return branch * F.dropout(branch.new_ones(branch.shape[0], 1, 1), self.drop_path)


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # The best of the paper on Moving MNIST of this size: Quadruplet-TSST.
    "predformer": ("predformer", {"order": "TSST", "blocks": 6, "width": 256, "heads": 8}),
    # For two CPU cores.
    "predformer_small": ("predformer", {"blocks": 1, "width": 96, "heads": 4, "expansion": 2}),
}
