"""Names of the baselines and the published weights; loads no torch."""

from pathlib import Path

from foreframe.base.files import exists
from foreframe.base.wording import closest

FREE = (
    "black", "mean", "persistence", "linear_motion", "dense_motion", "optical_flow", "cycle",
)  # fmt: skip
"""Baselines, forecasters without training, in the order of tables."""

WEIGHTS = Path(__file__).parents[1] / "weights"


def published() -> list[str]:
    """Names of the published weights; each has a card in `weights/NAME/README.md`."""
    return sorted(path.parent.name for path in WEIGHTS.glob("*/model.safetensors"))


def check_forecaster(what: str | Path) -> None:
    """Refuse unknown names of forecasters, before torch is loaded.

    Args:
        what: as in `foreframe.Forecaster.load`.

    Raises:
        ValueError: neither a file nor a folder, nor published weights, nor a baseline.
    """
    names = [*published(), *FREE]
    if not exists(what) and str(what) not in names:
        near = closest(str(what), names)
        raise ValueError(
            f"there is no folder {what}; {near and f'{near} Or '}name a run's folder (such as "
            f"runs/demo), one that `save` wrote, or what comes with foreframe: {', '.join(names)}"
        )


def name_of(what: str | Path) -> str:
    """A forecaster's name without folders; a run's checkpoint has the name of its run.

    Args:
        what: as in `foreframe.Forecaster.load`.
    """
    path = Path(what).resolve()
    in_run = path.suffix == ".ckpt" and path.parent.name == "checkpoints"
    return (path.parents[1] if in_run else path).name
