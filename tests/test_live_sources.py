"""`foreframe stream` follows a folder that grows, whatever happens to its files."""

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import foreframe
from foreframe import Forecaster, Scaling, Window
from foreframe.base import files
from foreframe.base.notes import listening
from foreframe.cli import main
from foreframe.forecasting import live_forecasts
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model
from recorded import series
from refusals import refused

START, STEP = np.datetime64("2026-07-01T00:00"), np.timedelta64(5, "m")
GRID = {"latitude": np.linspace(48.0, 47.0, 5), "longitude": np.linspace(7.0, 8.0, 6)}
RAIN = np.random.default_rng(0).uniform(0, 9, (40, 1, 5, 6)).astype(np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    forecaster(300).save("run")
    return tmp_path


def forecaster(step: int | None) -> Forecaster:
    """The mean of all frames so far tells which it has seen; it looks at three."""
    scaling = Scaling(0, 20, "mm/h", "minmax")
    return Forecaster(build_model("mean"), Window(3, 2), scaling, Trained(step=step))


def content(k: int, frames: int = 1, **places: np.ndarray) -> bytes:
    """The file of some frames, the first of which is five minutes times k after the start."""
    values, since = RAIN[k : k + frames], str(START + k * STEP)
    path = series(Path("one.nc"), values, since=since, **(GRID | places))
    return Path(path).read_bytes()


def name(k: int) -> str:
    return f"rain@{k:02d}.nc"


def put(*ks: int) -> None:
    Path("rain").mkdir(exist_ok=True)
    for k in ks:
        Path("rain", name(k)).write_bytes(content(k))


def streamed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[dict], str]:
    """The lines of a stream that ends well, and what is said beside them."""
    capsys.readouterr()
    code = main(["stream", "run", *words])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "Traceback" not in err
    return [json.loads(line) for line in out.splitlines()], err


def meanwhile(monkeypatch: pytest.MonkeyPatch, *calls: Callable[[], object]) -> None:
    """Calls, one between two looks into the folder."""
    left, sleep = list(calls), time.sleep
    monkeypatch.setattr(time, "sleep", lambda s: left.pop(0)() if left else sleep(s))


# -- order, damage, gaps ---------------------------------------------------------------------------


def test_late_damaged_and_doubled_files_are_left_out_and_said_once(capsys, monkeypatch) -> None:
    put(0, 1, 2, 4)
    Path("rain", name(3)).write_bytes(content(3)[:900])
    Path("rain", name(5)).write_bytes(content(4))  # again what was there
    meanwhile(monkeypatch, lambda: Path("rain/rain@01b.nc").write_bytes(content(1)))
    told, err = streamed(capsys, "rain", "--wait", "2")
    assert [line["frame"] for line in told] == [0, 1, 2, 4]
    said = [line.split()[2] for line in err.splitlines() if "left out" in line]
    assert said == [name(3), f"{name(5)}:", "rain@01b.nc:"]


def test_a_gap_is_filled_as_an_outage(capsys) -> None:
    """Also across a restart; a forecast is written for no frame that did not come."""
    put(0, 1, 2)
    words = ["rain", "--wait", "0", "--state", "state", "--output", "out", "--steps", "1"]
    streamed(capsys, *words)
    put(5, 6)
    told, err = streamed(capsys, *words)
    assert [line["frame"] for line in told] == [5, 6]
    assert "2 frames missing before 2026-07-01T00:25" in err
    live = forecaster(300).stream(1)
    for k in range(7):
        expected = live.push(RAIN[k] if k not in (3, 4) else np.full_like(RAIN[k], np.nan))
    with xr.open_dataset("out/frame-000006.nc") as made:
        np.testing.assert_allclose(made.rain[0], expected[0, 0], rtol=1e-5)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *(f"frame-{k:06d}.nc" for k in (0, 1, 2, 5, 6)),
        "latest.nc",
    ]


def test_after_a_long_gap_the_state_begins_anew(capsys) -> None:
    put(0, 1, 2, 7, 8)  # four are missing, and it looks at three
    told, err = streamed(capsys, "rain", "--wait", "0", "--output", "out", "--steps", "1")
    assert [line["frame"] for line in told] == [0, 1, 2, 3, 4]
    assert "4 frames are missing before 2026-07-01T00:35:00" in err
    assert "rmse" not in told[3]
    assert "rmse" in told[4]
    for k, seen in ((3, RAIN[7:8]), (4, RAIN[7:9])):
        with xr.open_dataset(f"out/frame-{k:06d}.nc") as made:
            np.testing.assert_allclose(made.rain[0], seen[:, 0].mean(0), rtol=1e-5)
            assert made.time.values[0] == START + (k + 5) * STEP


