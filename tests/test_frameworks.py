"""The class of examples/mlcast that adapts networks to mlcast."""

import torch

from examples.mlcast.network import Network
from foreframe.models import build_model

DRAWS = {"of": "linear_motion"}  # of a network that draws members


def test_a_network_is_one_of_mlcasts() -> None:
    """Members lie on the channels' axis, and -1 to 1 there is 0 to 1 here."""
    network = Network("persistence")
    past = 2 * torch.rand(2, 3, 1, 32, 32) - 1
    future = network(past, steps=4, ensemble_size=3)
    torch.testing.assert_close(future, past[:, -1:].expand(-1, 4, 3, -1, -1))
    drawn = Network("dressed", **DRAWS)
    several = drawn(past, steps=2, ensemble_size=3)
    assert several.shape == (2, 2, 3, 32, 32)
    assert several.std(dim=2).amax(dim=(1, 2, 3)).min() > 0  # of each clip
    several.mean().backward()
    assert drawn.model.state_dict().keys() == build_model("dressed", DRAWS).state_dict().keys()
