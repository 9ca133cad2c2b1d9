"""Archives: many starts and many files in tasks, by this process or by Dask's workers; stopped,
killed, and gone on with.
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
from foreframe import Forecaster, Scaling, Window, forecast_block
from foreframe.base.notes import Note
from foreframe.cli import main
from foreframe.forecasting.archives import archive
from foreframe.forecasting.archives.block import cached_forecaster
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
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A network of random weights, saved beside rain.nc."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = build_model("tutorial", {"core": {"convlstm": {"hidden": [2]}}})
    Forecaster(network, Window(4, 3), RAIN).save("run")
    Forecaster(build_model("lagged", {"of": "persistence", "lags": 3}), Window(4, 3), RAIN).save(
        "members"
    )
    rain("rain.nc")
    return "run"


def values(path: str) -> np.ndarray:
    with xr.open_zarr(path, chunks=None) as store:
        return store.rain.values


def same(one: str, other: str) -> None:
    np.testing.assert_array_equal(values(one), values(other))
    with xr.open_zarr(one) as first, xr.open_zarr(other) as second:
        xr.testing.assert_identical(first.drop_attrs(deep=False), second.drop_attrs(deep=False))


@pytest.mark.exact
@pytest.mark.parametrize(("what", "given"), [("run", {}), ("members", {"members": 2, "seed": 5})])
def test_each_start_is_a_single_forecast_to_the_bit(what: str, given: dict[str, Any]) -> None:
    made = foreframe.predict(what, "rain.nc", "all.zarr", every=5, **given)
    assert (len(made), repr(made)[:14]) == (3, "3 forecasts of")
    for k, after in enumerate(range(3, 16, 5)):
        one = foreframe.predict(what, "rain.nc", after=after, **given)
        np.testing.assert_array_equal(values("all.zarr")[k], one.frames.squeeze(-3))
    rolled = foreframe.predict(what, "rain.nc", "old.nc", every=5, **given)
    assert made.errors == rolled.errors
    assert made.table() == rolled.table()
    with xr.open_zarr("all.zarr", chunks=None) as store, xr.open_dataset("old.nc") as file:
        assert store.attrs.pop("foreframe_job")
        assert store.attrs.pop("history").split()[-3:] == file.attrs.pop("history").split()[-3:]
        xr.testing.assert_identical(store.load(), file)


def test_several_files_go_to_one_store_or_to_a_file_each(capsys) -> None:
    names = [rain(f"{k}.nc", 6 + k, seed=k, day=1 + k) for k in range(3)]
    np.save("9.npy", np.ones((5, 1, 16, 16), np.float32))
    assert main(["predict", "run", *names, "-o", "all.zarr"]) == 0
    assert "3 forecasts of 3 frames, of 3 recordings, lie in all.zarr" in capsys.readouterr().out
    assert main(["predict", "run", "[0-9].n*", "-o", "each"]) == 0
    assert {path.name for path in Path("each").glob("[!.]*")} == {"0.nc", "1.nc", "2.nc", "9.npy"}
    for k, name in enumerate(names):
        one = foreframe.predict("run", name).frames[:, 0]
        np.testing.assert_array_equal(values("all.zarr")[k], one)
        with xr.open_dataset(f"each/{name}") as file:
            np.testing.assert_array_equal(file.rain.values, one)
    with xr.open_zarr("all.zarr") as store:
        days = store.start.values.astype("datetime64[D]").astype(str)
    assert list(days) == ["2026-01-01", "2026-01-02", "2026-01-03"]


def test_recordings_of_one_name_have_a_file_each() -> None:
    names = ["d1/a.nc", "d1/a-2.nc", "d2/a.nc"]
    for k, name in enumerate(names):
        Path(name).parent.mkdir(exist_ok=True)
        rain(name, seed=k)
    made = foreframe.predict("run", names, "each")
    files = sorted(Path("each").glob("[!.]*"))
    assert len(made) == len(files) == 3
    assert {"a.nc", "a-2.nc"} < {file.name for file in files}
    ahead = {xr.load_dataset(file).rain.values.tobytes() for file in files}
    assert ahead == {foreframe.predict("run", name).frames[:, 0].tobytes() for name in names}


def test_what_an_archive_refuses(capsys) -> None:
    rain("other.nc", side=12)
    Path("there.zarr").mkdir()
    for words, said in (
        ("run none*.nc -o new", "no file matches none*.nc"),
        ("run rain.nc other.nc -o new.zarr", "these recordings differ in grid"),
        ("run rain.nc other.nc -o new.npy", "rain.nc and 1 more holds 2 recordings; choose one"),
        ("run rain.nc --every 2 -o there.zarr", "there.zarr is there already"),
        (
            "run rain.nc --workers 2 -o new.npy",
            "workers, scheduler and continue_job are of several",
        ),
        ("run rain.nc --every 2 --workers 0 -o new.zarr", "workers"),
        ("run rain.nc --every 2 --workers 1 --scheduler tcp://a:1 -o new.zarr", "not both"),
    ):
        assert said in refused(capsys, "predict", *words.split())
    assert not list(Path().glob("new*"))
    with pytest.raises(ValueError, match="give paths"):
        foreframe.predict("run", np.ones((9, 1, 8, 8)), "new.zarr", every=2, workers=2)


@pytest.mark.exact
def test_a_stopped_job_goes_on_where_it_was(monkeypatch, capsys) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    foreframe.predict("run", "rain.nc", "whole.zarr", every=2)
    with pytest.raises(KeyboardInterrupt):
        foreframe.predict("run", "rain.nc", "all.zarr", every=2, progress=stop)
    assert not Path("all.zarr").exists()
    command = ["predict", "run", "rain.nc", "-o", "all.zarr", "--every", "2"]
    for more, said in (
        ([], "--continue_job goes on"),
        (["--continue_job", "--steps", "2"], "begun by another"),
    ):
        assert said in refused(capsys, *command, *more)
    filled: list[int] = []
    fill = archive.fill_store
    monkeypatch.setattr(
        archive, "fill_store", lambda path, k, of: (filled.append(k), fill(path, k, of))
    )
    assert main([*command, "--continue_job"]) == 0
    assert filled == list(range(4, 7))
    same("all.zarr", "whole.zarr")
    assert not Path("all.zarr.part").exists()
    assert main([*command, "--continue_job"]) == 0
    assert "all.zarr is complete" in capsys.readouterr().err
    assert len(filled) == 3


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads compute from now on, until the test ends."""
    usual = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(usual)


