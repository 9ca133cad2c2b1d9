"""Training on data in memory: arrays, tensors, xarray objects and Datasets."""

import re
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from trainings import same_to_the_bit, train_small

from foreframe import Forecaster, MovingMNIST, Window, clips_from, evaluate, fit, open_run
from foreframe.cli import main
from foreframe.clips.scaling import Scaling
from foreframe.data import ArrayClips, ReadOptions, Recordings, open_dataset
from foreframe.training import DataOptions

WINDOW = Window(3, 2)
OF = DataOptions(past=3, future=2)


class Waves(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((5, 1, 16, 24), index / 40)


def frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape, dtype=np.uint8)


def field() -> xr.DataArray:
    values = frames(80, 16, 24).astype(np.float32) / 10
    hours = np.datetime64("2020-01-01", "ns") + np.arange(80) * np.timedelta64(1, "h")
    place = {"time": hours, "y": np.arange(16.0), "x": np.arange(24.0)}
    return xr.DataArray(values, place, ("time", "y", "x"), "rain", {"units": "mm/h"})


def trained(run: Path, data: object, steps: int = 2, **how: object) -> Path:
    return train_small(run, data=data, trainer={"max_steps": steps}, **{"data_args": {}} | how)


SOURCES = {
    "tensor": (
        lambda: torch.from_numpy(frames(80, 1, 16, 24) / np.float32(200)),
        "float32 array of 80x1x16x24",
        None,
    ),
    "DataArray": (field, "DataArray rain", None),
    "Recordings": (
        lambda: Recordings(frames(80, 16, 24), window=WINDOW),
        "Recordings of 58 items",
        Scaling(0, 255),
    ),
    "Dataset": (Waves, "Waves of 40 items", Scaling()),
    "Datasets": (
        lambda: {
            split: MovingMNIST(split, length=5, clips=8)
            for split in ("train", "validation", "test")
        },
        "dict of 3 items",
        Scaling(),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "advises"), [(0, False), (0.05, True)])
def test_the_time_of_waiting_for_data_is_printed(
    tmp_path, monkeypatch, capsys, seconds: float, advises: bool
) -> None:
    item = Waves.__getitem__
    monkeypatch.setattr(Waves, "__getitem__", lambda s, k: time.sleep(seconds) or item(s, k))
    trained(tmp_path / "run", Waves())
    printed = capsys.readouterr().out
    share = re.search(r"(\d+\.\d) % of the time was spent waiting for data", printed)
    assert (20 < float(share[1]) < 100) == advises
    assert ("; --loader_workers 2 may shorten that\n" in printed) == advises


@pytest.mark.parametrize("kind", SOURCES)
def test_trains_and_is_scored(tmp_path: Path, kind: str) -> None:
    make, name, scaling = SOURCES[kind]
    data = make()
    run = trained(tmp_path / "run", data)
    assert yaml.safe_load((run / "config.yaml").read_text())["data"] == f"in memory, {name}"
    forecaster = Forecaster.load(run)
    assert forecaster.trained.data == f"in memory, {name}"
    found = forecaster.scaling
    units = "" if kind == "tensor" else "mm/h"
    assert (found.kind, found.units) == ("minmax", units) if scaling is None else found == scaling
    test = open_dataset(DataOptions(data, **asdict(forecaster.window)), "test", forecaster.scaling)
    card = evaluate(forecaster, test, clips=2, baselines=("persistence",))
    assert card["clips"] == 2
    assert np.isfinite(card["scores"]["model"]["standard"]["mse"]["overall"])


def test_an_array_is_split_and_scaled_as_its_file(tmp_path: Path) -> None:
    recording, clips = frames(80, 16, 24), frames(40, 5, 1, 16, 24)
    np.save(tmp_path / "recording.npy", recording)
    np.save(tmp_path / "clips.npy", clips)
    in_xarray = xr.Dataset({"rain": (("time", "y", "x"), recording)})
    assert len(open_dataset(replace(OF, data=in_xarray), "train")) == len(
        open_dataset(replace(OF, data=recording), "train")
    )
    for array, file in ((recording, "recording.npy"), (clips, "clips.npy")):
        for split in ("train", "validation", "test"):
            ours = open_dataset(replace(OF, data=array), split)
            theirs = open_dataset(replace(OF, data=str(tmp_path / file)), split)
            assert isinstance(theirs, ArrayClips) == (file == "clips.npy")
            assert ours.scaling == theirs.scaling
            items, others = (torch.stack(list(each)) for each in (ours, theirs))
            torch.testing.assert_close(items, others, atol=1e-7, rtol=0)
    small = replace(OF, data=recording, reading=ReadOptions(size=[8, 12]), scaling="standard")
    smaller = open_dataset(small, "train")
    assert smaller[0].shape == (5, 1, 8, 12)
    assert smaller.scaling.kind == "standard"
    halves = torch.from_numpy(recording).bfloat16()
    assert open_dataset(replace(OF, data=halves), "train")[0].dtype == torch.float32
    other_order = open_dataset(replace(OF, data=recording.astype(">u2")), "train")
    assert torch.isfinite(other_order[0]).all()


