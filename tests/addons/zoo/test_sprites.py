"""Sprites: how they are cut out and drawn, what a state without training finds, and members."""

import pytest
import torch
import torch.nn.functional as F

from foreframe.addons.zoo.sprites import (
    Sprites,
    centre_of_mass,
    cut,
    drawn,
    scores,
    windows,
)
from foreframe.models import build_model, members

SIDE, SIZE, PLACES, MARGIN = 16, 8, 11, 1


@pytest.fixture
def where() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(2, 3, 2, 4, PLACES).softmax(dim=-1)  # b k 2 t p


def sure(row: int, column: int) -> torch.Tensor:
    """At this row and column of the frame, of all that may be."""
    index = torch.tensor([row + MARGIN, column + MARGIN])
    return F.one_hot(index, PLACES).float().view(1, 1, 2, 1, PLACES)


def small(**args: int) -> Sprites:
    torch.manual_seed(0)
    sizes = {"frames": 3, "side": SIDE, "size": SIZE, "width": 4, "blocks": 1, "hidden": 8}
    model = build_model("sprites", sizes | args)
    assert isinstance(model, Sprites)
    return model.eval()


def test_a_sprite_is_drawn_at_its_place_and_cut_out_again() -> None:
    picture = torch.rand(1, 1, 1, SIZE, SIZE)
    frame = drawn(windows(sure(5, 2), SIDE, SIZE), picture)[0, 0, 0, 0]
    expected = torch.zeros(SIDE, SIDE)
    expected[5:13, 2:10] = picture[0, 0, 0]
    torch.testing.assert_close(frame, expected)
    outside = drawn(windows(sure(-1, 9), SIDE, SIZE), picture)[0, 0, 0, 0]
    expected = torch.zeros(SIDE, SIDE)
    expected[:7, 9:] = picture[0, 0, 0, 1:, :7]
    torch.testing.assert_close(outside, expected)
    again = cut(windows(sure(5, 2), SIDE, SIZE), frame.expand(1, 1, 1, 1, -1, -1))
    torch.testing.assert_close(again[0, 0, 0, 0], picture[0, 0, 0])