def test_the_pace_is_that_of_training_until_the_series_shows_its_own() -> None:
    def numbers(step: int | None, *ks: int) -> list[int]:
        for path in Path("rain").glob("*"):
            path.unlink()
        put(*ks)
        return [live.frame for live in foreframe.stream(forecaster(step), "rain", wait=0)]

    with listening(lambda note: None):
        assert numbers(300, 0, 2) == [0, 2]
        assert numbers(None, 0, 2, 4, 8) == [0, 1, 2, 4]
        assert numbers(300, 0, 3, 6, 9, 12) == [0, 3, 6, 7, 8]  # a quarter of an hour apart


def test_frames_of_another_grid_are_left_out(capsys) -> None:
    """Another folder with the state of a stream is refused."""
    put(0, 1, 3)
    Path("rain", name(2)).write_bytes(content(2, latitude=np.linspace(49.0, 48.0, 5)))
    told, err = streamed(capsys, "rain", "--wait", "0", "--state", "state")
    assert [line["frame"] for line in told] == [0, 1, 3]
    assert f"{name(2)} is left out: 5x6 values on another grid than the frames before it" in err
    Path("elsewhere").mkdir()
    Path("rain", name(2)).rename(Path("elsewhere") / name(2))
    assert main(["stream", "run", "elsewhere", "--wait", "0", "--state", "state"]) == 2
    assert "another grid" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (np.zeros((2, 1, 5, 6), np.float32), "an array of shape (2, 1, 5, 6) is no frame"),
        (
            np.zeros((3, 5, 6), np.float32),
            "a frame of (3, 5, 6), but the stream began with (1, 5, 6)",
        ),
        (np.zeros((5, 7), np.float32), "a frame of (1, 5, 7), but the stream began with (1, 5, 6)"),
        (np.full((5, 6), np.inf, np.float32), "infinite"),
        (np.zeros(0), "no frame"),
    ],
)
def test_an_invalid_file_is_left_out_also_after_a_restart(wrong, reason, capsys) -> None:
    Path("rain").mkdir()
    for k, frame in enumerate([RAIN[0], wrong, RAIN[2], wrong]):
        np.save(f"rain/{k}.npy", frame)
    words = ("rain", "--wait", "0", "--state", "state")
    told, err = streamed(capsys, *words)
    assert len(told) == 2
    assert [reason in line for line in err.splitlines()].count(True) == 2
    assert "1.npy is left out" in err
    np.save("rain/4.npy", RAIN[4])
    told, err = streamed(capsys, *words)
    assert [line["frame"] for line in told] == [2]


# -- files that are written again ------------------------------------------------------------------


def replaced(path: str, data: bytes) -> None:
    Path(".next").write_bytes(data)
    Path(".next").replace(path)


def test_a_file_that_grows_or_is_replaced_is_read_again(capsys, monkeypatch) -> None:
    """Each frame counts once, also after a restart."""
    Path("rain").mkdir()
    Path("rain/day.nc").write_bytes(content(0, 3))
    meanwhile(
        monkeypatch,
        lambda: replaced("rain/day.nc", content(0, 6)),
        lambda: Path("rain/day.nc").write_bytes(content(0, 8)),
    )
    words = ["rain", "--state", "state", "--output", "out", "--wait"]
    told, err = streamed(capsys, *words, "5")
    assert [line["frame"] for line in told] == [*range(8)]
    replaced("rain/day.nc", content(8))
    told, more_err = streamed(capsys, *words, "0")
    assert [line["frame"] for line in told] == [8]
    assert "left out" not in err + more_err


def zarr_of(frames: int, path: str, version: int) -> xr.Dataset:
    """Make a Zarr store of rain without its chunks, which are to be written from the result."""
    times = START.astype("datetime64[ns]") + STEP * np.arange(frames)
    rain = xr.DataArray(RAIN[:frames, 0], dims=("time", "latitude", "longitude"), name="rain")
    whole = rain.assign_coords(time=times, **GRID).assign_attrs(units="mm/h").to_dataset()
    whole.chunk(time=1, latitude=3).to_zarr(
        path, compute=False, consolidated=False, zarr_format=version
    )
    return whole.drop_vars(["latitude", "longitude"])


@pytest.mark.parametrize("version", [2, 3])
def test_missing_chunks_of_a_zarr_store_are_waited_for(version, capsys, monkeypatch) -> None:
    """A frame has two; one that lacks one of them at the end is taken as it is."""
    Path("rain").mkdir()
    whole = zarr_of(4, "rain/day.zarr", version)

    def write(k: int, first: int, last: int) -> None:
        part = whole.isel(time=slice(k, k + 1), latitude=slice(first, last))
        region = {"time": slice(k, k + 1), "latitude": slice(first, last)}
        part.to_zarr("rain/day.zarr", region=region, consolidated=False)

    write(0, 0, 5)
    later_chunks = [(1, 0, 3), (1, 3, 5), (2, 3, 5)]
    meanwhile(monkeypatch, *(lambda chunk=chunk: write(*chunk) for chunk in later_chunks))
    words = ["rain", "--steps", "1", "--output", "out", "--wait", "2"]
    told, err = streamed(capsys, *words)
    assert [line["frame"] for line in told] == [0, 1, 2]
    with xr.open_dataset("out/frame-000001.nc") as made:
        np.testing.assert_allclose(made.rain[0], RAIN[:2, 0].mean(0), rtol=1e-5)
    assert "day.zarr: 1 frame without values: left out" in err


