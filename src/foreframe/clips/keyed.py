"""Random numbers as a function of keys and positions, in torch on any device and in numpy: without
state, so that they can be drawn again, in parts and in any order.

The bits equal SplitMix64 (Steele, Lea & Flood 2014); int64 replaces uint64, for which torch
has no arithmetic.
"""

import hashlib
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Keys = TypeVar("Keys", Int[Tensor, "..."], Int[np.ndarray, "..."])


def _signed(bits: int) -> int:
    """The int64 with the same 64 bits."""
    return (bits & (2**64 - 1)) - (bits >> 63 & 1) * 2**64


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST, _SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shifted(z: Keys, by: int) -> Keys:
    """Logical shift to the right."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def mixed(z: Keys) -> Keys:
    """SplitMix64 of each number, with wrapping arithmetic."""
    z = z + _GOLDEN
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def key_of(seed: int) -> Int[Tensor, ""]:
    """The key of a seed, any integer."""
    return mixed(torch.tensor(_signed(seed)))


def key_of_name(name: str) -> Int[np.ndarray, "1"]:
    """The key of a text, the same on every machine."""
    return np.frombuffer(hashlib.blake2b(name.encode(), digest_size=8).digest(), dtype="<i8")


def further(keys: Keys, *at: int | Keys) -> Keys:
    """The key at each position: indices and keys broadcast, indices are mixed in in turn."""
    for index in at:
        keys = mixed(keys + index)
    return keys


def double_uniforms(keys: Int[np.ndarray, " b"], n: int, stream: int) -> Float[np.ndarray, "b n"]:
    """`n` numbers in [0,1) for each key, independent between keys and streams; float64."""
    counters = (np.arange(n) + (stream << 32)) * _GOLDEN
    bits = mixed(mixed(keys)[:, None] + counters)
    return _shifted(bits, 11) * 2.0**-53


def uniforms(keys: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """A float32 number in (0,1), ends excluded, for each key."""
    return (_shifted(keys, 41).float() + 0.5) * 2.0**-23


def normals(keys: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """A float32 number from the standard normal distribution for each key."""
    return torch.erfinv(2 * uniforms(keys) - 1) * 2**0.5
