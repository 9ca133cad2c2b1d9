"""How fast is it, beside what?

    python benchmarks/speed.py [--part NAME] [--device cuda] ...

Every row of a table is measured in one go: all its ways wait in processes of their own, and are
asked in turn, one at a time, round after round; tables have medians and ratios of them. The
ceiling is the faster of a matrix product and a 5x5 convolution of 128 channels, measured before and
after. Useful multiply-adds are counted: a convolution of a first state's zeros is not.

With --old SRC, the folder `src` of another checkout, whose own worker.py knows its names, each row
that foreframe runs in is timed with that one too, in the same rounds: `git worktree add ../before
COMMIT`, then `--old ../before/src`. A last table says how many times as long as the old one each
takes.

Parts: network (the 2020 tutorial's, 10 frames in, 10 out), layer (one ConvLSTM layer), quick
(a training step of that preset), presets (of recurrent presets a step, beside the same loop of
plain torch), growth (with frames, size and channels), memory (40 frames), generator. All of them,
unless one is named.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent


class Worker:
    def __init__(
        self,
        way: str,
        sizes: dict[str, int],
        device: str,
        clock: str,
        script: Path = HERE / "worker.py",
        **environment: str,
    ) -> None:
        self.way = way
        self.process = subprocess.Popen(
            [sys.executable, str(script), way.split("@")[0], json.dumps(sizes), device, clock],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | environment,
        )  # fmt: skip
        if self._answer() != "ready":
            raise SystemExit(
                f"{way} with {sizes} did not start; try: python {script} {way} "
                f"'{json.dumps(sizes)}' {device}"
            )

    def ask(self, what: str) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def workers(
    ways: Sequence[str], sizes: dict[str, int], given: argparse.Namespace
) -> Iterator[list[Worker]]:
    started: list[Worker] = []
    try:
        for way in ways:
            if way.endswith("@old"):
                path = os.pathsep.join(
                    filter(None, (str(given.old.resolve()), os.environ.get("PYTHONPATH")))
                )
                script = given.old.resolve().parent / "benchmarks" / "worker.py"
                how = sizes, given.device, given.clock
                started.append(Worker(way, *how, script=script, PYTHONPATH=path))
            else:
                started.append(Worker(way, sizes, given.device, given.clock))
        yield started
    finally:
        for worker in started:
            worker.process.kill()
            worker.process.wait()


def timed(
    ways: Sequence[str], sizes: dict[str, int], given: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Median seconds of forward and step, and MiB, of each way, with --old also of "way@old"."""
    ways = given.ways or ways
    if given.old is not None:
        ways = [
            name for way in ways for name in ((way,) if "plain" in way else (way, f"{way}@old"))
        ]
    taken: dict[str, dict[str, list[float]]] = {way: {"forward": [], "step": []} for way in ways}
    with workers(ways, sizes, given) as asked:
        for turn in range(given.rounds):
            for what in ("forward", "step"):
                for worker in asked[:: 1 if turn % 2 == 0 else -1]:
                    taken[worker.way][what].append(worker.ask(what))
        memory = {worker.way: worker.ask("memory") for worker in asked}
    for way in ways:
        if f"{way}@old" in taken:
            now, before = taken[way], taken[f"{way}@old"]
            ratios = [
                median(a / b for a, b in zip(now[what], before[what], strict=True))
                for what in ("forward", "step")
            ]
            COMPARED.append((way, sizes, [*ratios, memory[way] / memory[f"{way}@old"]]))
    return {
        way: {what: median(times) for what, times in taken[way].items()} | {"memory": memory[way]}
        for way in ways
    }


# Way, sizes, and this version over the old one.
COMPARED: list[tuple[str, dict[str, int], list[float]]] = []


def compared() -> None:
    print(
        "\n## This version over the old one: medians of each round's ratio\n\n"
        "| way | sizes | forward | step | memory |\n|---|---|---|---|---|"
    )
    for way, sizes, ratios in COMPARED:
        said = ", ".join(f"{name} {size}" for name, size in sizes.items())
        print(f"| {way} | {said} | " + " | ".join(f"{ratio:.3f}" for ratio in ratios) + " |")


