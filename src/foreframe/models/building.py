"""Networks of arguments and weights that may come from a stranger: what they would take is known
before it is taken.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from foreframe.base.budget import GIB, OverBudgetError
from foreframe.base.schema import brief
from foreframe.base.untrusted import leaves
from foreframe.models.interface import Model

MANY = 1000  # values among a network's arguments, such as a width for each layer
LARGE = 10**6  # channels, pixels or frames: more than any argument needs


def built(
    kind: type[Model],
    args: Mapping[str, Any],
    what: str,
    budget: float,
    weights: Mapping[str, Any] | None = None,
) -> Model:
    """Build `kind(**args)` on torch's meta device, without memory, and then fill it.

    Args:
        what: its name in messages.
        budget: GiB that its weights may take if none are given.
        weights: its weights, untrusted; with weights no random state changes.

    Raises:
        ValueError: arguments that make no network, or one of more than the budget; weights of other
            names and shapes, that their file does not hold, or that are not finite.
    """
    values = list(leaves(args))
    if len(values) > MANY:
        raise ValueError(f"{what} has {len(values)} arguments; {MANY} at most")
    for path, value in values:
        if isinstance(value, int) and abs(value) > LARGE:
            name = ".".join((what, *path))
            raise ValueError(f"{name} is beyond reason: {brief(value)}; {LARGE:,} at most")
    try:
        with torch.device("meta"), _WithoutValues():
            model = kind(**args)
        empty = model.state_dict()
        if weights is None:
            if sum(weight.numel() for weight in empty.values()) > budget * GIB / 4:
                raise OverBudgetError(
                    f"the weights of {what} would take more than the budget of {budget:g} GiB; "
                    "choose fewer or smaller layers, or raise budget if that is meant"
                )
            return model if torch.get_default_device().type == "meta" else kind(**args)
        _check_weights(weights, empty)
        copies = {
            name: torch.empty(value.shape, dtype=empty[name].dtype).copy_(value.detach())
            for name, value in weights.items()
        }
        if _needs_values(model, empty):
            with torch.random.fork_rng(devices=[]):
                model = kind(**args)
            model.load_state_dict(copies)
        else:
            model.load_state_dict(copies, assign=True)
        return model
    except (TypeError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        # torch's own errors are among them.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{what}: {reason.replace('__init__() ', '')}") from None


class _WithoutValues(TorchFunctionMode):
    """Leaves out `torch.nn.init`: on the meta device it does nothing but import torch's compiler,
    which takes a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        initializes = getattr(func, "__module__", "") == "torch.nn.init"
        return kwargs["tensor"] if initializes else func(*args, **kwargs)


def _needs_values(model: Model, weights: Mapping[str, Any]) -> bool:
    """Whether weights alone do not fill the model: it shares them, or has other tensors."""
    distinct = {id(value) for value in (*model.parameters(), *model.buffers())}
    others = (value for part in model.modules() for value in tree_leaves(vars(part)))
    return len(distinct) != len(weights) or any(
        isinstance(value, Tensor) and id(value) not in distinct for value in others
    )


def _check_weights(weights: Mapping[str, Any], empty: Mapping[str, Tensor]) -> None:
    """Check names and shapes, then the bytes that hold the values, then the values."""
    wanted = {name: tuple(value.shape) for name, value in empty.items()}
    given = {name: tuple(getattr(value, "shape", ())) for name, value in weights.items()}
    for name in wanted | given:
        if given.get(name) != wanted.get(name):
            raise ValueError(
                f"its weight {brief(name)} has shape {given.get(name)}, but {wanted.get(name)} in "
                "the model that it describes"
            )
    for name, value in weights.items():
        check_stored(name, value)
    storages = (value.untyped_storage() for value in weights.values())
    stored = {storage.data_ptr(): storage.nbytes() for storage in storages}  # some may share one
    if sum(value.nbytes for value in weights.values()) > sum(stored.values()):
        raise ValueError("it describes more weights than its file holds")
    for name, value in weights.items():
        if not value.is_floating_point() or not value.float().isfinite().all():
            raise ValueError(
                f"its weight {brief(name)} holds other than finite numbers of floating point: its "
                "training went wrong, or the file is damaged"
            )


def check_stored(name: str, value: Any) -> None:
    """Check that a weight of a file is a plain tensor, all of whose numbers the file holds: strides
    of 0 give one number any shape, and what is computed on it fills the memory.

    Raises:
        ValueError: it is not.
    """
    plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
    if not plain or value.untyped_storage().nbytes() < value.nbytes:
        raise ValueError(f"weight {brief(name)} is not held in full, as a plain tensor")
