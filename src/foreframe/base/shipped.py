"""Names of the published weights, and of forecasters by their folders; no torch."""

from pathlib import Path

from foreframe.base.hub import HUB, repository_of

WEIGHTS = Path(__file__).parents[1] / "weights"


def published() -> list[str]:
    """Names of the published weights; each has a card in `weights/NAME/README.md`."""
    return sorted(path.parent.name for path in WEIGHTS.glob("*/model.safetensors"))


def name_of(what: str | Path) -> str:
    """A forecaster's name without folders; a run's checkpoint has the name of its run.

    Args:
        what: as in `foreframe.Forecaster.load`.
    """
    path = Path(repository_of(str(what))[0] if str(what).startswith(HUB) else what).resolve()
    in_run = path.suffix == ".ckpt" and path.parent.name == "checkpoints"
    return (path.parents[1] if in_run else path).name
