"""Weights of the original authors' code as ours: for each preset that repeats a published network,
a function that renames, joins and reorders.

All of it is linear in the values, so the same function takes gradients over: tests compare both.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from foreframe.models.building import check_stored
from foreframe.models.interface import Model
from foreframe.models.registry import Registry

Weights = Mapping[str, Tensor]
Converter = Callable[[Weights, Model], dict[str, Tensor]]
"""From the values by the original's names, and the network that takes them, to those by ours."""

ORIGINALS: Registry[Converter] = Registry({}, "originals")
"""By the name of a preset, what makes our weights of those of the original's code."""


def patch_order(channels: int, size: int) -> list[int]:
    """Positions of the channels of our folded patches in OpenSTL: its order is row, column,
    channel, ours (`torch.nn.PixelUnshuffle`) channel, row, column.
    """
    theirs = torch.arange(size * size * channels).view(size, size, channels)
    return theirs.permute(2, 0, 1).flatten().tolist()


def reordered(weight: Tensor, order: Sequence[int]) -> Tensor:
    """The gates of a convolution, which lie side by side along its outputs, in another order."""
    gates = weight.chunk(len(order))
    return torch.cat([gates[k] for k in order])


def converted(name: str, checkpoint: object, network: Model) -> dict[str, Tensor]:
    """Our weights from a checkpoint of the original's code.

    Args:
        name: of a preset.
        checkpoint: weights by name, or what holds them under "state_dict"; names may begin with
            "model." or "module.", as trainers write them.
        network: takes them.

    Raises:
        ValueError: no original of that preset is known, the checkpoint holds no weights by name, or
            the weights do not match the preset.
    """
    if name not in ORIGINALS:
        raise ValueError(f"no original of {name!r} is known; choose {', '.join(sorted(ORIGINALS))}")
    held = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else None
    if not isinstance(held, Mapping):
        raise ValueError("the checkpoint holds no weights by name")
    theirs = {
        str(key).removeprefix("module.").removeprefix("model."): value
        for key, value in held.items()
        if isinstance(value, Tensor)
    }
    for key, value in theirs.items():
        check_stored(key, value)
    try:
        ours = ORIGINALS[name](theirs, network)
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"this is no checkpoint of the original of {name} with these arguments: {error} is "
            "not in it"
        ) from None
    wanted = {key: value.shape for key, value in network.state_dict().items()}
    for key, shape in wanted.items():
        if key not in ours or ours[key].shape != shape:
            found = tuple(ours[key].shape) if key in ours else "nothing"
            raise ValueError(
                f"weight {key} of {name} is {tuple(shape)}, and the checkpoint has {found}; do the "
                "model's arguments fit?"
            )
    return {key: ours[key] for key in wanted}
