"""Datasets of the field by name, from small files that lie as the published ones do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

import standins
from foreframe import clips_from, evaluate, fit
from foreframe.addons.zoo.published import published_moving_mnist
from foreframe.base.extras import of_package, registered
from foreframe.clips.frames import resized
from foreframe.data import DataOptions, ReadOptions, decoding
from foreframe.data.decoding import ChunkedFrames
from foreframe.data.opening import Splits, open_splits
from foreframe.data.splits import SPLITS
from foreframe.training.recipes import options_from
from refusals import refused

h5py = pytest.importorskip("h5py")
SMALL = ("reading", "size"), [16, 20]


def human36m(folder: Path) -> None:
    for subject in (1, 5, 6, 7, 8, 9, 11):
        films = folder / f"S{subject}" / "Videos"
        films.mkdir(parents=True)
        standins.film(films / "Walking 1.54138969.mp4", 10, 32, 32)
    standins.film(folder / "S1" / "Videos" / "_ALL 1.54138969.mp4", 10, 32, 32)


def kitti_caltech(folder: Path) -> None:
    for drive in ("0001", "0005"):
        for camera in ("image_02", "image_03"):
            data = folder / "2011_09_26" / f"2011_09_26_drive_{drive}_sync" / camera / "data"
            data.parent.mkdir(parents=True)
            standins.folder_of_pictures(data, 12, 32, 100)
    for name in ("set00", "set06", "set10"):
        (folder / name).mkdir()
        standins.folder_of_pictures(folder / name / "V000", 36, 48, 64)
    (folder / "set06" / "V000.seq").write_bytes(b"what the pictures were made of")


def taxibj(folder: Path) -> None:
    folder.mkdir()
    for year, first, days in (("13", "2013-07-01", 1), ("16", "2016-02-14", 31)):
        times = np.datetime64(first, "m") + np.arange(48 * days) * np.timedelta64(30, "m")
        slots = [
            f"{str(time)[:10].replace('-', '')}{k % 48 + 1:02d}" for k, time in enumerate(times)
        ]
        flows = np.arange(len(slots), dtype=np.float64)[:, None, None, None] + np.zeros((2, 32, 32))
        with h5py.File(folder / f"BJ{year}_M32x32_T30_InOut.h5", "w") as file:
            kept = np.r_[0 : len(slots)] != 20  # a half hour is missing
            file["data"], file["date"] = flows[kept], np.array(slots, "S")[kept]


def weatherbench(folder: Path) -> None:
    folder.mkdir()
    latitude, longitude = np.linspace(-87.2, 87.2, 32), np.linspace(0, 354.4, 64)
    for year in (2009, 2015, 2016, 2017):
        times = np.datetime64(f"{year}-12-31", "ns") + np.arange(48) * np.timedelta64(1, "h")
        place = {"time": times, "lat": latitude, "lon": longitude}
        values = standins.kelvin(48, 32, 64) + year - 2009
        grid = xr.DataArray(values, place, ("time", "lat", "lon"), "t2m", {"units": "K"})
        grid.to_netcdf(folder / f"2m_temperature_{year}_5.625deg.nc")


def sevir(folder: Path) -> None:
    rows = ["id,file_name,file_index,img_type,time_utc,minute_offsets,size_x,size_y,pct_missing"]
    offsets = ":".join(map(str, [*range(-120, -35, 5), -40, *range(-30, 121, 5)]))
    files = {"2018": ["2018-06-01", "2018-07-01"], "2019": ["2019-02-01", "2019-06-02 00:30"]}
    for year, times in files.items():
        name = f"vil/{year}/SEVIR_VIL_STORMEVENTS_{year}.h5"
        path = folder / "data" / name
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as file:
            t, row = np.arange(49), np.arange(24)[:, None, None]
            file["vil"] = np.stack([np.broadcast_to(t + 2 * row, (24, 24, 49))] * 2).astype("u1")
        for k, time in enumerate(times):
            rows.append(f"S{year}{k},{name},{k},vil,{time},{offsets},24,24,0.0")
        rows.append(f"S{year}9,{name},1,vil,{times[0]},{offsets},24,24,0.2")
        rows.append(f"S{year}0,ir069/{year}/x.h5,0,ir069,{times[0]},{offsets},24,24,0.0")
    rows.append(f"S9,vil/2017/not_here.h5,0,vil,2017-06-01,{offsets},24,24,0.0")
    (folder / "CATALOG.csv").write_text("\n".join(rows))


MADE: dict[str, Callable[[Path], None]] = {
    "kth": standins.kth,
    "human36m": human36m,
    "kitti_caltech": kitti_caltech,
    "taxibj": taxibj,
    "weatherbench": weatherbench,
    "sevir": sevir,
}
# The window, the shape of a frame, and in the three splits how many windows of how many recordings.
PROTOCOL = {
    "kth": ((10, 20), (1, 128, 128), [(36, 6), (12, 2), (24, 4)]),
    "human36m": ((4, 4), (3, 256, 256), [(12, 4), (3, 1), (6, 2)]),
    "kitti_caltech": ((10, 1), (3, 128, 160), [(2, 1), (2, 1), (4, 2)]),
    "taxibj": ((4, 4), (2, 32, 32), [(66, 4), (28 * 48 - 7, 1), (2 * 48 - 7, 1)]),
    "weatherbench": ((12, 12), (1, 32, 64), [(2, 2), (2, 2), (26, 2)]),
    "sevir": ((13, 12), (1, 24, 24), [(6, 2), (3, 1), (3, 1)]),
}


def test_every_dataset_is_here() -> None:
    here = {name for name, point in registered("datasets").items() if ".zoo." in point.value}
    assert PROTOCOL.keys() == MADE.keys() == here - {"moving_mnist_published"}
    assert [of_package("datasets", name).name for name in PROTOCOL] == [*PROTOCOL]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a dataset by its name, made when it is first asked for."""
    root = tmp_path_factory.mktemp("published")

    def folder(name: str) -> str:
        if not (root / name).exists():
            MADE[name](root / name)
        return str(root / name)

    return folder


