"""How much faster are forecasts in half precision?

    python benchmarks/precision.py [NAME ...]

NAMEs are presets, whose time does not depend on their weights, or anything that `Forecaster.load`
takes. Each forecasts ten frames from ten, of 64x64 or as large as it was trained with, in float32
and in bf16-mixed in turn, round after round. The table has medians, of seconds and of the ratio
within a round. What it costs in score: `foreframe evaluate --precision bf16-mixed`.
"""

import argparse
import platform
import sys
import time
from statistics import median

import torch

import foreframe
from foreframe.models import PRESETS, build_model

NAMES = ["moving-mnist", "quick", "nowcast", "simvp_small", "tutorial", "openstl", "shi2015"]
PAST, STEPS = 10, 10


def forecaster_of(name: str) -> foreframe.Forecaster:
    torch.manual_seed(0)
    if name in PRESETS:
        return foreframe.Forecaster(build_model(name))
    return foreframe.Forecaster.load(name)


def main(names: list[str], rounds: int) -> int:
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{STEPS} frames from {PAST}, {rounds} rounds ({machine}, {time.strftime('%d %B %Y')})\n")
    print("| model | frames | 32-true, s | bf16-mixed, s | times as fast |\n|---|---|---|---|---|")
    for name in names:
        forecaster = forecaster_of(name)
        h, w = forecaster.trained.frame or (64, 64)
        low, high = forecaster.scaling.low, forecaster.scaling.high
        past = low + (high - low) * torch.rand(PAST, forecaster.model.channels or 1, h, w)

        def seconds(precision: str, forecaster=forecaster, past=past) -> float:
            began = time.perf_counter()
            forecaster.predict(past, STEPS, precision=precision)
            return time.perf_counter() - began

        seconds("32-true"), seconds("bf16-mixed")
        taken = [(seconds("32-true"), seconds("bf16-mixed")) for _ in range(rounds)]
        exact, half = (median(column) for column in zip(*taken, strict=True))
        ratio = median(slow / fast for slow, fast in taken)
        print(f"| {name} | {h}x{w} | {exact:.3f} | {half:.3f} | {ratio:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    sys.exit(main(given.names, given.rounds))
