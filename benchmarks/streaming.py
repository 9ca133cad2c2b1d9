"""Does a stream stay small, and true?

    python benchmarks/streaming.py [FRAMES]

Pushes FRAMES (100,000) frames of moving digits, 64x64, through a live forecast of the preset
`quick`, and prints the memory of this process as it goes; then compares the last forecast with the
one that `predict` makes of all frames at once. Exits with 1 where memory grew by more than 2 %
after the first thousand frames, or the two differ by more than 1e-4.
"""

import argparse
import os
import platform
import sys
import time

import numpy as np
import torch

import foreframe
from foreframe.models import build_model

STEPS = 5


def resident() -> float:
    """Memory of this process in MiB (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def frames(n: int) -> np.ndarray:
    """(n,1,64,64): clips of moving digits, one after the other, as bytes."""
    data = foreframe.MovingMNIST("test", length=100)
    film = np.empty((n, 1, 64, 64), np.uint8)
    for k in range(0, n, 100):
        film[k : k + 100] = (data[k // 100].numpy() * 255).round()[: n - k]
    return film


def main(n: int) -> int:
    torch.manual_seed(0)
    forecaster = foreframe.Forecaster(build_model("quick"), scaling=foreframe.Scaling(0, 255))
    shown, live = frames(n), forecaster.stream(STEPS)
    machine = (
        f"{platform.machine()}, {torch.get_num_threads()} threads, {time.strftime('%d %B %Y')}"
    )
    print(f"{n} frames of 64x64, forecasts of {STEPS} ({machine})")
    began, early, last = time.monotonic(), 0.0, None
    for k, frame in enumerate(shown, 1):
        last = live.push(frame)
        if k == min(1000, n):
            early = resident()
        if k in (1000, n) or k % max(1, n // 10) == 0:
            print(
                f"after {k:>7} frames: {resident():7.1f} MiB, "
                f"{k / (time.monotonic() - began):6.1f} frames a second",
                flush=True,
            )
    grown = resident() / early - 1
    apart = float(np.abs(forecaster.predict(shown, STEPS) - last).max()) / 255
    print(f"memory after the first thousand: {grown:+.2%}")
    print(
        f"the last forecast and predict on all {n} frames differ by {apart:.1e} at most, where "
        "values lie in [0,1]"
    )
    return int(grown > 0.02 or apart > 1e-4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("frames", type=int, nargs="?", default=100_000)
    sys.exit(main(parser.parse_args().frames))
