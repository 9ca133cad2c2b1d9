"""Heads, from hidden maps to frames: a patch that moves as it should."""

import numpy as np
import torch

from foreframe.models.codec import Patches
from foreframe.models.head import HeadInputs
from foreframe.models.heads import Carry


def told_to_move() -> tuple[Carry, torch.Tensor]:
    """A head of 4x4 patches that is told 3 rows down and 2 columns left at each step, whole and
    unsure by log(1 + e); and a frame (1,1,24,24) with something to carry.
    """
    head = Carry(1, 1, Patches(1, size=4).decoder(1))
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


def test_a_member_is_carried_astray_by_its_draw_and_stays_sharp() -> None:
    """By whole pixels exactly; by half of one as Keys' cubic has it, -1/16, 9/16, 9/16, -1/16."""
    head, frame = told_to_move()
    unsure = float(np.log1p(np.e))
    drift = torch.zeros(1, 1, 2, 6, 6)
    drift[:, :, 0], drift[:, :, 1] = 2 / unsure, -1.5 / unsure
    carried = head.carried(torch.zeros(1, 1, 1, 6, 6), frame, drift)[0][0, 0, 0].detach()
    by_rows = frame[0, 0].roll(3 + 2, dims=0)
    weights = {-5: -1 / 16, -4: 9 / 16, -3: 9 / 16, -2: -1 / 16}
    expected = sum(weight * by_rows.roll(by, dims=1) for by, weight in weights.items())
    torch.testing.assert_close(carried, expected, atol=1e-5, rtol=0)


def test_what_is_carried_and_what_is_drawn_are_added() -> None:
    torch.manual_seed(0)
    head, frame = Carry(1, 2, Patches(1, size=4).decoder(2)), torch.rand(3, 1, 24, 24)
    raised, maps = torch.rand(6, 2, 6, 6), torch.rand(3, 2, 2, 6, 6)
    both, _ = head(HeadInputs(raised, maps, frame))
    torch.testing.assert_close(both, head.carried(maps, frame)[0] + head.numbers(raised, frame))
    assert both.shape == (3, 2, 1, 24, 24)
