"""Scene changes in made-up films, and in real ones whose cut was seen by eye."""

import numpy as np
import pytest

from conftest import real_data
from foreframe.data import cuts
from foreframe.data.cuts import find_cuts, next_cut, since_cut
from foreframe.data.films import read_film


def scene(n: int, seed: int, h: int = 96, w: int = 128) -> np.ndarray:
    """A smooth picture of its own brightness that pans (n,3,h,w), with noise."""
    rng = np.random.default_rng(seed)
    wide = np.kron(
        rng.integers(0, 120, (3, h // 16, w // 16 + 8)) + 60 * (seed % 3), np.ones((1, 16, 16))
    )
    return np.stack([wide[:, :, i % 128 : i % 128 + w] for i in range(n)]) + rng.normal(
        0, 6, (n, 3, h, w)
    )


def as_bytes(frames: np.ndarray) -> np.ndarray:
    return frames.clip(0, 255).astype(np.uint8)


FILM = as_bytes(np.concatenate([scene(20, 0), scene(30, 1), scene(15, 2)]))


@pytest.mark.parametrize("chunk", [1, 20])
def test_cuts_are_found_whatever_the_chunk(chunk, monkeypatch) -> None:
    monkeypatch.setattr(cuts, "FRAMES_READ", chunk)
    assert find_cuts(FILM) == [20, 50]
    assert find_cuts(FILM[:, :1].astype(np.float32) * 0.01) == [20, 50]


@pytest.mark.parametrize(
    ("end", "since"), [(65, 10), (55, 5), (53, 3), (52, 10), (50, 10), (24, 4), (6, 6)]
)
def test_how_many_of_the_last_frames_are_of_one_scene(end: int, since: int) -> None:
    """Of two of a new one nobody can tell that it is one: these may be a flash."""
    assert since_cut(FILM, end, 10) == since


@pytest.mark.parametrize(
    ("first", "end"), [(5, 15), (10, 20), (15, 20), (20, 20), (45, 50), (51, 61), (60, 65)]
)
def test_which_of_the_next_frames_are_of_one_scene(first: int, end: int) -> None:
    assert next_cut(FILM, first, 10) == end


def test_what_is_no_cut() -> None:
    calm = scene(30, 0)
    flash = calm.copy()
    flash[12] = 255
    flash[20:22] = 0
    assert find_cuts(as_bytes(flash)) == []
    a, b = scene(40, 0), scene(40, 2)
    share = np.linspace(-1, 2, 40).clip(0, 1)[:, None, None, None]
    assert find_cuts(as_bytes(a * (1 - share) + b * share)) == []
    assert find_cuts(as_bytes(a * (1 - share))) == []
    assert (
        find_cuts(np.random.default_rng(0).integers(0, 256, (40, 1, 32, 32), dtype=np.uint8)) == []
    )
    assert find_cuts(np.zeros((9, 1, 8, 8), np.uint8)) == []
    assert find_cuts(np.full((9, 1, 8, 8), np.nan)) == []
    for short in range(4):
        assert find_cuts(as_bytes(calm[:short])) == []


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("nasa_13013.mp4", [202]),
        ("tree.avi", []),
        ("carphone_pristine.mp4", []),
        ("realshort.mp4", []),
        ("newtonscradle.gif", []),
    ],
)
def test_real_films(name, cuts) -> None:
    frames = read_film(real_data(f"video/{name}")).frames
    assert find_cuts(frames) == cuts
    for cut in cuts:
        assert next_cut(frames, cut - 4, 10) == cut
