"""`foreframe.convert`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreframe.addons.zoo.convert_options import ConvertOptions
from foreframe.base.schema import typed
from foreframe.training.calls import with_changes

if TYPE_CHECKING:
    from foreframe.forecasting.forecaster import Forecaster


def convert(
    checkpoint: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    options: ConvertOptions | None = None,
    **changes: Any,
) -> "Forecaster":
    """Make a forecaster of a checkpoint that the authors' code of a paper wrote, as `foreframe
    convert` does.

        args = {"temporal": 256, "blocks": 6, "layers": 2}
        foreframe.convert("kth_tau.pth", "converted", model="tau", model_args=args, future=20)

    Args:
        checkpoint: a file of `torch.save` or `.safetensors`. Nothing in it is run.
        folder: a new or empty one, for the forecaster.
        options, changes: the fields of `ConvertOptions` by name, or an object that they change.

    Returns:
        The forecaster, of frames in [0,1].

    Raises:
        ValueError: a file that cannot be read, or that holds other than tensors and plain values; a
            model of which no original is known; weights that do not fit it with these arguments; a
            folder that is there already or cannot be written.
    """
    given = with_changes(options, changes) if options else typed(ConvertOptions, changes, "convert")
    from foreframe.addons.zoo.conversion import convert_checkpoint

    return convert_checkpoint(Path(checkpoint), Path(folder), given)
