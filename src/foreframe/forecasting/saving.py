"""Forecasters as folders: plain config, weights and a model card; nothing is unpickled.

Folders are untrusted: all values are checked before use.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foreframe.base.files import atomic_write
from foreframe.base.notes import warn
from foreframe.base.schema import OWN, UnknownError, brief, check_plain, typed
from foreframe.base.shipped import FREE, WEIGHTS, check_forecaster, published
from foreframe.clips.clip import Window
from foreframe.clips.data_options import NONE
from foreframe.clips.scaling import Scaling
from foreframe.forecasting.checkpoint_files import before, first_whole, read_checkpoint
from foreframe.forecasting.streaming import format_size
from foreframe.forecasting.trained import Trained
from foreframe.models import Model, build_model

LONGEST = 2**20  # bytes of a config.json
PARTS = ("model", "args", "window", "scaling")


@dataclass(frozen=True)
class Loaded:
    """The content of a forecaster's file: the arguments of `Forecaster`."""

    model: Model
    window: Window = Window()  # noqa: RUF009 (frozen)
    scaling: Scaling = Scaling()  # noqa: RUF009
    trained: Trained = Trained()  # noqa: RUF009
    about: Mapping[str, Any] | None = None
    match: str = NONE
    free: bool = False


def write_forecaster(
    folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], half: bool
) -> None:
    """Write config.json, model.safetensors and the model card, README.md.

    Args:
        folder: is created if it does not exist.
        config: `Forecaster.config`.
        weights: by name.
        half: store weights as float16.

    Raises:
        ValueError: the folder cannot be written.
    """
    from safetensors.torch import save

    kept = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    if half:
        kept |= {name: value.half() for name, value in kept.items() if value.is_floating_point()}
    with atomic_write(folder / "model.safetensors") as rough:
        # The save_file of safetensors reports a full disk as a format error.
        rough.write_bytes(save(kept))
    with atomic_write(folder / "config.json") as rough:
        rough.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    with atomic_write(folder / "README.md") as rough:
        parameters = sum(value.numel() for value in weights.values())
        rough.write_text(_card(config, parameters), encoding="utf-8")


def read_forecaster(what: str | Path, device: str | torch.device = "cpu") -> Loaded:
    """Read a saved folder, a run, a checkpoint, published weights or a baseline; arguments and
    errors as in `Forecaster.load`.
    """
    what = Path(what)
    if what.is_file() and what.suffix == ".ckpt":
        return _of_checkpoint(what, read_checkpoint(what), device)
    if not what.exists() and str(what) in published():
        return _of_folder(WEIGHTS / str(what), device)
    if not what.exists() and str(what) in FREE:
        return Loaded(build_model(str(what)), free=True)
    check_forecaster(what)
    if not what.is_dir():
        raise ValueError(f"{what} is neither a folder nor a .ckpt")
    if (what / "model.safetensors").is_file():
        return _of_folder(what, device)
    best, last = (what / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
    try:
        path, checkpoint, note = first_whole((best, before(best), last, before(last)))
    except FileNotFoundError:
        raise ValueError(
            f"{what} holds neither model.safetensors nor checkpoints/best.ckpt; did its "
            "training get as far as saving?"
        ) from None
    if note:
        warn(note)
    return _of_checkpoint(path, checkpoint, device)


def _of_folder(folder: Path, device: str | torch.device) -> Loaded:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with (folder / "config.json").open("rb") as file:
            raw = file.read(LONGEST + 1)
        if len(raw) > LONGEST:
            raise ValueError(f"config.json is larger than {LONGEST // 1024} KiB")
        config = json.loads(raw.decode("utf-8"))
        weights = load_file(folder / "model.safetensors")
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} is not whole: {Path(error.filename or 'a file').name} is missing"
        ) from None
    except (SafetensorError, ValueError, RecursionError, OSError, MemoryError) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, RecursionError):
            reason = "config.json is nested without end"
        raise ValueError(f"{folder} is damaged: {reason}; copy or train it again") from None
    return _of_config(config, weights, str(folder), device)


def _of_checkpoint(path: Path, checkpoint: Mapping[str, Any], device: Any) -> Loaded:
    weights = checkpoint.get("state_dict")
    if isinstance(weights, Mapping):
        weights = {str(name).removeprefix("network."): value for name, value in weights.items()}
    return _of_config(checkpoint["forecaster"], weights, str(path), device)


