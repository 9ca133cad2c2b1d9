"""Windows and splits: rules are checked over many lengths and shares, and contents against plain
slices of numbered frames.
"""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

import foreframe.data.decoding as decoding
from foreframe.base.notes import Note
from foreframe.clips.clip import Window
from foreframe.clips.scaling import Scaling
from foreframe.data import ReadOptions, Recordings, SplitOptions
from foreframe.data.grids import _GridFrames
from foreframe.data.npy import NpyFrames
from foreframe.data.splits import SPLITS
from foreframe.training.datamodule import KeyedBatches
from recorded import pictures
from refusals import one_line

pytestmark = pytest.mark.filterwarnings("ignore:.* of frames are decoded into")
RANDOM = np.random.default_rng(5)
SMALL = Window(2, 1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOREFRAME_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def numbered(t: int, h: int = 4, w: int = 4, start: int = 0) -> np.ndarray:
    """Frames that hold their number."""
    return np.broadcast_to(
        np.arange(start, start + t, dtype=np.float32)[:, None, None], (t, h, w)
    ).copy()


def grid_of(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("time", "y", "x"), name="v")


def values_of(dataset: Recordings) -> set[int]:
    """The numbers of all frames that its windows show."""
    return {
        int(v)
        for k in range(len(dataset))
        for v in dataset.scaling.to_units(dataset[k]).round().unique()
    }


@pytest.mark.parametrize("validation", ["validation", "val", None])
def test_folders_for_the_splits(tmp_path: Path, validation: str | None) -> None:
    for k, name in enumerate(["train", validation, "test"]):
        if name:
            np.save((tmp_path / name).with_suffix(".tmp.npy"), 0)
            (tmp_path / name).mkdir()
            np.save(tmp_path / name / "a.npy", numbered(40, start=1000 * k))
    shown = {
        split: values_of(Recordings(tmp_path, split, SMALL, Scaling(0, 3000))) for split in SPLITS
    }
    assert shown["test"] == set(range(2000, 2040))
    if validation:
        assert (shown["train"], shown["validation"]) == (set(range(40)), set(range(1000, 1040)))
    else:  # cut off the end of train, 8 to 1, less the gap
        assert (shown["train"], shown["validation"]) == (set(range(35)), set(range(36, 40)))


def test_the_scaling_sees_nothing_but_training_frames(tmp_path: Path) -> None:
    frames = numbered(100)
    frames[81:] = 1e6
    frames[5, 0, 0] = np.nan
    np.save(tmp_path / "a.npy", frames)
    for split in ("train", "validation", "test"):
        scaling = Recordings(tmp_path / "a.npy", split, SMALL).scaling
        assert (scaling.kind, scaling.low, scaling.high) == ("minmax", 0, 78)
    standard = Recordings(tmp_path / "a.npy", "test", SMALL, "standard").scaling
    train = frames[:79][np.isfinite(frames[:79])].astype(float)
    assert standard.low == pytest.approx(train.mean() - 4 * train.std())
    np.save(tmp_path / "b.npy", np.nan_to_num(frames).clip(0, 255).astype(np.uint8))
    assert Recordings(tmp_path / "b.npy", "train", SMALL).scaling == Scaling(0, 255)


# -- which windows


def test_windows_with_broken_frames_are_left_out(tmp_path: Path) -> None:
    pictures(tmp_path / "a", numbered(40, 8, 8).astype(np.uint8))
    (tmp_path / "a" / "6.png").write_bytes(b"no picture")
    with pytest.warns(Note, match=r"6\.png \(frame 6\) cannot be read"):
        dataset = Recordings(tmp_path / "a", "train", SMALL)
    assert [start for _, start, _, _ in dataset.windows] == [
        k for k in range(31 - 2) if not k <= 6 < k + 3
    ]
    with pytest.raises(ValueError, match="strict"):
        Recordings(tmp_path / "a", "train", SMALL, reading=ReadOptions(strict=True))


def test_windows_without_anything_in_their_past_or_future_are_left_out(tmp_path: Path) -> None:
    frames = numbered(60)
    frames[10:20] = np.nan
    frames[14, 0, 0] = 3
    np.save(tmp_path / "a.npy", frames)
    dataset = Recordings(tmp_path / "a.npy", "train", SMALL, splits=SplitOptions(shares=(1, 0, 0)))
    there = np.isfinite(frames).any(axis=(1, 2))
    wanted = [k for k in range(58) if there[k : k + 2].any() and there[k + 2]]
    assert [start for _, start, _, _ in dataset.windows] == wanted
    frames[:] = np.nan
    np.save(tmp_path / "b.npy", frames)
    with pytest.raises(ValueError, match="without two different finite values"):
        Recordings(tmp_path / "b.npy", "train", SMALL)
    with pytest.raises(ValueError, match="too few values"):
        Recordings(tmp_path / "b.npy", "train", SMALL, Scaling(0, 1))


def test_tiles_to_train_on_must_hold_a_quarter_of_their_past(tmp_path: Path) -> None:
    frames = RANDOM.random((30, 24, 32)).astype(np.float32)
    frames[:, :, :17] = np.nan  # of the tiles at 0, 4, ... those from 16 - 8/4 on hold enough
    np.save(tmp_path / "a.npy", frames)
    dataset = Recordings(tmp_path / "a.npy", "train", SMALL, splits=SplitOptions(tile=8))
    assert {left for _, _, _, left in dataset.windows} == {12, 16, 20, 24}
    assert {top for _, _, top, _ in dataset.windows} == {0, 4, 8, 12, 16}
    assert dataset[0].shape == (3, 1, 8, 8)
    one = Recordings(
        tmp_path / "a.npy", "train", SMALL, splits=SplitOptions(tile=1, augment="flips")
    )
    assert one[0].shape == (3, 1, 1, 1)


def test_active_looks_only_at_the_past(tmp_path: Path) -> None:
    frames = np.zeros((60, 4, 4), np.float32)
    frames[20] = 1
    frames[40, :2] = 1
    np.save(tmp_path / "a.npy", frames)
    splits = SplitOptions(active=0.5, shares=(1, 0, 0))
    dataset = Recordings(tmp_path / "a.npy", "train", SMALL, Scaling(), splits=splits)
    # Frame 20 among two of past: half; frame 40: a quarter.
    assert [start for _, start, _, _ in dataset.windows] == [19, 20]


def wind(**names: str) -> xr.Dataset:
    """Variables by their names, and what CF calls them."""
    draw = np.random.default_rng(3)
    return xr.Dataset(
        {
            name: (("time", "y", "x"), draw.normal(size=(40, 4, 4)).astype(np.float32), of)
            for name, title in names.items()
            for of in [{"standard_name": title} if title else {}]
        }
    )


@pytest.mark.parametrize(
    ("grid", "inputs", "signs"),
    [
        (wind(t="", east="eastward_wind", north="northward_wind"), [], [1, -1, 1]),
        (wind(u10="unknown", v10=""), [], [-1, 1]),
        (wind(a="x_wind", max_x=""), [], [-1, 1]),
        (wind(tos="sea_surface_temperature", u=""), ["u"], [1, -1]),
    ],
)
def test_a_mirrored_wind_blows_the_other_way(
    grid: xr.Dataset, inputs: list[str], signs: list[int]
) -> None:
    variable = [name for name in grid if name not in inputs]
    reading, splits = ReadOptions(variable=variable, inputs=inputs), SplitOptions(augment="flips")
    data = Recordings(grid, "train", SMALL, reading=reading, splits=splits)
    seen = []
    for key in range(12):
        clip, start, _, _ = data.windows[key]
        plain = data.clips[clip].frames[start : start + 2]  # the past, which shows all inputs
        mirrored = plain[..., ::-1] * np.array(signs, np.float32)[:, None, None]
        seen += [np.array_equal(data.values(key)[:2], v) for v in (plain, mirrored)]
    assert sum(seen) == 12
    assert 0 < sum(seen[::2]) < 12


@pytest.mark.parametrize(
    ("grid", "augment"),
    [
        (wind(u10="", v10=""), "turns"),
        (wind(current="northward_sea_water_velocity"), "turns"),
        (wind(wd="wind_from_direction"), "flips"),
    ],
)
def test_what_no_sign_can_turn_is_not_augmented(grid: xr.Dataset, augment: str) -> None:
    how: dict[str, Any] = {"reading": ReadOptions(variable=[*grid])}
    how["splits"] = SplitOptions(augment=augment)
    with one_line(f"splits.augment {augment} cannot turn"):
        Recordings(grid, "train", SMALL, **how)
    assert len(Recordings(grid, "test", SMALL, **how))


def test_recordings_of_different_sizes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbered(60, 16, 16))
    np.save(tmp_path / "b.npy", numbered(60, 12, 16))
    for splits in (SplitOptions(), SplitOptions(tile=16)):
        with pytest.raises(ValueError, match="different sizes, 1x12x16 and 1x16x16"):
            Recordings(tmp_path, "train", SMALL, splits=splits)
    tiles = Recordings(tmp_path, "train", SMALL, splits=SplitOptions(tile=12))
    assert {tuple(item.shape) for item in tiles} == {(3, 1, 12, 12)}
    small = Recordings(tmp_path, "train", SMALL, reading=ReadOptions(size=(8, 8)))
    assert small[0].shape == (3, 1, 8, 8)
    np.save(tmp_path / "c.npy", np.zeros((60, 3, 12, 16)))
    with pytest.raises(ValueError, match="colour grey"):
        Recordings(tmp_path, "train", SMALL, splits=SplitOptions(tile=8))


