"""A network for mlcast, made of any model of foreframe."""

import torch
from torch import Tensor, nn

from foreframe.models import build_model, members


class Network(nn.Module):
    """A model of foreframe for mlcast, which scales values to -1..1 instead of 0..1."""

    def __init__(self, name: str = "quick", **args: object) -> None:
        super().__init__()
        self.model = build_model(name, args)

    def forward(self, x: Tensor, steps: int, ensemble_size: int = 1) -> Tensor:
        """Past (B,T,1,H,W) to (B,steps,ensemble_size,H,W)."""
        state = self.model.encode((x + 1) / 2)
        if self.model.draws:
            seed = int(torch.randint(2**31, ()))
            future = self.model.decode(members(state, ensemble_size, seed), steps)
            future = future.unflatten(0, (len(x), ensemble_size)).squeeze(3).transpose(1, 2)
        else:  # all members are equal
            future = self.model.decode(state, steps).expand(-1, -1, ensemble_size, -1, -1)
        return 2 * future - 1
