"""A service as a separate process; what its tests share."""

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from foreframe.addons.serve.problems import KIND
from foreframe.addons.serve.worker import Worker


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def problem(answer: Any, status: int) -> str:
    """The message of an answer that is a problem, which must not describe this machine."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == KIND
    told = answer.json()
    assert told["status"] == status
    for own in ("/tmp", "Traceback", str(Path.cwd()), "foreframe-", "upload."):
        assert own not in answer.text
    return told["detail"]


@contextmanager
def held(worker: Worker) -> Iterator[None]:
    """Keep the worker busy within the block."""
    begun, free = threading.Event(), threading.Event()
    worker.run(lambda: (begun.set(), free.wait(10)))
    assert begun.wait(10)
    try:
        yield
    finally:
        free.set()


def wait_for(holds: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


class Server:
    """A running service with its temporary files in a folder."""

    def __init__(
        self,
        folder: Path,
        *words: str,
        program: Sequence[str] = ("-m", "foreframe"),
        **environment: str,
    ) -> None:
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        own = {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", **environment}
        self.process = subprocess.Popen(
            [sys.executable, *program, "serve", *words, "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | own,
        )
        assert self.process.stdout is not None
        self.names, _, self.address = self.process.stdout.readline().strip().partition(" at ")
        assert self.address.startswith("http://127.0.0.1:")
        self.http = httpx.Client(base_url=self.address, timeout=60)
        (self.own,) = temporary.glob(".foreframe-*")  # the folder of uploads

    def forecast(self, content: bytes, name: str = "clip.npy", **fields: Any) -> httpx.Response:
        return self.http.post("/v1/forecast", files={"file": (name, content)}, data=fields)

    def uploads(self) -> list[Path]:
        """The files of clients."""
        return [path for path in self.own.rglob("*") if path.is_file()]

    def ended_by(self, number: int) -> int:
        """The exit code after a signal."""
        self.process.send_signal(number)
        code = self.process.wait(40)
        self.http.close()
        self.process.stdout.close()  # type: ignore[union-attr]
        return code
