"""What is unusual: found where it is, and no more false alarms than are promised."""

import csv
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
import xarray as xr

import foreframe
from conftest import real_data
from examples.anomalies.events import KINDS, UNSCORED, brightened, flickering, shaken, with_events
from examples.anomalies.ranks import auc, average_precision
from foreframe.cli import main
from foreframe.clips.scaling import Scaling
from foreframe.forecasting.anomalies import (
    LEAST,
    Alarms,
    Event,
    FrameScore,
    Watch,
    _squared_error,
    threshold_of,
)
from recorded import GREY, encode
from refusals import refused

# Too little footage for one false alarm an hour, as is said.
pytestmark = pytest.mark.filterwarnings("ignore::foreframe.base.notes.Note")

H, W = 48, 64


def street(frames: int, seed: int = 0) -> np.ndarray:
    """A textured scene with noise, (T,H,W) uint8, in which a bright square goes along one line."""
    rng = np.random.default_rng(7)
    scene = 60 + 60 * rng.random((H // 4, W // 4)).repeat(4, 0).repeat(4, 1)
    noise = np.random.default_rng(seed).normal(0, 2, (frames, H, W))
    film = scene + noise
    for t in range(frames):
        x = t % (W - 6)
        film[t, 30:36, x : x + 6] = 200
    return film.clip(0, 255).astype(np.uint8)


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten seconds, in which something lies where nothing is, from second 7 to 8."""
    monkeypatch.chdir(tmp_path)
    frames = street(250)
    frames[175:200, 8:16, 40:48] = 20
    return encode(tmp_path / "film.mkv", frames, **GREY)  # type: ignore[arg-type]


def test_what_lies_where_nothing_is(film: Path) -> None:
    found = foreframe.anomalies(film, weights="persistence")
    assert len(found.events) == 1
    event = found.events[0]
    assert (event.first, event.last) == (175, 200)  # when it is gone it is unusual once more
    assert (event.start, event.end) == (7.0, 8.0)
    assert 6 <= event.y <= 18
    assert 38 <= event.x <= 50
    assert event.p == 1 / (1 + len(found.normal.scores))
    assert [one.frame for one in found.frames if one.alarm] == list(range(175, 201))
    assert len(found.frames) == 250


def test_the_files(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["anomalies", "film.mkv", "--weights", "persistence", "-o"]
    for kind in ("csv", "json", "png", "mp4"):
        assert main([*words, f"out.{kind}"]) == 0
    out, err = capsys.readouterr()
    assert "1 event in 250 frames" in out
    assert "the first half of film.mkv, 125 frames, is taken as normal" in err
    with open("out.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["frame", "time", "score", "p", "alarm", "y", "x"]
    assert {line["frame"] for line in lines if line["alarm"] == "1"} == {
        str(k) for k in range(175, 201)
    }
    assert lines[180]["time"] == "7.2"
    told = json.loads(Path("out.json").read_text())
    assert told["events"][0]["first"] == 175
    assert told["normal"]["frames"] == len(lines) // 2 - 31  # but for a quarter
    with av.open("out.mp4") as box:
        pictures = [frame.to_ndarray(format="rgb24") for frame in box.decode(video=0)]
    assert len(pictures) == 250
    orange = [(np.abs(p[:H].astype(int) - [255, 140, 0]).sum(axis=2) < 90).sum() for p in pictures]
    assert min(orange[176:200]) > 20
    assert max(orange[130:175]) == 0


def test_bad_input_is_one_line(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["anomalies", "film.mkv", "--weights", "persistence"]
    assert ".csv, .json, .png, .mp4" in refused(capsys, *words, "-o", "out.txt")
    assert "no file" in refused(capsys, *words, "--normal", "nothing.mp4")
    assert "above 0" in refused(capsys, *words, "--false_alarms", "0")
    encode(Path("short.mkv"), street(30), **GREY)  # type: ignore[arg-type]
    said = "30 frames of normal footage"
    with pytest.raises(ValueError, match=said):
        foreframe.anomalies(film, weights="persistence", normal="short.mkv")
    assert not list(Path().glob("out.*"))


def test_live_events_are_those_of_the_file(
    film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encode(Path("normal.mkv"), street(200, 1), **GREY)  # type: ignore[arg-type]
    given = {"weights": "persistence", "normal": ["normal.mkv"], "false_alarms": 60.0}
    found = foreframe.anomalies(film, **given)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(film.open("rb"))))  # type: ignore[arg-type]
    words = ["--normal", "normal.mkv", "--weights", "persistence"]
    assert main(["anomalies", "-", *words]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["first"], one["last"]) for one in lines] == [(175, 200)]
    assert [(one.first, one.last) for one in found.events] == [(175, 200)]
    assert lines[0]["score"] == found.events[0].score
    assert "--output" in refused(capsys, "anomalies", "-", *words, "-o", "out.csv")


def test_a_field_with_units_and_a_failed_scan(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    field = 280 + rng.random((1, H, W)) * 10 + rng.normal(0, 0.3, (120, H, W))
    field[90, :, 10:14] = np.nan  # a stripe
    times = np.datetime64("2026-01-01T00:00", "ns") + 5 * np.arange(120) * np.timedelta64(1, "m")
    values = xr.DataArray(field, dims=("time", "y", "x"), coords={"time": times}, name="t")
    values.attrs["units"] = "K"
    values.to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    found = foreframe.anomalies(tmp_path / "t.nc", weights="persistence")
    assert [event.first for event in found.events] == [90]
    assert str(found.events[0].start) == "2026-01-01T07:30:00"
    assert 8 <= found.events[0].y <= 16


def scores(values: np.ndarray, fps: float = 10.0) -> list[FrameScore]:
    return [FrameScore(k, None, float(v), 0, 0, k / fps) for k, v in enumerate(values)]


@pytest.mark.usefixtures("without_types")
def test_promised_false_alarms_are_observed() -> None:
    """Scores that hang together for seconds: as many events come as are promised."""
    rng, events, expected = np.random.default_rng(0), 0, 0.0
    for _ in range(24):
        noise = rng.standard_normal(2 * 3000 + 19)
        values = np.convolve(noise, np.ones(20) / 20, mode="valid")
        normal = threshold_of(scores(values[:3000]), 200.0)
        assert normal.rate <= 200
        alarms = Alarms(200.0, normal, lambda one: False)
        later = [part for one in scores(values[3000:]) for part in alarms.take(one)]
        events += sum(isinstance(one, Event) for one in (*later, *alarms.end()))
        expected += normal.rate / 12  # in five minutes
    assert abs(events - expected) < 1.96 * np.sqrt(2.2 * expected)  # both are counts
    assert expected > 200


def test_too_little_footage_says_how_much_is_wanted() -> None:
    with pytest.warns(UserWarning, match=r"for 1 it takes 60(\.\d)? minutes more"):
        normal = threshold_of(scores(np.random.default_rng(0).random(12000)), 1.0)
    assert normal.threshold == normal.scores[-1]
    assert normal.rate == pytest.approx(4, rel=0.01)
    with pytest.raises(ValueError, match=f"{LEAST} are the least"):
        threshold_of(scores(np.arange(9.0)), 1.0)


def test_gain_offset_and_shift_are_no_error() -> None:
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 1, 8, 10), (64, 80), mode="bicubic")[0]
    smooth = smooth.clamp(0, 1)
    plain = float((1.2 * smooth - 0.05 - smooth).square().mean())
    assert float(_squared_error(smooth, 1.2 * smooth - 0.05).mean()) < 1e-6 * plain + 1e-8
    moved = smooth.roll((0, 1), (1, 2))
    inner = (slice(4, -4), slice(4, -4))
    left = _squared_error(smooth, moved)[inner].mean()
    assert left < 0.03 * (moved - smooth)[0][inner].square().mean()
    thing = smooth.clone()
    thing[:, 20:28, 30:38] = 1 - thing[:, 20:28, 30:38]
    kept = _squared_error(smooth, 1.1 * thing)[20:28, 30:38].mean()
    assert kept > 0.8 * (thing - smooth)[0, 20:28, 30:38].square().mean()


def compressed(film: np.ndarray) -> np.ndarray:
    box = io.BytesIO()
    encode(box, film, "mpeg4", options={"qscale": "4"}, format="matroska")  # type: ignore[arg-type]
    box.seek(0)
    with av.open(box) as read:
        return np.stack([frame.to_ndarray(format="gray") for frame in read.decode(video=0)])


@pytest.mark.usefixtures("without_types")
@pytest.mark.parametrize("spoilt", ["flicker", "exposure", "shake", "compression"])
def test_what_is_no_event_on_a_real_film(spoilt: str) -> None:
    """With it an object is found as well as without, nearly; alarms are not of it."""
    path = real_data("video/vtest.avi")
    clip = foreframe.clips_from(str(path), colour="grey", size=(96, 128))[0]
    film = clip.frames[0:140][:, 0]
    frames = film.copy()
    frames[110:122, 60:70, 27:37] = 255 - frames[110:122, 60:70, 27:37]
    rng = np.random.default_rng(0)
    add = {
        "flicker": lambda film: flickering(film, 0.05, rng),
        "exposure": lambda film: np.concatenate([film[:70], brightened(film[70:], 0.2)]),
        "shake": lambda film: shaken(film, 2, rng),
        "compression": compressed,
    }  # fmt: skip
    unusual = np.zeros(140, bool)
    unusual[110:123] = True

    def found(film: np.ndarray) -> float:
        watch = Watch(foreframe.Forecaster.load("persistence"), Scaling(0, 255))
        each = np.array([watch.look(frame[None])[0] for frame in film])
        return auc(each[70:], unusual[70:])

    assert found(add[spoilt](frames)) > found(frames) - 0.08


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
    encode(Path("normal.mkv"), street(200, 1), **GREY)  # type: ignore[arg-type]
    url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    events = list(foreframe.watch(url, weights="persistence", normal=["normal.mkv"]))
    sender.join()
    server.close()
    assert [(event.first, event.last) for event in events] == [(175, 200)]


def test_memory_of_a_watch_does_not_grow() -> None:
    watch = Watch(foreframe.Forecaster.load("persistence"), Scaling(0, 255))
    film = street(60)

    def held() -> int:
        maps = [*watch.usual.values()]
        tensors = [t for one in maps for t in (one.mean, one.variance)] + [*watch._forecasts]
        return sum(tensor.nbytes for tensor in tensors) + watch.stream.nbytes

    for frame in film[:30]:
        watch.look(frame[None])
    first = held()
    for frame in film[30:]:
        watch.look(frame[None])
    assert held() == first > 0