# -- frames, decoded once


@pytest.mark.parametrize(
    ("reading", "tile"),
    [({}, 0), ({"coarsen": 2, "every": 3}, 0), ({"inputs": ["hour_of_day"]}, 4)],
    ids=["whole", "every third", "tiles"],
)
def test_zarr_beyond_memory_is_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: dict[str, Any], tile: int
) -> None:
    """The same windows, and an epoch reads a chunk hardly more than once."""
    hours = np.datetime64("2020-01-01", "ns") + np.arange(240) * np.timedelta64(1, "h")
    grid = xr.Dataset({"v": (("time", "y", "x"), numbered(240))}, {"time": hours})
    chunks = {"v": {"chunks": (4, *numbered(1).shape[1:])}}
    grid.to_zarr(tmp_path / "v.zarr", consolidated=False, encoding=chunks)
    how = ReadOptions(**reading), SplitOptions(tile=tile)
    held = Recordings(tmp_path / "v.zarr", "train", SMALL, None, *how)
    monkeypatch.setattr(decoding, "IN_MEMORY", held.clips[0].frames[:32, :1].nbytes)
    data = Recordings(tmp_path / "v.zarr", "train", SMALL, None, *how)
    (clip,) = data.clips
    assert data.windows == held.windows
    frames = held.clips[0].frames
    for first, last in ((0, 3), (3, 17), (-2, None), (9, 2)):
        np.testing.assert_array_equal(clip.frames[first:last], frames[first:last])
    np.testing.assert_array_equal(clip.frames[-1], frames[-1])
    read: list[int] = []
    original = _GridFrames.read
    monkeypatch.setattr(
        _GridFrames, "read", lambda f, a, b: read.append(b - a) or original(f, a, b)
    )
    keys = KeyedBatches(len(data), 4, 0, False, stretches=data.stretches())
    for batch in keys:
        assert torch.equal(data.batch(batch), held.batch(batch))
    assert 0 < sum(read) < 1.6 * 192  # a window reaches beyond its stretch


