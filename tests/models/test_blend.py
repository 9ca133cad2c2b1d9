"""Several baselines, mixed: it begins at the first, and does with numbers what it says."""

import pytest
import torch

from foreframe.models import build_model


def guided(guides: list, frames: torch.Tensor, steps: int, **blend: object) -> torch.Tensor:
    model = build_model("guided", {"output": {"blend": {"guides": guides, **blend}}})
    return model(frames, steps)


@pytest.mark.parametrize(
    ("first", "channels"),
    [("persistence", 1), ("mean", 3), ("linear_motion", 1), ("dense_motion", 3)],
)
def test_a_blend_begins_at_its_first_guide(first: str, channels: int) -> None:
    """Exactly, except for rounding of places that do not move."""
    frames = torch.rand(2, 6, channels, 20, 23, generator=torch.Generator().manual_seed(0))
    forecast = guided([first, "black", "persistence"], frames, 4)
    torch.testing.assert_close(forecast, build_model(first)(frames, 4), atol=5e-6, rtol=0)


def test_a_blend_is_what_its_docstring_says() -> None:
    """With constant numbers: shift, weights, gain and correction computed by hand."""
    head = {"guides": ["persistence", "black"], "blurs": [], "draw": True}
    model = build_model("guided", {"output": {"blend": head}})
    # The bias of 5 numbers a pixel, for each of the 4 pixels of a place of the maps.
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
    """With any weights except those of the shift, which could move rain to any place."""
    torch.manual_seed(0)
    model = build_model("guided", {"output": {"blend": {"draw": False}}})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():  # of 2 numbers a pixel, for each of the 4 pixels of a map's place
        model.output.last.weight[:8] = 0
        model.output.last.bias[:8] = 0
    rain = torch.zeros(1, 8, 1, 32, 32)
    rain[..., 12:20, 12:20] = 0.7
    forecast = model(rain, 3)
    assert forecast[..., 12:20, 12:20].abs().amax(dim=(-2, -1)).min() > 0
    assert torch.equal(forecast[..., 0, :], torch.zeros(1, 3, 1, 32))


def test_a_model_of_any_channels_treats_them_alike() -> None:
    model = build_model("guided")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    grey = torch.rand(1, 8, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    colour = grey.expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(model(colour, 3), model(grey, 3).expand(-1, -1, 3, -1, -1))


@pytest.mark.parametrize(
    ("codec", "channels", "inputs"),
    [({"size": 1}, None, 0), ({"size": 3, "show_last": True}, 2, 1)],
)
def test_a_blend_of_patches(codec: dict, channels: int | None, inputs: int) -> None:
    """It begins at its first guide. Its core, and its head with `show_last`, read all evidence."""
    torch.manual_seed(0)
    args = {"core": {"convlstm": {"hidden": [4]}}, "codec": {"patches": codec}}
    args |= {"channels": channels, "inputs": inputs}
    blend = {"guides": ["mean", "persistence"], "hindcast": 2, "short": 16}
    model = build_model("guided", {**args, "output": {"blend": blend}})
    frames = torch.rand(2, 5, (channels or 1) + inputs, 34, 39)
    first = build_model("mean")(frames[:, :, : channels or 1], 3)
    torch.testing.assert_close(model(frames, 3), first, atol=5e-6, rtol=0)
    seen = (channels or 1) * 2 + 2 * 3 + inputs
    assert model.inform.width == seen * codec["size"] ** 2
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model(frames, 3).square().sum().backward()
    core = model.decoder.cells[0].gates.weight.grad[:, : model.inform.width]
    assert (core.abs().sum(dim=(0, 2, 3)) > 0).all()
    if "show_last" in codec:
        head = model.output.last.weight.grad[:, 4:]
        assert head.shape[1] == model.inform.width
        assert (head.abs().sum(dim=(0, 2, 3)) > 0).all()


def test_large_frames_are_seen_small_and_mixed_as_fine_as_they_are() -> None:
    """Frames of 3 x 3 equal pixels are seen as the small ones are; blurs and shift are three times
    as wide, so means of the forecast equal the small forecast except between pixels.
    """
    head = {"guides": ["persistence", "mean", "black"], "blurs": [0.5]}
    large, whole = (
        build_model("guided", {"output": {"blend": {**head, "short": short}}})
        for short in (32, None)
    )
    g = torch.Generator().manual_seed(0)
    for parameter in large.parameters():
        torch.nn.init.normal_(parameter, std=0.07, generator=g)
    with torch.no_grad():  # all four pixels of a map's place alike, so that numbers are smooth
        alike = large.output.last.weight.unflatten(0, (-1, 4))[:, :1].expand(-1, 4, -1, -1, -1)
        large.output.last.weight.copy_(alike.flatten(0, 1))
    whole.load_state_dict(large.state_dict())
    fine = torch.rand(1, 5, 1, 7, 9, generator=g)
    frames = torch.nn.functional.interpolate(fine.flatten(0, 1), (32, 40), mode="bilinear")[None]
    tripled = frames.repeat_interleave(3, dim=-1).repeat_interleave(3, dim=-2)[..., :95, :119]
    small, forecast = whole(frames, 3), large(tripled, 3)
    assert forecast.shape == (1, 3, 1, 95, 119)
    means = torch.nn.functional.avg_pool2d(forecast[0, :, :, :93, :117], 3)
    changed = (small[0] - frames[0, -1:]).square().mean()
    error = (means - small[0, :, :, :31, :39]).square().mean()
    assert error < 0.1 * changed
    # Frames below one and a half times that size are not reduced.
    torch.testing.assert_close(large(frames, 3), small)
    torch.testing.assert_close(large(tripled[..., :47, :], 3), whole(tripled[..., :47, :], 3))
