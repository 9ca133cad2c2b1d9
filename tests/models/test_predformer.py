"""PredFormer: what its shapes promise, and what training leaves out; see also tests/contract and
tests/parity.
"""

import torch

from foreframe.models import build_model
from foreframe.models.predformer import PredFormer
from small import PREDFORMER


def small(**args: object) -> PredFormer:
    torch.manual_seed(0)
    network = build_model("predformer", PREDFORMER | args)
    assert isinstance(network, PredFormer)
    return network


@torch.no_grad()
def test_weights_serve_any_number_of_frames() -> None:
    """Positions are computed, so that nothing in the weights depends on it."""
    longer = small(frames=7)
    longer.load_state_dict(small().state_dict())
    assert longer(torch.rand(1, 2, 1, 8, 8), 9).isfinite().all()


def test_what_is_computed_again_to_save_memory_leaves_the_same_out() -> None:
    network, past = small(dropout=0.2, drop_path=0.4), torch.rand(2, 3, 1, 8, 8)
    gradients = []
    for network.memory in ("keep", "save"):
        network.zero_grad()
        torch.manual_seed(1)
        network(past, 8).square().mean().backward()
        gradients.append(network.embedding.weight.grad)
    torch.testing.assert_close(*gradients)
