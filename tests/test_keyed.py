"""Random numbers by key."""

import numpy as np
import pytest
import torch

from foreframe.clips.keyed import (
    double_uniforms,
    further,
    key_of,
    key_of_name,
    mixed,
    normals,
)


def splitmix64(number: int) -> int:
    """As its authors write it in C, on whole numbers without a limit."""
    z = (number + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_the_bits_are_those_of_splitmix64_in_torch_and_in_numpy() -> None:
    numbers = [0, 1, 2**63, 2**64 - 1, 0x123456789ABCDEF0]
    keys = np.array(numbers, dtype=np.uint64).view(np.int64)
    expected = [splitmix64(number) for number in numbers]
    assert mixed(keys).view(np.uint64).tolist() == expected
    assert mixed(torch.from_numpy(keys)).numpy().view(np.uint64).tolist() == expected
    assert expected[0] == 0xE220A8397B1DCDAF  # as its authors print it
    doubles = double_uniforms(keys, 3, stream=2)
    counter = (2**33 + 1) * 0x9E3779B97F4A7C15
    bits = splitmix64((splitmix64(numbers[4]) + counter) % 2**64)
    assert doubles[4, 1] == (bits >> 11) / 2**53


def test_a_name_has_a_key() -> None:
    assert key_of_name("0/train").tolist() == [-864266355102120868]
    assert key_of_name("1/train") != key_of_name("0/train")


@pytest.mark.parametrize("seed", [0, -1, 2**63, 2**70 + 5])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    assert key_of(seed).dtype == torch.int64
    assert key_of(seed) != key_of(seed + 1)


def test_draws_are_of_their_distribution() -> None:
    """Draws of a place, and of no other, are checked as noise: tests/models/test_noise.py."""
    z = normals(further(key_of(3), torch.arange(300)[:, None], torch.arange(300))).double()
    assert z.mean() == pytest.approx(0, abs=0.015)
    assert z.var() == pytest.approx(1, abs=0.02)
    assert z.pow(4).mean() == pytest.approx(3, abs=0.15)