def gflop(sizes: dict[str, int], layer: bool) -> float:
    """Billions of operations (two a multiply-add) of a forward pass; a step has thrice that."""
    k, d, frames = sizes["hidden"], sizes.get("channels", 1), sizes["past"]
    # The first layer: 9 places, 4 gates; no convolution of the first zeros.
    adds = frames * 36 * k * (d + k) - 36 * k * k
    if not layer:
        future = sizes["future"]
        adds += frames * 72 * k * k - 36 * k * k  # the encoder's second layer
        # The decoder's two, and the head.
        adds += 2 * (future * 72 * k * k - 36 * k * k) + future * 9 * k
    return 2 * adds * sizes["batch"] * sizes["size"] ** 2 / 1e9


def ceiling(device: str, bf16: bool) -> float:
    """Billions of operations a second: the faster of a matrix product and a good convolution."""
    import torch
    import torch.nn.functional as F

    kind = torch.bfloat16 if bf16 else torch.float32
    n = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(n, n, device=device, dtype=kind) for _ in range(2))
    x = torch.randn(4 if device == "cpu" else 64, 128, 64, 64, device=device, dtype=kind).to(
        memory_format=torch.channels_last
    )
    w = torch.randn(128, 128, 5, 5, device=device, dtype=kind).to(memory_format=torch.channels_last)
    best = 0.0
    for act, work in (
        (lambda: a @ b, 2 * n**3),
        (lambda: F.conv2d(x, w, padding=2), 2 * x.shape[0] * 64**2 * 128**2 * 25),
    ):
        times = []
        for _ in range(9):
            began = time.perf_counter()
            act()
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        best = max(best, work / median(times[2:]) / 1e9)
    return best