def test_every_keeps_its_pace_after_a_restart(capsys) -> None:
    """Forecasts follow the step of the frames taken; one at another step changes nothing."""
    forecaster(1500).save("run")
    words = ["rain", "--wait", "0", "--state", "state", "--output", "out"]
    words += ["--reading.every", "5"]
    put(*range(7))
    streamed(capsys, *words)
    put(*range(7, 22))
    told, err = streamed(capsys, *words)
    assert [line["frame"] for line in told] == [2, 3, 4]
    assert "missing" not in err
    for k in (2, 4):
        with xr.open_dataset(f"out/frame-{k:06d}.nc") as made:
            assert list(made.time.values) == [START + 5 * STEP * (k + n) for n in (1, 2)]


# -- a month ---------------------------------------------------------------------------------------


def test_the_last_forecast_has_one_name_too_and_old_ones_go(capsys) -> None:
    put(*range(12))
    Path("out").mkdir()
    for other in ("notes.txt", "frame-000001.txt", "frame-1.nc"):
        Path("out", other).touch()
        os.utime(Path("out", other), (0, 0))
    streamed(capsys, "rain", "--wait", "0", "--output", "out", "--keep", "0.5", "--steps", "1")
    kept = sorted(path.name for path in Path("out").glob("frame-0000??.nc"))
    assert kept == [f"frame-{k:06d}.nc" for k in range(5, 12)]  # six steps of five minutes
    assert Path("out/latest.nc").read_bytes() == Path("out/frame-000011.nc").read_bytes()
    assert len(list(Path("out").iterdir())) == 7 + 1 + 3
    words = ["stream", "run", "rain", "--output"]
    assert "is the folder that is followed" in refused(capsys, *words, "rain")
    said = refused(capsys, "stream", "run", "rain/*.nc", "--output", "rain")
    assert "is the folder that is followed" in said
    assert "out has forecasts of another stream" in refused(capsys, *words, "out")
    assert "resume that stream with its --state" in refused(capsys, *words, "out", "--state", "no")
    said = refused(capsys, "stream", "run", "rain", "--keep", "1")
    assert "--keep requires --output" in said
    assert "keep must be above 0" in refused(capsys, "stream", "run", "rain", "--keep", "0")


def test_a_full_disk_costs_the_files_of_its_frames_alone(capsys, monkeypatch) -> None:
    put(*range(5))
    monkeypatch.setattr(live_forecasts, "SAVE_EVERY", 0)
    write, full = Path.write_bytes, {"frame": 0}

    def written(path: Path, data: bytes) -> int:
        full["frame"] += 1
        if full["frame"] in (7, 8, 9):  # of the second frame, its state, the third
            write(path, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(files.Path, "write_bytes", written)
    told, err = streamed(capsys, "rain", "--wait", "0", "--output", "out", "--state", "state")
    assert [("forecast" in line) for line in told] == [True, False, False, True, True]
    assert err.count("is not written: ") == 2
    assert err.count("the state is not saved: cannot write") == 1
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *(f"frame-{k:06d}.nc" for k in (0, 3, 4)),
        "latest.nc",
    ]


def test_the_state_is_saved_meanwhile(monkeypatch) -> None:
    """As often as it is told: whoever is killed goes on from there."""
    put(*range(4))
    saved = []
    monkeypatch.setattr(live_forecasts, "SAVE_EVERY", 0)
    lives = foreframe.stream("run", "rain", wait=0, state="state")
    for _ in lives:
        if Path("state").exists():
            saved.append(Forecaster.load("run").stream(1).restore("state").seen)
        if len(saved) == 2:
            break
    content = Path("state").read_bytes()
    with pytest.warns(UserWarning, match="what 3 frames"):
        lives.close()
    Path("state").write_bytes(content)  # as a kill would have left it
    with pytest.warns(UserWarning, match="frames"):
        rest = [live.frame for live in foreframe.stream("run", "rain", wait=0, state="state")]
    assert (saved, rest) == ([1, 2], [2, 3])


def test_latest_is_whole_on_a_file_system_without_links(monkeypatch, folder) -> None:
    def no_link(*paths: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_link)
    (folder / "a.npy").write_bytes(b"whole")
    files.also_named(folder / "a.npy", folder / "latest.npy")
    assert (folder / "latest.npy").read_bytes() == b"whole"
    assert live_forecasts._NAME.fullmatch("frame-1000000.nc")
