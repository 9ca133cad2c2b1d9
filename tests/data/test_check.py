"""`foreframe data check` is compared with the known content of recordings."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import foreframe
from conftest import real_data
from foreframe.cli import main
from foreframe.clips.clip import Window
from foreframe.data import ReadOptions, Recordings, SplitOptions
from foreframe.data.check import LINES, check_recordings, describe_splits, summarise
from foreframe.training.default import choose_defaults, look_at
from recorded import GREY, encode, pictures
from refusals import refused

RANDOM = np.random.default_rng(7)


def test_what_was_put_in_is_found(tmp_path: Path) -> None:
    frames = RANDOM.normal(5, 2, (40, 6, 8)).astype(np.float32)
    frames[3] = 7.5  # all alike
    frames[10:13] = frames[9]
    frames[20] = np.nan
    frames[:, :3, 0] = np.nan
    times = np.datetime64("2020-01-01", "ns") + np.r_[
        np.arange(25), np.arange(30, 45)
    ] * np.timedelta64(1, "h")
    coords = {"time": times, "lat": np.arange(6.0), "lon": np.arange(8.0)}
    xr.Dataset({"rain": (("time", "lat", "lon"), frames, {"units": "mm/h"})}, coords).to_netcdf(
        tmp_path / "a.nc"
    )
    (found,) = check_recordings(tmp_path / "a.nc", ReadOptions())
    none: dict[str, list[int]] = {"cut": [], "broken": []}
    assert found.marked == none | {"flat": [3], "frozen": [10, 11, 12], "empty": [20], "gap": [25]}
    there = frames[np.isfinite(frames)].astype(float)
    m = found.moments
    assert (m.count, m.lowest, m.highest) == (there.size, there.min(), there.max())
    np.testing.assert_allclose([m.mean, m.deviation], [there.mean(), there.std()])
    assert [len(part) for part in found.parts] == [25, 15]
    said = "\n".join(summarise([found]))
    for words in (
        "40 frames of 6x8", "every 1 h", "gap       1 frame after a gap in time: 25",
        "frozen    3 frames equal to the one before: 10-12", "empty     1", "flat      1",
        "mm/h", "lat 5 to 0", "north-up", f"missing   {np.isnan(frames).mean():.1%}",
    ):  # fmt: skip
        assert words in said
    (thin,) = check_recordings(tmp_path / "a.nc", ReadOptions(every=2))
    assert (thin.marked["empty"], thin.marked["gap"], len(thin.clip)) == ([10], [13], 20)
    assert [len(part) for part in thin.parts] == [13, 8]


def test_broken_pictures_are_counted(tmp_path: Path) -> None:
    frames = RANDOM.integers(0, 255, (12, 8, 8), dtype=np.uint8)
    pictures(tmp_path / "a", frames)
    (tmp_path / "a" / "7.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"7.png \(frame 7\)"):
        (found,) = check_recordings(tmp_path / "a", ReadOptions())
    assert [found.marked[name] for name in ("broken", "frozen")] == [[7], [7]]


def test_a_single_frame_has_its_time(tmp_path: Path) -> None:
    frame = RANDOM.random((1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "one.npz", frames=frame, times=["2019-06-10T00:00"])
    (line, *_) = summarise(check_recordings(tmp_path / "one.npz", ReadOptions()))
    assert line.endswith("; 2019-06-10T00:00")


def test_many_recordings_stay_readable(capsys: pytest.CaptureFixture[str]) -> None:
    data = real_data("radar/radar_clips64_dev.npz")
    assert main(["data", "check", str(data)]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) < LINES + 15
    assert "#9: 20 frames of 64x64 (rows x columns), grey, uint8; no times" in said
    assert "and 75 more\n85 recordings, 1700 frames" in said
    assert "frozen    5 frames equal to the one before:\n" in said
    assert f"{data}#17: 1-5\n" in said
    clips = np.load(data)["clips"]
    assert f"values    {clips.min()} to {clips.max()}, mean {clips.mean():.4g}, " in said


@pytest.mark.parametrize(
    "splits",
    [
        SplitOptions("time"),
        SplitOptions("recording", shares=(0.5, 0.25, 0.25)),
        SplitOptions("time", tile=2, active=0.3),
    ],
)
def test_windows_are_counted_as_training_counts_them(tmp_path: Path, splits: SplitOptions) -> None:
    for k, n in enumerate((60, 80, 15, 70)):
        frames = RANDOM.random((n, 4, 4))
        frames[5:7], frames[:, :2, :1] = np.nan, np.nan
        np.save(tmp_path / f"{k}.npy", frames)
    window = Window(3, 2, stride=2)
    found = check_recordings(tmp_path, ReadOptions())
    said = describe_splits(found, splits, window)
    for line, split in zip(said[1:], ("train", "validation", "test"), strict=True):
        n = len(Recordings(tmp_path, split, window, splits=splits))
        assert line.split()[:2] == [split, str(n)]


def test_only_missing_values_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("missing.npy", np.full((40, 4, 5), np.nan))
    assert "every value is missing" in refused(capsys, "data", "check", "missing.npy")


def test_corrupt_frames_that_hardly_change_are_left_out(tmp_path: Path) -> None:
    """The last 15 % of a film are garbage: nobody is scored on them, or trained."""
    wide = RANDOM.integers(0, 255, (48, 264), dtype=np.uint8)
    frames = np.stack([wide[:, k : k + 64] for k in range(200)])
    frames[170:] = RANDOM.integers(0, 255, (48, 64), dtype=np.uint8)
    frames[170::3, 5, 6] ^= 1  # nearly frozen
    film = encode(tmp_path / "film.mkv", frames, **GREY)
    found = check_recordings(film, ReadOptions())
    note = f"{film}: frames 170-199 hardly change (frozen or corrupt) and are left out"
    assert f"note: {note}" in summarise(found)
    test = Recordings(film, "test", Window(5, 5), splits=SplitOptions())
    assert [len(clip) for clip in test.clips] == [17]
    assert note in "\n".join(test.report())
    lines = describe_splits(found, SplitOptions(), Window(5, 5))[1:]
    assert [line.strip() for line in lines] == test.report()[:3]
    assert look_at(film, ReadOptions()).parts == [[170]]
    moving = tmp_path / "moving.npy"  # values of a grid may stand still
    np.save(moving, frames)
    assert len(Recordings(moving, "all", Window(5, 5)).clips[0]) == 200


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (25, {}, "25 frames are too few to learn from; the fewest are 26"),
        (26, {}, ""),
        (23, {"past": 3, "future": 1}, "the fewest are 24, for windows of 3 frames in and 1 out"),
        (24, {"past": 3, "future": 1}, ""),
        (24, {"past": 2, "future": 2, "splits": {"shares": [0.5, 0.25, 0.25]}}, ""),
    ],
)
def test_check_and_train_agree_on_short_recordings(
    tmp_path: Path, frames: int, options: dict[str, Any], message: str
) -> None:
    np.save(tmp_path / "short.npy", RANDOM.random((frames, 4, 5)))
    lines = repr(foreframe.check(tmp_path / "short.npy", **options))
    assert bool(message) == ("too short without a recipe" in lines)
    assert message in lines
    given = [(("data",), str(tmp_path / "short.npy")), *[((k,), v) for k, v in options.items()]]
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        assert len(choose_defaults(given)[1]["validation"])


def test_a_split_without_a_window_is_reported(tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", RANDOM.random((10, 4, 5)))
    lines = repr(foreframe.check(tmp_path / "short.npy"))
    for split in ("train", "validation"):
        assert f"too short for --config: no window in {split}: no recording," in lines


@pytest.mark.parametrize("kind", ["film.mkv", "grid.npy"])
def test_progress_counts_all_passes_over_the_frames(tmp_path: Path, kind: str) -> None:
    if kind == "film.mkv":
        encode(tmp_path / kind, RANDOM.integers(0, 255, (100, 16, 16), dtype=np.uint8), **GREY)
    else:
        np.save(tmp_path / kind, RANDOM.random((100, 4, 5)))
    calls: list[tuple[int, int]] = []
    foreframe.check(tmp_path / kind, progress=lambda *call: calls.append(call))
    # The gap between splits is in no window.
    done, total = (300, 300) if kind == "film.mkv" else (170, 200)
    assert [calls[0], calls[-1]] == [(0, total), (done, total)]
    assert calls == sorted(calls)
    assert len(calls) > 5