def splits_of(name: str, folder: str, *given) -> Splits:
    named = [(("data",), name), (("data_args",), {"folder": folder})]
    return open_splits(options_from([], [*named, *given]).data)


@pytest.mark.parametrize("name", PROTOCOL)
def test_windows_frames_and_splits_are_as_published(made, name: str) -> None:
    window, frame, counts = PROTOCOL[name]
    splits = splits_of(name, made(name))
    seen: set = set()
    for split, found in zip(map(splits.__getitem__, SPLITS), counts, strict=True):
        assert split[0].shape == (sum(window), *frame)
        assert (len(split), len({clip.name for clip in split.clips})) == found
        frames = {
            (clip.name.partition(" [")[0], str(time))
            for clip in split.clips
            for time in (range(len(clip)) if clip.times is None else clip.times)
        }
        assert not seen & frames
        seen |= frames


def test_a_protocol_is_above_recipes_and_below_the_user(tmp_path) -> None:
    of_recipe = options_from(["quick"], [(("data",), "kth")]).data
    assert (of_recipe.past, of_recipe.future, of_recipe.reading.size) == (10, 20, (128, 128))
    own = tmp_path / "own.yaml"
    own.write_text("{data: kth, future: 5, reading: {every: 2}}")
    given = [(("past",), 3), (("reading", "size"), [64, 64])]
    mine = options_from(["quick", str(own)], given).data
    assert (mine.past, mine.future) == (3, 5)
    assert mine.reading == ReadOptions(size=[64, 64], every=2, colour="grey")
    assert options_from(["quick"], []).data.future == 10  # moving_mnist's, as the recipe says


def test_kth_is_grey_and_its_windows_lie_within_the_listed_sequences(made, tmp_path) -> None:
    test = splits_of("kth", made("kth"))["test"]
    name = "person17_boxing_d1_uncomp.avi"
    first, second = (clip for clip in test.clips if name in clip.name)
    (film,) = clips_from(Path(made("kth")) / "boxing" / name, colour="grey", size=[128, 128])
    np.testing.assert_array_equal(np.asarray(first.frames), film.frames[0:35])
    np.testing.assert_array_equal(np.asarray(second.frames), film.frames[35:70])
    standins.film(tmp_path / name, 40, 30, 40)  # no sequences are listed
    alone = splits_of("kth", str(tmp_path), SMALL)
    assert [len(clip) for clip in alone["test"].clips] == [40]
    with pytest.raises(ValueError, match="future frames in train: no recording"):
        alone["train"]


def test_kitti_caltech_is_cut_from_the_centre_at_ten_frames_a_second(made) -> None:
    splits = splits_of("kitti_caltech", made("kitti_caltech"))
    assert [Path(clip.name).parts[-3:-1] for clip in splits["train"].clips] == [
        ("2011_09_26_drive_0001_sync", "image_03")
    ]
    left = standins.pixels(12, 32, 100)[3, :, 30:70]  # 32x40 of 32x100
    ours = np.asarray(splits["train"].clips[0].frames[3])
    np.testing.assert_array_equal(ours, as_wide(left))
    every = standins.pixels(36, 48, 64)[9, :, 2:62]  # 48x60 of 48x64
    np.testing.assert_array_equal(splits["test"].clips[0].frames[3], as_wide(every))


def as_wide(picture: np.ndarray) -> np.ndarray:
    return resized(picture.transpose(2, 0, 1)[None], 128, 160, np.dtype(np.uint8))[0]


def test_taxibj_is_scaled_by_what_is_trained_on(made) -> None:
    splits = splits_of("taxibj", made("taxibj"))
    assert (splits["test"].scaling.kind, splits["test"].scaling.high) == ("minmax", 47)
    first = splits["test"].clips[0]  # on 14 March at midnight, 29 days after the file's first slot
    assert str(first.times[0])[:16] == "2016-03-14T00:00"
    np.testing.assert_allclose(splits["test"][0][:, 1, 5, 7], 29 * 48 / 47 + np.arange(8) / 47)
    with pytest.raises(ValueError, match=r"an array of .* more than the budget"):
        splits_of("taxibj", made("taxibj"), (("reading", "budget"), 1e-3))["test"]


