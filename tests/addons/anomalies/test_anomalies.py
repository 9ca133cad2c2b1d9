"""Anomalies are found at their place, with no more false alarms than guaranteed."""

import csv
import io
import json
import math
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import xarray as xr
from jaxtyping import config

import foreframe
from conftest import real_data
from examples.anomalies.events import KINDS, UNSCORED, brightened, flickering, shaken, with_events
from examples.anomalies.ranks import auc, average_precision
from foreframe.addons.anomalies import watching
from foreframe.addons.anomalies.watching import (
    LEAST,
    Event,
    FrameScore,
    Watch,
    alarms,
    threshold_of,
)
from foreframe.cli import main
from foreframe.clips.scaling import Scaling
from recorded import encode, pictures
from refusals import refused

# Too little footage for one false alarm an hour, as is said.
pytestmark = [
    pytest.mark.filterwarnings("ignore::foreframe.base.notes.Note"),
    pytest.mark.usefixtures("without_types"),  # but for one test: the same code, frame by frame
]

H, W = 24, 32


def street(frames: int, seed: int = 0) -> np.ndarray:
    """A textured scene with noise, (T,H,W) uint8, in which a bright square goes to and fro."""
    rng = np.random.default_rng(7)
    scene = 60 + 60 * rng.random((H // 4, W // 4)).repeat(4, 0).repeat(4, 1)
    noise = np.random.default_rng(seed).normal(0, 2, (frames, H, W))
    film = scene + noise
    for t in range(frames):
        x = abs(t % 52 - 26)
        film[t, 16:20, x : x + 4] = 200
    return film.clip(0, 255).astype(np.uint8)


def disturbed() -> np.ndarray:
    """Seven seconds, in which something lies where nothing is, from second 5 to 6."""
    frames = street(180)
    frames[125:150, 4:9, 20:25] = 20
    return frames


def encoded(path: str | Path, frames: np.ndarray, rate: int = 25) -> Path:
    return encode(Path(path), frames, "ffv1", "gray", rate=rate)


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    encoded("normal.mkv", street(120, 1))
    return encoded(tmp_path / "film.mkv", disturbed())


def test_what_lies_where_nothing_is_and_its_files(film: Path) -> None:
    told: list[tuple[int, ...]] = []
    with pytest.warns(UserWarning, match="the first 5 min of .*film.mkv, but at least 200"):
        found = foreframe.anomalies(
            film, "out.csv", weights="persistence", progress=lambda *n: told.append(n)
        )
    assert told == [(k, 180) for k in range(181)]
    assert len(found.events) == 1
    event = found.events[0]
    assert (event.frame, event.first, event.start) == (125, 103, 4.12)  # 103: the square turns
    assert 125 < event.last <= 150  # when it is gone it is unusual once more
    assert 2 <= event.y <= 11
    assert 18 <= event.x <= 27
    assert event.p == 1 / (1 + len(found.normal.scores))
    raised = [one.frame for one in found.frames if one.alarm]
    assert raised[0] == event.first
    assert raised[-1] == event.last
    assert len(found.frames) == 180
    assert str(found).startswith("1 event in 7.2 s of footage. The normal footage guarantees at ")
    assert str(replace(found, events=())).startswith("No events in 7.2 s of footage.")

    with open("out.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["frame", "time", "score", "p", "alarm", "y", "x"]
    assert [int(line["frame"]) for line in lines if line["alarm"] == "1"] == raised
    assert lines[130]["time"] == "5.2"
    for kind in ("json", "png", "mp4"):
        found.write(f"out.{kind}")
    written = json.loads(Path("out.json").read_text())
    assert written["events"][0]["frame"] == 125
    assert written["normal"]["frames"] == 90 - 40  # the first scores are not reliable
    with av.open("out.mp4") as box:
        pictures = [frame.to_ndarray(format="rgb24") for frame in box.decode(video=0)]
    assert len(pictures) == 180
    coloured = [float(np.ptp(p[:H].astype(int), axis=2).mean()) for p in pictures]
    assert coloured[125] > 5 * max(coloured[60:100])


def test_the_command(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["anomalies", "normal.mkv", "--weights", "persistence"]
    Path("out.csv").write_text("what was there before")
    assert main([*words, "-o", "out.csv"]) == 0
    assert len(Path("out.csv").read_text().splitlines()) == 121
    out, err = capsys.readouterr()
    assert "events in 4.8 s of footage. The normal footage guarantees at most" in out
    assert "the first 5 min of normal.mkv, but at least 200 frames and at most half" in err
    assert ".csv, .json, .png, .mp4" in refused(capsys, *words, "-o", "out.txt")
    assert "no file" in refused(capsys, *words, "--normal", "nothing.mp4")
    assert "above 0" in refused(capsys, *words, "--false_alarms", "0")
    encoded("short.mkv", street(30))
    encoded("small.mkv", street(60)[:, :20])
    with pytest.raises(ValueError, match=r"film.mkv has frames of 24x32, but small.mkv has 20x32"):
        foreframe.anomalies(film, weights="persistence", normal="small.mkv")
    said = refused(capsys, *words, "--normal", "short.mkv", "-o", "new.csv")
    assert "too little normal footage: 30 frames, 1.2 s; 60" in said
    assert not Path("new.csv").exists()


@pytest.mark.slow
def test_live_events_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten frames a second, of which each second one is read: the stream's own times count."""
    monkeypatch.chdir(tmp_path)
    encoded("normal.mkv", street(240, 1), 10)
    encoded("film.mkv", disturbed().repeat(2, axis=0), 10)
    words = ["--normal", "normal.mkv", "--weights", "persistence", "--reading.every", "2"]
    assert main(["anomalies", "film.mkv", *words, "-o", "out.json"]) == 0
    events = json.loads(Path("out.json").read_text())["events"]
    capsys.readouterr()
    with Path("film.mkv").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=file))
        assert main(["anomalies", "-", *words]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == events
    [event] = [one for one in events if one["frame"] == 125]
    assert event["start"] == event["first"] / 5
    assert "--output" in refused(capsys, "anomalies", "-", *words, "-o", "out.csv")


def test_a_folder_is_a_recording_unless_it_is_followed(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(Path("pictures"), disturbed())
    words = ["anomalies", "pictures", "--weights", "persistence"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "1 event in 7.2 s of footage" in out
    assert "3.6 s of normal footage can only guarantee" in err
    assert main([*words, "--wait", "0.1"]) == 0
    out, err = capsys.readouterr()
    assert not out
    assert "the first 5 min of pictures, but at least 200 frames" in err
    assert "pictures ended in the learning phase" in err
    assert "is live" in refused(capsys, *words, "--wait", "1", "-o", "out.csv")


UNITS = {
    "K": lambda film: 250 + film / np.float32(5),
    "16 bits": lambda film: film.astype(np.uint16) * 100,
}


@pytest.mark.parametrize("units", ["K", pytest.param("16 bits", marks=pytest.mark.slow)])
def test_values_of_any_range(units: str, tmp_path: Path) -> None:
    """Live and from a file, the brightest place becomes much brighter than anything before."""
    film = disturbed().astype(np.float64)
    film[125:150, 4:9, 20:25] = 200
    film[125:150, 16:20, 20:25] = 600  # beyond what is normal, where all is bright at times
    film, normal = (UNITS[units](frames) for frames in (film, street(120, 1)))
    np.save(tmp_path / "film.npy", film)
    np.save(tmp_path / "normal.npy", normal)
    (tmp_path / "live").mkdir()
    for k, frame in enumerate(film):
        np.save(tmp_path / f"live/{k:03}.npy", frame)
    how = {"weights": "persistence", "normal": str(tmp_path / "normal.npy")}
    found = foreframe.anomalies(tmp_path / "film.npy", **how).events
    assert [event.frame for event in found if event.score > 20] == [125]
    events = [*foreframe.watch(str(tmp_path / "live"), wait=0.1, **how)]
    assert events == [*found]


def test_a_live_source_is_scaled_by_its_own_beginning(tmp_path: Path, monkeypatch) -> None:
    """Without normal footage, here of 200 frames of a kelvin each."""
    monkeypatch.setattr(watching, "LEARNING", (4.0, 100))
    for k, frame in enumerate(disturbed()):
        np.save(tmp_path / f"{k:03}.npy", 300 + frame / np.float32(50))
    events = [*foreframe.watch(str(tmp_path), wait=0.1, weights="persistence")]
    assert 125 in [event.frame for event in events]


def field(path: Path, values: np.ndarray, calendar: str = "standard") -> Path:
    """A file of values in kelvin, (T,H,W), every five minutes of a February."""
    minutes = 5 * np.arange(len(values))
    time = ("time", minutes, {"units": "minutes since 2026-02-01", "calendar": calendar})
    named = xr.DataArray(values, dims=("time", "y", "x"), name="t", attrs={"units": "K"})
    named.to_dataset().assign_coords(time=time).to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize("calendar", ["standard", "360_day"])
def test_missing_values_are_no_events_and_failed_scans_are(tmp_path: Path, calendar: str) -> None:
    values = 280 + street(240) / 25.0
    values[150] = values[160:180, :, 10:14] = np.nan  # a frame, and a sector for a while
    values[200, :, 10:14] = 400  # a stripe
    path = field(tmp_path / "t.nc", values, calendar)
    found = foreframe.anomalies(path, weights="persistence", false_alarms=0.1)
    highest = max(found.events, key=lambda event: event.score)
    assert (highest.first, str(highest.start)) == (200, "2026-02-01T16:40:00")
    assert 8 <= highest.x <= 16
    assert max(one.score for one in found.frames[150:190] if not np.isnan(one.score)) < 6
    assert np.isnan(found.frames[150].score)
    found.write(tmp_path / "t.png")
    gone = field(tmp_path / "c.nc", values[200:] - 273.15)
    with xr.open_dataset(gone) as opened:
        opened.load()
    opened.t.attrs["units"] = "degC"
    opened.to_netcdf(gone, engine="h5netcdf")
    with pytest.raises(ValueError, match=r"c.nc is in degC, but the normal footage has K"):
        foreframe.anomalies(gone, weights="persistence", normal=str(path))


def on_pictures() -> Watch:
    return Watch(foreframe.Forecaster.load("persistence"), Scaling(0, 255))


def test_values_far_beyond_the_normal_range_hide_no_later_event() -> None:
    watch = on_pictures()
    film = street(220).astype(np.float32)
    film[150:160, 4:9, 20:25] = 1e30
    film[165, :4] = np.inf  # missing
    film[200, 9:14, 4:9] = 20
    each = [watch.look(frame[None])[0] for frame in film]
    assert np.isnan(each[:40]).all()
    assert each[150] > 50
    assert each[200] > 1.4 * max(each[40:150])


@pytest.mark.parametrize("change", ["a slow pan", "a pan", "a cut", "nothing", "shaking"])
def test_a_camera_that_moves_and_cuts(change: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (16, 64)).repeat(8, 0).repeat(8, 1)
    wide[:, 350:] //= 3
    t = np.arange(140)
    lefts = {"a slow pan": t // 4, "a pan": 2 * t % 220, "a cut": 350 * (t >= 70)}
    shaken = rng.integers(200, 203, 140) if change == "shaking" else np.full(140, 200)
    film = np.stack([wide[:96, k : k + 128] for k in lefts.get(change, shaken)])
    film = (film + rng.normal(0, 2, film.shape)).clip(0, 255).astype(np.uint8)
    encoded(tmp_path / "film.mkv", film)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        foreframe.anomalies(tmp_path / "film.mkv", weights="persistence")
    warned = [line for note in notes if "camera at rest" in (line := str(note.message))]
    assert len(warned) == (change in lefts)
    assert all("a cut" in line if change == "a cut" else "camera moves" in line for line in warned)


def scores(values: np.ndarray, fps: float = 10.0) -> list[FrameScore]:
    return [FrameScore(k, k / fps, float(v), 0, 0, k / fps) for k, v in enumerate(values)]


def test_promised_false_alarms_are_observed() -> None:
    """Scores that hang together for seconds: as many events come as are promised."""
    rng, events, expected = np.random.default_rng(0), 0, 0.0
    for _ in range(24):
        noise = rng.standard_normal(2 * 3000 + 19)
        values = np.convolve(noise, np.ones(20) / 20, mode="valid")
        normal = threshold_of(scores(values[:3000]), 200.0)
        assert normal.rate <= 200
        events += sum(isinstance(one, Event) for one in alarms(scores(values[3000:]), normal))
        expected += normal.rate / 12  # in five minutes
    assert abs(events - expected) < 1.96 * np.sqrt(2.2 * expected)  # both are counts
    assert expected > 200


def test_too_little_footage_says_how_much_is_needed() -> None:
    with pytest.warns(
        UserWarning, match=r"at most 4 false alarms an hour; for 1 an hour give 80 m"
    ):
        normal = threshold_of(scores(np.random.default_rng(0).random(12000)), 1.0)
    assert normal.threshold == normal.scores[-1]
    assert normal.rate == pytest.approx(4, rel=0.01)
    with pytest.raises(ValueError, match=f"100 frames, .*; {LEAST} .* are the least"):
        threshold_of(scores(np.arange(100.0), math.inf), 1.0)  # recordings of a frame each


def test_frames_an_hour_apart_are_not_all_alarms() -> None:
    """One false alarm an hour is asked for, and a frame an hour is there."""
    noise = np.random.default_rng(0).random(400)
    normal = threshold_of(scores(noise, fps=1 / 3600), 1.0)
    assert (noise[100:] > normal.threshold).mean() <= 1 / 20
    assert normal.rate < 1


def compressed(film: np.ndarray) -> np.ndarray:
    box = io.BytesIO()
    encode(box, film, "mpeg4", options={"qscale": "4"}, format="matroska")  # type: ignore[arg-type]
    box.seek(0)
    with av.open(box) as read:
        return np.stack([frame.to_ndarray(format="gray") for frame in read.decode(video=0)])


UNUSUAL = np.arange(100) // 10 == 8


def found_in(film: np.ndarray) -> float:
    """The AUC of frames 80 to 89 in the second half."""
    watch = on_pictures()
    each = np.array([watch.look(frame[None])[0] for frame in film])
    return auc(each[50:], UNUSUAL[50:])


@pytest.fixture(scope="module")
def on_the_street() -> tuple[np.ndarray, float]:
    """A hundred real frames with an object, and how well it is found."""
    path = real_data("video/vtest.avi")
    film = foreframe.clips_from(str(path), colour="grey", size=(72, 96))[0].frames[0:100][:, 0]
    film[80:90, 45:53, 20:28] = 255 - film[80:90, 45:53, 20:28]
    return film, found_in(film)


@pytest.mark.parametrize("spoilt", ["flicker", "exposure", "shake", "compression"])
def test_an_object_is_found_in_a_spoilt_film(
    spoilt: str, on_the_street: tuple[np.ndarray, float]
) -> None:
    film, plain = on_the_street
    rng = np.random.default_rng(0)
    spoil = {
        "flicker": lambda: flickering(film, 0.05, rng),
        "exposure": lambda: np.concatenate([film[:50], brightened(film[50:], 0.2)]),
        "shake": lambda: shaken(film, 2, rng),
        "compression": lambda: compressed(film),
    }
    assert found_in(spoil[spoilt]()) > plain - 0.12


def test_the_events_of_the_comparison() -> None:
    film = street(400)
    frames, labels = with_events(film, street(5, 3), 12, np.random.default_rng(0))
    assert set(labels) == {UNSCORED, *range(len(KINDS) + 1)}
    same = (frames == film).all(axis=(1, 2))
    assert same[labels == 0].all()
    frozen = KINDS.index("freeze") + 1
    at = np.flatnonzero(labels == frozen)
    assert (frames[at] == frames[at[0] - 1]).all()
    assert not same[labels == KINDS.index("still small") + 1][:-1].any()


def test_scores_of_scores() -> None:
    scores, unusual = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert auc(scores, unusual) == 0.75
    assert average_precision(scores, unusual) == pytest.approx((1 + 2 / 3) / 2)
    assert auc(np.ones(4), unusual) == 0.5
    assert average_precision(np.ones(4), unusual) == 0.5


def test_a_camera(film: Path) -> None:
    """An URL that FFmpeg opens, here a film over TCP."""
    import socket
    import threading

    server = socket.create_server(("127.0.0.1", 0))
    content = film.read_bytes()

    def send() -> None:
        with server.accept()[0] as client:
            client.sendall(content)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    events = list(foreframe.watch(url, weights="persistence", normal=["normal.mkv"]))
    sender.join()
    server.close()
    assert 125 in [event.frame for event in events]


def test_memory_of_a_watch_does_not_grow(without_types: None) -> None:
    config.update("jaxtyping_disable", False)  # the only test with types
    watch, sizes = on_pictures(), []
    for frame in street(60):
        watch.look(frame[None])
        maps = sum(one.mean.nbytes + one.variance.nbytes for one in watch.usual.values())
        sizes.append(maps + watch.stream.nbytes)
    assert sizes[29] == sizes[-1] > 0


def test_published_data_sets_in_their_layout(tmp_path: Path) -> None:
    from PIL import Image
    from scipy.io import savemat

    from examples.anomalies.published import avenue, ped2, table, watched

    normal, film = street(60, 1), street(60, 2)
    film[30:45, 4:9, 20:25] = 20
    mask = np.zeros((60, H, W), np.uint8)
    mask[30:45, 4:9, 20:25] = 255
    ucsd = tmp_path / "UCSDped2"
    for folder, frames in (("Train/Train001", normal), ("Test/Test001", film)):
        (ucsd / folder).mkdir(parents=True)
        for k, frame in enumerate(frames, 1):
            Image.fromarray(frame).save(ucsd / folder / f"{k:03}.tif")
    with pytest.raises(ValueError, match="Test001_gt"):
        ped2(ucsd)
    (ucsd / "Test/Test001_gt").mkdir()
    for k, frame in enumerate(mask, 1):
        Image.fromarray(frame).save(ucsd / f"Test/Test001_gt/{k:03}.bmp")
    cuhk = tmp_path / "Avenue Dataset"
    for folder, frames in (("training_videos", normal), ("testing_videos", film)):
        (cuhk / folder).mkdir(parents=True)
        encoded(cuhk / folder / "01.avi", frames)
    volumes = np.empty((1, 60), object)
    volumes[0] = [*(mask > 0).astype(np.uint8)]
    savemat(tmp_path / "1_label.mat", {"volLabel": volumes})
    for data in (ped2(ucsd), avenue(cuhk, tmp_path)):
        [(scores, unusual)] = watched(data, on_pictures())
        assert unusual.sum() == 15
        assert auc(scores, unusual) > 0.7
        assert "AUC: " in table([(scores, unusual)])
    with pytest.raises(ValueError, match="training_videos"):
        avenue(ucsd, tmp_path)