def network(given: argparse.Namespace) -> None:
    print("\n## The tutorial's network, 64 hidden, 64x64, 10 -> 10\n")
    print(
        "| batch | way | forward, s | x plain float32 | step, s | x plain float32 | GFLOP/s | "
        "share of ceiling | peak MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for batch in given.batches or ((1, 4, 12) if given.device == "cpu" else (4, 64)):
        sizes = {"batch": batch, "past": 10, "future": 10, "size": 64, "hidden": 64}
        top = {bf16: ceiling(given.device, bf16) for bf16 in (False, True)}
        ways = [
            "plain",
            "plain-bf16",
            "engine",
            "engine-bf16",
            "engine-uncompiled",
            "engine-uncompiled-bf16",
        ]
        found = timed(ways, sizes, given)
        top = {bf16: max(top[bf16], ceiling(given.device, bf16)) for bf16 in top}
        base = found[next(iter(found))]
        for way, one in found.items():
            rate, most = 3 * gflop(sizes, False) / one["step"], top["bf16" in way]
            print(
                f"| {batch} | {way} | {one['forward']:.3f} | "
                f"{base['forward'] / one['forward']:.2f} | {one['step']:.3f} | "
                f"{base['step'] / one['step']:.2f} | {rate:.0f} | {rate / most:.0%} of {most:.0f} "
                f"| {one['memory']:.0f} |",
                flush=True,
            )


def layer(given: argparse.Namespace) -> None:
    print("\n## One layer, 32 channels in, 32 hidden, 64x64, 20 frames\n")
    print(
        "| batch | way | forward, s | step, s | step, x the engine's of its dtype | peak MiB |\n"
        "|---|---|---|---|---|---|"
    )
    for batch in given.batches or (1, 4, 12):
        sizes = {"batch": batch, "past": 20, "future": 0, "size": 64, "hidden": 32, "channels": 32}
        ways = ["plain-layer", "engine-layer", "plain-layer-bf16", "engine-layer-bf16"]
        ways += ["engine-layer-uncompiled", "engine-layer-uncompiled-bf16"]
        found = timed(ways, sizes, given)
        for way, one in found.items():
            ours = found.get("engine-layer-bf16" if "bf16" in way else "engine-layer", one)["step"]
            print(
                f"| {batch} | {way} | {one['forward']:.3f} | {one['step']:.3f} | "
                f"{one['step'] / ours:.2f} | {one['memory']:.0f} |",
                flush=True,
            )


def quick(given: argparse.Namespace) -> None:
    print("\n## A training step of `quick`, 64x64, 10 -> 10, with Muon\n")
    print(
        "| batch | way | forward, s | step, s | step, x the first | peak MiB |\n"
        "|---|---|---|---|---|---|"
    )
    for batch in given.batches or (8,):
        sizes = {"batch": batch, "past": 10, "future": 10, "size": 64, "hidden": 64}
        ways = ["quick", "quick-bf16"]
        found = timed(ways, sizes, given)
        for way, one in found.items():
            share = one["step"] / found[next(iter(found))]["step"]
            print(
                f"| {batch} | {way} | {one['forward']:.3f} | {one['step']:.3f} | {share:.2f} | "
                f"{one['memory']:.0f} |",
                flush=True,
            )


def presets(given: argparse.Namespace) -> None:
    """`--ways` names other presets."""
    print(
        "\n## A training step of recurrent presets, 64x64, 10 -> 10, beside plain torch\n\n"
        "| preset | batch | plain, s | foreframe, s | foreframe over plain | plain, MiB | "
        "foreframe, MiB |\n|---|---|---|---|---|---|---|"
    )
    names, given.ways = given.ways or RECURRENT, None
    for name in names:
        for batch in given.batches or (4, 16):
            sizes = {"batch": batch, "past": 10, "future": 10, "size": 64}
            for kind in ("", "-bf16"):
                found = timed([f"{name}-plain{kind}", f"{name}{kind}"], sizes, given)
                plain, ours, *_ = found.values()
                print(
                    f"| {name}{kind} | {batch} | {plain['step']:.3f} | {ours['step']:.3f} | "
                    f"{ours['step'] / plain['step']:.2f} | {plain['memory']:.0f} | "
                    f"{ours['memory']:.0f} |",
                    flush=True,
                )


RECURRENT = (
    "openstl",
    "predrnn_small",
    "predrnnpp_small",
    "phydnet_small",
    "mau_small",
    "e3dlstm_small",
    "mim_small",
)


def growth(given: argparse.Namespace) -> None:
    """The exponent is that of a straight line through the logarithms."""
    print(
        "\n## How a step grows (the engine, bf16, batch 1)\n\n"
        "| with | values | seconds | exponent | MiB |\n|---|---|---|---|---|"
    )
    start = {"batch": 1, "past": 10, "future": 10, "size": 64, "hidden": 64}
    for name, values in (
        ("frames", (10, 40, 160)),
        ("size", (64, 128, 256)),
        ("hidden", (32, 64, 128)),
    ):
        taken, memory = [], []
        for value in values:
            changes = (
                {"past": value // 2, "future": value // 2} if name == "frames" else {name: value}
            )
            found = timed(["engine-bf16"], start | changes, given)["engine-bf16"]
            taken.append(found["step"])
            memory.append(found["memory"])
        by = [value**2 if name == "size" else value for value in values]
        over = math.log(by[-1] / by[0])
        print(
            f"| {'pixels' if name == 'size' else name} | {', '.join(map(str, values))} | "
            f"{', '.join(f'{t:.3f}' for t in taken)} | "
            f"{math.log(taken[-1] / taken[0]) / over:.2f} | "
            f"{', '.join(f'{m:.0f}' for m in memory)} |",
            flush=True,
        )


def memory(given: argparse.Namespace) -> None:
    print("\n## 40 frames (20 -> 20), the tutorial's network, batch 4\n")
    print(
        "| way | step, s | x its own without saving | peak MiB | share of plain |\n"
        "|---|---|---|---|---|"
    )
    sizes = {"batch": 4, "past": 20, "future": 20, "size": 64, "hidden": 64}
    found = timed(
        ["plain", "plain-bf16", "engine", "engine-save", "engine-bf16", "engine-bf16-save"],
        sizes,
        given,
    )
    for way, one in found.items():
        own = found[way.replace("-save", "")]["step"]
        base = found["plain-bf16" if "bf16" in way else "plain"]["memory"]
        print(
            f"| {way} | {one['step']:.3f} | {one['step'] / own:.2f} | {one['memory']:.0f} | "
            f"{one['memory'] / base:.2f} |",
            flush=True,
        )


def generator(given: argparse.Namespace) -> None:
    """One thread, batches of 64 clips, ready for a network. The plain loop draws digit by digit and
    frame by frame, as the released generators do, and stacks its clips.
    """
    import numpy as np
    import torch

    import foreframe

    torch.set_num_threads(1)
    data = foreframe.MovingMNIST("train", length=20)
    images, draw = data.images, np.random.default_rng(0)

    def plain_clip() -> Any:
        canvas = np.zeros((20, 64, 64), np.float32)
        for _ in range(2):
            image = images[draw.integers(len(images))]
            (y, x), angle = draw.random(2), 2 * np.pi * draw.random()
            dy, dx = 0.1 * np.sin(angle), 0.1 * np.cos(angle)
            for t in range(20):
                y, x = y + dy, x + dx
                if not 0 <= y <= 1:
                    y, dy = min(max(y, 0.0), 1.0), -dy
                if not 0 <= x <= 1:
                    x, dx = min(max(x, 0.0), 1.0), -dx
                top, left = int(36 * y), int(36 * x)
                place = canvas[t, top : top + 28, left : left + 28]
                np.maximum(place, image, out=place)
        return torch.from_numpy(canvas[:, None] / 255)

    ways: dict[str, Any] = {
        "plain loop": lambda: torch.stack([plain_clip() for _ in range(64)]),
        "foreframe, float32": lambda: data.batch(list(range(64))),
        "foreframe, uint8 (training)": lambda: data.compact(list(range(64))),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(20 * given.rounds):
        for name, act in ways.items():
            began = time.perf_counter()
            act()
            taken[name].append(64 / (time.perf_counter() - began))
    rates = {name: median(measured[2:]) for name, measured in taken.items()}
    print(
        "\n## The generator, one thread, 20 frames of 64x64\n\n"
        "| way | clips a second | x the plain loop |\n|---|---|---|"
    )
    for name, rate in rates.items():
        print(f"| {name} | {rate:.0f} | {rate / rates['plain loop']:.1f} |", flush=True)


PARTS: dict[str, Any] = {
    "network": network,
    "layer": layer,
    "quick": quick,
    "presets": presets,
    "growth": growth,
    "memory": memory,
    "generator": generator,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--batches", type=int, nargs="+", help="of network and layer, in place of 1, 4, 12"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--clock",
        default="wall",
        choices=("wall", "cpu"),
        help="cpu, with one thread, where others work too",
    )
    parser.add_argument(
        "--old", type=Path, metavar="SRC", help="time the foreframe in this folder beside this one"
    )
    parser.add_argument(
        "--ways", nargs="+", help="of network, layer, quick and presets, in place of all"
    )
    given = parser.parse_args()
    import torch

    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [line.split(":")[1].strip() for line in cpuinfo.splitlines() if "model name" in line]
    chip = models[0] if models else platform.machine()
    units = " ".join(name for name in ("avx512f", "avx512_bf16", "amx_bf16") if name in cpuinfo)
    device = torch.cuda.get_device_name() if given.device == "cuda" else f"{chip} ({units})"
    print(
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{time.strftime('%d %B %Y')}"
    )
    for name in [given.part] if given.part else PARTS:
        PARTS[name](given)
    if COMPARED:
        compared()


if __name__ == "__main__":
    main()
