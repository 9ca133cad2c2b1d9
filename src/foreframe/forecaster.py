"""Model + Window + Scaling: what one trains, saves, ships and serves."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe import __version__
from foreframe.clip import Window, check_frames
from foreframe.files import whole_file
from foreframe.models import Model, build_model, model_name
from foreframe.scaling import Scaling

Frames = TypeVar("Frames", Tensor, np.ndarray)


class Forecaster:
    """Forecasts in the data's own units.

    Args:
        model: anything that keeps the promise of `foreframe.models`.
        window: the past and future that it was trained with.
        scaling: the data's units to [0,1] and back.
        about: plain values for the model card: data, command, seed, scores.
    """

    def __init__(
        self,
        model: Model,
        window: Window = Window(),  # noqa: B008 (frozen)
        scaling: Scaling = Scaling(),  # noqa: B008
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.window, self.scaling, self.about = model, window, scaling, dict(about or {})

    @property
    def device(self) -> torch.device:
        held = next(self.model.parameters(), None)
        return torch.device("cpu") if held is None else held.device

    @torch.inference_mode()
    def predict(self, frames: Frames, steps: int) -> Frames:
        """Forecast the `steps` frames that follow.

        Args:
            frames: (T,C,H,W) or (B,T,C,H,W), array or tensor, any T >= 1, in the data's own units.
            steps: how many frames, at least 1; more than it was trained for is allowed.

        Returns:
            (steps,C,H,W) or (B,steps,C,H,W), float32, array or tensor as given, in the same units.

        Raises:
            ValueError: frames of the wrong rank, channels, dtype or range, with NaN, or steps below 1.
        """
        steps = _checked_steps(steps)
        past = self._past(frames)
        self.model.eval()
        single = past.ndim == 4
        future = self.model(past.unsqueeze(0) if single else past, steps).float()
        future = self.scaling.to_units(future[0] if single else future)
        return future.cpu().numpy() if isinstance(frames, np.ndarray) else future.to(frames.device)

    def stream(self, steps: int | None = None) -> "Stream":
        """A forecast after every frame: `live = forecaster.stream(); for frame in camera: forecast = live.push(frame)`."""
        return Stream(self, _checked_steps(self.window.future if steps is None else steps))

    def _past(self, frames: Any) -> Tensor:
        past = check_frames(frames, channels=self.model.channels, low=self.scaling.low, high=self.scaling.high)
        return self.scaling.to_network(past).to(self.device)

    def config(self) -> dict[str, Any]:
        """Plain values from which everything but the weights can be built again."""
        return {
            "foreframe": __version__,
            "model": model_name(self.model),
            "args": self.model.args,
            "window": asdict(self.window),
            "scaling": self.scaling.config(),
            "about": self.about,
        }

    def save(self, folder: str | Path) -> Path:
        """Write config.json, model.safetensors and a model card, README.md, into `folder`, which is made.

        Raises:
            ValueError: when the folder cannot be written, or the model has no name in MODELS.
        """
        from safetensors.torch import save_file

        folder, config = Path(folder), self.config()
        weights = {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}
        with whole_file(folder / "model.safetensors") as rough:
            save_file(weights, rough)
        with whole_file(folder / "config.json") as rough:
            rough.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        with whole_file(folder / "README.md") as rough:
            rough.write_text(_card(config, sum(p.numel() for p in self.model.parameters())), encoding="utf-8")
        return folder

    @classmethod
    def load(cls, what: str | Path, device: str | torch.device = "cpu") -> "Forecaster":
        """From a saved folder, a run's folder (its best checkpoint), or a checkpoint file. Nothing is unpickled.

        Args:
            what: the folder or file.
            device: any of torch's, or "auto": a CUDA device where there is one.

        Raises:
            ValueError: when nothing is there, or what is there is damaged or of another model.
        """
        what = Path(what)
        if what.is_file() and what.suffix == ".ckpt":
            return _from_checkpoint(what, device)
        if not what.is_dir():
            raise ValueError(f"there is no folder {what}; name a run's folder (such as runs/demo) or one that `save` wrote")
        if (what / "model.safetensors").is_file():
            return _from_folder(what, device)
        for name in ("best.ckpt", "last.ckpt"):
            if (what / "checkpoints" / name).is_file():
                return _from_checkpoint(what / "checkpoints" / name, device)
        raise ValueError(
            f"{what} holds neither model.safetensors nor checkpoints/best.ckpt; did its training get as far as saving?"
        )


class Stream:
    """A live forecast that carries its state from frame to frame, in constant memory.

    The same numbers as `predict` on all frames so far, by the promise of the models.
    """

    def __init__(self, forecaster: Forecaster, steps: int) -> None:
        self.forecaster, self.steps = forecaster, steps
        self.state: dict[str, Tensor] | None = None

    @torch.inference_mode()
    def push(self, frame: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """Take one frame (C,H,W), give the forecast (steps,C,H,W) that follows it, in the data's own units.

        Raises:
            ValueError: as `Forecaster.predict`; a refused frame leaves the state as it was.
        """
        f = self.forecaster
        past = f._past(frame[None])
        f.model.eval()
        self.state = f.model.encode(past.unsqueeze(0), self.state)
        future = f.scaling.to_units(f.model.decode(self.state, self.steps)[0].float())
        return future.cpu().numpy() if isinstance(frame, np.ndarray) else future.to(frame.device)


def _checked_steps(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, not {steps}")
    return int(steps)


def _from_config(
    config: Mapping[str, Any], weights: Mapping[str, Float[Tensor, "..."]], where: str, device: str | torch.device = "cpu"
) -> Forecaster:
    """Build the model that `config` describes and fill it with `weights`.

    Raises:
        ValueError: when they do not fit each other.
    """
    try:
        model = build_model(config["model"], config["args"])
        window, scaling = Window(**config["window"]), Scaling(**config["scaling"])
        model.load_state_dict(dict(weights))
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{where} does not hold a foreframe model: {str(error).splitlines()[0]}") from None
    try:
        model.to(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used here; choose cpu, cuda, mps or auto") from error
    return Forecaster(model.eval(), window, scaling, config.get("about"))


def _from_folder(folder: Path, device: str | torch.device) -> Forecaster:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "model.safetensors")
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is not whole: {Path(error.filename).name} is missing") from None
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder} is damaged: {error}; copy or train it again") from None
    return _from_config(config, weights, str(folder), device)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A training checkpoint as plain values and tensors; pickled objects are refused (`weights_only`).

    Raises:
        ValueError: when it is cut short, damaged or not foreframe's.
    """
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds, some of them its own, for a file that is not whole
        raise ValueError(
            f"{path} cannot be read: it is cut short or damaged; use another checkpoint of the run, or train again"
        ) from error
    if not isinstance(held, dict) or "forecaster" not in held:
        raise ValueError(f"{path} is not a checkpoint of foreframe")
    return held


