"""What comes with the package, by name: baselines and published weights; no torch."""

from pathlib import Path

from foreframe.base.files import exists
from foreframe.base.wording import closest

FREE = (
    "black", "mean", "persistence", "linear_motion", "dense_motion", "optical_flow", "cycle",
)  # fmt: skip
"""Baselines by name, in the order in which they are shown: forecasters that nobody trains."""

WEIGHTS = Path(__file__).parents[1] / "weights"


def published() -> list[str]:
    """Names of the trained forecasters in this package; each has its card in
    `weights/NAME/README.md`.
    """
    return sorted(path.parent.name for path in WEIGHTS.glob("*/model.safetensors"))


def check_forecaster(what: str | Path) -> None:
    """Refuse the name of a forecaster that does not exist, before anything heavy is loaded.

    Args:
        what: as of `foreframe.Forecaster.load`.

    Raises:
        ValueError: neither a file nor a folder, nor published, nor a baseline.
    """
    names = [*published(), *FREE]
    if not exists(what) and str(what) not in names:
        near = closest(str(what), names)
        raise ValueError(
            f"there is no folder {what}; {near and f'{near} Or '}name a run's folder (such as "
            f"runs/demo), one that `save` wrote, or what comes with foreframe: {', '.join(names)}"
        )


def name_of(what: str | Path) -> str:
    """What a forecaster is called where others read it: without the folders that it lies in.

    Args:
        what: as of `foreframe.Forecaster.load`; a run's checkpoint is called as its run.
    """
    path = Path(what).resolve()
    of_run = path.suffix == ".ckpt" and path.parent.name == "checkpoints"
    return (path.parents[1] if of_run else path).name
