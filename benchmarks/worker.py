"""One way to train a network, waiting to be timed; speed.py drives it over its pipes.

    python benchmarks/worker.py WAY SIZES [DEVICE [CLOCK]]

It builds the network, then answers each line it reads: "forward" and "step" with seconds, "memory"
with the peak of this process in MiB above what it held before its first step. Waiting costs no time
of the others: only one worker is asked at a time.

WAY is plain or engine (the tutorial's network), plain-layer or engine-layer (one ConvLSTM layer),
quick (that preset's network, whose step goes on to Muon), another preset by its name (with -plain
as the same loop of plain torch: without the engine, its cells not compiled), each with -bf16 for
bfloat16; engine and quick also with -save for memory "save". Their cells are compiled as `foreframe
train` does by itself, where maps are large and a compiler works; with -uncompiled they are not, as
where there is none. SIZES is JSON: batch, past, future, size, hidden.

CLOCK is wall, or cpu: the processor time of this process, which others on the machine hardly
change; with one thread (OMP_NUM_THREADS=1), since threads that wait for each other count too.

Whichever foreframe comes first on PYTHONPATH is timed.
"""

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

Act = Callable[[], None]


def torch_way(way: str, s: dict[str, int], device: str) -> tuple[Act, Act]:
    import torch

    from foreframe.models import PRESETS, ConvLSTMCell, build_model, engine, interface

    def compiled(values: int) -> bool:
        worth = "uncompiled" not in options and (device == "cuda" or values >= engine.WORTH)
        return worth and not engine.why_not_compiled(device)

    torch.manual_seed(0)
    muon: Any = None
    kind, *options = way.split("-")
    bf16 = "bf16" in options
    shape = (s["batch"], s["past"], s.get("channels", 1), s["size"], s["size"])
    x = torch.rand(shape, device=device)
    y = torch.rand(s["batch"], s["future"], 1, s["size"], s["size"], device=device)
    if "layer" in options:
        cell = ConvLSTMCell(shape[2], s["hidden"]).to(device)
        parameters = list(cell.parameters())

        def ran() -> Any:
            one_pass: Any = nullcontext()
            if kind == "engine":
                one_pass = engine.one_pass(x, compiled(s["batch"] * s["size"] ** 2 * s["hidden"]))
            h = c = None
            maps = []
            with one_pass:
                for t in range(s["past"]):
                    h, c = cell(x[:, t], h, c)
                    maps.append(h)
            return torch.stack(maps, dim=1)

        def loss() -> Any:
            return ran().float().square().mean()
    else:
        if kind == "plain":
            sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parity"))
            from test_tutorial import PlainTutorial

            network: Any = PlainTutorial(s["hidden"]).to(device)
        elif kind in PRESETS and kind != "quick":
            network = build_model(kind).to(device)
            network.compiled = compiled(s["batch"] * network.step_values(s["size"], s["size"]))
            if "plain" in options:
                interface.one_pass = lambda *_: nullcontext()  # type: ignore[assignment,misc]
        else:
            layers = 1 if kind == "quick" else 2
            network = build_model(
                "quick" if kind == "quick" else "tutorial",
                {"core": {"convlstm": {"hidden": [s["hidden"]] * layers}}},
            ).to(device)
            network.memory = "save" if "save" in options else "keep"
            network.compiled = compiled(s["batch"] * network.step_values(s["size"], s["size"]))
        parameters = list(network.parameters())

        def ran() -> Any:
            return network(x, s["future"])

        def loss() -> Any:
            return (ran().float() - y).square().mean()

        if kind == "quick":
            from foreframe.training.optimizers import Muon

            muon = Muon(network, 1e-5, (0.9, 0.98))

    def waited() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def forward() -> None:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=bf16):
            ran()
        waited()

    def step() -> None:
        for parameter in parameters:
            parameter.grad = None
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            error = loss()
        error.backward()
        if muon is not None:
            muon.step()
        waited()

    return forward, step


def peak(device: str) -> float:
    """The most memory that this process held since the count began, in MiB: a GPU's, or Linux's."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return int(status["VmHWM"].split()[0]) / 1024


def give_memory_back() -> None:
    """Give free memory back to the system, so that using it again counts (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def main(way: str, sizes: dict[str, int], device: str = "cpu", clock: str = "wall") -> None:
    now = time.process_time if clock == "cpu" else time.perf_counter
    forward, step = torch_way(way, sizes, device)
    forward()
    ours = "plain" not in way
    if device == "cpu" and ours:
        step()  # compilers take memory too, once
    give_memory_back()
    if device == "cpu" and not way.startswith("plain"):
        from foreframe.cli import keep_memory

        keep_memory()  # as `foreframe train` does
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    before = peak(device)
    step()
    step()
    memory = peak(device) - before
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "memory":
            print(memory, flush=True)
            continue
        began = now()
        {"forward": forward, "step": step}[line.strip()]()
        print(now() - began, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.argv[1:] == ["--help"]:
        print(__doc__)
    else:
        main(sys.argv[1], json.loads(sys.argv[2]), *sys.argv[3:])