def test_scores_are_sums_over_the_pixels_of_a_sprite(where: torch.Tensor) -> None:
    torch.manual_seed(1)
    E, S = torch.randn(2, 3, 2, 4, SIDE, SIDE), torch.rand(2, 3, 2, SIZE, SIZE)
    a, b = windows(where, SIDE, SIZE)[:, :, :, 0].unbind(dim=2)
    found = scores(E, windows(where, SIDE, SIZE), S)
    by_row = F.pad(torch.einsum("bkctij,bktjs->bkctis", E, b), (0, 0, MARGIN, MARGIN))
    by_column = F.pad(torch.einsum("bkctij,bktis->bkctsj", E, a), (MARGIN, MARGIN))
    for p in range(PLACES):
        row = (by_row[..., p : p + SIZE, :] * S.unsqueeze(3)).sum(dim=(2, -2, -1))
        column = (by_column[..., p : p + SIZE] * S.unsqueeze(3)).sum(dim=(2, -2, -1))
        torch.testing.assert_close(found[:, :, 0, :, p], row, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found[:, :, 1, :, p], column, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_rounds_follow_a_sprite_from_a_rough_guess() -> None:
    """Without training it is followed to the pixel where one knows about where it is."""
    model, picture = small(sprites=1, frames=4), torch.zeros(1, 1, 1, SIZE, SIZE)
    picture[..., 1:7, 2:5] = 1
    model.log_evidence.zero_()  # of so few pixels each has to say more
    truth = torch.cat([sure(row, 2 * row) for row in range(4)], dim=3)
    X = drawn(windows(truth, SIDE, SIZE), picture)
    rough = F.avg_pool1d(truth.flatten(0, -2), 5, 1, 2).view(truth.shape).log().clamp(min=-20)
    at, O = windows(rough.softmax(dim=-1), SIDE, SIZE), torch.ones_like(X)
    for _ in range(5):
        where, at, S = model._round(rough, at, X, O)
    torch.testing.assert_close(drawn(at, S), X, atol=0.1, rtol=0)
    apart = where.argmax(dim=-1) - truth.argmax(dim=-1)
    assert (apart == apart[..., :1]).all()  # where in its window it lies is free


def test_the_centre_of_mass_ignores_what_passes_by_unless_the_windows_are_wrong() -> None:
    picture = torch.zeros(1, 1, 1, SIZE, SIZE)
    picture[..., 4:6, 2:5] = 1  # rows 4 and 5, columns 2 to 4 of 8
    x = picture.unsqueeze(3).repeat(1, 1, 1, 3, 1, 1)
    x[:, :, :, 1, :3] = 1  # something else, in one frame
    torch.testing.assert_close(centre_of_mass(x, picture), torch.tensor([[[0.5, -1.0]]]))
    x[:, :, :, 2] = 0
    torch.testing.assert_close(centre_of_mass(x, picture), torch.tensor([[[0.5, -1.0]]]))


@torch.no_grad()
def test_motion_sees_both_axes_and_treats_them_alike(where: torch.Tensor) -> None:
    motion, rest = small(frames=4).motion, torch.zeros(2, 3, 2)
    tracks = motion(where, rest)
    assert tracks.shape == (2, 3, 2, 8, PLACES)
    torch.testing.assert_close(motion(where.flip(2), rest), tracks.flip(2))
    other = where.clone()
    other[:, :, 1] = where[:, :, 1].flip(-1)
    assert not torch.equal(motion(other, rest)[:, :, 0], tracks[:, :, 0])


@torch.no_grad()
def test_members_have_one_place_for_each_sprite_and_are_as_likely_as_it() -> None:
    model = small()
    past = torch.rand(1, 3, 1, SIDE, SIDE)
    state = model.precompute(model.encode(past), 3)
    many = members(state, 4000, seed=1)
    made = model.decode(many, 3)
    mean = torch.stack([made.mean(dim=0), model.decode(state, 3)[0]])
    # Of two sprites, whose places are drawn on their own, the mean is that of the forecast.
    torch.testing.assert_close(mean[0], mean[1], atol=0.03, rtol=0)
    S = state["pictures"]
    assert made.amax() <= 1 - (1 - S.amax()) ** 2 + 1e-6
    alone = model.decode(members(state, 2, seed=1, first=5), 3)
    torch.testing.assert_close(alone, made[5:7])


@torch.no_grad()
def test_weights_fit_any_number_of_sprites() -> None:
    model, more = small(), small(sprites=3)
    more.load_state_dict(model.state_dict())
    past = torch.rand(1, 3, 1, SIDE, SIDE)
    assert more.precompute(more.encode(past), 3)["pictures"].shape == (1, 3, 1, SIZE, SIZE)
    assert not torch.equal(more(past, 3), model(past, 3))


def test_with_a_frozen_encoder_it_learns_where_sprites_go() -> None:
    model, past = small(), torch.rand(2, 3, 1, SIDE, SIDE)
    expected = model(past, 3)
    model.train()
    assert not torch.equal(model(past, 3), expected)  # fewer rounds than a forecast has
    model.freeze_encoder()
    torch.testing.assert_close(model(past, 3), expected)
    model(past, 3).sum().backward()
    learnt = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert learnt == {"motion"}


@torch.no_grad()
def test_larger_frames_are_made_smaller_and_forecasts_larger_again() -> None:
    model = small()
    frames = torch.rand(1, 3, 1, SIDE, SIDE)
    doubled = frames.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
    forecast = F.interpolate(model(frames, 3)[0], scale_factor=2, mode="bilinear")
    torch.testing.assert_close(model(doubled, 3)[0], forecast)
    assert model(doubled[..., :19], 3).shape[-2:] == (32, 19)
    torch.testing.assert_close(
        model(frames[..., :9], 3), model(F.pad(frames[..., :9], (0, 7)), 3)[..., :9]
    )
