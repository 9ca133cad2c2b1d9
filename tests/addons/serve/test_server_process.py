"""`foreframe serve` as a process: its files, many clients, one that leaves, SIGTERM and SIGKILL."""

import io
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from served import Server, npy, wait_for

from foreframe import Forecaster, Scaling, Window, predict
from foreframe.base.notes import Note
from small import built

pytestmark = pytest.mark.slow

CLIPS = np.random.default_rng(0).random((8, 6, 1, 16, 16)).astype(np.float32)


def processes(server: Server) -> int:
    """How many processes it has started that still run."""
    words = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
    parents = dict(line.split() for line in words.splitlines())
    own = {str(server.process.pid)}
    for _ in range(3):
        own |= {pid for pid, parent in parents.items() if parent in own}
    return len(own) - 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def model(folder: Path) -> str:
    forecaster = Forecaster(built("tutorial"), Window(4, 3), Scaling(0, 1, "mm/h", "minmax"))
    return str(forecaster.save(folder / "rain"))


@pytest.fixture(scope="module")
def server(folder: Path, model: str) -> Iterator[Server]:
    server = Server(folder, model, "persistence")
    assert server.names == "rain, persistence"
    yield server
    server.ended_by(signal.SIGKILL)


def test_its_files_are_those_of_the_command_line(
    server: Server, model: str, tmp_path: Path
) -> None:
    path = tmp_path / "clip.npy"
    np.save(path, CLIPS[0])
    with pytest.warns(Note, match="it does not say its units: mm/h is assumed"):
        made = predict(model, str(path), steps=2, after=4)
    for output in ("gif", "png", "mp4"):
        answer = server.forecast(npy(CLIPS[0]), steps=2, after=4, output=output)
        assert answer.content == made.to_bytes(f".{output}"), answer.text[:200]
    grid = tmp_path / "forecast.nc"
    grid.write_bytes(server.forecast(npy(CLIPS[0]), steps=2, after=4, output="nc").content)
    import netCDF4

    with netCDF4.Dataset(grid) as opened:
        assert "forecast from rain" in opened.history
        (values,) = (v[:] for v in opened.variables.values() if v.ndim >= 3)
    np.testing.assert_allclose(values.reshape(made.frames.shape), made.frames, atol=1e-6)


def test_many_clients_get_their_own(server: Server, model: str) -> None:
    with ThreadPoolExecutor(len(CLIPS)) as pool:
        answers = list(pool.map(lambda clip: server.forecast(npy(clip), output="npy"), CLIPS))
    forecaster = Forecaster.load(model)
    for clip, answer in zip(CLIPS, answers, strict=True):
        future = np.load(io.BytesIO(answer.content))
        np.testing.assert_allclose(future, forecaster.predict(clip[-4:], 3), atol=2e-6)
    assert not server.uploads()


def test_nothing_stays_of_a_client_that_leaves(server: Server) -> None:
    body = b'{"model": "persistence", "steps": 3000000, "frames": [[[1, 2], [3, 4]]]}'
    usual = 3  # one that counts resources, one that others are copies of, the next request's
    wait_for(lambda: processes(server) == usual)
    with socket.create_connection((server.http.base_url.host, server.http.base_url.port)) as client:
        head = "POST /v1/forecast HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_for(lambda: processes(server) > usual)
    wait_for(lambda: processes(server) == usual)
    wait_for(lambda: not server.uploads())


def test_what_a_killed_server_leaves_is_removed_and_sigterm_lets_requests_end(
    server: Server, folder: Path, model: str
) -> None:
    (server.own / "upload").write_text("of a client")
    assert server.ended_by(signal.SIGKILL) == -signal.SIGKILL
    assert server.own.exists()
    second = Server(folder, model, FOREFRAME_TOKEN="secret")
    assert not server.own.exists()
    assert second.forecast(npy(CLIPS[0])).status_code == 401
    with ThreadPoolExecutor(1) as pool:
        headers = {"authorization": "Bearer secret"}
        frames = {"frames": CLIPS[0].tolist(), "steps": 500}
        address = f"{second.address}/v1/forecast"
        answer = pool.submit(httpx.post, address, json=frames, headers=headers, timeout=60)
        wait_for(second.uploads)
        assert second.ended_by(signal.SIGTERM) == 0
        assert answer.result().status_code == 200
    assert not second.own.exists()
