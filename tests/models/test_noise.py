"""Noise of members: its distribution, by key and place."""

import pytest
import torch

from foreframe.models.noise import Noise, members, placed

STATE = {"frame": torch.arange(6.0).view(2, 3)}


def test_clips_may_have_a_seed_each() -> None:
    """One seed of all, and members alone or among others: tests/contract/test_interface.py."""
    own = members(STATE, 3, torch.tensor([7, 8]))["key"].view(2, 3)
    assert (own[0] != own[1]).all()
    assert set(STATE) == {"frame"}


@pytest.mark.parametrize(("n", "first"), [(0, 0), (2, -1)])
def test_members_that_are_none(n: int, first: int) -> None:
    with pytest.raises(ValueError, match="members are 1 or more"):
        members(STATE, n, first=first)


def test_noise_is_normal_everywhere() -> None:
    drawn = Noise(whole=2, apart=[3, 3])(members(STATE, 2000), (6, 8))
    assert drawn.shape == (4000, 1, 4, 6, 8)
    some = drawn[::2, 0]  # one clip; the other clip has the same noise
    assert some.mean(dim=0).abs().max() < 0.12
    assert (some.var(dim=0) - 1).abs().max() < 0.16
    whole, smooth = some.split(2, dim=1)
    assert (whole == whole[..., :1, :1]).all()
    # Neighbours are alike, pixels two corners apart are not.
    near, far = smooth[..., 1:] * smooth[..., :-1], smooth[..., 6:] * smooth[..., :-6]
    assert near.mean(dim=0).min() > 0.5
    assert far.mean(dim=0).abs().max() < 0.12


def test_each_channel_is_a_draw_of_its_own() -> None:
    drawn = Noise(whole=3, apart=[1, 2, 3])(members(STATE, 500), (4, 4))
    columns = drawn.view(1000, 6, 16)[::2].transpose(0, 1).flatten(1)
    together = torch.corrcoef(columns) - torch.eye(6)
    assert together.abs().max() < 0.15


def test_a_tile_has_a_part_of_the_noise_of_the_whole() -> None:
    noise = Noise(whole=1, apart=[1, 2, 5])
    state = members(STATE, 2, seed=1)
    whole = noise(state, (12, 16))
    tile = noise(placed(state, 5, 7), (6, 8))
    torch.testing.assert_close(tile, whole[..., 5:11, 7:15], rtol=0, atol=1e-6)
