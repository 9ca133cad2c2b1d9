"""Random numbers by key."""

import numpy as np
import pytest
import torch

from foreframe.clips.keyed import further, key_of, mixed, normals, uniforms
from foreframe.data.keys import mix


def test_the_bits_are_those_of_splitmix64() -> None:
    numbers = np.array([0, 1, 2**63, 2**64 - 1, 0x123456789ABCDEF0], dtype=np.uint64)
    ours = mixed(torch.from_numpy(numbers.view(np.int64)))
    assert (ours.numpy().view(np.uint64) == mix(numbers)).all()
    assert int(mixed(torch.tensor(0))) == 0xE220A8397B1DCDAF - 2**64  # as its authors print it


@pytest.mark.parametrize("seed", [0, -1, 2**63, 2**70 + 5])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    assert key_of(seed).dtype == torch.int64
    assert key_of(seed) != key_of(seed + 1)


def test_draws_are_of_their_distribution_and_of_their_place() -> None:
    at = torch.arange(300)
    keys = further(key_of(3), at[:, None], at)
    u, z = uniforms(keys).double(), normals(keys).double()
    assert u.min() > 0
    assert u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.005)
    assert u.var() == pytest.approx(1 / 12, abs=0.001)
    assert z.mean() == pytest.approx(0, abs=0.015)
    assert z.var() == pytest.approx(1, abs=0.02)
    assert z.pow(4).mean() == pytest.approx(3, abs=0.15)
    # Neighbours know nothing of each other.
    for other in (z.roll(1, 0), z.roll(1, 1), z.roll((1, 1), (0, 1))):
        assert abs((z * other).mean()) < 0.015
    # A part is drawn alone as it is drawn in the whole.
    part = further(key_of(3), at[100:120, None], at[7:9])
    assert (normals(part) == normals(keys)[100:120, 7:9]).all()
    assert (further(key_of(4), at) != further(key_of(3), at)).all()
