"""What PhyDNet's moments mean. That it equals its original is in tests/parity/test_originals.py."""

import math

import pytest
import torch
import torch.nn.functional as F

from foreframe.models.phydnet import PhyCell


def test_filters_without_moment_error_take_derivatives() -> None:
    """Filter k the one of order (k div q, k mod q), of a field that has no higher ones."""
    q = 3
    cell = PhyCell(1, q).double()
    u = torch.arange(q, dtype=torch.float64) - q // 2
    taylor = torch.stack([u**i / math.factorial(i) for i in range(q)])
    inverse = torch.linalg.inv(taylor)
    orders = torch.eye(q**2, dtype=torch.float64).view(q**2, 1, q, q)
    with torch.no_grad():
        cell.filters.weight.copy_(inverse @ orders @ inverse.T)
        cell.filters.bias.zero_()
    assert cell.moment_error().item() == pytest.approx(0, abs=1e-20)
    y, x = torch.arange(6.0).double().view(-1, 1), torch.arange(7.0).double()
    field = 2 + 3 * y * x + y.square() * x.square()
    found = F.conv2d(field[None, None], cell.filters.weight)[0]
    at_y, at_x = y[1:-1], x[1:-1]
    derivatives = {  # by order along y and x
        (0, 0): field[1:-1, 1:-1],
        (0, 1): 3 * at_y + 2 * at_y.square() * at_x,
        (1, 0): 3 * at_x + 2 * at_y * at_x.square(),
        (1, 1): 3 + 4 * at_y * at_x,
        (2, 1): 4 * at_x + 0 * at_y,
        (2, 2): 4 + 0 * at_y * at_x,
    }
    for (i, j), expected in derivatives.items():
        torch.testing.assert_close(found[i * q + j], expected, atol=1e-9, rtol=0)
