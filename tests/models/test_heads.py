"""Heads, from hidden maps to frames: a patch that moves as it should."""

import numpy as np
import torch

from foreframe.models.codec import Patches
from foreframe.models.heads import Carry, HeadSizes


def told_to_move() -> tuple[Carry, torch.Tensor]:
    """Return a head of 4x4 patches whose biases move 3 rows down and 2 columns left at each step,
    with weight 1 and a width of log(1 + e); and a frame (1,1,24,24) with content to move.
    """
    head = Carry(HeadSizes(1, 1, Patches(1, size=4).decoder(1)))
    with torch.no_grad():
        head.motion.weight.zero_()
        head.motion.bias.copy_(torch.tensor([3 / head.speed, -2 / head.speed, 1.0, 1.0, 50.0]))
    frame = torch.zeros(1, 1, 24, 24)
    frame[0, 0, 8:12, 10:15] = torch.rand(4, 5)
    return head, frame


def test_the_carry_head_moves_a_patch_as_it_is_told() -> None:
    """Told (3, -2) pixels a step and no doubt, it shifts the frame so: the reference is scipy's
    Gaussian of a shifted frame.
    """
    from scipy import ndimage

    head, frame = told_to_move()
    carried = head.carried(torch.zeros(1, 2, 1, 6, 6), frame)[0][0, :, 0].detach().numpy()
    sigma = head.sharpest + np.log1p(np.e)
    for step in (1, 2):
        moved = ndimage.shift(frame[0, 0].numpy(), (3 * step, -2 * step), order=0)
        expected = ndimage.gaussian_filter(moved, sigma, truncate=9)
        np.testing.assert_allclose(carried[step - 1], expected, atol=2e-3)
