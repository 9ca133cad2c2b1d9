"""How many requests does the service answer, and how late?

    python benchmarks/serve/serving.py [MODEL] [--requests 200] [--clients 1 8 24]

Starts `foreframe serve MODEL` (moving-mnist) on this machine, and asks it for forecasts of ten
steps after ten frames: by so many clients at once, each of which asks again when it has its answer.
Once requests that wait are batched, as they are, and once they are computed one by one. Then come
as many requests as `--long` says, with the server's memory before and after, and 50 live streams,
each compared with the forecast of all its frames. Exits with 1 where a request fails, where memory
grew by more than a tenth, or a stream differs by more than 1e-4.
"""

import argparse
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

import foreframe

PAST, STEPS, STREAMS, PUSHES = 10, 10, 50, 20
# The service, with batches of one.
ALONE = """
import foreframe.addons.serve.worker as worker
worker.MOST = 1
from foreframe.cli import main
if __name__ == "__main__":
    raise SystemExit(main())
"""


class Served:
    """A service in a process of its own, while the block runs."""

    def __init__(self, model: str, batched: bool) -> None:
        how = ["-m", "foreframe"] if batched else ["-c", ALONE]
        command = [sys.executable, *how, "serve", model, "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Served":
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[-1]
        limits = httpx.Limits(max_connections=None)
        self.http = httpx.Client(base_url=self.address, timeout=120, limits=limits)
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait()

    def memory(self) -> float:
        """MiB of its memory, without the processes of requests (Linux)."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def forecast(self, content: bytes) -> tuple[float, int]:
        """Ask once: seconds, and how many were computed together."""
        begun = time.monotonic()
        answer = self.http.post(
            "/v1/forecast",
            files={"file": ("clip.npy", content)},
            data={"steps": STEPS, "output": "npy"},
        )
        answer.raise_for_status()
        return time.monotonic() - begun, int(answer.headers["x-foreframe-batch"])


def npy(frames: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, frames)
    return file.getvalue()


def by_clients(ask: Callable[[int], tuple[float, int]], clients: int, requests: int) -> str:
    """A line of the table: requests a second, how late they are answered, and in which batches."""
    begun = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        seconds, batches = np.array(list(pool.map(ask, range(requests)))).T
    rate = requests / (time.monotonic() - begun)
    p50, p99 = 1000 * np.quantile(seconds, [0.5, 0.99])
    return f"{clients:8} {rate:10.1f} {p50:10.0f} {p99:10.0f} {batches.mean():10.1f}"


def streams_differ(served: Served, model: str, clips: np.ndarray) -> float:
    """The largest difference of live streams, pushed to all at once, from forecasts of clips."""

    def live(clip: np.ndarray) -> np.ndarray:
        at = served.http.post("/v1/streams", json={"steps": STEPS}).headers["location"]
        for frame in clip:
            served.http.post(f"{at}/frames", content=npy(frame)).raise_for_status()
        answer = served.http.get(f"{at}/forecast", params={"output": "npy"})
        served.http.delete(at)
        return np.load(io.BytesIO(answer.raise_for_status().content))

    begun = time.monotonic()
    with ThreadPoolExecutor(len(clips)) as pool:
        made = np.stack(list(pool.map(live, clips)))
    rate = clips.shape[0] * clips.shape[1] / (time.monotonic() - begun)
    forecaster = foreframe.Forecaster.load(model)
    alone = [forecaster.predict(clip, STEPS) for clip in clips]
    differ = float(np.abs(made - np.stack(alone)).max() / np.ptp(clips))
    print(f"{len(clips)} live streams at once: {rate:.1f} frames a second, differ by {differ:.1e}")
    return differ


def main(model: str, requests: int, clients: list[int], long: int) -> int:
    data = foreframe.MovingMNIST("test", length=PUSHES)
    clips = np.stack([data[k].numpy() for k in range(STREAMS)])
    contents = [npy(clip[:PAST]) for clip in clips]
    failed = False
    for batched in (True, False):
        with Served(model, batched) as served:

            def ask(k: int, served: Served = served) -> tuple[float, int]:
                return served.forecast(contents[k % len(contents)])

            by_clients(ask, 4, 8)  # what is first is late
            print("batched" if batched else "one by one")
            print(f"{'clients':>8} {'requests/s':>10} {'p50 ms':>10} {'p99 ms':>10} {'batch':>10}")
            for some in clients:
                print(by_clients(ask, some, requests), flush=True)
            if batched and long:
                by_clients(ask, 8, 100)
                before = served.memory()
                print(by_clients(ask, 8, long))
                after = served.memory()
                print(f"{long} requests: {before:.0f} MiB before, {after:.0f} MiB after")
                failed |= after > 1.1 * before
            if batched:
                failed |= streams_differ(served, model, clips) > 1e-4
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="moving-mnist")
    parser.add_argument("--requests", type=int, default=200, help="of each number of clients")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 24])
    parser.add_argument("--long", type=int, default=10_000, help="requests with memory looked at")
    options = parser.parse_args()
    raise SystemExit(main(options.model, options.requests, options.clients, options.long))
