"""One door for all sources: each is proved against plain numpy on what was written, or against what
is known of real files.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from foreframe.clips.clip import Clip
from foreframe.clips.frames import Frames
from foreframe.data import clips_from
from foreframe.data.cf import write_grid as save_clip
from foreframe.data.data_options import ReadOptions
from foreframe.data.films import Film
from foreframe.data.npy import NpyFrames
from foreframe.data.readers import gaps_in, in_parts
from foreframe.data.reading import SOURCE_FRAMES
from recorded import GREY, animation, encode, pictures
from refusals import one_line

RANDOM = np.random.default_rng(3)
HOUR = np.timedelta64(1, "h")
START = np.datetime64("2020-01-01", "ns")


class Recorded(Frames):
    """Frames that remember which stretches were asked for; each frame holds its number."""

    def __init__(self, t: int, h: int = 4, w: int = 6) -> None:
        self.shape, self.dtype, self.asked = (t, 1, h, w), np.dtype(np.float32), []

    def read(self, first: int, last: int) -> np.ndarray:
        a, b = first, last
        self.asked.append((a, b))
        return np.broadcast_to(
            np.arange(a, b, dtype=np.float32)[:, None, None, None], (b - a, *self.shape[1:])
        ).copy()


def write_grid(path: Path, times: np.ndarray, values: np.ndarray | None = None) -> None:
    values = RANDOM.random((len(times), 3, 4)).astype(np.float32) if values is None else values
    coords = {"time": times, "lat": [50.0, 49.0, 48.0], "lon": np.arange(4.0)}
    xr.Dataset({"rain": (("time", "lat", "lon"), values, {"units": "mm/h"})}, coords).to_netcdf(
        path
    )


def whole(clip: Clip) -> np.ndarray:
    return clip.frames[0 : len(clip)]


# -- what opens


def test_every_kind_opens_with_one_call_and_holds_what_was_written(tmp_path: Path) -> None:
    frames = RANDOM.integers(0, 255, (12, 16, 20), dtype=np.uint8)
    with (tmp_path / "a.NPY").open("wb") as file:
        np.save(file, frames)
    np.savez(tmp_path / "a.npz", frames=frames)
    encode(tmp_path / "a.mkv", frames, **GREY)
    pictures(tmp_path / "a", frames)
    animation(tmp_path / "a.gif", frames)
    grid = xr.Dataset(
        {"v": (("time", "y", "x"), frames.astype(np.float32))},
        {"time": START + np.arange(12) * HOUR},
    )
    grid.to_netcdf(tmp_path / "a.nc")
    grid.to_zarr(tmp_path / "a.zarr", consolidated=False)
    for source in (
        *(tmp_path / f"a{kind}" for kind in (".NPY", ".npz", ".mkv", "", ".gif", ".nc", ".zarr")),
        grid,
        grid["v"],
    ):
        (clip,) = clips_from(source)
        np.testing.assert_array_equal(whole(clip)[:, 0], frames, err_msg=str(source))
    assert len(clips_from(tmp_path)) == 7
    assert len(clips_from((tmp_path / "a.zarr").as_uri())) == 1


def test_opening_reads_no_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.zeros((50, 8, 8), np.float32))
    encode(tmp_path / "b.mkv", np.zeros((20, 16, 16), np.uint8), **GREY)
    write_grid(tmp_path / "c.nc", START + np.arange(20) * HOUR)

    def refuse(self: object, first: int, last: int) -> np.ndarray:
        raise AssertionError("a frame was read")

    monkeypatch.setattr(Film, "read", refuse)
    monkeypatch.setattr("foreframe.data.grids._GridFrames.read", refuse)
    array, film, grid = clips_from(tmp_path, colour="grey", size=[4, 4], every=2)
    assert isinstance(array.frames.source, NpyFrames)  # type: ignore[attr-defined]
    for clip in (film, grid):
        with pytest.raises(AssertionError, match="was read"):
            clip[:1]


@pytest.mark.parametrize("every", [1, 3, 50])
def test_what_lies_between_frames_never_fills_the_memory(every: int) -> None:
    source = Recorded(1001)
    (clip,) = in_parts(Clip(source), ReadOptions(every=every))
    assert len(clip) == len(range(0, 1001, every))
    np.testing.assert_array_equal(whole(clip)[:, 0, 0, 0], range(0, 1001, every))
    np.testing.assert_array_equal(clip[3:11].frames[:, 0, 0, 0], np.arange(0, 1001, every)[3:11])
    assert clip[5:5].frames.shape[0] == 0
    if every > 1:
        assert max(b - a for a, b in source.asked) <= SOURCE_FRAMES


# -- gaps, cuts, times


def test_gaps_split_recordings(tmp_path: Path) -> None:
    times = START + np.r_[np.arange(10), np.arange(12, 20), np.arange(30, 45)] * HOUR
    write_grid(tmp_path / "a.nc", times)
    parts = clips_from(tmp_path / "a.nc")
    assert [len(part) for part in parts] == [10, 8, 15]
    assert [part.name[-3:] for part in parts] == ["[1]", "[2]", "[3]"]
    np.testing.assert_array_equal(np.concatenate([part.times for part in parts]), times)
    (uncut,) = clips_from(xr.open_dataset(tmp_path / "a.nc").isel(time=slice(10)))
    np.testing.assert_array_equal(whole(uncut), whole(parts[0]))


MONTHS = np.arange("2001-01", "2004-01", dtype="datetime64[M]").astype("datetime64[ns]")


@pytest.mark.parametrize(
    ("times", "pictures", "gaps"),
    [
        (MONTHS, False, []),
        (np.delete(MONTHS, 7), False, [7]),
        (np.array([0.0, 300, 600, 900, 1500, 1800, 2100, 2400]), False, [4]),
        (np.array([0, 0.1, 0.2, 5]), True, []),  # a film keeps whatever rate it has
    ],
)
def test_months_are_regular_and_seconds_have_gaps_too(
    times: np.ndarray, pictures: bool, gaps: list[int]
) -> None:
    assert gaps_in(Clip(np.zeros((len(times), 1, 2, 2)), times, pictures=pictures)) == gaps


@pytest.mark.parametrize(
    ("hours", "message"),
    [
        ([0, 1, 2, 1, 4], "time does not run forwards from frame 2"),
        ([1, 0], "from frame 0"),
        ([0, 1, 5, 6, 11, 13], "the time step is irregular from frame 0 .*: steps are 1 h to 5 h"),
        ([0, 1, 2, 4], "the time step is irregular from frame 2"),
    ],
)
def test_times_that_are_none(hours: list[int], message: str) -> None:
    clip = Clip(np.zeros((len(hours), 1, 2, 2)), START + np.array(hours) * HOUR, name="odd.nc")
    with pytest.raises(ValueError, match=message):
        gaps_in(clip)


def test_cuts_split_films_where_asked(tmp_path: Path) -> None:
    scene, other = (RANDOM.integers(0, 2, (6, 8)).repeat(8, 0).repeat(8, 1) for _ in range(2))
    frames = np.stack(
        [scene * 200 + k for k in range(12)] + [other * 40 + 150 + k for k in range(12)]
    ).astype(np.uint8)
    encode(tmp_path / "a.mkv", frames, **GREY)
    np.save(tmp_path / "a.npy", frames)
    assert [len(clip) for clip in clips_from(tmp_path / "a.mkv")] == [24]
    assert [len(clip) for clip in clips_from(tmp_path / "a.mkv", cuts=True)] == [12, 12]
    # Values of a grid have no scenes.
    assert [len(clip) for clip in clips_from(tmp_path / "a.npy", cuts=True)] == [24]


def test_no_data_is_guessed_of_the_whole_recording_and_not_of_its_parts() -> None:
    frames = RANDOM.integers(0, 200, (8, 1, 10, 10)).astype(np.uint8)
    frames[:, :, :, 0] = 255
    frames[6:, :, :3] = 255  # saturated in the last two, which a gap parts from the others
    times = START + np.r_[np.arange(6), 9, 10] * HOUR
    parts = in_parts(Clip(frames, times), ReadOptions())
    assert [len(part) for part in parts] == [6, 2]
    np.testing.assert_array_equal(np.isnan(parts[1][:].frames), frames[6:] == 255)
    assert all("255" in part.notes[0] for part in parts)
    kept, _ = in_parts(Clip(frames, times), ReadOptions(missing=None))
    assert kept.frames.dtype == np.uint8


# -- views, against numpy


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.booleans())
def test_crop_coarsen_and_every_equal_plain_numpy(
    n: int, top: int, left: int, every: int, gaps: bool
) -> None:
    draw = np.random.default_rng(top)  # hypothesis draws its own number of examples
    frames = draw.normal(10, 3, (9, 2, 14, 17)).astype(np.float32)
    if gaps:
        frames[draw.random(frames.shape) < 0.4] = np.nan
    rows, columns = 11, 13
    latitude, longitude = np.linspace(60, 47, 14), np.linspace(3, 19, 17)
    clip = Clip(frames, np.arange(9.0), "K", {"latitude": latitude, "longitude": longitude}, "a")
    (seen,) = in_parts(clip, ReadOptions(crop=[top, left, rows, columns], coarsen=n, every=every))
    h, w = rows // n, columns // n
    cut = (
        frames[::every, :, top : top + h * n, left : left + w * n]
        .reshape(-1, 2, h, n, w, n)
        .astype(np.float64)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        means = np.nanmean(cut, axis=(3, 5))
    means[np.isnan(cut).mean(axis=(3, 5)) > 0.5] = np.nan
    np.testing.assert_allclose(whole(seen), means, rtol=1e-5)
    assert seen.times is not None
    np.testing.assert_array_equal(seen.times, np.arange(9.0)[::every])
    np.testing.assert_allclose(
        seen.coordinates["latitude"], latitude[top : top + h * n].reshape(h, n).mean(1)
    )
    np.testing.assert_allclose(
        seen.coordinates["longitude"], longitude[left : left + w * n].reshape(w, n).mean(1)
    )


def test_coordinates_follow_on_a_square_picture_and_beyond_the_outermost() -> None:
    names = {"latitude": np.arange(8.0)[::-1], "longitude": np.arange(8.0) * 10}
    both = np.add.outer(names["latitude"], names["longitude"])
    frames = np.zeros((2, 1, 8, 8), np.float32)
    with one_line(r"coordinate other has shape \(3,\), but frames have 8 rows"):
        Clip(frames, coordinates={**names, "other": np.arange(3)})
    clip = Clip(frames, coordinates={**names, "xlat": both, "level": 500})
    (cropped,) = in_parts(clip, ReadOptions(crop=[1, 4, 3, 2]))
    np.testing.assert_array_equal(cropped.coordinates["latitude"], [6, 5, 4])
    np.testing.assert_array_equal(cropped.coordinates["longitude"], [40, 50])
    np.testing.assert_array_equal(cropped.coordinates["xlat"], both[1:4, 4:6])
    assert cropped.coordinates["level"].values == 500
    (grown,) = in_parts(clip, ReadOptions(size=[16, 4]))
    np.testing.assert_allclose(grown.coordinates["latitude"], 7.25 - 0.5 * np.arange(16))
    np.testing.assert_allclose(grown.coordinates["longitude"], [5, 25, 45, 65])
    np.testing.assert_allclose(
        grown.coordinates["xlat"],
        np.add.outer(grown.coordinates["latitude"], grown.coordinates["longitude"]),
    )


def test_colours() -> None:
    frames = RANDOM.integers(0, 255, (2, 4, 3, 5), dtype=np.uint8)
    (grey,) = in_parts(Clip(frames), ReadOptions(colour="grey"))
    luma = 0.299 * frames[:, 0] + 0.587 * frames[:, 1] + 0.114 * frames[:, 2]
    assert np.abs(whole(grey)[:, 0] - luma).max() <= 0.501
    (rgb,) = in_parts(Clip(frames), ReadOptions(colour="rgb"))
    np.testing.assert_array_equal(whole(rgb), frames[:, :3])
    (spread,) = in_parts(Clip(frames[:, :1]), ReadOptions(colour="rgb"))
    np.testing.assert_array_equal(whole(spread), frames[:, [0, 0, 0]])
    assert in_parts(Clip(frames), ReadOptions())[0].frames.values is frames


# -- what is refused, and what is left out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": [4, 4], "coarsen": 2}, "not both"),
        ({"crop": [5, 0, 8, 8]}, "reaches beyond frames of 8x9"),
        ({"coarsen": 9}, "too small to coarsen"),
    ],
)
def test_choices_that_do_not_fit(tmp_path: Path, options: dict, message: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 8, 9), np.float32))
    with pytest.raises(ValueError, match=message):
        clips_from(tmp_path / "a.npy", **options)


def test_one_of_several_arrays_and_what_lies_beside_it(tmp_path: Path) -> None:
    values = RANDOM.random((3, 4, 5))
    times = np.array(["201505151545", "201505151550", "201505151555"])
    beside = {
        "times": times,
        "lat": np.arange(4.0),
        "lon": np.arange(5.0),
        "units": np.array(["mm/h"]),
    }
    np.savez(tmp_path / "a.npz", a=values, b=values + 1, **beside)
    (clip,) = clips_from(tmp_path / "a.npz", "b")
    np.testing.assert_array_equal(whole(clip)[:, 0], values[:, ::-1] + 1)
    np.testing.assert_array_equal(clip.coordinates["lat"], [3, 2, 1, 0])
    np.testing.assert_array_equal(clip.coordinates["lon"], range(5))
    assert clip.times is not None
    assert (clip.units, clip.variable, str(clip.times[1])[:16]) == ("mm/h", "b", "2015-05-15T15:50")
    assert "north-up" in clip.notes[0]


def test_what_of_a_folder_is_left_out_is_said_once(tmp_path: Path) -> None:
    folder = tmp_path / "Aufnahmen, früh 雨"
    (folder / "deep" / "nothing").mkdir(parents=True)
    np.save(folder / "deep" / "a b.npy", np.zeros((5, 8, 9)))
    (folder / "deep" / "text.mp4").write_text("no film")
    (folder / "readme.txt").write_text("words")
    with pytest.warns(
        UserWarning, match=r"2 files skipped: .*text.mp4.*readme.txt \(not supp"
    ) as told:
        (clip,) = clips_from(folder)
    assert len(told) == 1
    assert clip.name == str(folder / "deep" / "a b.npy")
    with pytest.raises(ValueError, match="not a readable film"):
        clips_from(folder, strict=True)
    (folder / "deep" / "a b.npy").unlink()
    with pytest.raises(ValueError, match="not a readable film"):
        clips_from(folder)
    (folder / "deep" / "text.mp4").unlink()
    with pytest.raises(ValueError, match="has no recording"):
        clips_from(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.png", "single picture"), ("a.xyz", "not supported"), ("b.nc", "no file or folder")],
)
def test_what_is_no_source(tmp_path: Path, name: str, message: str) -> None:
    if name.startswith("a"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=message):
        clips_from(tmp_path / name)


@pytest.mark.parametrize("a_file", [1, 5])
def test_files_that_go_on_where_the_one_before_ends_are_one_recording(
    tmp_path: Path, a_file: int
) -> None:
    frames = np.random.default_rng(0).random((20, 1, 6, 8), np.float32)
    times = np.datetime64("2026-01-01T00:00", "ns") + np.arange(20) * np.timedelta64(5, "m")
    times[15:] += np.timedelta64(30, "m")  # a gap, between two files either way
    for k in range(0, 20, a_file):
        save_clip(
            tmp_path / f"{k:02d}.nc",
            Clip(frames[k : k + a_file], times[k : k + a_file], "mm/h", variable="rain"),
        )
    first, second = clips_from(tmp_path)
    assert (len(first), len(second)) == (15, 5)
    np.testing.assert_array_equal(first.frames[3:12], frames[3:12])
    np.testing.assert_array_equal(second.frames[0:5], frames[15:])
    np.testing.assert_array_equal(np.concatenate([first.times, second.times]), times)
    save_clip(
        tmp_path / "99.nc", Clip(frames[:5], times[:5] + np.timedelta64(1, "D"), "K", variable="t")
    )
    # Another quantity is another recording.
    assert [len(clip) for clip in clips_from(tmp_path)] == [15, 5, 5]
