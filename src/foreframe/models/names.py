"""Names of forecasters: baselines, published weights, folders, the Hub; without torch."""

from pathlib import Path

from foreframe.base.extras import of_package, registered
from foreframe.base.files import exists
from foreframe.base.hub import HUB, client, repository_of
from foreframe.base.wording import closest
from foreframe.models.registry import FREE

SIZES = Path(__file__).with_name("sizes.json")
"""Kind, parameters, and multiply-adds of a clip of 1x64x64, 10 frames in and 10 out, of presets and
of models that need no arguments, 0 without weights; `tests/golden/record.py` writes it.
"""


def published() -> list[str]:
    """Names of the published weights of installed packages; each has a card, README.md."""
    return sorted(registered("weights"))


def weights_folder(name: str) -> Path:
    """The folder of these published weights; a package registers the folder that holds it."""
    folder: Path = of_package("weights", name) / name
    return folder


def is_name(what: object) -> bool:
    """Return whether this is a name of published weights or a baseline, even if a file or folder
    has the same name; a `Path` and "./radar" are no such names.
    """
    return isinstance(what, str) and what in (*published(), *FREE)


def check_forecaster(what: str | Path) -> None:
    """Refuse unknown names of forecasters, before torch is loaded.

    Args:
        what: as in `foreframe.Forecaster.load`.

    Raises:
        ValueError: neither a file nor a folder, nor published weights, nor a baseline; a name of
            the Hub that is none, or the package for it is missing.
    """
    names = [*published(), *FREE]
    if str(what).startswith(HUB):
        client(str(what))
    elif not is_name(what) and not exists(what):
        near = closest(str(what), names) or (
            "name a run's folder, hf://USER/NAME on the Hub, or weights or a baseline that "
            "`foreframe models` lists"
        )
        raise ValueError(f"there is no folder {what}; {near}")


def name_of(what: str | Path) -> str:
    """A forecaster's name without folders; a run's checkpoint has the name of its run.

    Args:
        what: as in `foreframe.Forecaster.load`.
    """
    path = Path(repository_of(str(what))[0] if str(what).startswith(HUB) else what).resolve()
    in_run = path.suffix == ".ckpt" and path.parent.name == "checkpoints"
    return (path.parents[1] if in_run else path).name
