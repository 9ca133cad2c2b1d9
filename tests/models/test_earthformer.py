"""Earthformer's positions; see also tests/contract and tests/parity."""

import torch

from foreframe.models.earthformer import _Positions


@torch.no_grad()
def test_positions_of_another_size_lie_between_those_learnt() -> None:
    torch.manual_seed(0)
    positions = _Positions(2, [3, 4], 5)
    learnt = positions.times[:, None, None] + positions.places.view(3, 4, 5)
    assert torch.equal(positions(3, 4), learnt)
    finer = positions(6, 8)
    torch.testing.assert_close(finer[:, 0, 0], learnt[:, 0, 0])
    torch.testing.assert_close(finer[:, 0, 1], 0.75 * learnt[:, 0, 0] + 0.25 * learnt[:, 0, 1])
