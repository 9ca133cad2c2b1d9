"""How much memory a forecast takes: found by a run of the model on tensors that have shapes and no
values (torch's meta device), whatever the model, the frame size and the horizon.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from foreframe.models.interface import Model

# Measured against the peak of a process (benchmarks/memory.py): convolutions lay maps and weights
# out anew while they work, which no tensor shows.
FACTOR, FIXED = 1.2, 2**25
GROUP = 2**29  # bytes that what is forecast at a time may take
MOST = 300  # values at once for each value of past and future; more than any model here takes
MANY = 40  # steps, beyond which nobody runs them all to see
UNKNOWN = 100  # the same of a model that does not run without values


def footprint(
    model: Model, past: int, frame: Sequence[int], steps: int, draws: bool = False
) -> int:
    """Bytes that a forecast of one clip holds at once, at most.

    Args:
        past: frames that are encoded.
        frame: (C,H,W) of each, inputs included.
        steps: frames of the forecast.
        draws: whether it is one member's.
    """
    if steps > MANY:  # grows in a line
        some, more = (footprint(model, past, frame, n, draws) for n in (MANY // 2, MANY))
        return more + (more - some) * (steps - MANY) // (MANY - MANY // 2)
    asked = (past, tuple(frame), steps, draws)
    known = model.__dict__.setdefault("footprints", {})
    if asked not in known:
        known[asked] = FIXED + int(FACTOR * _most(model, *asked))
    return int(known[asked])


def bound(past: int, frame: Sequence[int], steps: int) -> int:
    """The same of any model, without a run: far too much, and enough to see that a small forecast
    needs no looking at.
    """
    return 4 * MOST * (past + steps) * frame[0] * frame[1] * frame[2]


def at_once(
    model: Model,
    wanted: int,
    past: int,
    frame: Sequence[int],
    steps: int,
    draws: bool = False,
    memory: float = GROUP,
) -> int:
    """How many of the `wanted` clips, or of their members, are forecast at a time: as many as the
    memory, in bytes, holds, and one at least. Other arguments as of `footprint`.
    """
    if wanted * bound(past, frame, steps) <= memory or wanted == 1:
        return wanted
    each = footprint(model, past, frame, steps, draws) - FIXED
    return min(wanted, max(1, int((memory - FIXED) // each)))


def _most(model: Model, past: int, frame: tuple[int, ...], steps: int, draws: bool) -> float:
    weights = {n: w.to("meta") for n, w in nn.Module.state_dict(_Forecast(model)).items()}
    with torch.device("meta"), torch.no_grad(), _Held() as held:
        frames = torch.empty(1, past, *frame)
        try:
            torch.func.functional_call(_Forecast(model), weights, (frames, steps, draws))
        except (RuntimeError, TypeError):  # it asks for values
            return bound(past, frame, steps) / MOST * UNKNOWN
    return held.most


class _Forecast(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, steps: int, draws: bool) -> Tensor:
        state = self.model.encode(frames)
        if draws:
            key = torch.zeros(1, dtype=torch.int64)
            state = {**self.model.shared(state, steps), "key": key, "member": key}
        return self.model.decode(state, steps)


class _Held(TorchDispatchMode):
    """Counts the bytes of all tensors that live at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if id(storage) not in self._sizes:
            self._sizes[id(storage)] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._free, id(storage))

    def _free(self, which: int) -> None:
        self.now -= self._sizes.pop(which)
