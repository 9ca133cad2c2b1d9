"""Forecasters as folders: plain config, weights and a model card; nothing is unpickled.

Folders are untrusted: all values are checked before use.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from foreframe.base.files import atomic_write, exists
from foreframe.base.hub import HUB, downloaded
from foreframe.base.notes import warn
from foreframe.base.schema import OWN, UnknownError, check_at_least, check_plain, parameters, typed
from foreframe.base.wording import described, in_one_line
from foreframe.clips.clip import Window
from foreframe.clips.scaling import Scaling
from foreframe.forecasting.checkpoint_files import before, first_whole, read_checkpoint
from foreframe.forecasting.forecast_options import NONE
from foreframe.forecasting.trained import Trained
from foreframe.models import FREE, Model, build_model
from foreframe.models.exported import Exported
from foreframe.models.names import check_forecaster, is_name, weights_folder

LONGEST = 2**20  # bytes of a config.json
ABOUT = "about.json"  # of an exported folder


BESIDE = ("calibration.json",)  # files of add-ons that go with the weights


@dataclass(frozen=True)
class Description:
    """A forecaster's config.json, also in its checkpoints: all but the weights.

    Args:
        model, args: its name in MODELS, and its arguments.
        window, scaling, trained, about, match: as of `Forecaster`.
        foreframe: the version that wrote it.
    """

    model: str
    args: dict[str, Any]
    window: Window
    scaling: Scaling
    trained: Trained = Trained()  # noqa: RUF009 (frozen)
    about: dict[str, Any] = field(default_factory=dict)
    match: str = NONE
    foreframe: str = ""

    def __post_init__(self) -> None:
        check_plain(self.about, "about")


@dataclass(frozen=True)
class Export:
    """The fields of an exported folder's about.json that are needed to run a whole forecast.

    Args:
        forecaster: as config.json describes it.
        format: of the graphs.
        steps, channels: frames that the graph makes, and channels that it takes.
        multiple, size: as of `Exported`.
    """

    forecaster: Description
    format: Literal["onnx"]
    steps: int
    channels: int
    multiple: int
    size: tuple[int, int] | None

    def __post_init__(self) -> None:
        check_at_least(1, steps=self.steps, channels=self.channels, multiple=self.multiple)


def fingerprint(model: Model, *about: Any) -> str:
    """Return the SHA-256 digest of plain values and of a model's weights."""
    plain = json.dumps(about, sort_keys=True, default=str)
    digest = hashlib.sha256(plain.encode())
    for name, value in sorted(model.state_dict().items()):
        weights = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(name.encode() + weights.numpy().tobytes())
    return digest.hexdigest()


def write_forecaster(
    folder: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    source: Path | None = None,
) -> None:
    """Write config.json, model.safetensors and the model card, README.md.

    Args:
        folder: is created if it does not exist.
        config: `Forecaster.config`.
        weights: by name.
        source: the folder that they were loaded from, whose files of add-ons are copied.

    Raises:
        ValueError: the folder cannot be written.
    """
    from safetensors.torch import save

    contents = {name: _content(source, name) for name in BESIDE}
    parts = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    # The save_file of safetensors reports a full disk as a format error.
    contents["model.safetensors"] = save(parts)
    contents["config.json"] = (json.dumps(config, indent=2) + "\n").encode()
    contents["README.md"] = _card(config, sum(value.numel() for value in parts.values())).encode()
    for name, content in contents.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)  # of earlier weights in this folder
        else:
            with atomic_write(folder / name) as rough:
                rough.write_bytes(content)


def _content(folder: Path | None, name: str) -> bytes | None:
    path = None if folder is None else folder / name
    return path.read_bytes() if path is not None and path.is_file() else None