def test_weatherbench_is_standardised_and_north_up(made) -> None:
    splits = splits_of("weatherbench", made("weatherbench"))
    assert [str(splits[s].clips[0].times[0])[:13] for s in SPLITS] == [
        f"{year}-01-01T00" for year in (2010, 2016, 2017)
    ]
    train = np.concatenate([clip.frames for clip in splits["train"].clips])
    scaled = (train[:24] - train.mean()) / (8 * train.std()) + 0.5
    np.testing.assert_allclose(splits["train"][0], scaled, atol=1e-5)
    assert splits["train"].clips[0].coordinates["lat"].values[0] > 0


def test_sevir_is_streamed_by_the_event_in_bytes(made, monkeypatch) -> None:
    monkeypatch.setattr(decoding, "IN_MEMORY", 0)
    splits = splits_of("sevir", made("sevir"))
    assert [clip.name.rpartition(" ")[2] for s in SPLITS for clip in splits[s].clips] == [
        "[S20180]", "[S20181]", "[S20190]", "[S20191]",
    ]  # fmt: skip
    event = splits["test"].clips[0]
    assert (event.times[0], event.times[48]) == (
        np.datetime64("2019-06-01T22:30"),
        np.datetime64("2019-06-02T02:30"),
    )
    assert isinstance(event.frames, ChunkedFrames)
    frames = np.arange(49)[:, None] + 2 * np.arange(24)  # t + 2 row
    np.testing.assert_array_equal(event.frames[:, 0, :, 3], frames)
    np.testing.assert_allclose(splits["test"][1][:, 0, :, 0], frames[12:37] / 255, rtol=1e-6)


@pytest.mark.parametrize("name", PROTOCOL)
def test_files_that_are_missing_are_told(name, tmp_path) -> None:
    with pytest.raises(ValueError, match=f"^data {name}: .*gone is no folder; name one with "):
        splits_of(name, str(tmp_path / "gone"))["test"]
    standins.array(tmp_path / "other.npy", 8, 8, 8)
    with pytest.raises(ValueError, match="has none of its files; name one with "):
        splits_of(name, str(tmp_path))["test"]
    with pytest.raises(ValueError, match=f"data {name}: name the folder of its files by"):
        open_splits(DataOptions(name))


@pytest.mark.parametrize("name", ["sevir", "taxibj"])
def test_damaged_files_are_told_in_one_line(name, made, tmp_path, capsys) -> None:
    files = [p for p in Path(made(name)).rglob("*") if p.is_file()]
    for path in files:
        copy = tmp_path / path.relative_to(made(name))
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes()[: 1000 if path.suffix == ".h5" else None])
    said = refused(capsys, "data", "--data", name, "--data_args.folder", str(tmp_path))
    assert "is it whole?" in said


def test_the_published_file_is_downloaded_only_when_asked(tmp_path, monkeypatch) -> None:
    utils = pytest.importorskip("torchvision.datasets.utils")

    def offline(url, root, filename, md5):
        raise OSError(f"no network for {filename}")

    monkeypatch.setattr(utils, "download_url", offline)
    path = tmp_path / "mnist_test_seq.npy"
    with pytest.raises(ValueError, match="allow the download"):
        published_moving_mnist(path)
    with pytest.raises(OSError, match="no network for mnist_test_seq"):
        published_moving_mnist(path, download=True)


def test_the_published_file_is_a_test_set_with_frames_first(tmp_path) -> None:
    path, shape = tmp_path / "mnist_test_seq.npy", (20, 10_000, 64, 64)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)  # sparse
    file[3, 9_999] = 255
    data = published_moving_mnist(path)
    assert (len(data), data.name, data.scaling.high) == (10_000, str(path), 1)
    assert data[9_999].shape == (20, 1, 64, 64)
    assert data[9_999][3].min() == 1
    assert data[9_998].max() == 0
    with pytest.raises(ValueError, match="without clips for train"):
        published_moving_mnist(path, split="train")


@pytest.mark.slow
def test_a_training_and_its_scores(made, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    args, small = {"folder": made("kth")}, {"reading": {"size": [16, 16]}}
    few = {"hidden": 4, "batch_size": 2, "trainer": {"max_steps": 1}, "validation_clips": 2}
    run = fit("quick", data="kth", data_args=args, run="run", **small, **few)
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert (config["past"], config["future"], config["data"]) == (10, 20, "kth")
    assert (config["reading"]["size"], config["reading"]["colour"]) == ([16, 16], "grey")
    card = evaluate(run, clips=2)
    free = evaluate("persistence", "kth", data_args=args, **small, clips=2)
    for scored in (card, free):
        assert (scored["split"], scored["past"], scored["future"]) == ("test", 10, 20)
    other = evaluate("persistence", "kth", data_args=args, **small, past=3, future=2, clips=1)
    assert (other["past"], other["future"]) == (3, 2)
