"""The memory that a forecast takes, measured by a run of the model on tensors without values
(torch's meta device): for any model, frame size and horizon.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from foreframe.models.interface import Model

# Measured against the peak of a process (tests/test_memory.py): convolutions copy maps and weights
# to other layouts while they work, which no tensor shows.
FACTOR, FIXED = 1.2, 2**25
GROUP = 2**29  # bytes for the clips or members that are forecast at a time
MOST = 300  # values at once for each value of past and future: more than any model here takes
MANY = 40  # steps from which on memory is extrapolated
UNKNOWN = 100  # as MOST, of a model that does not run without values


def footprint(
    model: Model, past: int, frame: Sequence[int], steps: int, draws: bool = False
) -> int:
    """The most bytes that a forecast of one clip holds at once.

    Args:
        past: number of frames that are encoded.
        frame: (C,H,W) of each, inputs included.
        steps: frames of the forecast.
        draws: whether it is the forecast of one member.
    """
    if steps > MANY:  # memory grows linearly
        some, more = (footprint(model, past, frame, n, draws) for n in (MANY // 2, MANY))
        return more + (more - some) * (steps - MANY) // (MANY - MANY // 2)
    size = (past, tuple(frame), steps, draws)
    known = model.__dict__.setdefault("footprints", {})
    if size not in known:
        known[size] = FIXED + int(FACTOR * _most(model, *size))
    return int(known[size])


def bound(past: int, frame: Sequence[int], steps: int) -> int:
    """A bound on the bytes that any model takes, without a run: far too high, but it shows at once
    that a small forecast fits.
    """
    return 4 * MOST * (past + steps) * frame[0] * frame[1] * frame[2]


def at_once(
    model: Model,
    wanted: int,
    past: int,
    frame: Sequence[int],
    steps: int,
    draws: bool = False,
) -> int:
    """How many of `wanted` clips or members to forecast at a time, so that they fit in `GROUP`
    bytes; at least one. Other arguments as of `footprint`.
    """
    if wanted * bound(past, frame, steps) <= GROUP or wanted == 1:
        return wanted
    each = footprint(model, past, frame, steps, draws) - FIXED
    return min(wanted, max(1, (GROUP - FIXED) // each))


def _most(model: Model, past: int, frame: tuple[int, ...], steps: int, draws: bool) -> float:
    """The most bytes of tensors at once in such a forecast."""
    weights = {n: w.to("meta") for n, w in nn.Module.state_dict(_Forecast(model)).items()}
    with torch.device("meta"), torch.no_grad(), _Held() as held:
        frames = torch.empty(1, past, *frame)
        try:
            torch.func.functional_call(_Forecast(model), weights, (frames, steps, draws))
        except (RuntimeError, TypeError):  # it needs values
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
    """Counts the bytes of all tensors that exist at once."""

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

    def _free(self, storage_id: int) -> None:
        self.now -= self._sizes.pop(storage_id)
