"""Files of clips, and any Dataset by its import path."""

import sys

import numpy as np
import pytest
import torch

from foreframe import Window, clips_from
from foreframe.data import ArrayClips, DataOptions, batches, check_first_clip, open_dataset
from foreframe.data.arrays import array_of
from foreframe.data.datasets import collate


@pytest.mark.parametrize(
    ("shape", "name", "found"),
    [
        ((5, 8, 9), "odd", [(5, 1, 8, 9)]),
        ((5, 3, 8, 9), "frames", [(5, 3, 8, 9)]),
        ((2, 3, 8, 9), "clips", [(3, 1, 8, 9)] * 2),
        ((2, 5, 8, 9), "frames", [(5, 1, 8, 9)] * 2),
        ((2, 5, 3, 8, 9), "frames", [(5, 3, 8, 9)] * 2),
    ],
)
def test_axes_are_told_apart(tmp_path, shape, name, found) -> None:
    np.savez(tmp_path / "a.npz", **{name: np.zeros(shape, np.float32), "flat": np.zeros((8, 9))})
    assert [clip.frames.shape for clip in clips_from(tmp_path / "a.npz")] == found
    with pytest.raises(ValueError, match=r"is no recording .* \(N,T,C,H,W\)$"):
        clips_from(tmp_path / "a.npz", variable="flat")
    with pytest.raises(ValueError, match="even not found; variable names one of"):
        clips_from(tmp_path / "a.npz", variable="even")


def test_clips_from_a_file_split_in_blocks_and_scaled(tmp_path) -> None:
    held = np.random.default_rng(0).integers(0, 256, (20, 6, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "clips.npy", held)
    train, validation, test = (
        ArrayClips(tmp_path / "clips.npy", split) for split in ("train", "validation", "test")
    )
    assert [len(part) for part in (train, validation, test)] == [16, 2, 2]
    assert torch.equal(test[1], torch.from_numpy(held[19][:, None].astype(np.float32) / 255))
    assert (train.scaling.low, train.scaling.high) == (0, 255)
    with pytest.raises(IndexError):
        test[2]


def test_masked_values_are_missing() -> None:
    masked = array_of(np.ma.masked_equal(np.arange(4), 2))
    np.testing.assert_array_equal(masked, [0, 1, np.nan, 3])


@pytest.fixture
def module_of_datasets(tmp_path, monkeypatch):
    (tmp_path / "some_clips.py").write_text(
        """
import numpy as np, torch
class Plain(torch.utils.data.Dataset):
    def __init__(self, n=20): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i): return torch.full((6, 1, 8, 8), i / 100)
class BySplit(Plain):
    def __init__(self, split): super().__init__({"train": 9, "validation": 5, "test": 4}[split])
class Stream(torch.utils.data.IterableDataset):
    def __iter__(self): yield torch.zeros(6, 1, 8, 8)
def made(shape=(6, 1, 8, 8), dtype="float32"): return [np.zeros(shape, dtype)] * 20
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_clips"
    sys.modules.pop("some_clips", None)


def test_any_dataset_by_import_path(module_of_datasets) -> None:
    parts = {
        split: open_dataset(DataOptions("some_clips.Plain", past=3, future=3), split)
        for split in ("train", "validation", "test")
    }
    assert [len(part) for part in parts.values()] == [16, 2, 2]
    assert parts["test"][0][0, 0, 0, 0] == pytest.approx(0.18)
    assert len(open_dataset(DataOptions("some_clips:BySplit"), "validation")) == 5
    assert len(open_dataset(DataOptions("some_clips.made"), "train")) == 16
    assert next(iter(batches(parts["train"], 4))).shape == (4, 6, 1, 8, 8)
    assert sum(len(b) for b in batches(parts["train"], 4, limit=10)) == 10


@pytest.mark.parametrize(
    ("data", "args", "message"),
    [
        ("some_clips.Plain", {"m": 3}, "unexpected keyword argument 'm'"),
        ("some_clips.Stream", {}, "no map-style torch Dataset"),
    ],
)
def test_what_is_no_dataset_is_told_in_one_line(
    module_of_datasets, data: str, args: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_dataset(DataOptions(data, args, 3, 3), "train")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"shape": (6, 8, 8)}, r"shape \(6, 8, 8\); an item is one clip"),
        ({"shape": (5, 1, 8, 8)}, "have 5 frames"),
        ({"shape": (6, 2, 8, 8)}, "2 channels"),
        ({"dtype": "uint8"}, "divide by 255"),
    ],
)
def test_the_first_item_is_looked_at(module_of_datasets, args: dict, message: str) -> None:
    data = open_dataset(DataOptions("some_clips.made", args, 3, 3), "train")
    with pytest.raises(ValueError, match=message):
        check_first_clip(data, Window(3, 3), 1, "some_clips.made")


def test_a_batch_of_unlike_clips() -> None:
    with pytest.raises(ValueError, match="are unlike: stack expects"):
        collate([torch.zeros(6, 1, 8, 8), torch.zeros(5, 1, 8, 8)])
