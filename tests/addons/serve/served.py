"""A service as a process of its own, what is sent to it, and what it refuses."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from foreframe.addons.serve.problems import KIND


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def problem(answer: Any, status: int) -> str:
    """The sentence of an answer that is a problem, and tells nothing of this machine."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == KIND
    told = answer.json()
    assert told["status"] == status
    for own in ("/tmp", "Traceback", str(Path.cwd()), "foreframe-", "upload."):
        assert own not in answer.text
    return told["detail"]


class Server:
    """A service that runs, whose temporary files lie in a folder."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        own = {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "foreframe", "serve", *words, "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | own,
        )
        assert self.process.stdout is not None
        self.names, _, self.address = self.process.stdout.readline().strip().partition(" at ")
        assert self.address.startswith("http://127.0.0.1:")
        self.http = httpx.Client(base_url=self.address, timeout=60)
        (self.own,) = temporary.glob(".foreframe-*")  # where uploads lie

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
