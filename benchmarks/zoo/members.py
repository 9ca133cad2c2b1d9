"""What do members cost?

    python benchmarks/zoo/members.py [--old SRC] ...

A forecast of 16 members beside one forecast, and a training step of `--loss crps --members 2`
beside one of `--loss mse`, each in float32 and in bfloat16 (leave that out by --precisions where
the processor only emulates it). A step is what `foreframe train` does with a batch: loss,
gradients, the preset's usual optimizer.
Rows of flows are of flows of `simvp_small`, those of `dressed` are of `guided`: one forecast is
that of these, and so is the step of mse. `flow` learns by flow matching in the passes that it has
by default; `flow_judged` has two passes and learns from its members, by crps.

All ways of a row wait in processes of their own and are asked in turn, one at a time, round after
round: so work of others on the machine, which comes and goes, meets them alike. Tables have
medians, of seconds and of each round's ratio. MiB are the peak of a process above what it held
before. With --old SRC, the folder that another checkout's foreframe lies in, each way is timed with
that one too, in the same rounds; the last columns are this one over the old one.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # what several benchmarks share

from runtimes import PRECISIONS, machine, positive
from worker import give_memory_back, peak

AROUND = {
    "flow": ("flow", {"of": "simvp_small"}),
    "flow_judged": ("flow", {"of": "simvp_small", "times": [0, 0.25]}),
    "dressed": ("dressed", {"of": "guided"}),
}
NETWORKS = ("sprites", *AROUND)
WAYS = {"forecast": ("one", "members"), "step": ("mse", "crps")}
DRAWN = {"members": 16, "crps": 2}
FRAMES = 10


def act_of(way: str, given: dict[str, Any]) -> Callable[[], Any]:
    import torch

    import foreframe
    from foreframe.clips.clip import Window
    from foreframe.models import build_model
    from foreframe.training.objectives import LOSSES, forecast
    from foreframe.training.optimizers import build_optimizer
    from foreframe.training.options import LearningOptions

    torch.manual_seed(0)
    torch.set_num_threads(given["threads"])
    name, args = given["network"], {}
    if name in AROUND:
        name, args = AROUND[name]
        name, args = (args["of"], {}) if way == "mse" else (name, args)
    network = build_model(name, args)
    window = Window(FRAMES, FRAMES)
    digits = foreframe.MovingMNIST("test", length=window.length)
    clips = digits.batch(list(range(given["batch"]))).float()
    if way in WAYS["forecast"]:
        network.to(memory_format=torch.channels_last)  # as loaded ones are
        forecaster = foreframe.Forecaster(network, window)
        past, precision = clips[:, :FRAMES], "bf16-mixed" if given["bf16"] else "32-true"
        return lambda: forecaster.predict(
            past, FRAMES, precision=precision, members=DRAWN.get(way), seed=0
        )
    optimizer = build_optimizer(network, LearningOptions(learning_rate=1e-5))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=given["bf16"]):
            # An objective of its own, where members are not judged.
            own = way == "mse" or given["network"] == "flow"
            made = network.teacher_forced(clips, window) if own else None
            if made is None:
                made = forecast(network, clips, window, count=DRAWN.get(way, 0))
            loss = LOSSES[way](made.forecast, made.truth) + sum(network.terms(made).values())
        loss.backward()
        optimizer.step()

    return step


def wait(way: str, given: dict[str, Any]) -> None:
    """A way in this process: answers each line with seconds, after a first one with MiB."""
    from foreframe.cli import keep_memory

    act = act_of(way, given)
    act()
    give_memory_back()
    keep_memory()  # as the verbs do
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = peak("cpu")
    act()
    act()
    print(peak("cpu") - before, flush=True)
    now = time.process_time if given["clock"] == "cpu" else time.perf_counter
    for _ in sys.stdin:
        began = now()
        act()
        print(now() - began, flush=True)


class Worker:
    def __init__(self, way: str, given: dict[str, Any], old: Path | None = None) -> None:
        paths = [None if old is None else str(old.resolve()), os.environ.get("PYTHONPATH")]
        environment = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": str(given["threads"]),
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", json.dumps([way, given])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment,
        )  # fmt: skip
        self.memory = self._answer()

    def ask(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> float:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended")
        return float(line)


def measured(what: str, how: dict[str, Any], given: argparse.Namespace) -> str:
    """A row of the table."""
    checkouts = [None] if given.old is None else [None, given.old]
    asked: dict[tuple[str, bool], Worker] = {}
    try:
        for way in WAYS[what]:
            for old in checkouts:
                asked[way, old is not None] = Worker(way, how, old)
        taken: dict[tuple[str, bool], list[float]] = {key: [] for key in asked}
        for turn in range(given.rounds):
            for key in list(asked)[:: 1 if turn % 2 == 0 else -1]:
                taken[key].append(asked[key].ask())
    finally:
        for worker in asked.values():
            worker.process.kill()
            worker.process.wait()

    def ratio(a: tuple[str, bool], b: tuple[str, bool]) -> str:
        return f"{median(x / y for x, y in zip(taken[a], taken[b], strict=True)):.2f}"

    few, many = ((way, False) for way in WAYS[what])
    cells = [f"{median(taken[key]):.3f}" for key in (few, many)] + [ratio(many, few)]
    cells += [f"{asked[key].memory:.0f}" for key in (few, many)]
    if given.old is not None:
        cells += [ratio(key, (key[0], True)) for key in (few, many)]
        cells += [ratio((many[0], True), (few[0], True)), f"{asked[many[0], True].memory:.0f}"]
    name = f"{what}, {how['network']}, {'bf16' if how['bf16'] else 'float32'}"
    return f"| {name}, batch {how['batch']} | {' | '.join(cells)} |"


HEADINGS = ["what", "one, s", "members, s", "ratio", "one, MiB", "members, MiB"]
BESIDE_OLD = ["one, x old", "members, x old", "old ratio", "old members, MiB"]


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    option = parser.add_argument
    option("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    option("--what", nargs="+", choices=WAYS, default=list(WAYS))
    option("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    option("--batch", type=positive, default=8)
    option("--rounds", type=positive, default=9)
    option("--threads", type=positive, default=2)
    option("--clock", choices=("wall", "cpu"), default="wall", help="cpu: where others work too")
    option("--old", type=Path, metavar="SRC", help="time the foreframe in this folder too")
    option("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        wait(*json.loads(given.worker))
        return
    import torch

    print(f"{machine(given.threads)}, torch {torch.__version__}, {time.strftime('%d %B %Y')}")
    print(f"64x64, {FRAMES} frames in, {FRAMES} out; {DRAWN['members']} members of a forecast,")
    print(f"{DRAWN['crps']} of a step; {given.rounds} rounds, {given.clock} clock\n")
    headings = HEADINGS + (BESIDE_OLD if given.old else [])
    print(f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}", flush=True)
    for what in given.what:
        for network in given.networks:
            for precision in given.precisions:
                how = {"network": network, "bf16": precision == "bf16", "batch": given.batch}
                how |= {"threads": given.threads, "clock": given.clock}
                print(measured(what, how, given), flush=True)


if __name__ == "__main__":
    main()
