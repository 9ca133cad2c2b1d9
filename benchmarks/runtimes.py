"""How fast are forecasts, beside OpenVINO and ONNX Runtime?

    python benchmarks/runtimes.py [--python OTHER] ...

--python OTHER names a Python in an environment of its own, without torch or foreframe:

    python -m venv runtimes
    runtimes/bin/pip install openvino onnxruntime numpy

To the environment of foreframe itself, which writes the networks as ONNX, add

    pip install onnx onnxscript onnxruntime

and then

    python benchmarks/runtimes.py --python runtimes/bin/python

A network is exported once: the whole forecast, `network(past, 10)`, with its steps unrolled. Then
all its ways wait in processes of their own (runtime_worker.py), and are asked in turn, one at a
time, round after round; the table has medians, and ratios of them. `foreframe` is what the first
forecasts of a process take, `foreframe-compiled` what later ones take by themselves. Memory is the
peak of the whole process, with the libraries that it loads. The last column is how far a way's
forecast lies from foreframe's in float32: where that of a float32 way is more than 1e-4, nothing is
timed. Without --python, or without onnx, the two runtimes are left out. Leave bf16 out
by --precisions float32 where the processor only emulates it. `foreframe-onnx` is a
folder of `foreframe export --steps 10`, as `Forecaster.load` runs it.

Weights are random; the tutorial's are enlarged until its forecasts vary from pixel to pixel, so
that a network with other weights would be seen.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

import numpy as np

from foreframe.base.wording import plural

HERE = Path(__file__).parent
PAST = STEPS = 10
NEAR = 1e-4  # how far forecasts in float32 may lie apart
RUNTIMES = ("openvino", "onnxruntime")
EXPORTED = "foreframe-onnx"
WRITERS = ("onnx", "onnxscript", "onnxruntime")  # to write ONNX and to export
REST = 0.05  # seconds before a way is asked: the threads of the way before are asleep by then


@dataclass(frozen=True)
class Network:
    """Its `ways` beside the runtimes, and by how much its random weights are enlarged."""

    ways: tuple[str, ...]
    enlarged: float = 1.0


NETWORKS = {
    "tutorial": Network(("foreframe", "foreframe-compiled", "plain"), enlarged=6.0),
    "quick": Network(("foreframe", "foreframe-compiled")),
    "simvp_small": Network(("foreframe",)),
}
WAYS = ("foreframe", "foreframe-compiled", "plain", *RUNTIMES, EXPORTED)
PRECISIONS = {"float32": "", "bf16": "-bf16"}  # and how names of ways end


def ways_of(network: str, chosen: Sequence[str], precisions: Sequence[str]) -> list[str]:
    """The chosen ways that the network has, in one precision after the other."""
    able = [way for way in chosen if way in (*NETWORKS[network].ways, *RUNTIMES, EXPORTED)]
    return [way + PRECISIONS[of] for of in precisions for way in able]


def leave(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(2)


def left_out(python: str | None) -> str:
    """Why the runtimes cannot be run, or "" where they can."""
    lacking = [name for name in WRITERS if importlib.util.find_spec(name) is None]
    if python is None:
        return "no --python names an environment that has them"
    return f"to export networks: pip install {' '.join(lacking)}" if lacking else ""


def versions(python: str) -> str:
    """Of the runtimes in the environment of `python`."""
    asked = "import numpy, openvino, onnxruntime as o; print(openvino.__version__, o.__version__)"
    command = [python, "-c", asked]
    try:
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        leave(f"{python} does not run: {reason}; there: pip install openvino onnxruntime numpy")
    return f"OpenVINO {words[-2].split('-')[0]}, ONNX Runtime {words[-1]}"


def prepare(name: str, folder: Path, export: bool, given: argparse.Namespace) -> Any:
    """Write what workers need into `folder`, and give the forecast to compare theirs with."""
    import torch

    import foreframe
    from foreframe.models import build_model

    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    digits = foreframe.MovingMNIST("test", length=PAST, canvas=given.size)
    past = digits.batch(list(range(given.batch))).float()
    network = build_model(name).eval()
    with torch.no_grad():
        for weights in network.parameters():
            if weights.dim() > 1:
                weights.mul_(NETWORKS[name].enlarged)
        forecast = network(past, STEPS).numpy()
    np.save(folder / "past.npy", past.numpy())
    torch.save(network.state_dict(), folder / "weights.pt")
    task = {"network": name, "steps": STEPS, "threads": given.threads}
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
    if export:
        foreframe.export(foreframe.Forecaster(network), folder / "onnx", steps=STEPS)
        write_onnx(network, past, folder / "network.onnx")
        write_onnx(network.bfloat16(), past, folder / "network-bf16.onnx")
    return forecast


def write_onnx(network: Any, past: Any, path: Path) -> None:
    """The forecast of `network`, in the dtype of its weights, from and to float32."""
    import torch

    dtype = next(network.parameters()).dtype

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, past: torch.Tensor) -> torch.Tensor:
            forecast: torch.Tensor = self.network(past.to(dtype), STEPS).float()
            return forecast

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            Whole().eval(), (past,), path, dynamo=True, verbose=False, external_data=False,
            opset_version=22,  # the first in which a convolution may be of bfloat16
            input_names=["past"], output_names=["forecast"],
        )  # fmt: skip


class Worker:
    """A process that forecasts one way; `cannot` is why it does not, or "".

    Raises:
        SystemExit: it ended without a reason that goes into the table.
    """

    def __init__(self, way: str, folder: Path, python: str, threads: int) -> None:
        self.way, self.errors = way, folder / f"{way}.log"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [python, str(HERE / "runtime_worker.py"), way, str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            )  # fmt: skip

    def wait(self) -> None:
        kind, _, self.cannot = self._answer().partition("cannot: ")
        if not self.cannot and kind != "ready":
            self._fail()

    def ask(self, what: str) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return float(self._answer() or self._fail())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _fail(self) -> NoReturn:
        errors = self.errors.read_text(errors="replace").strip() or "it ended without a word"
        raise SystemExit(f"{self.way} failed: {errors.splitlines()[-1]}")


@contextmanager
def workers(ways: Sequence[str], folder: Path, given: argparse.Namespace) -> Iterator[list[Worker]]:
    waiting: list[Worker] = []
    try:
        for way in ways:  # started one by one: each needs all threads
            python = given.python if way.startswith(RUNTIMES) else sys.executable
            waiting.append(Worker(way, folder, python, given.threads))
            waiting[-1].wait()
        yield waiting
    finally:
        for worker in waiting:
            worker.process.kill()
            worker.process.wait()


def measure(
    ways: Sequence[str],
    folder: Path,
    forecast: Any,
    given: argparse.Namespace,
) -> tuple[dict[str, list[float]], dict[str, float], dict[str, str], dict[str, float]]:
    """By way: seconds of each round; the difference from `forecast`; why it cannot; peak MiB."""
    with workers(ways, folder, given) as waiting:
        cannot = {worker.way: worker.cannot for worker in waiting if worker.cannot}
        able = [worker for worker in waiting if not worker.cannot]
        apart = {}
        for worker in able:
            theirs = np.load(folder / f"{worker.way}.npy")
            apart[worker.way] = float(np.abs(theirs - forecast).max())
        check_near(apart)
        taken: dict[str, list[float]] = {worker.way: [] for worker in able}
        for _ in range(given.rounds):
            for worker in able:
                time.sleep(REST)
                taken[worker.way].append(worker.ask("forecast"))
        memory = {worker.way: worker.ask("memory") for worker in able}
    return taken, apart, cannot, memory


def check_near(apart: Mapping[str, float]) -> None:
    """Refuse to time what computes something else.

    Raises:
        SystemExit: a way in float32 is further than NEAR from foreframe's forecast, or is NaN.
    """
    for way, difference in apart.items():
        if not way.endswith("-bf16") and not difference <= NEAR:
            raise SystemExit(f"{way} forecasts something else: it differs by {difference:.1e}")


HEADINGS = (
    "network",
    "way",
    "forecast, s",
    "fastest to slowest, s",
    "x foreframe float32",
    "x foreframe of its dtype",
    "peak MiB",
    "largest difference",
)


def rows(
    network: str,
    ways: Sequence[str],
    taken: Mapping[str, Sequence[float]],
    apart: Mapping[str, float],
    cannot: Mapping[str, str],
    memory: Mapping[str, float],
) -> list[str]:
    """Lines of the table. Its ratios are of speed: above 1 is faster than foreframe, uncompiled."""
    lines = []
    middle = {way: median(seconds) for way, seconds in taken.items()}
    for way in ways:
        if way in cannot:
            cells = ["cannot", "", "", "", "", ""]
        else:
            took, own = middle[way], "foreframe-bf16" if way.endswith("-bf16") else "foreframe"
            bases = [middle.get(base) for base in ("foreframe", own)]
            ratios = ["" if base is None else f"{base / took:.2f}" for base in bases]
            spread = f"{min(taken[way]):.3f} to {max(taken[way]):.3f}"
            cells = [f"{took:.3f}", spread, *ratios, f"{memory[way]:.0f}", f"{apart[way]:.1e}"]
        lines.append(f"| {' | '.join([network, way, *cells])} |")
    return lines


def machine(threads: int) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    names = [line.split(":")[1].strip() for line in text.splitlines() if "model name" in line]
    chip = names[0] if names else platform.machine()
    units = " ".join(name for name in ("avx512f", "avx512_bf16", "amx_bf16") if name in text)
    return f"{chip} ({units}), {plural(threads, 'thread')}"


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of 1 or more")
    return int(text)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    option = parser.add_argument
    option("--python", metavar="OTHER", help="of an environment with openvino and onnxruntime")
    option("--rounds", type=positive, default=7)
    option("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    option("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="in each precision")
    option("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    option("--threads", type=positive, default=2)
    option("--batch", type=positive, default=4)
    option("--size", type=positive, default=64, help="side of the frames in pixels, above 28")
    given = parser.parse_args()
    if given.size <= 28:
        parser.error("digits of 28 pixels move within the frames: give a --size above 28")
    runtimes = versions(given.python) if given.python else ""
    missing = left_out(given.python)
    others = (*RUNTIMES, EXPORTED)
    chosen = [way for way in given.ways if not (missing and way in others)]
    if not chosen:
        leave(f"{', '.join(given.ways)} cannot be run: {missing}")
    plan = {name: ways_of(name, chosen, given.precisions) for name in given.networks}
    for name, ways in plan.items():
        if not ways:
            leave(f"{name} has no way of {', '.join(chosen)}")
    import torch

    software = [f"torch {torch.__version__}", *([runtimes] if runtimes else [])]
    print(", ".join([machine(given.threads), *software, time.strftime("%d %B %Y")]))
    frames = f"{PAST} frames of {given.size}x{given.size} in, {STEPS} out"
    print(f"batch {given.batch}, {frames}, {given.rounds} rounds")
    if len(chosen) < len(given.ways):
        print(f"Left out: {', '.join(way for way in given.ways if way in others)} ({missing})")
    print(f"\n| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}", flush=True)
    notes: dict[str, str] = {}
    for name, ways in plan.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            forecast = prepare(name, folder, any(way in others for way in chosen), given)
            taken, apart, cannot, memory = measure(ways, folder, forecast, given)
        print("\n".join(rows(name, ways, taken, apart, cannot, memory)), flush=True)
        notes |= cannot
    for way, why in notes.items():
        print(f"\n{way} cannot: {why}")


if __name__ == "__main__":
    main()