def test_clips_from_takes_arrays() -> None:
    recording = frames(6, 2, 16, 24)
    (clip,) = clips_from(recording, colour="grey")
    assert np.array_equal(clip.frames[0:6], recording[:, :1])
    assert [len(one) for one in clips_from(torch.from_numpy(frames(3, 5, 1, 16, 24)))] == [5, 5, 5]
    with pytest.raises(ValueError, match=r"transpose\(0, 3, 1, 2\) puts channels second"):
        clips_from(frames(6, 16, 24, 3))


@pytest.mark.slow
def test_only_python_resumes_it(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    data = frames(80, 16, 24)
    trained(Path("run"), data, 2)
    trained(Path("run"), data, 4, resume="run")
    whole = trained(Path("whole"), data, 4)
    same_to_the_bit(Path("run"), whole)
    capsys.readouterr()
    for command in ("train --resume run", "train --config run/config.yaml", "evaluate run"):
        assert main(command.split()) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "in memory, uint8 array of 80x16x24" in line
    with pytest.raises(ValueError, match="of a Python process"):
        open_run("run").evaluate()
    with pytest.raises(ValueError, match=r"max_steps, .* foreframe.fit\(resume='.*', data=...\)"):
        fit(resume="run", data=data, trainer={"max_steps": 4})
    np.save("more.npy", frames(80, 16, 24))
    assert main(["evaluate", "run", "--data", "more.npy", "--clips", "2"]) == 0


FRAME, RECORDING = frames(16, 24), frames(80, 16, 24)
REFUSED: dict[str, tuple[Any, dict, str]] = {
    "text": (np.array([["a"]]), {}, "not numbers"),
    "no axes": (torch.tensor(3.0), {}, "no recording"),
    "16 bits of clips": (frames(40, 5, 1, 16, 24).astype(np.uint16), {}, "uint8, or floats"),
    "few frames": (frames(9, 16, 24), {"past": 3, "future": 2}, "no window|too few to learn"),
    "argument of a Dataset": (Waves(), {"data_args": {"n": 3}}, "takes no argument 'n'"),
    "no Dataset": (3.5, {}, "float is no map-style"),
    "one split": ({"train": Waves()}, {}, "nothing for validation"),
    "frames": (
        [FRAME] * 40,
        {},
        r"shape \(16, 24\); an item is one clip \(T,C,H,W\), and one recording .* numpy\.stack",
    ),
    "recordings of splits": ({"train": RECORDING, "validation": RECORDING}, {}, "an item is one"),
    "recordings": (
        [RECORDING[:, None]] * 2,
        {},
        "its 2 items, a clip each, are too few .*; several recordings are a folder",
    ),
    "option of recordings": (
        [RECORDING[:, None]] * 2,
        {"reading": {"variable": "rain"}},
        "holds clips, not recordings: reading.variable does nothing",
    ),
    "argument of a recording": (
        field(),
        {"data_args": {"n": 3}},
        "takes no argument 'n': options of recordings are those of reading and",
    ),
    "long windows": (
        field(),
        {"past": 40, "future": 40},
        "no window of 40 past .* a larger share .splits.shares.,|too few to learn",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("recipe", ["quick", None])
def test_what_no_data_are_is_refused_in_one_line(tmp_path: Path, kind: str, recipe) -> None:
    """Also without a recipe, which inspects the data first."""
    data, options, words = REFUSED[kind]
    with pytest.raises(ValueError, match=words) as error:
        fit(recipe, data=data, run=tmp_path / "run", **options)
    message = str(error.value)
    assert "\n" not in message
    assert "--" not in message
    assert len(message) < 300
    assert not (tmp_path / "run").exists()
