"""Cached states of a network with a frozen encoder, computed once for all epochs."""

from hashlib import blake2b

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.budget import GIB
from foreframe.clips.clip import Window
from foreframe.models import Model, State, parts_of, with_known

BUDGET = 1.0  # GiB for states of training and validation clips


class KeptStates:
    """A cache of states that are ready to step. Each clip is encoded alone, so that its state does
    not depend on other clips. A resumed training starts with an empty cache, and computes equal
    states.

    Args:
        network: a network with a frozen encoder and frozen inputs of `begin`.
        budget: largest size of the cache in GiB; other states are computed each time.
    """

    def __init__(self, network: Model, budget: float = BUDGET) -> None:
        self.network, self.room = network, budget * GIB
        self._kept: dict[bytes, State] = {}

    @torch.no_grad()
    def __call__(self, clips: Float[Tensor, "b t c h w"], window: Window) -> State:
        each = [self._of(clip, window) for clip in clips.split(1)]
        return {name: torch.cat([state[name] for state in each]) for name in each[0]}

    def _of(self, clip: Float[Tensor, "1 t c h w"], window: Window) -> State:
        # The key is the content: a mirrored clip is another clip.
        values = clip.contiguous().view(torch.uint8).cpu().numpy()
        key = blake2b(values.data, digest_size=16).digest()
        if key not in self._kept:
            past, known, _, _ = parts_of(clip, window, self.network.inputs)
            state = self.network.encode(past)
            state = state if known is None else with_known(state, known)
            begun = self.network.begin(state | self.network.exogenous(state, window.future))
            size = sum(value.nbytes for value in begun.values())
            if size > self.room:
                return begun
            self.room -= size
            # Copies, since some values are views of larger tensors.
            self._kept[key] = {name: value.clone() for name, value in begun.items()}
        return self._kept[key]