def read_forecaster(
    what: str | Path, device: str | torch.device = "cpu"
) -> tuple[Model, Description | None, Path]:
    """Read a saved folder, an exported one, a run, a checkpoint, published weights, a repository of
    the Hub or a baseline, which has no description; arguments and errors as in `Forecaster.load`.
    The last is the folder of the forecaster.
    """
    name = str(what)
    if is_name(what):
        if exists(what):
            warn(f"{name} is what comes with foreframe; ./{name} is the file or folder here")
        if name in FREE:
            return FREE[name](), None, Path(name)
        what = weights_folder(name)
    else:
        check_forecaster(what)
        what = downloaded(name) if name.startswith(HUB) else Path(what)
    if (what / ABOUT).is_file():
        return *_exported(what, device), what
    if (what / "model.safetensors").is_file():
        return *_built(*_of_folder(what), name, device), what
    path, note, folder = what, "", what
    if what.is_file() and what.suffix == ".ckpt":
        checkpoint, folder = read_checkpoint(what), what.absolute().parent.parent
    elif what.is_dir():
        best, last = (what / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
        try:
            path, checkpoint, note = first_whole((best, before(best), last, before(last)))
        except FileNotFoundError:
            raise ValueError(
                f"{what} holds neither model.safetensors nor checkpoints/best.ckpt; did its "
                "training get as far as saving?"
            ) from None
    else:
        raise ValueError(f"{what} is neither a folder nor a .ckpt")
    if note:
        warn(note)
    weights = checkpoint.get("state_dict")
    if not isinstance(weights, Mapping):
        raise ValueError(f"{path} does not hold a foreframe model: it has no weights")
    weights = {str(name).removeprefix("network."): value for name, value in weights.items()}
    return *_built(checkpoint["forecaster"], weights, str(path), device), folder


def _exported(folder: Path, device: str | torch.device) -> tuple[Model, Description]:
    """The forecaster of an exported folder, run by ONNX Runtime.

    Raises:
        ValueError: a file is missing or damaged; a folder of single steps alone; a device; inputs
            beside frames.
    """
    with in_one_line(f"{folder} cannot be run here: export it again, with --steps"):
        with (folder / ABOUT).open(encoding="utf-8") as file:
            about = json.loads(file.read(LONGEST))
        given = {name: about.get(name) for name in parameters(Export)}
        export = typed(Export, given, "about.json")
    of, past = export.forecaster, export.forecaster.window.past
    if str(device) not in ("auto", "cpu"):
        raise ValueError(f"exported graphs run on the CPU, not on {device}: leave out device")
    with torch.device("meta"):
        network = build_model(of.model, of.args)
    if of.match != NONE:
        warn(f"{folder} gives the plain forecast, without the match {of.match}")
    if network.inputs:
        raise ValueError(f"{folder} takes inputs beside frames: use the forecaster itself")
    graph = export.channels, past, export.steps, export.multiple, export.size
    return Exported(network, folder, *graph), replace(of, match=NONE)


def _of_folder(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """Config and weights of a saved folder, not checked yet.

    Raises:
        ValueError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with (folder / "config.json").open(encoding="utf-8") as file:
            return json.loads(file.read(LONGEST)), load_file(folder / "model.safetensors")
    except (SafetensorError, ValueError, RecursionError, OSError, MemoryError) as error:
        raise ValueError(
            f"{folder} is damaged: {described(error)}; copy or train it again"
        ) from None


def _built(
    config: Any, weights: Mapping[str, Any], where: str, device: str | torch.device
) -> tuple[Model, Description]:
    """The model that `config` describes, with these weights.

    Raises:
        ValueError: invalid values, or weights that do not fit the model; no such device.
    """
    try:
        description = typed(Description, config, "config")
        model = build_model(description.model, description.args, weights=weights)
    except UnknownError as error:
        raise ValueError(f"{where} needs {error.what}, which is unknown here; {OWN}") from None
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{where} does not hold a foreframe model: {reason}") from None
    try:
        model.to(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {device!r} cannot be used here; choose cpu, cuda, mps or auto"
        ) from error
    # The layout that suits convolutions on a CPU.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval(), description


def _card(config: Mapping[str, Any], parameters: int) -> str:
    window, scaling, about = config["window"], config["scaling"], config["about"]
    values = f"{scaling['low']:g} to {scaling['high']:g} {scaling['units']}".rstrip()
    trained = {name: value for name, value in config["trained"].items() if value}
    details = json.dumps({**trained, **about}, indent=2)
    title = about.get("title", config["model"])
    tags = ["video-prediction", "forecasting"]
    head: dict[str, Any] = {"library_name": "foreframe", "tags": tags}
    if "license" in about:
        head["license"] = about["license"]
    if isinstance(scores := about.get("scores"), Mapping):
        metrics = [{"type": name, "value": value} for name, value in scores.items()]
        data = dict.fromkeys(("name", "type"), trained.get("data", "unknown"))
        results = [{"task": {"type": "video-prediction"}, "dataset": data, "metrics": metrics}]
        head["model-index"] = [{"name": title, "results": results}]
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n# {title}\n\n"
        f"A model of {parameters:,} parameters (`{config['model']}`), written by foreframe "
        f"{config['foreframe']}. It forecasts {window['future']} frames from {window['past']}, or "
        f"as many as are wanted; values {values}.\n\n```json\n{details}\n```\n"
    )
