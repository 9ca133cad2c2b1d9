"""A network whose steps are exported graphs, which another runtime runs."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from foreframe.base.extras import needed
from foreframe.base.wording import in_one_line
from foreframe.clips.scaling import Scaling
from foreframe.models.interface import Future, Model, Past, State

# Names that no model has in its state: the last value seen at each pixel, NaN before the first; the
# frames that a graph takes, and those that it makes.
LAST, TAKEN, MADE = "/last", "/taken", "/made"

GRAPHS = ("encode", "begin", "step")
DAMAGED = "is damaged: export it again"

Runner = Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]
"""Runs an exported file: inputs by name -> its outputs in their order."""


def run_onnx(path: Path, outputs: Sequence[str]) -> Runner:
    runtime = needed("onnxruntime", "export", path.name)
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    with in_one_line(f"{path} {DAMAGED}"):
        session = runtime.InferenceSession(path, settings)

    def run(named: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        found: Sequence[np.ndarray] = session.run(list(outputs), dict(named))
        return found

    return run


def run_openvino(path: Path, outputs: Sequence[str]) -> Runner:
    openvino = needed("openvino", "openvino", path.name)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16, where a processor has it
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    with in_one_line(f"{path} {DAMAGED}"):
        compiled = openvino.Core().compile_model(str(path), "CPU", exact | threads)
    known = {name for one in compiled.inputs for name in one.get_names()}

    def run(named: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        found = compiled({name: value for name, value in named.items() if name in known})
        return [found[name] for name in outputs]

    return run


RUNTIMES = {"onnx": (run_onnx, ".onnx"), "openvino": (run_openvino, ".xml")}
"""By the name of a format: what runs a file of it, and how its files end."""


@dataclass(frozen=True)
class Part:
    """A graph: the names of its inputs and outputs, and in the same order the network's own."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    takes: Sequence[str]
    makes: Sequence[str]


class Exported(Model):
    """A network as it was exported: its state has the names that the network's own has, and frames
    cross into the data's units, which graphs take, and back.

    Args:
        network: the network, without weights (on torch's meta device).
        folder: of its graphs.
        parts: of "encode", "begin" and "step".
        runtime: a name of RUNTIMES.
        multiple: of it are both sides of the graphs' frames; others are padded at the edge.
        size: (H,W) of the graphs' frames, if they can have one alone.

    Raises:
        ValueError: the runtime is not installed.
    """

    def __init__(
        self,
        network: Model,
        folder: Path,
        parts: Mapping[str, Part],
        runtime: str,
        multiple: int,
        size: Sequence[int] | None,
    ) -> None:
        super().__init__()
        self.network, self.args = network, network.args
        self.stride, self.size = multiple, size
        for name in ("channels", "horizon", "reduces", "bounded"):
            setattr(self, name, getattr(network, name))
        self.scaling = Scaling()  # that of its forecaster, which sets it
        open_file, ending = RUNTIMES[runtime]
        files = {name: folder / f"{name}{ending}" for name in parts}
        self._runs = {name: open_file(files[name], part.outputs) for name, part in parts.items()}
        self._parts = parts
        content = b"".join(path.read_bytes() for path in files.values())
        self.digest = torch.tensor(list(hashlib.sha256(content).digest()))

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        """The network without weights, by which memory is measured: graphs are loaded once."""
        copied: Model = deepcopy(self.network, memo)
        copied.draws = False
        return copied

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """A digest of the graphs, in place of weights."""
        return {"graphs": self.digest}

    @torch.no_grad()
    def encode(self, past: Past, state: State | None = None) -> State:
        """Raises ValueError for frames of another size than the exported one's, and within
        autocast.
        """
        h, w = past.shape[-2:]
        if self.size and [side + -side % self.stride for side in (h, w)] != list(self.size):
            rows, columns = self.size
            raise ValueError(
                f"frames of {h}x{w} pixels, but this was exported for {rows}x{columns} alone: "
                f"export it with --size [{h},{w}]"
            )
        if torch.is_autocast_enabled("cpu"):
            raise ValueError("an exported network computes in float32: leave precision as it is")
        for frame in past.float().unbind(dim=1):
            state = self._start(frame) if state is None else state
            state = self._run("encode", state | {TAKEN: self.scaling.to_units(frame)})
            state[LAST] = frame  # of the size that frames have, also where a side is padded
        assert state is not None
        return state

    def exogenous(self, state: State, steps: int) -> State:
        return self.network.exogenous(state, steps)

    def begin(self, state: State) -> State:
        return self._run("begin", state) | {LAST: state[LAST]}

    def step(self, state: State, last: bool = False) -> tuple[Future, State]:
        h, w = state[LAST].shape[-2:]
        after = self._run("step", state)
        frames = self.scaling.to_network(after.pop(MADE)[..., :h, :w])
        return frames, after | {LAST: state[LAST]}

    def _start(self, frame: Float[Tensor, "b c h w"]) -> State:
        """The state before the first frame."""
        like = self.network.encode(self._padded(frame).unsqueeze(1).to("meta"))
        return {name: torch.zeros_like(value, device="cpu") for name, value in like.items()} | {
            LAST: torch.full_like(frame, torch.nan)
        }

    def _run(self, part: str, state: State) -> State:
        names = self._parts[part]
        state = state | {name: self._padded(state[name]) for name in (TAKEN, LAST) if name in state}
        given = [state[name].contiguous().numpy() for name in names.takes]
        found = self._runs[part](dict(zip(names.inputs, given, strict=True)))
        return dict(zip(names.makes, map(torch.from_numpy, found), strict=True))

    def _padded(self, frame: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
        h, w = frame.shape[-2:]
        return pad(frame, (0, -w % self.stride, 0, -h % self.stride), mode="replicate")
