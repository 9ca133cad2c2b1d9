"""The same options give the same windows, splits and order of items as ever: these were recorded in
version 0.2, and runs and scores of that time must keep their meaning.

Every pixel holds its place, so the first one of an item tells recording, frame, row and column.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from foreframe.base.schema import typed
from foreframe.clips.clip import Window
from foreframe.data import DataOptions, open_dataset

RECORD = Path(__file__).with_suffix(".json")
SIDE = 8
RANGE = {"low": 0, "high": 2**20}  # a power of two: values come back exactly

# source, window, options
CASES: dict[str, tuple[str, Window, dict]] = {
    "one": ("one.npy", Window(3, 2), {}),
    "stride": ("one.npy", Window(3, 2, 4), {"splits": {"shares": [0.5, 0.25, 0.25]}}),
    "every": ("one.npy", Window(2, 1), {"reading": {"every": 3, "coarsen": 2}}),
    "crop": (
        "one.npy",
        Window(2, 1),
        {"reading": {"crop": [1, 2, 5, 4]}, "splits": {"shares": [0.6, 0.2, 0.2]}},
    ),
    "three": ("three", Window(4, 3, 2), {}),
    "twelve": ("twelve", Window(2, 2), {}),
    "twelve by time": ("twelve", Window(2, 2), {"splits": {"by": "time"}}),
    "decided": ("decided", Window(2, 1, 3), {}),
    "tiles": ("one.npy", Window(2, 1, 5), {"splits": {"tile": 4}}),
    "turns": ("one.npy", Window(2, 1, 5), {"splits": {"tile": 4, "augment": "turns", "seed": 3}}),
    "flips": ("three", Window(2, 1, 5), {"splits": {"augment": "flips", "by": "time"}}),
    "active": (
        "one.npy",
        Window(2, 1, 3),
        {"splits": {"tile": 4, "active": 0.6}, "scaling": {"low": 0, "high": 2**15}},
    ),
    "gaps": ("gaps.nc", Window(2, 1), {}),
}


def numbered(recording: int, frames: int) -> np.ndarray:
    places = np.arange(frames * SIDE**2, dtype=np.float32).reshape(frames, SIDE, SIDE)
    return places + recording * 64 * SIDE**2


def write_sources(folder: Path) -> None:
    np.save(folder / "one.npy", numbered(0, 110))
    for name, lengths in {"three": [40, 9, 60], "twelve": list(range(8, 20))}.items():
        (folder / name).mkdir()
        for k, n in enumerate(lengths):
            np.save(folder / name / f"r{k}.npy", numbered(k, n))
    for k, name in enumerate(["train", "val", "test"]):
        (folder / "decided" / name).mkdir(parents=True)
        np.save(folder / "decided" / name / "a.npy", numbered(k, 30))
    values = numbered(0, 60)
    values[20:24] = np.nan
    values[30, :, :4] = np.nan
    hours = np.delete(np.arange(63), [10, 40, 41])
    times = np.datetime64("2020-01-01T00", "ns") + hours * np.timedelta64(1, "h")
    xr.Dataset({"v": (("time", "y", "x"), values)}, {"time": times}).to_netcdf(folder / "gaps.nc")


def windows_of(folder: Path, case: str) -> dict[str, list[list[int | None]]]:
    """By split, the first and the last pixel of every item, in the second epoch."""
    source, window, args = CASES[case]
    found = {}
    for split in ("train", "validation", "test"):
        found[split] = []
        try:
            given = {"data": str(folder / source), "scaling": RANGE, **asdict(window), **args}
            dataset = open_dataset(typed(DataOptions, given, ""), split)
        except ValueError:  # a split without a window
            continue
        keys = [(1, k) if dataset.by_epoch else k for k in range(len(dataset))]
        items = [dataset.scaling.to_units(dataset[key]).numpy() for key in keys]
        ends = [(item[0, 0, 0, 0], item[-1, -1, -1, -1]) for item in items]
        found[split] = [[None if np.isnan(v) else int(v) for v in pair] for pair in ends]
    return found


@pytest.mark.parametrize("case", CASES)
def test_windows_are_as_they_were(tmp_path: Path, case: str) -> None:
    write_sources(tmp_path)
    assert windows_of(tmp_path, case) == json.loads(RECORD.read_text(encoding="utf-8"))[case]