@pytest.mark.parametrize("scaling", [None, Scaling(), {"low": 0, "high": 200}, {"kind": "log"}])
def test_bytes_are_trained_on_as_bytes(tmp_path: Path, scaling: Any) -> None:
    """Where these are what the network would see, to the bit."""
    frames = np.random.default_rng(0).integers(0, 256, (60, 3, 12, 16), np.uint8)
    np.save(tmp_path / "film.npy", frames)
    how = ReadOptions(size=(6, 8)), SplitOptions(augment="flips")
    data = Recordings(tmp_path / "film.npy", "train", SMALL, scaling, *how)
    keys = [(1, k) for k in range(8)]
    moved = data.compact(keys)
    in_bytes = not isinstance(scaling, dict)
    assert moved.dtype == (torch.uint8 if in_bytes else torch.float32)
    there = moved.to(torch.float32).div_(torch.tensor(255.0)) if in_bytes else moved
    assert torch.equal(there, data.batch(keys))


@pytest.mark.filterwarnings("ignore:.*6.png .* cannot be read; the image before")
def test_frames_too_many_for_memory_are_kept_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "IN_MEMORY", 1000)
    pictures(tmp_path / "a", numbered(40, 8, 8).astype(np.uint8))
    (tmp_path / "a" / "6.png").write_bytes(b"no picture")

    def opened() -> Recordings:
        return Recordings(tmp_path / "a", "train", SMALL)

    first = opened()
    assert isinstance(first.clips[0].frames, NpyFrames)
    (file,) = (tmp_path / "cache").glob("*.npy")
    written = file.stat().st_mtime_ns
    again = opened()
    assert again.windows == first.windows
    assert again.clips[0].frames.broken == {6}
    assert file.stat().st_mtime_ns == written
    np.testing.assert_array_equal(
        again.clips[0].frames[:, 0, 0, 0], [k - (k == 6) for k in range(31)]
    )
    Image.fromarray(np.full((8, 8), 99, np.uint8)).save(tmp_path / "a" / "39.png")
    assert (Recordings(tmp_path / "a", "test", SMALL).clips[0].frames[-1] == 99).all()
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def test_a_kept_file_of_an_object_is_of_its_own_frames(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "IN_MEMORY", 100)
    for add in (0, 5, 0):
        dataset = Recordings(grid_of(numbered(60) + add), "train", SMALL)
        assert dataset.clips[0].frames[0].flat[0] == add
    assert len(list(cache.glob("*.npy"))) == 2