def stop_at_the_third(done: int, total: int) -> None:
    if done == 3:
        raise KeyboardInterrupt


def test_whoever_goes_on_takes_as_many_threads(threads, monkeypatch) -> None:
    """Forecasts by one and by two differ in their last bits."""
    seen: list[int] = []
    fill = archive.fill_store
    monkeypatch.setattr(
        archive, "fill_store", lambda *of: (seen.append(torch.get_num_threads()), fill(*of))
    )
    threads(1)
    with pytest.raises(KeyboardInterrupt):
        foreframe.predict("run", "rain.nc", "all.zarr", every=2, progress=stop_at_the_third)
    threads(2)
    foreframe.predict("run", "rain.nc", "all.zarr", every=2, continue_job=True)
    assert seen == [1] * 7
    assert torch.get_num_threads() == 2
    foreframe.predict("run", "rain.nc", "new.zarr", every=2)
    assert seen[7:] == [2] * 7


def test_a_start_without_any_value_is_left_missing() -> None:
    with xr.open_dataset("rain.nc") as file:
        gone = file.load().where(~file.time.isin(file.time[6:12]))
    gone.to_netcdf("gone.nc")
    with pytest.warns(Note, match=r"after frame 9 is left missing .*NaN"):
        foreframe.predict("run", "gone.nc", "all.zarr", every=6)
    missing = np.isnan(values("all.zarr")).all(axis=(1, 2, 3))
    assert missing.tolist() == [False, True, False]


def test_no_task_compiles_cells_by_itself() -> None:
    """Else the last bits would depend on how many tasks a process has done."""
    model = cached_forecaster("run", "cpu")[0].model
    assert {part.compiled for part in model.modules() if isinstance(part, Model)} == {False}


def test_a_block_is_a_forecast_as_a_dataset() -> None:
    with xr.open_dataset("rain.nc") as file:
        made = forecast_block(file.isel(time=slice(2, 9)), forecaster="run", steps=2)
        assert made.rain.dims == ("start", "lead", "y", "x")
        assert made.start.values == file.time.values[8]
    one = foreframe.predict("run", "rain.nc", after=8, steps=2)
    np.testing.assert_array_equal(made.rain.values[0], one.frames[:, 0])


# -- workers ---------------------------------------------------------------------------------------

MARKERS = "[0-9]*.json"  # of tasks that are done; those being written are hidden


def kill_a_worker(done: int, total: int) -> None:
    """After the third task, one of the processes that Dask has started."""
    if done == 3:
        workers = psutil.Process().children(recursive=True)
        next(w for w in workers if "spawn_main" in " ".join(w.cmdline())).kill()


@pytest.mark.slow
def test_workers_and_one_that_is_killed_change_no_bit() -> None:
    whole = foreframe.predict("members", "rain.nc", "one.zarr", every=1, members=2)
    made = foreframe.predict(
        "members", "rain.nc", "two.zarr", every=1, members=2, workers=2, progress=kill_a_worker
    )
    same("one.zarr", "two.zarr")
    assert made.errors == whole.errors


@pytest.mark.full
def test_scores_of_workers_are_those_of_one_process() -> None:
    given: dict[str, Any] = {"data": "rain.nc", "split": "all", "clips": "all", "members": 2}
    given |= {"reading": {"variable": "rain"}, "batch_size": 5}
    one = foreframe.evaluate("members", **given)
    two = foreframe.evaluate("members", **given, workers=2, output="report")
    assert repr({**two}) == repr({**one})
    assert not Path("report.part").exists()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.full),
        pytest.param(signal.SIGINT, marks=pytest.mark.full),
    ],
    ids=lambda way: way.name,
)
def test_a_run_that_is_killed_is_gone_on_with(way: signal.Signals) -> None:
    """With its workers, which end with it; the rest is done by this process."""
    rain("long.nc", 64)
    foreframe.predict("run", "long.nc", "one.zarr", every=1)
    words = "predict run long.nc --every 1 --workers 2 -o two.zarr"
    process = subprocess.Popen([sys.executable, "-m", "foreframe", *words.split()])
    done = Path("two.zarr.part/done")
    until(lambda: len(list(done.glob(MARKERS))) > 5)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, way)
    assert process.wait(30) != 0
    until(lambda: not any(map(alive, workers)))
    before = {path: path.stat().st_mtime_ns for path in done.glob(MARKERS)}
    assert len(before) < 61
    foreframe.predict(
        "run", "long.nc", "two.zarr", every=1, continue_job=True, progress=kept(before)
    )
    same("one.zarr", "two.zarr")


def kept(before: dict[Path, int]) -> Callable[[int, int], None]:
    """At the last task: the markers that were there are those of before."""

    def check(done: int, total: int) -> None:
        if done == total:
            assert before == {path: path.stat().st_mtime_ns for path in before}

    return check


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
