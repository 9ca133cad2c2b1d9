"""Heads, from hidden maps to frames: a patch that moves as it should, a guide that is added to."""

import numpy as np
import pytest
import torch

from foreframe.models import build_model
from foreframe.models.codec import Patches
from foreframe.models.heads import Carry


def test_the_carry_head_moves_a_patch_as_it_is_told() -> None:
    """Told (3, -2) pixels a step and no doubt, it shifts the frame so: the reference is scipy's
    Gaussian of a shifted frame.
    """
    from scipy import ndimage

    head = Carry(1, 1, Patches(1, size=4).mirror(1))
    with torch.no_grad():
        head.motion.weight.zero_()
        head.motion.bias.copy_(torch.tensor([3 / head.speed, -2 / head.speed, 1.0, 1.0, 50.0]))
    frame = torch.zeros(1, 1, 24, 24)
    frame[0, 0, 8:12, 10:15] = torch.rand(4, 5)
    carried = head.carried(torch.zeros(1, 2, 1, 6, 6), frame)[0, :, 0].detach().numpy()
    sigma = head.sharpest + np.log1p(np.e)
    for step in (1, 2):
        moved = ndimage.shift(frame[0, 0].numpy(), (3 * step, -2 * step), order=0)
        expected = ndimage.gaussian_filter(moved, sigma, truncate=9)
        np.testing.assert_allclose(carried[step - 1], expected, atol=2e-3)


def test_what_is_carried_and_what_is_drawn_are_added() -> None:
    torch.manual_seed(0)
    head, frame = Carry(1, 2, Patches(1, size=4).mirror(2)), torch.rand(3, 1, 24, 24)
    raised, maps = torch.rand(6, 2, 6, 6), torch.rand(3, 2, 2, 6, 6)
    both = head(raised, maps, frame)
    torch.testing.assert_close(both, head.carried(maps, frame) + head.numbers(raised, frame))
    assert both.shape == (3, 2, 1, 24, 24)


@pytest.mark.parametrize("head", ["mix", "correct"])
def test_untrained_a_guided_model_is_nearly_its_guide(head: str) -> None:
    torch.manual_seed(0)
    past = torch.rand(2, 5, 1, 24, 24)
    model = build_model("nowcast", {"output": {head: {"guide": {"cycle": {"period": 3}}}}})
    expected = build_model("cycle", {"period": 3})(past, 4)
    torch.testing.assert_close(model(past, 4), expected, atol=0.05, rtol=0)


def test_what_is_dry_stays_dry_under_mix() -> None:
    model = build_model("nowcast", {"output": {"mix": {"guide": "persistence"}}})
    for weight in model.parameters():
        torch.nn.init.normal_(weight)
    assert (model(torch.zeros(1, 3, 1, 16, 16), 2) == 0).all()
    assert (model(torch.rand(1, 3, 1, 16, 16), 2) >= 0).all()


def guided(guides: list, frames: torch.Tensor, steps: int, **blend: object) -> torch.Tensor:
    model = build_model("guided", {"output": {"blend": {"guides": guides, **blend}}})
    return model(frames, steps)


@pytest.mark.parametrize("first", ["persistence", "mean", "linear_motion", "dense_motion"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_blend_begins_at_its_first_guide(first: str, channels: int) -> None:
    """Exactly, but for the rounding of a place that is not moved."""
    frames = torch.rand(2, 6, channels, 20, 23, generator=torch.Generator().manual_seed(0))
    forecast = guided([first, "black", "persistence"], frames, 4)
    torch.testing.assert_close(forecast, build_model(first)(frames, 4), atol=5e-6, rtol=0)


def test_a_blend_is_what_its_docstring_says() -> None:
    """With constant numbers behind it: shift, weights, gain and what is drawn by hand."""
    head = {"guides": ["persistence", "black"], "blurs": [], "draw": True}
    model = build_model("guided", {"output": {"blend": head}})
    # Of 5 numbers a pixel the bias, for each of the 4 pixels that a map's place unfolds to.
    numbers = torch.tensor([1.0, 0.0, 0.5, 0.3, 0.2])
    with torch.no_grad():
        model.output.last.bias.copy_(numbers.repeat_interleave(4))
    frames = torch.rand(1, 4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    last = frames[:, -1:]
    shifted = torch.cat([last[..., 1:], last[..., -1:]], dim=-1)
    weight = 0.5 / 1.5
    expected = 2 * torch.sigmoid(torch.tensor(0.3)) * (shifted - weight * last) + 0.2
    torch.testing.assert_close(model(frames, 1), expected, atol=1e-5, rtol=0)


def test_a_blend_that_draws_nothing_keeps_what_is_dry_dry() -> None:
    model = build_model("guided", {"output": {"blend": {"draw": False}}})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    rain = torch.zeros(1, 8, 1, 32, 32)
    rain[..., 12:20, 12:20] = 0.7
    forecast = model(rain, 3)
    assert forecast[..., 15, 15].abs().min() > 0
    assert torch.equal(forecast[..., 0, :], torch.zeros(1, 3, 1, 32))


def test_a_model_of_any_channels_treats_them_alike() -> None:
    model = build_model("guided")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    grey = torch.rand(1, 8, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    colour = grey.expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(model(colour, 3), model(grey, 3).expand(-1, -1, 3, -1, -1))


def test_only_a_blend_takes_any_channels() -> None:
    with pytest.raises(ValueError, match="only the head blend"):
        build_model("quick", {"channels": None})
    with pytest.raises(ValueError, match="give channels"):
        build_model("guided", {"inputs": 2})
    with pytest.raises(ValueError, match="guides are names"):
        build_model("guided", {"output": {"blend": {"guides": []}}})
    with pytest.raises(ValueError, match="dense_motion"):
        build_model("guided", {"output": {"blend": {"guides": ["dense_motoin"]}}})