def test_of_decoded_frames_those_not_used_for_longest_go(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "IN_MEMORY", 100)
    monkeypatch.setattr(decoding, "ON_DISK", 3 * (numbered(60).nbytes + 200))
    cache.mkdir()
    np.save(cache / "mine.npy", numbered(600))  # whose folder it is besides

    def decoded(k: int, days: int) -> Path:
        """The file of a recording, once it is so old."""
        grid = grid_of(numbered(60, start=k))
        frames = decoding.decode(grid, ReadOptions())["undecided"][0][0].frames
        assert isinstance(frames, NpyFrames)
        used = time.time() - days * decoding.DAY
        os.utime(frames.path, (used, used))
        return frames.path

    old = [decoded(k, 9 - k) for k in (1, 2, 3)]
    assert decoded(1, 2) == old[0]  # used again
    fourth = decoded(4, 0)
    assert [path.exists() for path in (*old, fourth)] == [True, False, True, True]
    fifth = decoded(5, 0)
    assert [path.exists() for path in (*old, fourth, fifth)] == [True, False, False, True, True]
    assert len(list(cache.iterdir())) == 1 + 2 * 3
    monkeypatch.setattr(decoding, "ON_DISK", 0)
    sixth = decoded(6, 0)  # what was used within a day may be in use
    assert [path.exists() for path in (old[0], fourth, fifth, sixth)] == [False, True, True, True]
    assert (cache / "mine.npy").exists()


def test_frames_of_one_size_are_whole_instead_of_in_tiles(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RANDOM.random((30, 24, 32)).astype(np.float32))
    tiles = Recordings(tmp_path / "a.npy", "test", SMALL, splits=SplitOptions(tile=8))
    whole = Recordings(tmp_path / "a.npy", "test", SMALL, tiles.scaling)
    assert len(tiles) > len(tiles.whole()) == len(whole) > 0
    np.testing.assert_array_equal(tiles.whole()[0], whole[0])
    np.save(tmp_path / "b.npy", RANDOM.random((30, 24, 40)).astype(np.float32))
    both = Recordings(tmp_path, "all", SMALL, splits=SplitOptions(tile=8))
    assert both.whole() is both
