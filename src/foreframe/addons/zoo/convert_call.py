"""`foreframe.convert`: checkpoints that the authors' own code wrote, as forecasters."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from foreframe.addons.zoo.convert_options import ConvertOptions
from foreframe.addons.zoo.originals import converted
from foreframe.base.files import atomic_folder, check_new
from foreframe.base.schema import typed
from foreframe.base.wording import described
from foreframe.clips.clip import Window
from foreframe.forecasting.forecast_options import changed
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model


def convert(
    checkpoint: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    options: ConvertOptions | None = None,
    **changes: Any,
) -> Forecaster:
    """Make a forecaster of a checkpoint that the authors' code of a paper wrote, as `foreframe
    convert` does.

        args = {"temporal": 256, "blocks": 6, "layers": 2}
        foreframe.convert("kth_tau.pth", "converted", model="tau", model_args=args, future=20)

    Args:
        checkpoint: a file of `torch.save` or `.safetensors`. No code in it runs.
        folder: a new or empty one, for the forecaster.
        options, changes: the fields of `ConvertOptions` by name, or an object that they change.

    Returns:
        The forecaster, of frames in [0,1].

    Raises:
        ValueError: a file that cannot be read, or that holds other than tensors and plain values; a
            model of which no original is known; weights that do not fit it with these arguments; a
            folder that is there already or cannot be written.
    """
    own = changed(options, changes) if options else typed(ConvertOptions, changes, "convert")
    source, target = Path(checkpoint), Path(folder)
    check_new(target)
    weights = _contents(source)
    network = build_model(own.model, own.model_args)
    network.load_state_dict(converted(own.model, weights, network))
    about = {"title": f"{own.model}, converted from {source.name}"}
    window, trained = Window(own.past, own.future), Trained(preset=own.model)
    forecaster = Forecaster(network.eval(), window, trained=trained, about=about)
    with atomic_folder(target) as rough:
        forecaster.save(rough)
    return forecaster


def _contents(path: Path) -> Any:
    """Read a file of safetensors or of `torch.save` with tensors and plain values only.

    Raises:
        ValueError: anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} has objects other than weights, which may run code, or it is no file of "
            "torch.save; save the weights alone where they were made: "
            'torch.save(model.state_dict(), "weights.pt")'
        ) from None
    except Exception as error:  # torch raises half a dozen types for damaged files
        raise ValueError(f"{path} cannot be read as a checkpoint: {described(error)}") from None
