"""Earthformer: positions, sizes, bad choices; see also tests/contract and tests/parity."""

import pytest
import torch

from foreframe.models import build_model, preset
from foreframe.models.earthformer import _Positions
from small import EARTHFORMER


@torch.no_grad()
def test_positions_of_another_size_lie_between_those_learnt() -> None:
    torch.manual_seed(0)
    positions = _Positions(2, [3, 4], 5)
    learnt = positions.times[:, None, None] + positions.places.view(3, 4, 5)
    assert torch.equal(positions(3, 4), learnt)
    finer = positions(6, 8)
    torch.testing.assert_close(finer[:, 0, 0], learnt[:, 0, 0])
    torch.testing.assert_close(finer[:, 0, 1], 0.75 * learnt[:, 0, 0] + 0.25 * learnt[:, 0, 1])


@pytest.mark.slow
def test_parameters_without_global_vectors() -> None:
    with torch.device("meta"):
        network = preset("earthformer", vectors=0)
    assert sum(weight.numel() for weight in network.parameters()) == 6_702_109


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1, not 0"),
        ({"vectors": -1}, "vectors must be at least 0, not -1"),
        ({"heads": 3}, "heads that divide its width"),
        ({"levels": 9}, "levels must be from 1 to 8"),
        ({"decoder": 200}, "up to 250 blocks"),
        ({"places": [4]}, r"places \(h,w\)"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), not 1.0"),
    ],
)
def test_bad_choices(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model("earthformer", EARTHFORMER | args)
