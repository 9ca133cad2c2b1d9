"""A service that runs is sent bad requests, files that name others, and too much."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bad_uploads import make_whole, request, wrong
from served import Server

from foreframe import Forecaster, Window, predict
from foreframe.addons.serve.confinement import landlock_version
from small import built

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]
LIMIT = 4 * 2**20  # bytes of a request
MANY = """
import foreframe.addons.serve.streams as streams
from foreframe.cli import main
streams.STREAMS = 10_000
if __name__ == "__main__":
    raise SystemExit(main())
"""


def memory(server: Server) -> int:
    """Bytes of its memory."""
    told = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(re.findall(r"VmRSS:\s+(\d+)", told)[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    Forecaster(built("quick"), Window(2, 2)).save(folder / "model")
    limits = f"--upload {LIMIT / 2**20} --budget .25 --seconds 20 --device cpu"
    server = Server(
        folder, str(folder / "model"), "persistence", *limits.split(), program=("-c", MANY)
    )
    try:
        at = server.http.post("/v1/streams", json={"model": "model"}).headers["location"]
        server.http.post(f"{at}/frames", json={"frames": [[[0.5] * 16] * 16]})
        state = server.http.get(f"{at}/state")
        assert state.status_code == 200, state.text
        (folder / "state").write_bytes(state.content)
        server.http.put("/v1/streams/stream-of-strangers/state", content=state.content)
        yield server
    finally:
        assert server.ended_by(signal.SIGTERM) == 0


def answered(server: Server, whole: dict[str, bytes], folder: Path, number: int) -> tuple[int, str]:
    """What comes of bad request `number`: its status, and what is wrong."""
    odd = folder / f"odd{number}"
    odd.mkdir()
    made = request(number, whole, (folder / "state").read_bytes(), odd)
    answer = server.http.request(
        made.method, made.url.raw_path.decode(), content=made.read(), headers=made.headers
    )
    return answer.status_code, f"{number}: {fault}" if (fault := wrong(answer)) else ""


@pytest.mark.parametrize(
    ("first", "count"),
    [
        pytest.param(100_000, 20),
        pytest.param(0, 2000, marks=[pytest.mark.full, pytest.mark.timeout(3600)]),
    ],
)
def test_bad_requests_are_answered_or_refused_in_a_sentence(
    first: int, count: int, server: Server, folder: Path, tmp_path: Path
) -> None:
    whole = make_whole(tmp_path)
    numbers = range(first, first + count)
    before = memory(server)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(partial(answered, server, whole, folder), numbers))
    assert not [fault for _, fault in answers if fault]
    assert {200, 422} <= {status for status, _ in answers}
    assert memory(server) < before + 150 * 2**20
    assert server.http.get("/readyz").status_code == 200
    assert not server.uploads()


@pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")
def test_files_that_name_others_tell_nothing_of_them(server: Server, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    whole = make_whole(tmp_path)
    assert server.forecast(whole["mp4"], "a.mp4").status_code == 200
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/a.mp4\n#EXT-X-ENDLIST\n"
    secret = np.random.default_rng(0).integers(0, 255, (10, 8, 8), np.uint8)
    (tmp_path / "secret").write_bytes(secret.tobytes())
    link = tmp_path / "link.nc"
    with h5py.File(link, "w") as file:  # of which the values lie in another file
        place = (str(tmp_path / "secret"), 0, secret.nbytes)
        rain = file.create_dataset("rain", secret.shape, "u1", external=[place])
        for axis, (name, size) in enumerate((("time", 10), ("y", 8), ("x", 8))):
            file[name] = np.arange(float(size))
            file[name].make_scale(name)
            rain.dims[axis].attach_scale(file[name])
    assert np.array_equal(predict("persistence", str(link), steps=1).frames[0, 0], secret[-1])
    for name, content in (("a.mp4", playlist.encode()), ("link.nc", link.read_bytes())):
        answer = server.forecast(content, name)
        assert answer.status_code == 422, answer.text[:200]
        assert not wrong(answer)


@pytest.mark.parametrize(
    ("told", "most"),
    [("Content-Length: 4294967296", 0), ("Transfer-Encoding: chunked", 8 * LIMIT)],
)
def test_too_much_is_refused_before_it_is_sent(told: str, most: int, server: Server) -> None:
    lines = "POST /v1/forecast HTTP/1.1", "Host: localhost", "Content-Type: application/json", told
    chunk = b"10000\r\n" + bytes(2**16) + b"\r\n"
    address = server.http.base_url
    sent = 0
    with socket.create_connection((address.host, address.port), timeout=20) as client:
        client.sendall("\r\n".join((*lines, "", "")).encode())
        client.settimeout(0.1 if most else 20)
        answer = b""
        while not answer and sent < 16 * LIMIT:
            try:
                answer = client.recv(2**16)
            except TimeoutError:
                client.settimeout(20)
                client.sendall(chunk)
                client.settimeout(0.01)
                sent += 2**16
    assert b" 413 " in answer.splitlines()[0]
    assert sent <= most


@pytest.mark.parametrize(
    "examples", [1, pytest.param(200, marks=[pytest.mark.full, pytest.mark.timeout(3600)])]
)
def test_what_the_schema_allows_is_answered(examples: int, server: Server, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists():
        pytest.skip("needs schemathesis")
    schema = f"{server.http.base_url}/openapi.json"
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    told = subprocess.run(
        [
            *(program, "run", schema, "--checks", checks, "--max-examples", str(examples)),
            *("--phases", "examples,fuzzing", "--seed", "1", "--generation-database", "none"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    assert server.http.get("/readyz").status_code == 200
