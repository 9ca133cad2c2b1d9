"""Monte Carlo dropout: members that each do without some channels of a model's maps."""

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.keyed import further, uniforms
from foreframe.models.promise import State

Maps = Float[Tensor, "b d h w"]


def dropped(x: Maps, state: State, p: float, at: int) -> Maps:
    """z ∘ x / (1 - p), where each channel's z is 0 with probability p, else 1, of maps number `at`
    of a model; x itself where the state has no keys.

    So each member is a forecast of one of the networks that dropout trains, and members differ
    where these disagree (Gal & Ghahramani 2016, arXiv 1506.02142). Whole channels are left out, as
    neighbours of a map stand in for each other (Tompson et al. 2015, arXiv 1411.4280), and the same
    ones at all lead times (Gal & Ghahramani 2016, arXiv 1512.05287). Where it differs from these:
    the past is encoded whole, once for all members; and a forecast without members is that of the
    whole network, as everywhere in foreframe, not the mean of many.
    """
    if not p or "key" not in state:
        return x
    channels = torch.arange(x.shape[1], device=x.device)
    kept = uniforms(further(state["key"][:, None], _DROPOUT, at, channels)) >= p
    return x * (kept / (1 - p)).to(x)[:, :, None, None]


def checked_dropout(p: float) -> float:
    """The share of channels to do without.

    Raises:
        ValueError: it is none.
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout is a share of channels, from 0 to below 1, not {p}")
    return float(p)


_DROPOUT = 5  # so that these are no numbers of `Noise`, or of a flow
