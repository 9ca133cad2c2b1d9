"""Forecasts by one runtime, waiting to be timed: python benchmarks/runtime_worker.py WAY FOLDER.

Driven by runtimes.py over its pipes, which wrote into FOLDER what is to be run: task.json,
past.npy, weights.pt, network.onnx, network-bf16.onnx, and the exported folder onnx. It forecasts,
writes that to FOLDER/WAY.npy, prints "ready", or "cannot: " and why; then it answers "forecast"
with the seconds of one, and "memory" with its peak in MiB. Waiting costs the other workers no time.

WAY is foreframe, foreframe-compiled (cells compiled), plain (the tutorial's code), openvino or
onnxruntime, each with -bf16 for bfloat16; or foreframe-onnx, the exported folder. torch is imported
by all but openvino and onnxruntime: their environment needs none.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Forecast = Callable[[], Any]  # an array (b,steps,c,h,w), float32
REPEAT = 0.3  # seconds: what is shorter is repeated, so that its caches are warm


class UnsupportedError(Exception):
    """This processor, or these versions, cannot run the way: the reason."""


def torch_way(way: str, bf16: bool, folder: Path, task: dict[str, Any]) -> Forecast:
    import torch

    from foreframe.models import build_model

    torch.set_num_threads(task["threads"])
    if way == "foreframe-onnx":
        return exported_way(bf16, folder / "onnx", folder, task)
    network: Any = build_model(task["network"])
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    if way == "plain":
        network = plain(network)
    elif way == "foreframe-compiled":
        compile_cells(network)
    else:
        network.compiled = False
    past = torch.from_numpy(np.load(folder / "past.npy"))
    network.eval()
    if way != "plain":  # as `Forecaster.load` lays weights, and `foreframe predict` keeps memory
        from foreframe.cli import keep_memory

        network.to(memory_format=torch.channels_last)
        keep_memory()

    def forecast() -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return network(past, task["steps"]).float().numpy()

    return forecast


def exported_way(bf16: bool, exported: Path, folder: Path, task: dict[str, Any]) -> Forecast:
    import torch

    from foreframe import Forecaster

    if bf16:
        raise UnsupportedError("what is exported computes in float32")
    network: Any = Forecaster.load(exported).model
    past = torch.from_numpy(np.load(folder / "past.npy"))
    return lambda: network(past, task["steps"]).numpy()


def plain(network: Any) -> Any:
    """The tutorial's code, with the weights of `network`, which lie in the same order."""
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parity"))
    from test_tutorial import PlainTutorial

    weights = list(network.parameters())
    tutorial = PlainTutorial(hidden=weights[0].shape[0] // 4)  # one convolution makes four gates
    with torch.no_grad():
        for theirs, ours in zip(tutorial.parameters(), weights, strict=True):
            theirs.copy_(ours.view_as(theirs))
    return tutorial


def compile_cells(network: Any) -> None:
    """Have the engine compile its cells.

    Raises:
        UnsupportedError: without a compiler.
    """
    import torch

    try:
        torch.compile(lambda x: x + 1)(torch.zeros(8))
    except Exception as error:  # of torch's or the system's, as it happens to fail
        raise UnsupportedError(f"no C++ compiler works here ({type(error).__name__})") from error
    network.compiled = True


def openvino_way(bf16: bool, folder: Path, task: dict[str, Any]) -> Forecast:
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": task["threads"],
        "PERFORMANCE_HINT": "LATENCY",  # all threads on one forecast, as torch has it
    }
    network = core.compile_model(core.read_model(folder / "network.onnx"), "CPU", settings)
    if bf16 and network.get_property("INFERENCE_PRECISION_HINT") != openvino.Type.bf16:
        raise UnsupportedError("OpenVINO computes no bf16 on this processor")
    request, past = network.create_infer_request(), np.load(folder / "past.npy")
    return lambda: request.infer([past])[0]


def onnxruntime_way(bf16: bool, folder: Path, task: dict[str, Any]) -> Forecast:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task["threads"]
    # Its threads shall not wait for more work at others' cost.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 4
    file = folder / ("network-bf16.onnx" if bf16 else "network.onnx")
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no public names
        if not bf16:
            raise
        raise UnsupportedError(str(error).splitlines()[0]) from error
    past = np.load(folder / "past.npy")
    return lambda: session.run(None, {"past": past})[0]


def peak() -> float:
    """The most memory that this process held, in MiB (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(way: str, folder: Path) -> None:
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    name, bf16 = way.removesuffix("-bf16"), way.endswith("-bf16")
    try:
        if name == "openvino":
            forecast = openvino_way(bf16, folder, task)
        elif name == "onnxruntime":
            forecast = onnxruntime_way(bf16, folder, task)
        else:
            forecast = torch_way(name, bf16, folder, task)
    except UnsupportedError as why:
        print(f"cannot: {why}", flush=True)
        return
    forecast()  # runtimes plan their memory, and compilers compile, in the first
    np.save(folder / f"{way}.npy", forecast())
    print("ready", flush=True)
    for line in sys.stdin:
        if line == "memory\n":
            print(peak(), flush=True)
            continue
        began, times = time.perf_counter(), 0
        while times == 0 or time.perf_counter() - began < REPEAT:
            forecast()
            times += 1
        print((time.perf_counter() - began) / times, flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--help"]:
        print(__doc__)
    else:
        main(sys.argv[1], Path(sys.argv[2]))
