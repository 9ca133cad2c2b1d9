"""How much of the processor does a training step use?

    python benchmarks/zoo/training_rate.py [NAME ...] [--batches 16 32] [--threads 1 2] [--rounds 5]

A step of each network on clips of Moving MNIST's size (64x64, 10 -> 10) in bfloat16, with Muon as
the recipes have it, beside a product of two matrices of 2048x2048: multiply-adds of a clip's
forecast, clips a second, and billions of operations a second, counted as six for each of these
multiply-adds (two, forward and twice backward). What the optimizer computes is in the time and not
in the count.

All wait in this process and step in turn, round after round; the table has medians. Seconds are of
the clock on the wall, or with --clock cpu of the processor, which others on the machine change
less; with one thread, since threads that wait for each other count too. NAMEs are of presets and of
CANDIDATES in candidates.py; all of these, unless some are named.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from candidates import CANDIDATES
from torch import Tensor

from foreframe.cli import keep_memory
from foreframe.models import Model, build_model, multiply_adds
from foreframe.training.optimizers import Muon

PRESETS = ("unet_small", "unet", "simvp_small", "tau_small", "predformer_small", "quick")


class Steps:
    """A network with its optimizer and a batch, which takes a step when it is called, and returns
    its seconds, and those of the optimizer in it.
    """

    def __init__(self, name: str, batch: int, clock: Callable[[], float]) -> None:
        torch.manual_seed(0)
        model, args = CANDIDATES.get(name, (name, {}))
        self.network: Model = build_model(model, {"channels": 1} | args)
        self.optimizer = Muon(self.network, 1e-3, (0.9, 0.98), 0.01)
        self.clips, self.clock = torch.rand(batch, 20, 1, 64, 64), clock

    def __call__(self) -> tuple[float, float]:
        past, truth = self.clips.split(10, dim=1)
        began = self.clock()
        with torch.autocast("cpu", torch.bfloat16):
            loss: Tensor = (self.network(past, 10).float() - truth).square().mean()
        loss.backward()
        learnt = self.clock()
        self.optimizer.step()
        self.optimizer.zero_grad()
        ended = self.clock()
        return ended - began, ended - learnt


def product(clock: Callable[[], float]) -> float:
    """Seconds of the product of two matrices."""
    a, b = (torch.randn(2048, 2048).bfloat16() for _ in "ab")
    began = clock()
    _ = a @ b
    return clock() - began


def table(
    names: Sequence[str], batch: int, threads: int, rounds: int, clock: Callable[[], float]
) -> None:
    torch.set_num_threads(threads)
    steps = {name: Steps(name, batch, clock) for name in names}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    products = []
    for turn in range(rounds + 1):  # the first one warms up
        for name, step in steps.items():
            products.append(product(clock))
            seconds = step()
            if turn:
                taken[name].append(seconds)
    ceiling = 2 * 2048**3 / median(products) / 1e9
    print(
        f"\nBatch {batch}, {threads} thread{'s' * (threads > 1)}; the product of matrices: "
        f"{ceiling:.0f} GFLOP/s.\n\n"
        "| network | parameters | G multiply-adds a clip | clips a second | GFLOP/s | of the "
        "product | optimizer |\n|---|---|---|---|---|---|---|"
    )
    for name, step in steps.items():
        whole, optimizer = (median(column) for column in zip(*taken[name], strict=True))
        adds = multiply_adds(step.network, 10, 10, (64, 64))
        rate = 6 * adds * batch / whole / 1e9
        size = sum(p.numel() for p in step.network.parameters())
        print(
            f"| {name} | {size:,} | {adds / 1e9:.2f} "
            f"| {batch / whole:.1f} | {rate:.0f} | {rate / ceiling:.0%} "
            f"| {optimizer / whole:.0%} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=[*PRESETS, *CANDIDATES])
    parser.add_argument("--batches", nargs="+", type=int, default=(16, 32))
    parser.add_argument("--threads", nargs="+", type=int, default=(1, 2))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    given = parser.parse_args()
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[given.clock]
    keep_memory()  # as a training does
    for threads in given.threads:
        for batch in given.batches:
            table(given.names, batch, threads, given.rounds, clock)


if __name__ == "__main__":
    main()