def _of_config(config: Any, weights: Any, where: str, device: str | torch.device) -> Loaded:
    """Build the model of `config` with these weights, and check that they fit.

    Raises:
        ValueError: invalid values, or weights that do not fit the model.
    """
    if not isinstance(config, Mapping) or not isinstance(weights, Mapping):
        wrong = weights if isinstance(config, Mapping) else config
        raise ValueError(f"{where} does not hold a foreframe model, but {brief(wrong)}")
    lacking = [name for name in PARTS if name not in config]
    if lacking:
        raise ValueError(f"{where} does not hold a foreframe model: {', '.join(lacking)} missing")
    try:
        trained, about = _described(config)
        window = typed(Window, config["window"], "window")
        scaling = typed(Scaling, config["scaling"], "scaling")
        model = _filled(config["model"], config["args"], weights)
    except UnknownError as error:
        raise ValueError(f"{where} needs {error.what}, which is unknown here; {OWN}") from None
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error) if isinstance(error, ValueError) else str(error).splitlines()[0]
        raise ValueError(f"{where} does not hold a foreframe model: {reason}") from None
    try:
        model.to(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {device!r} cannot be used here; choose cpu, cuda, mps or auto"
        ) from error
    match = str(config.get("match", NONE))
    return Loaded(model.eval(), window, scaling, trained, about, match)


def _filled(name: Any, args: Any, weights: Mapping[Any, Any]) -> Model:
    """The model with these weights; names and shapes must match exactly.

    Raises:
        ValueError: invalid arguments; missing, surplus or invalid weights.
    """
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"its weights have {brief(key)}, which is a {type(value).__name__}")
        if (
            value.is_quantized
            or value.layout != torch.strided
            or value.is_complex()
            or value.is_meta
        ):
            raise ValueError(
                f"its weight {brief(key)} is of a kind that no model here has, {value.dtype}"
            )
        if value.is_floating_point() and not value.float().isfinite().all():
            raise ValueError(
                f"its weight {brief(key)} holds NaN or infinity: its training went wrong, or the "
                "file is damaged"
            )
    # At most as large as the weights, which are in memory already.
    model = build_model(name, args, room_for=sum(value.numel() for value in weights.values()))
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    for key in [*shapes, *weights]:
        weight, shape = weights.get(key), shapes.get(key)
        if weight is None or shape is None:
            raise ValueError(
                f"its weights {'lack' if weight is None else 'have'} {brief(key)}, unlike the "
                "model that it describes"
            )
        if tuple(weight.shape) != shape:
            raise ValueError(
                f"its weight {key} is {format_size(weight.shape)}, but {format_size(shape)} in the "
                "model that it describes"
            )
        if not weight.is_floating_point():
            raise ValueError(f"its weight {key} is of {weight.dtype}, not of floating point")
    model.load_state_dict(dict(weights))
    # The layout that suits convolutions on a CPU.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _described(config: Mapping[str, Any]) -> tuple[Trained, dict[str, Any]]:
    """The training and the free description of a file.

    Raises:
        ValueError: an unknown field, or an invalid value.
    """
    about = config.get("about") or {}
    check_plain(about, "about")
    if not isinstance(about, Mapping):
        raise ValueError(f"about holds words by name, not {brief(about)}")
    return typed(Trained, config.get("trained") or {}, "trained"), dict(about)


def _card(config: Mapping[str, Any], parameters: int) -> str:
    window, scaling = config["window"], config["scaling"]
    trained = config["trained"]
    about = {name: value for name, value in trained.items() if value not in ("", None, {})}
    about |= config["about"]
    each = config["args"]["of"] if config["model"] == "ensemble" else []
    what = f"{len(each)} models as one," if each else f"A `{config['model']}`"
    made = "By default it forecasts" if each else "It was trained to forecast"
    values = f"values {scaling['low']:g} to {scaling['high']:g} {scaling['units']}".rstrip()
    lines = [
        "---",
        "library_name: foreframe",
        "tags: [video-prediction, forecasting]",
        "---",
        f"# {about.get('title', config['model'])}",
        "",
        f"{what} of {parameters:,} parameters, written by foreframe {config['foreframe']}. "
        f"{made} {window['future']} frames from {window['past']}; {values}.",
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
            shown = json.dumps(value) if isinstance(value, dict | list) else value
            lines += ["", f"**{name}**: {shown}"]
    return "\n".join(lines) + "\n"
