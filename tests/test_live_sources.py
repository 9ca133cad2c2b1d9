"""`foreframe stream` follows what grows, in weather of all kinds: a folder, and a bucket and a
listing of servers on this machine.
"""

import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

import fsspec
import numpy as np
import pytest
import xarray as xr

import foreframe
from foreframe import Forecaster, Scaling, Window
from foreframe.base import files
from foreframe.base.notes import listening
from foreframe.cli import main
from foreframe.forecasting import growing, live_files, live_forecasts
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
    monkeypatch.setattr(growing, "REMOTE", 0.02)
    forecaster(300).save("run")
    return tmp_path


def forecaster(step: int | None) -> Forecaster:
    """The mean of all frames so far tells which it has seen; it looks at three."""
    scaling = Scaling(0, 20, "mm/h", "minmax")
    return Forecaster(build_model("mean"), Window(3, 2), scaling, Trained(step=step))


def content(k: int, since: np.datetime64 = START, **places: np.ndarray) -> bytes:
    """The file of the frame that is five minutes times k after a date."""
    path = series(Path("one.nc"), RAIN[k : k + 1], since=str(since + k * STEP), **(GRID | places))
    return Path(path).read_bytes()


def name(k: int) -> str:
    return f"rain@{k:02d}.nc"


def put(*ks: int, since: np.datetime64 = START) -> None:
    Path("rain").mkdir(exist_ok=True)
    for k in ks:
        Path("rain", name(k)).write_bytes(content(k, since))


def streamed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[dict], str]:
    """The lines of a stream that ends well, and what is said beside them."""
    capsys.readouterr()
    code = main(["stream", "run", *words])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "Traceback" not in err
    return [json.loads(line) for line in out.splitlines()], err


