"""A network whose whole forecast is an exported graph, which another runtime runs."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from foreframe.base.extras import needed
from foreframe.base.wording import in_one_line
from foreframe.clips.scaling import Scaling
from foreframe.models.at_once import FromLastFrames
from foreframe.models.interface import Future, Model, State

SIZES = 8  # numbers of clips and sizes of frames that OpenVINO stays compiled for
DAMAGED = "is missing or damaged: export it again"

Runner = Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]
"""Runs an exported file: inputs by name -> its outputs in their order."""


def run_onnx(path: Path, outputs: Sequence[str]) -> Runner:
    runtime = needed("onnxruntime", "export", path.name)
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    # Its threads shall not wait for more work at others' cost.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    with in_one_line(f"{path} {DAMAGED}"):
        session = runtime.InferenceSession(path, settings)

    def run(named: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        found: Sequence[np.ndarray] = session.run(list(outputs), dict(named))
        return found

    return run


def run_openvino(path: Path, outputs: Sequence[str]) -> Runner:
    openvino = needed("openvino", "openvino", path.name)
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16, where a processor has it
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    core = openvino.Core()
    with in_one_line(f"{path} {DAMAGED}"):
        model = core.read_model(str(path))
    known = {name for one in model.inputs for name in one.get_names()}

    @lru_cache(maxsize=SIZES)
    def compiled(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> Any:
        sized = model.clone()
        sized.reshape({name: list(shape) for name, shape in shapes})
        return core.compile_model(sized, "CPU", settings)

    def run(named: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        given = {name: value for name, value in named.items() if name in known}
        found = compiled(tuple((name, value.shape) for name, value in given.items()))(given)
        return [found[name] for name in outputs]

    return run


RUNTIMES = {"onnx": (run_onnx, "forecast.onnx"), "openvino": (run_openvino, "forecast.xml")}
"""By the name of a format: what runs its files, and the one of a whole forecast."""


class Exported(FromLastFrames):
    """A forecast as it was exported, of so many frames from so many. Further ones go on from its
    own. Frames cross into the data's units, which graphs take, and back.

    Args:
        network: what was exported, without weights (on torch's meta device).
        folder, runtime: of the graph, and a name of RUNTIMES.
        channels, frames, steps: of the frames, how many it takes, and how many it makes.
        multiple: of it are both sides of the graph's frames; others are padded at the edge.
        size: (H,W) of the graph's frames, if they can have one alone.

    Raises:
        ValueError: the runtime is not installed, or the file is damaged.
    """

    def __init__(
        self,
        network: Model,
        folder: Path,
        runtime: str,
        channels: int,
        frames: int,
        steps: int,
        multiple: int,
        size: Sequence[int] | None,
    ) -> None:
        super().__init__()
        self.network, self.args, self.channels = network, network.args, channels
        self.reduces, self.bounded = network.reduces, network.bounded
        self.frames, self.horizon, self.stride, self.size = frames, steps, multiple, size
        self.scaling = Scaling()  # that of its forecaster, which sets it
        run, name = RUNTIMES[runtime]
        self._run = run(folder / name, ["frames"])
        content = b"".join(path.read_bytes() for path in sorted(folder.glob("forecast.*")))
        self._digest = torch.tensor(list(hashlib.sha256(content).digest()))

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        """The network without weights, by which memory is measured: graphs are loaded once."""
        copied: Model = deepcopy(self.network, memo)
        copied.draws = False
        return copied

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """A digest of the graph, in place of weights."""
        return {"graph": self._digest}

    def next_frames(self, state: State) -> Future:
        """Raises ValueError for frames of another size than the graph's, and within autocast."""
        past = self.scaling.to_units(self.seen(state).float())
        h, w = past.shape[-2:]
        edges = 0, -w % self.stride, 0, -h % self.stride
        if self.size and [h + edges[3], w + edges[1]] != list(self.size):
            rows, columns = self.size
            raise ValueError(
                f"frames of {h}x{w} pixels, but this was exported for {rows}x{columns} alone: "
                f"export it with --size [{h},{w}]"
            )
        if torch.is_autocast_enabled("cpu"):
            raise ValueError("an exported network computes in float32: leave precision as it is")
        wide = pad(past.flatten(0, 1), edges, mode="replicate").unflatten(0, past.shape[:2])
        made = torch.from_numpy(self._run({"past": wide.contiguous().numpy()})[0])
        return self.scaling.to_network(made[..., :h, :w])


def before_export(model: Model) -> Model:
    """The network that was exported, without weights; another model as it is."""
    return model.network if isinstance(model, Exported) else model
