"""Attention of a recurrent decoder to the maps of the past."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreframe.models.engine import PackedConv2d
from foreframe.models.interface import State


class Attention(nn.Module):
    """At each place, a mean of the maps seen at that place, weighted by how well they fit a query
    (Bahdanau et al. 2015, arXiv 1409.0473, in the scaled products of Vaswani et al. 2017).

        w_t = softmax_t(⟨W_q * q, W_k * m_t⟩ / √d)        context = Σ_t w_t m_t

    with 1x1 convolutions W_q and W_k, so that frames of any size can be attended to.
    """

    def __init__(self, query_width: int, width: int) -> None:
        super().__init__()
        self.query, self.key = PackedConv2d(query_width, width, 1), PackedConv2d(width, width, 1)

    def begin(self, maps: Float[Tensor, "b n d i j"], seen: Float[Tensor, " b"]) -> State:
        """The state that `forward` takes.

        Args:
            maps: of the last n frames, zeros before the first.
            seen: how many of them there are.
        """
        b, n, _, i, j = maps.shape
        return {
            "maps": maps,
            "keys": self.key(maps.flatten(0, 1)).unflatten(0, (b, n)),
            "there": torch.arange(n, device=maps.device) >= n - seen[:, None],
            "query": maps.new_zeros(b, self.query.in_channels, i, j),
        }

    def forward(self, state: State) -> Float[Tensor, "b d i j"]:
        """The context of a query, which is the decoder's last hidden map; zeros at first."""
        maps = state["maps"]
        products = self.query(state["query"]).unsqueeze(1) * state["keys"]
        fit = products.sum(dim=2, keepdim=True) / math.sqrt(maps.shape[2])
        fit = fit.masked_fill(~state["there"][:, :, None, None, None], -torch.inf)
        return (torch.softmax(fit, dim=1) * maps).sum(dim=1).to(maps.dtype)
