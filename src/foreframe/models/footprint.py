"""The memory that a forecast takes, measured by a run of the model on tensors without values
(torch's meta device): for any model, frame size and horizon.
"""

import threading
import weakref
from collections.abc import Hashable, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from foreframe.models.interface import Model

# Measured against the peak of a process (tests/test_memory.py): convolutions copy maps and weights
# to other layouts while they work, which no tensor shows.
FACTOR, FIXED = 1.2, 2**25
GROUP = 2**29  # bytes for the clips or members that are forecast at a time
MOST = 300  # values at once for each value of past and future: more than any model here takes
MANY = 40  # steps from which on memory is extrapolated
UNKNOWN = 100  # like MOST, if a model does not run without values

_one_at_a_time = threading.Lock()


def footprint(
    model: Model, past: int, frame: Sequence[int], steps: int, draws: bool = False
) -> int:
    """The most bytes that a forecast of one clip holds at once. The model may be at work meanwhile
    in another thread.

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
        with _one_at_a_time:  # the model is copied, and with it these sizes
            known[size] = FIXED + int(FACTOR * _most(model, *size))
    return int(known[size])


def bound(past: int, frame: Sequence[int], steps: int) -> int:
    """A bound on the bytes that any model takes, without a run: far too high, but it shows at once
    that a small forecast fits.
    """
    return 4 * MOST * (past + steps) * frame[0] * frame[1] * frame[2]


def group_size(
    model: Model,
    wanted: int,
    past: int,
    frame: Sequence[int],
    steps: int,
    draws: bool = False,
) -> int:
    """Return the number of clips or members to forecast together, at most `wanted`, so that they
    fit in `GROUP` bytes; at least one. Other arguments as of `footprint`.
    """
    if wanted * bound(past, frame, steps) <= GROUP or wanted == 1:
        return wanted
    each = footprint(model, past, frame, steps, draws) - FIXED
    return min(wanted, max(1, (GROUP - FIXED) // each))


def _most(model: Model, past: int, frame: tuple[int, ...], steps: int, draws: bool) -> float:
    """The most bytes of tensors at once in such a forecast."""
    try:
        # A copy on the meta device, made without a copy of the weights.
        tensors = chain(model.parameters(), model.buffers())
        own = deepcopy(model, {id(t): t.detach().to("meta") for t in tensors}).eval()
        with torch.device("meta"), torch.no_grad(), _Held() as held:
            frames = torch.empty(1, past, *frame)  # whoever asks for a forecast has them, too
            state = own.encode(frames)
            if draws:
                key = torch.zeros(1, dtype=torch.int64)
                state = {**own.precompute(state, steps), "key": key, "member": key}
            own.decode(state, steps)
    except (RuntimeError, TypeError):  # it needs values
        return bound(past, frame, steps) / MOST * UNKNOWN
    return held.most


class _Held(TorchDispatchMode):
    """Counts the bytes of all tensors that exist at once.

    Without values, the result of an operation depends only on shapes. Computing it is slow, and a
    forecast repeats the same operations, so results are cached.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._sizes: dict[int, int] = {}
        self._made: dict[Hashable, dict[str, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        of = func, *kwargs, *(_shape(leaf) for leaf in tree_leaves((args, kwargs)))
        if of in self._made:
            made = torch.empty_strided(**self._made[of])
        else:
            made = func(*args, **kwargs)
            if isinstance(made, Tensor) and made.is_meta and not self._shares(func, made):
                like = {"size": made.shape, "stride": made.stride(), "dtype": made.dtype}
                self._made[of] = {**like, "device": "meta"}
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _shares(self, func: Any, made: Tensor) -> bool:
        """Return whether it shares the memory of another tensor."""
        return getattr(func, "is_view", True) or id(made.untyped_storage()) in self._sizes

    def _count(self, storage: torch.UntypedStorage) -> None:
        if id(storage) not in self._sizes:
            self._sizes[id(storage)] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._free, id(storage))

    def _free(self, storage_id: int) -> None:
        self.now -= self._sizes.pop(storage_id)


def _shape(leaf: Any) -> Hashable:
    """All of an operation's argument that decides what it makes of tensors without values."""
    if isinstance(leaf, Tensor):
        return leaf.shape, leaf.stride(), leaf.dtype, leaf.device
    return type(leaf), leaf