def _from_checkpoint(path: Path, device: str | torch.device) -> Forecaster:
    held = read_checkpoint(path)
    weights = {name.removeprefix("network."): value for name, value in held["state_dict"].items()}
    return _from_config(held["forecaster"], weights, str(path), device)


def _card(config: Mapping[str, Any], parameters: int) -> str:
    window, scaling, about = config["window"], config["scaling"], config["about"]
    lines = [
        "---",
        "library_name: foreframe",
        "tags: [video-prediction, forecasting]",
        "---",
        f"# {about.get('title', config['model'])}",
        "",
        f"A `{config['model']}` of {parameters:,} parameters, written by foreframe {config['foreframe']}. "
        f"It was trained to forecast {window['future']} frames from {window['past']}; "
        f"values {scaling['low']:g} to {scaling['high']:g} {scaling['units']}".rstrip()
        + ".",
        "",
        "```python",
        "import foreframe",
        "",
        'forecaster = foreframe.Forecaster.load("this folder")',
        "future = forecaster.predict(frames, steps=20)  # frames (T,C,H,W) in the data's own units",
        "```",
    ]
    for name, value in about.items():
        if name != "title":
            lines += ["", f"**{name}**: {json.dumps(value) if isinstance(value, dict | list) else value}"]
    return "\n".join(lines) + "\n"
