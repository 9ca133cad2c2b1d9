"""Archives of many starts and recordings, by this process or by Dask's workers; interrupted, killed
and resumed.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import xarray as xr

import foreframe
from foreframe import Forecaster, Scaling, Window
from foreframe.addons.archives import archive
from foreframe.addons.archives.block import cached_forecaster
from foreframe.base.notes import Note
from foreframe.cli import main
from foreframe.models import Model, build_model
from recorded import series
from refusals import refused

RAIN = Scaling(0, 20, "mm/h", "minmax")


def rain(name: str, frames: int = 16, seed: int = 0, side: int = 16, day: int = 1) -> str:
    values = np.random.default_rng(seed).uniform(0, 20, (frames, 1, side, side)).astype(np.float32)
    values[:, :, :2, :2] = np.nan
    places = np.arange(side) * 1e3
    series(name, values, since=f"2026-01-{day:02}", y=places, x=places)
    return name


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of random weights, and a baseline with members, saved beside rain.nc."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = build_model("tutorial", {"core": {"convlstm": {"hidden": [2]}}})
    lagged = build_model("lagged", {"of": "persistence", "lags": 3})
    for name, model in (("run", network), ("members", lagged)):
        Forecaster(model, Window(4, 3), RAIN).save(name)
    rain("rain.nc")


def stored(path: str) -> Any:
    made = xr.load_dataset(path, engine="zarr" if path.endswith(".zarr") else None)
    return made.drop_attrs(deep=False)  # the history has the date


@pytest.mark.exact
@pytest.mark.parametrize(("what", "given"), [("run", {}), ("members", {"members": 2, "seed": 5})])
def test_each_start_is_a_single_forecast_to_the_bit(what: str, given: dict[str, Any]) -> None:
    made = foreframe.archive(what, "rain.nc", "all.zarr", every=5, **given)
    assert made.sizes["start"] == 3
    for k, after in enumerate(range(3, 16, 5)):
        one = foreframe.predict(what, "rain.nc", after=after, **given)
        np.testing.assert_array_equal(made.rain[k], one.frames.squeeze(-3))
    foreframe.predict(what, "rain.nc", "rolling.nc", every=5, **given)
    xr.testing.assert_identical(stored("all.zarr"), stored("rolling.nc"))


def test_recordings_of_several_files_share_a_store(capsys) -> None:
    names = [rain(f"{k}.nc", 6 + k, seed=k, day=1 + k) for k in range(3)]
    assert main(["archive", "run", "[0-9].nc", "-o", "all.zarr"]) == 0
    assert capsys.readouterr().out == "3 forecasts written to all.zarr\n"
    model = cached_forecaster("run", "cpu")[0].model  # compiled cells would change the last bits
    assert {part.compiled for part in model.modules() if isinstance(part, Model)} == {False}
    made = stored("all.zarr")
    for k, name in enumerate(names):
        np.testing.assert_array_equal(made.rain[k], foreframe.predict("run", name).frames[:, 0])
    days = made.start.values.astype("datetime64[D]").astype(str)
    assert list(days) == ["2026-01-01", "2026-01-02", "2026-01-03"]


def test_what_an_archive_refuses(capsys) -> None:
    rain("other.nc", side=12)
    Path("there.zarr").mkdir()
    for words, said in (
        ("run none*.nc -o new.zarr", "no file matches none*.nc"),
        ("run rain.nc -o new.nc", "name a .zarr"),
        ("run rain.nc other.nc -o new.zarr", "these recordings differ in grid"),
        ("run rain.nc -o there.zarr", "there.zarr exists"),
        ("run rain.nc --every -2 -o new.zarr", "every"),
        ("run rain.nc --workers 0 -o new.zarr", "workers"),
    ):
        assert said in refused(capsys, "archive", *words.split())
    assert not list(Path().glob("new*"))
    with pytest.raises(ValueError, match="give paths"):
        foreframe.archive("run", np.ones((9, 1, 8, 8)), "new.zarr", workers=2)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads compute from now on, until the test ends."""
    usual = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(usual)


@pytest.mark.exact
def test_an_interrupted_job_resumes_with_as_many_threads(threads, monkeypatch, capsys) -> None:
    """Forecasts by one and by two threads differ in their last bits."""
    filled: list[tuple[int, int]] = []
    fill = archive.fill_store

    def fill_and_note(path: Path, number: int, forecast: Any) -> None:
        filled.append((number, torch.get_num_threads()))
        fill(path, number, forecast)

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(archive, "fill_store", fill_and_note)
    threads(1)
    foreframe.archive("run", "rain.nc", "whole.zarr", every=2)
    with pytest.raises(KeyboardInterrupt, match=r"same command resumes it from all\.zarr\.part"):
        foreframe.archive("run", "rain.nc", "all.zarr", every=2, progress=stop)
    assert not Path("all.zarr").exists()
    command = ["archive", "run", "rain.nc", "-o", "all.zarr", "--every", "2"]
    assert "begun by another" in refused(capsys, *command, "--steps", "2")
    threads(2)
    assert main(command) == 0
    assert "resuming the interrupted job in all.zarr.part" in capsys.readouterr().err
    assert filled[-3:] == [(4, 1), (5, 1), (6, 1)]
    assert len(filled) == 2 * 7
    assert torch.get_num_threads() == 2
    xr.testing.assert_identical(stored("all.zarr"), stored("whole.zarr"))
    assert not Path("all.zarr.part").exists()


def test_a_start_without_any_value_is_left_missing() -> None:
    with xr.open_dataset("rain.nc") as file:
        gone = file.load().where(~file.time.isin(file.time[6:12]))
    gone.to_netcdf("gone.nc")
    with pytest.warns(Note, match=r"after frame 9 is left missing .*NaN"):
        made = foreframe.archive("run", "gone.nc", "all.zarr", every=6)
    assert np.isnan(made.rain).all(["lead", "y", "x"]).values.tolist() == [False, True, False]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.full),
    ],
    ids=lambda way: way.name,
)
def test_killed_workers_and_a_killed_job_change_no_bit(way: signal.Signals) -> None:
    """A new worker replaces one that is killed; workers end with their job, which is resumed."""
    rain("long.nc", 64)
    given: dict[str, Any] = {"every": 1, "members": 2}
    foreframe.archive("members", "long.nc", "one.zarr", **given)
    words = "archive members long.nc --every 1 --members 2 --workers 2 -o two.zarr"
    process = subprocess.Popen([sys.executable, "-m", "foreframe", *words.split()])

    def markers() -> dict[Path, int]:  # those being written are hidden
        return {path: path.stat().st_mtime_ns for path in Path("two.zarr.part/done").glob("[0-9]*")}

    until(lambda: len(markers()) > 5)
    workers = psutil.Process(process.pid).children(recursive=True)
    next(one for one in workers if "spawn_main" in " ".join(one.cmdline())).kill()
    before = markers()
    until(lambda: len(markers()) > len(before) + 5)
    workers += psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, way)
    assert process.wait(30) != 0
    until(lambda: not any(map(alive, workers)))
    before = markers()
    assert len(before) < 61

    def check(done: int, total: int) -> None:
        assert done < total or before.items() <= markers().items()

    with pytest.warns(Note, match="resuming the interrupted job"):
        foreframe.archive("members", "long.nc", "two.zarr", progress=check, **given)
    xr.testing.assert_identical(stored("one.zarr"), stored("two.zarr"))


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(there: Callable[[], bool], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)
