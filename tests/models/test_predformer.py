"""PredFormer: what its shapes promise, and what training leaves out; see also tests/contract and
tests/parity.
"""

import pytest
import torch

from foreframe.models import build_model
from foreframe.models.predformer import PredFormer
from small import PREDFORMER


def small(**args: object) -> PredFormer:
    torch.manual_seed(0)
    network = build_model("predformer", PREDFORMER | args)
    assert isinstance(network, PredFormer)
    return network


def moved(order: str, frame: int, row: int) -> list[list[bool]]:
    """Which frames (first axis) and rows of patches change, of 3 and 2, with a patch of that frame
    and row.
    """
    network = small(order=order, layers=1).double()
    past = torch.rand(1, 3, 1, 8, 4, dtype=torch.float64)
    other = past.clone()
    other[:, frame, :, 4 * row : 4 * row + 4] += 0.5
    apart = (network(past, 3) - network(other, 3)).abs().unflatten(3, (2, 4)).amax((2, 4, 5))
    return (apart[0] > 1e-9).tolist()


@pytest.mark.parametrize(
    ("order", "seen"),
    [
        ("T", [[False, True], [False, True], [False, True]]),
        ("S", [[False, False], [True, True], [False, False]]),
        ("F", [[True, True], [True, True], [True, True]]),
        ("TS", [[True, True], [True, True], [True, True]]),
    ],
)
@torch.no_grad()
def test_what_a_token_sees(order: str, seen: list[list[bool]]) -> None:
    assert moved(order, frame=1, row=1) == seen


@torch.no_grad()
def test_what_came_before_its_frames_does_not_matter() -> None:
    network, past = small(), torch.rand(2, 5, 1, 10, 14)
    torch.testing.assert_close(network(past, 2), network(past[:, 2:], 2))
    alone = network(past[:, :1], 2)
    torch.testing.assert_close(alone, network(past[:, :1].expand(-1, 3, -1, -1, -1), 2))


@torch.no_grad()
def test_weights_serve_any_number_of_frames() -> None:
    """Positions are computed, so that nothing in the weights depends on it."""
    longer = small(frames=7)
    longer.load_state_dict(small().state_dict())
    assert longer(torch.rand(1, 2, 1, 8, 8), 9).isfinite().all()


@pytest.mark.parametrize("rates", [{"dropout": 0.2}, {"drop_path": 0.4}])
def test_training_leaves_out_what_forecasts_do_not(rates: dict[str, float]) -> None:
    network, past = small(**rates), torch.rand(2, 3, 1, 8, 8)
    assert torch.equal(network.eval()(past, 5), small()(past, 5))
    network.train()
    torch.manual_seed(1)
    drawn = network(past, 5)
    torch.manual_seed(1)
    assert torch.equal(network(past, 5), drawn)
    assert not torch.equal(network(past, 5), drawn)


def test_what_is_computed_again_to_save_memory_leaves_the_same_out() -> None:
    network, past = small(dropout=0.2, drop_path=0.4), torch.rand(2, 3, 1, 8, 8)
    gradients = []
    for network.memory in ("keep", "save"):
        network.zero_grad()
        torch.manual_seed(1)
        network(past, 8).square().mean().backward()
        gradients.append(network.embedding.weight.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"patch": 0}, "patch must be at least 1, not 0"),
        ({"heads": 3}, "a multiple of heads, not 8 and 3"),
        ({"order": "TX"}, "letters T, S and F, such as TSST, not 'TX'"),
        ({"order": ""}, "letters T, S and F"),
        ({"blocks": 300, "order": "TSST"}, "1200 layers; 1000 at most"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), not 1.0"),
    ],
)
def test_bad_choices(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model("predformer", PREDFORMER | args)
