"""What users may name as a forecaster, checked before torch is loaded."""

from pathlib import Path

from foreframe.base.files import exists
from foreframe.base.hub import HUB, client
from foreframe.base.shipped import published
from foreframe.base.wording import closest
from foreframe.models.registry import BASELINES

SIZES = Path(__file__).with_name("sizes.json")
"""Kind, parameters, and multiply-adds of a clip of 1x64x64, 10 frames in and 10 out, of presets and
of models that need no arguments, 0 without weights; `tests/golden/record.py` writes it.
"""


def check_forecaster(what: str | Path) -> None:
    """Refuse unknown names of forecasters, before torch is loaded.

    Args:
        what: as in `foreframe.Forecaster.load`.

    Raises:
        ValueError: neither a file nor a folder, nor published weights, nor a baseline; a name of
            the Hub that is none, or the package for it is missing.
    """
    names = [*published(), *BASELINES]
    if str(what).startswith(HUB):
        client(str(what))
    elif not exists(what) and str(what) not in names:
        near = closest(str(what), names)
        raise ValueError(
            f"there is no folder {what}; {near and f'{near} Or '}name a run's folder (such as "
            "runs/demo), one that `save` wrote, hf://USER/NAME on the Hub, or what comes with "
            f"foreframe: {', '.join(names)}"
        )
