"""Checkpoints that the authors' own code wrote, as forecasters. Nothing in them is run."""

import pickle
from pathlib import Path
from typing import Any

import torch

from foreframe.addons.zoo.convert_options import ConvertOptions
from foreframe.addons.zoo.originals import converted
from foreframe.base.files import atomic_folder, check_new
from foreframe.base.wording import described
from foreframe.clips.clip import Window
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.trained import Trained
from foreframe.models import build_model


def convert_checkpoint(checkpoint: Path, folder: Path, options: ConvertOptions) -> Forecaster:
    """Write the forecaster of a checkpoint, of frames in [0,1]; raises as `foreframe.convert`."""
    check_new(folder)
    weights = _contents(checkpoint)
    network = build_model(options.model, options.model_args)
    network.load_state_dict(converted(options.model, weights, network))
    about = {"title": f"{options.model}, converted from {checkpoint.name}"}
    window, trained = Window(options.past, options.future), Trained(preset=options.model)
    forecaster = Forecaster(network.eval(), window, trained=trained, about=about)
    with atomic_folder(folder) as rough:
        forecaster.save(rough)
    return forecaster


def _contents(path: Path) -> Any:
    """What a file of safetensors or of `torch.save` holds, if these are tensors and plain values.

    Raises:
        ValueError: anything else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} is not read: beside weights it holds objects, which may run code, or it is no "
            "file of torch.save; save the weights alone where they were made: "
            'torch.save(model.state_dict(), "weights.pt")'
        ) from None
    except Exception as error:  # torch raises half a dozen types for what is cut short or damaged
        raise ValueError(f"{path} cannot be read as a checkpoint: {described(error)}") from None
