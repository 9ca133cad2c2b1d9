"""Forecasts from every frame of an archive, by one process and by several workers.

    python benchmarks/archives/archive.py [--starts 100 1000 2000] [--workers 0 2 4] [--side 32]

A network of `quick` with random weights (hidden 8; 4 frames from 4) forecasts grids of side x side
by `foreframe archive --every 1`; with 0 workers the command is alone. Seconds are of all of it, and
memory is the peak of the command, in which the scheduler runs, and of its largest worker.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil


def prepare(folder: Path, starts: int, side: int) -> None:
    """A forecaster, and an archive of so many starts."""
    import torch
    import xarray as xr

    from foreframe import Forecaster, Scaling, Window
    from foreframe.models import build_model

    torch.manual_seed(0)
    network = build_model("quick", {"core": {"convlstm": {"hidden": [8]}}})
    Forecaster(network, Window(4, 4), Scaling(0, 1, "mm", "minmax")).save(folder / "run")
    values = np.random.default_rng(0).random((starts + 3, side, side), np.float32)
    times = np.datetime64("2026-01-01", "ns") + np.arange(starts + 3) * np.timedelta64(5, "m")
    grid = xr.DataArray(values, {"time": times}, ("time", "y", "x"), "rain", {"units": "mm"})
    grid.chunk(time=100).to_zarr(folder / "rain.zarr")


def measure(folder: Path, workers: int, output: Path) -> tuple[float, float, float]:
    """Seconds, and MiB of the command and of its largest worker."""
    words = ["archive", folder / "run", folder / "rain.zarr", "--every", "1", "-o", output]
    words += ["--workers", str(workers)] if workers else []
    began = time.perf_counter()
    program = [sys.executable, "-m", "foreframe", *map(str, words)]
    command = subprocess.Popen(program, stdout=subprocess.DEVNULL)
    own = largest = 0
    while command.poll() is None:
        try:
            process = psutil.Process(command.pid)
            own = max(own, process.memory_info().rss)
            others = [child.memory_info().rss for child in process.children(recursive=True)]
            largest = max(largest, *others, 0)
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.2)
    assert command.returncode == 0
    return time.perf_counter() - began, own / 2**20, largest / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, nargs="+", default=[100, 1000, 2000])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--side", type=int, default=32)
    given = parser.parse_args()
    import xarray as xr

    for starts in given.starts:
        with tempfile.TemporaryDirectory() as name:
            prepare(folder := Path(name), starts, given.side)
            for workers in given.workers:
                output = folder / f"{workers}.zarr"
                seconds, own, largest = measure(folder, workers, output)
                first = xr.open_zarr(folder / f"{given.workers[0]}.zarr", chunks=None).rain
                equal = first.equals(xr.open_zarr(output, chunks=None).rain)
                said = f"{seconds:7.1f} s, {own:5.0f} MiB, a worker {largest:5.0f} MiB"
                print(f"{starts:>6} starts, {workers} workers: {said}, equal: {equal}", flush=True)


if __name__ == "__main__":
    main()
