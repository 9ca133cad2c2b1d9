"""A network whose whole forecast is an exported graph, run by ONNX Runtime."""

import hashlib
import json
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Lock
from typing import IO, Any, cast
from weakref import finalize

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from foreframe.base.budget import in_gib
from foreframe.base.extras import needed
from foreframe.base.schema import brief
from foreframe.clips.scaling import Scaling
from foreframe.models.at_once import FromLastFrames
from foreframe.models.footprint import GROUP, bound, footprint
from foreframe.models.interface import Future, Model, State

GRAPH = "forecast.onnx"  # of a whole forecast
PROCESS = Path(__file__).with_name("onnx_process.py")
WIDEST = 64  # pixels of padding that any frame may get
DAMAGED = "is missing or damaged: export it again"


class Exported(FromLastFrames):
    """An exported forecast from a fixed number of frames to a fixed number of frames. A longer
    forecast continues from its frames. Graphs read and write frames in the data's units.

    Args:
        network: what was exported, without weights (on torch's meta device).
        folder: of the graph.
        channels, frames, steps: of the frames, how many it takes, and how many it makes.
        multiple: of it are both sides of the graph's frames; others are padded at the edge.
        size: (H,W) of the graph's frames, if they can have one alone.

    Raises:
        ValueError: ONNX Runtime is not installed, or the file is damaged.
    """

    def __init__(
        self,
        network: Model,
        folder: Path,
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
        self.scaling = Scaling()  # its forecaster sets it
        self.file, self._turn = folder / GRAPH, Lock()
        self._start()
        self._digest = torch.tensor(list(hashlib.sha256(self.file.read_bytes()).digest()))

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        """The network without weights, by which memory is measured: graphs are loaded once."""
        copied: Model = deepcopy(self.network, memo)
        copied.draws = False
        return copied

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """Return a digest of the graph instead of weights."""
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
        if edges[1] > max(w, WIDEST) or edges[3] > max(h, WIDEST):
            raise ValueError(f"frames of {h}x{w} pixels are too small: this pads to {self.stride}")
        if torch.is_autocast_enabled("cpu"):
            raise ValueError("an exported network computes in float32: leave precision as it is")
        wide = pad(past.flatten(0, 1), edges, mode="replicate").unflatten(0, past.shape[:2])
        made = torch.from_numpy(self._run(wide.contiguous().numpy()))
        return self.scaling.to_network(made[..., :h, :w])

    def _start(self) -> None:
        """Start the process that runs the graph; raises as the class."""
        needed("onnxruntime", "export", self.file.name)
        command = [sys.executable, "-I", str(PROCESS), str(self.file.absolute())]
        process = Popen([*command, str(torch.get_num_threads())], stdin=PIPE, stdout=PIPE)
        finalize(self, _end, process)
        self._process, pipes = process, (process.stdin, process.stdout)
        self._input, self._output = cast(tuple[IO[bytes], IO[bytes]], pipes)
        self._answer(f"{self.file} {DAMAGED}")

    def _run(self, past: Float[np.ndarray, "b t c h w"]) -> Float[np.ndarray, "b s c h w"]:
        """Raises ValueError if the graph fails, or needs far more memory than the network in torch.

        ONNX Runtime needs a tenth of torch's memory for `quick`, and five times as much for
        `simvp_small`, whose maps torch frees sooner.
        """
        b, _, *frame = past.shape
        sizes = self.frames, frame, self.horizon
        most = b * bound(*sizes)
        if most > GROUP:  # else it is not worth measuring
            most = b * (2 * footprint(self, *sizes) + bound(*sizes) // 20)
        with self._turn:
            if self._process.poll() is not None:
                self._start()
            with suppress(OSError):  # of a process that ended, which gives no answer
                self._input.write(json.dumps([past.shape, most]).encode() + b"\n")
                self._input.write(past.astype("<f4").tobytes())
                self._input.flush()
            shape = self._answer(f"{self.file} fails within {in_gib(most)}")
            content = bytearray(self._output.read(4 * math.prod(shape)))
        if shape != [b, self.horizon, *frame]:
            raise ValueError(f"{self.file} makes frames of another shape: {DAMAGED}")
        return np.frombuffer(content, "<f4").reshape(shape)

    def _answer(self, problem: str) -> list[int]:
        """Return the shape of the answer; raises ValueError, which begins with the problem."""
        answer = json.loads(self._output.readline() or '"its process ended"')
        if isinstance(answer, str):
            _end(self._process)
            raise ValueError(f"{problem}: {brief(answer, quoted=False)}")
        return [int(side) for side in answer]


def _end(process: Popen[bytes]) -> None:
    with suppress(OSError), process:  # closing flushes what was not read
        process.kill()


def before_export(model: Model) -> Model:
    """Return the network that was exported, without weights; other models unchanged."""
    return model.network if isinstance(model, Exported) else model
