"""A training step of `quick` on a quiet machine, beside a busy loop, and beside another training.

    python benchmarks/threads.py [--seconds 12] [--rounds 2]

Each step runs in a process of its own, in turn with the others: with OpenMP's threads as they are
by default ("spin"), as foreframe sets them before torch is loaded ("sleep"), and with one thread.
Prints a table of median milliseconds a step, the medians of the rounds.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

SETTINGS = {
    "spin": {
        "GOMP_SPINCOUNT": "300000",
        "KMP_BLOCKTIME": "200",
    },  # the defaults of GNU, Intel and LLVM
    "sleep": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
BUSY = [sys.executable, "-c", "while True: pass"]


def step_times(seconds: float) -> list[float]:
    """Milliseconds of steps, the first ones left out."""
    import foreframe  # before torch

    del foreframe
    import torch

    from foreframe import MovingMNIST, Window
    from foreframe.models import build_model, parts_of
    from foreframe.training.objectives import LOSSES
    from foreframe.training.optimizers import build_optimizer
    from foreframe.training.options import LearningOptions

    torch.manual_seed(0)
    network, clips = build_model("quick"), MovingMNIST("train", clips=8).batch(range(8))
    optimizer = build_optimizer(network, LearningOptions(optimizer="muon", learning_rate=6e-3))
    parts = parts_of(clips, Window(10, 10), 0)
    taken = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(taken) < 6:
        began = time.perf_counter()
        loss = LOSSES["mix"](network(parts.past, 10), parts.truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        taken.append(1000 * (time.perf_counter() - began))
    return taken[3:]


@contextmanager
def beside(command: list[str] | None, env: dict[str, str]) -> Iterator[None]:
    """While another program runs."""
    if command is None:
        yield
        return
    other = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    time.sleep(6 if command is not BUSY else 0.5)  # until it computes
    try:
        yield
    finally:
        other.kill()
        other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.steps:
        print(median(step_times(given.seconds)))
        return
    own = [sys.executable, __file__, "--steps", "--seconds"]
    others = {"quiet": None, "a busy loop": BUSY, "another training": [*own, "10000"]}
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(given.rounds):
        for where, other in others.items():
            for name, setting in SETTINGS.items():
                env = os.environ | setting
                with beside(other, env):
                    done = subprocess.run(
                        [*own, str(given.seconds)],
                        env=env,
                        capture_output=True,
                        text=True,
                        check=True,
                    )
                taken.setdefault((where, name), []).append(float(done.stdout))
    print("| ms a step | " + " | ".join(SETTINGS) + " |")
    print("|---" * (1 + len(SETTINGS)) + "|")
    for where in others:
        row = [f"{median(taken[where, name]):.0f}" for name in SETTINGS]
        print(f"| {where} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