class Server:
    """A listing that grows. `ill` answers with a number in place of a file, or of the listing, as
    many times as it says.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ill: dict[str, list[int]] = {}
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = unquote(self.path.rsplit("/", 1)[-1])
                server.asked.append(path)
                path = "" if path == "radar" else path
                links = "".join(f'<a href="{quote(n)}">{n}</a>\n' for n in server.files)
                body = server.files.get(path, b"") if path else links.encode()
                ill = server.ill.get(path)
                code = ill.pop(0) if ill else 200 if body or not path else 404
                self.send_response(code)
                self.send_header("Content-Type", "text/html" if not path else "binary/octet")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/radar/"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    s3 = ThreadedMotoServer("127.0.0.1", port)
    s3.start()
    for key, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(key, value)
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("radar")
    yield "s3://radar"
    s3.stop()


def later(*what: tuple[float, Callable[[], object]]) -> threading.Thread:
    """Calls, each so many seconds after the one before."""

    def calls() -> None:
        for seconds, call in what:
            time.sleep(seconds)
            call()

    thread = threading.Thread(target=calls)
    thread.start()
    return thread


def until(condition: Callable[[], object]) -> tuple[float, Callable[[], None]]:
    """A call that waits until something is so."""

    def wait() -> None:
        while not condition():
            time.sleep(0.01)

    return 0, wait


# -- servers ---------------------------------------------------------------------------------------


def test_a_listing_that_grows_is_followed_as_a_folder_is(server, capsys) -> None:
    """A file that is half there is taken once it is whole, and errors of the server are waited
    for, which is said once each time.
    """
    server.files = {name(0): content(0), "about.txt": b"no frame", name(1): content(1)}
    whole, third = content(2), content(3)
    server.ill = {"": [500, 503], name(1): [500]}
    growth = later(
        until(lambda: server.asked.count(name(1)) > 1),
        (0.1, lambda: server.files.update({name(2): whole[:900]})),
        (0.2, lambda: server.ill.update({"": [500, 429]})),
        (0.2, lambda: server.files.update({name(2): whole})),
        (0.2, lambda: server.files.update({name(3): third})),
    )
    told, err = streamed(capsys, server.url, "--wait", "3", "--output", "out", "--steps", "1")
    growth.join()
    assert [line["frame"] for line in told] == [0, 1, 2, 3]
    for k in range(4):
        with xr.open_dataset(f"out/frame-{k:06d}.nc") as made:
            np.testing.assert_allclose(made.rain[0], RAIN[: k + 1, 0].mean(0), rtol=1e-5)
            assert made.time.values[0] == START + (k + 1) * STEP  # of the first frame, too
    assert "500" in err
    assert "503" not in err  # the second of an outage
    assert "429" not in err
    assert "left out" not in err


@pytest.mark.slow
def test_a_prefix_of_a_bucket_is_followed(bucket, capsys, monkeypatch) -> None:
    """With folders of days, and a pattern that says which of the files there are meant."""
    monkeypatch.setattr(live_forecasts, "SAVE_EVERY", 0)
    s3 = fsspec.filesystem("s3", skip_instance_cache=True)
    today = np.datetime64("now")
    days = [str(today - np.timedelta64(ago, "D"))[:10].replace("-", "/") for ago in (1, 0)]

    contents = [content(k) for k in range(4)]  # here: HDF5 is not for several threads

    def put_there(k: int, day: str) -> None:
        s3.pipe(f"radar/{day}/comp/{name(k)}", contents[k])

    s3.pipe(f"radar/{days[0]}/comp/other_01.nc", b"another product")
    put_there(0, days[0])
    put_there(1, days[0])
    growth = later(until(lambda: Path("state").exists()), (0, lambda: put_there(2, days[1])))
    source = f"{bucket}/%Y/%m/%d/comp/rain@*.nc"
    told, err = streamed(capsys, source, "--wait", "3", "--state", "state")
    growth.join()
    assert [line["frame"] for line in told] == [0, 1, 2]
    assert "left out" not in err
    put_there(3, days[1])
    told, err = streamed(capsys, source, "--wait", "0", "--state", "state")
    assert [line["frame"] for line in told] == [3]
    assert "cannot be read: FileNotFoundError" in refused(
        capsys, "stream", "run", "s3://nowhere/rain", "--wait", "0"
    )


def test_what_is_wrong_at_the_beginning_is_said_in_a_line(server, capsys) -> None:
    stream = ["stream", "run", server.url, "--wait", "0.1"]
    assert "no frame came" in refused(capsys, *stream)
    for code in (403, 404):
        server.ill = {"": [code, code]}
        assert f"{server.url} cannot be read" in refused(capsys, *stream)
    server.ill = {"": [500] * 1000}
    assert "500" in (said := refused(capsys, "stream", "run", server.url, "--wait", "0"))
    assert "cannot be read" in said
    closed = f"http://127.0.0.1:{free_port()}/"
    assert "cannot be read" in refused(capsys, "stream", "run", closed, "--wait", "0")
    assert "foreframe[remote]" in refused(capsys, "stream", "run", "nothing://bucket/rain")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_missing_package_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)  # type: ignore[attr-defined]
    said = refused(capsys, "stream", "run", "s3://bucket/rain")
    assert "pip install 'foreframe[remote]'" in said


def test_what_a_server_lists_and_does_not_give_is_left_out_once_others_follow(
    server, capsys
) -> None:
    server.files = {name(k): content(k) for k in range(3)}
    server.ill = {name(1): [404]}
    told, err = streamed(capsys, server.url, "--wait", "0.3")
    assert [line["frame"] for line in told] == [0, 2]  # the one between is an outage
    assert f"{name(1)} is left out" in err


def test_of_a_server_that_is_met_first_no_more_is_taken_than_is_looked_at(server, capsys) -> None:
    server.files = {name(k): content(k) for k in range(8)}
    server.files["rain@LATEST.nc"] = content(7)
    told, err = streamed(capsys, server.url, "--wait", "0.1")
    assert [line["frame"] for line in told] == [0, 1, 2]
    assert "the last 3 of 8 files are taken" in err
    assert name(4) not in server.asked


def test_odim_is_known_by_its_ending_or_that_of_dwd() -> None:
    for path in ("a/OPERA@20260310T1205@0@RATE.h5", "a/composite_hx_20260310_1205-hd5"):
        assert growing._is_frame(growing._local_name(path))
    assert not growing._is_frame(growing._local_name("a/composite_hx_LATEST-hd5"))


# -- order, damage, gaps ---------------------------------------------------------------------------


def test_late_damaged_and_doubled_files_are_left_out_and_said_once(capsys) -> None:
    put(0, 1, 2, 4)
    Path("rain", name(3)).write_bytes(content(3)[:900])
    Path("rain", name(5)).write_bytes(content(4))  # again what was there
    late = content(1)
    growth = later(
        until(lambda: Path("out/frame-000004.nc").exists()),
        (0.1, lambda: Path("rain/rain@01b.nc").write_bytes(late)),
    )
    told, err = streamed(capsys, "rain", "--wait", "2", "--output", "out")
    growth.join()
    assert [line["frame"] for line in told] == [0, 1, 2, 4]
    said = [line.split()[2] for line in err.splitlines() if "left out" in line]
    assert said == [name(3), f"{name(5)}:", "rain@01b.nc"]


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


def test_frames_of_another_grid_are_refused_and_the_state_is_kept(capsys) -> None:
    put(0, 1)
    Path("rain", name(2)).write_bytes(content(2, latitude=np.linspace(49.0, 48.0, 5)))
    assert main(["stream", "run", "rain", "--wait", "0", "--state", "state"]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "on another grid than the frames before it" in err.splitlines()[-1]
    Path("elsewhere").mkdir()
    Path("rain", name(2)).rename(Path("elsewhere") / name(2))
    assert "another grid" in refused_after_notes(capsys, "elsewhere", "--state", "state")
    put(2)
    told, _ = streamed(capsys, "rain", "--wait", "0", "--state", "state")
    assert [line["frame"] for line in told] == [2]


def refused_after_notes(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["stream", "run", *words, "--wait", "0"]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_a_series_that_falls_behind_is_told_of_once(capsys, monkeypatch) -> None:
    """Until it is up to date again. A clock that jumps ends no series that was live."""
    clock = [12]
    monkeypatch.setattr(growing, "_now", lambda: START + np.timedelta64(clock[0], "m"))
    put(0, 1, 2)
    after = [(k, minutes, content(k)) for k, minutes in ((3, 60), (4, 60), (5, 26), (6, 99999))]

    def come(k: int, minutes: int, frame: bytes) -> None:
        clock[0] = minutes
        Path("rain", name(k)).write_bytes(frame)

    came = [
        step
        for each in after
        for step in (
            until(lambda k=each[0]: Path(f"out/frame-{k - 1:06d}.nc").exists()),
            (0.1, lambda each=each: come(*each)),
        )
    ]
    live = []
    monkeypatch.setattr(growing, "patience", lambda times, now=False: live.append(now) or 2.0)
    growth = later(*came)
    told, err = streamed(capsys, "rain", "--output", "out")
    growth.join()
    assert len(told) == 7
    said = [line for line in err.splitlines() if line.endswith(" old")]
    assert [line.split()[2] for line in said] == [f"{name(3)}:", f"{name(6)}:"]
    assert said[0].endswith("is 45 min old")
    assert live[-1]


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
    streamed(capsys, "rain", "--wait", "0", "--output", "csv", "--at", "47.5,7.5")
    assert Path("csv/latest.csv").read_text() == Path("csv/frame-000011.csv").read_text()
    said = refused(capsys, "stream", "run", "rain", "--keep", "1")
    assert "give --output" in said
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


def test_a_stream_may_wait_for_ever() -> None:
    for given in ("inf", float("inf")):
        put(0, 1)
        lives = foreframe.stream("run", "rain", wait=given)
        assert [next(lives).frame, next(lives).frame] == [0, 1]
        lives.close()


def test_latest_is_whole_on_a_file_system_without_links(monkeypatch, folder) -> None:
    def no_link(*paths: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_link)
    (folder / "a.npy").write_bytes(b"whole")
    files.also_named(folder / "a.npy", folder / "latest.npy")
    assert (folder / "latest.npy").read_bytes() == b"whole"
    assert live_files._NAME.fullmatch("frame-1000000.nc")
