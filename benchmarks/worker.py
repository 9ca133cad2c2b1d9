"""One way to train a network, waiting to be timed: python benchmarks/worker.py WAY SIZES, driven by speed.py over its pipes.

It builds the network, then answers each line it reads: "forward" and "step" with seconds, "memory" with the peak of this process in
MiB above what it held before its first step. Waiting costs no time of the others: only one worker is asked at a time.

WAY is plain or engine (the tutorial's network), plain-layer or engine-layer (one ConvLSTM layer), keras (one layer; KERAS_BACKEND
says on what), each with -bf16 for bfloat16, engine also with -save for memory "save" and -compiled for compiled cells. SIZES is
JSON: batch, past, future, size, hidden.
"""

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Act = Callable[[], None]


def torch_way(way: str, s: dict[str, int], device: str) -> tuple[Act, Act]:
    import torch

    from foreframe.models import ConvLSTM, ConvLSTMCell
    from foreframe.models.engine import in_step

    torch.manual_seed(0)
    kind, *options = way.split("-")
    bf16 = "bf16" in options
    shape = (s["batch"], s["past"], s.get("channels", 1), s["size"], s["size"])
    x, y = torch.rand(shape, device=device), torch.rand(s["batch"], s["future"], 1, s["size"], s["size"], device=device)
    if "layer" in options:
        cell = ConvLSTMCell(shape[2], s["hidden"]).to(device)
        parameters = list(cell.parameters())

        def ran() -> Any:
            run: Any = in_step([cell], x, "compiled" in options)[0] if kind == "engine" else cell
            h = c = None
            made = []
            for t in range(s["past"]):
                h, c = run(x[:, t], h, c)
                made.append(h)
            return torch.stack(made, dim=1)

        def loss() -> Any:
            return ran().float().square().mean()
    else:
        if kind == "plain":
            sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parity"))
            from test_tutorial import PlainTutorial

            network: Any = PlainTutorial(s["hidden"]).to(device)
        else:
            network = ConvLSTM.preset("tutorial", hidden=(s["hidden"],) * 2).to(device)
            network.memory, network.compiled = "save" if "save" in options else "keep", "compiled" in options
        parameters = list(network.parameters())

        def ran() -> Any:
            return network(x, s["future"])

        def loss() -> Any:
            return (ran().float() - y).square().mean()

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
            made = loss()
        made.backward()
        waited()

    return forward, step


def keras_way(way: str, s: dict[str, int]) -> tuple[Act, Act]:
    """Keras's own layer and fit step, on the backend that KERAS_BACKEND names."""
    import keras
    import numpy as np

    if "bf16" in way:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    shape = (s["past"], s["size"], s["size"], s.get("channels", 1))
    layer = keras.layers.ConvLSTM2D(s["hidden"], 3, padding="same", return_sequences=True, recurrent_activation="sigmoid")
    network = keras.Sequential([keras.Input(shape), layer])
    network.compile(optimizer=keras.optimizers.SGD(0.0), loss="mean_squared_error")
    x = np.random.default_rng(0).random((s["batch"], *shape), np.float32)
    y = np.zeros((s["batch"], *shape[:-1], s["hidden"]), np.float32)
    return lambda: network.predict_on_batch(x), lambda: network.train_on_batch(x, y)


def peak(device: str) -> float:
    """The most memory that this process has held since it was told to forget, in MiB: of a GPU's, or (Linux) of the machine's."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(held.split()[1]) / 1024


def given_back() -> None:
    """What is free goes back to the system, so that using it again counts (glibc). Keras may run where there is no foreframe."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def main(way: str, sizes: dict[str, int], device: str) -> None:
    forward, step = keras_way(way, sizes) if way.startswith("keras") else torch_way(way, sizes, device)
    forward()
    if "compiled" in way:
        step()  # compilers take memory too, once
    given_back()
    if way.startswith("engine") and device == "cpu":
        from foreframe.models.engine import keep_memory

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
        began = time.perf_counter()
        {"forward": forward, "step": step}[line.strip()]()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "cpu")
