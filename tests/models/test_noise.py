"""Noise of members: its distribution, by key."""

import pytest
import torch

from foreframe.models.noise import Noise, members

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


def test_noise_is_normal_and_the_same_everywhere() -> None:
    drawn = Noise(whole=3)(members(STATE, 2000), (4, 4))
    assert drawn.shape == (4000, 1, 3, 4, 4)
    assert (drawn == drawn[..., :1, :1]).all()
    channels = drawn[::2, 0, :, 0, 0]  # one clip; the other clip has the same noise
    assert channels.mean(dim=0).abs().max() < 0.12
    assert (torch.cov(channels.T) - torch.eye(3)).abs().max() < 0.16
