"""Random numbers as a function of a key: no state to carry, any clip on its own.

A clip's key comes from (seed, split, epoch, index) through SplitMix64 (Steele, Lea & Flood 2014), a
whole batch in a few array operations.
"""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(z: np.ndarray) -> np.ndarray:
    """SplitMix64 of each number; uint64 of any shape."""
    with np.errstate(over="ignore"):
        z = np.asarray(z, dtype=np.uint64) + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniforms(keys: np.ndarray, draws: int, stream: int) -> np.ndarray:
    """(B, draws) float64 in [0, 1), independent between keys, draws and streams."""
    with np.errstate(over="ignore"):
        first = np.uint64(stream) << np.uint64(32)
        counters = (np.arange(draws, dtype=np.uint64) + first) * _GOLDEN
        bits = mix(mix(keys)[:, None] + counters)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def set_key(seed: int, split: str) -> np.uint64:
    """One key for (seed, split): epochs and indices are mixed in clip by clip."""
    name = f"{seed}/{split}".encode()
    return np.uint64(np.frombuffer(hashlib.blake2b(name, digest_size=8).digest(), dtype="<u8")[0])


def clip_keys(of_set: np.uint64, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """(B,) uint64 keys of clips: index `indices` of epoch `epochs`, each (B,)."""
    with np.errstate(over="ignore"):
        return mix(mix(of_set + epochs.astype(np.uint64)) + indices.astype(np.uint64))
