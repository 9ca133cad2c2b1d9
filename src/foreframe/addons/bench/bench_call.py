"""`foreframe.bench`."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from foreframe.addons.bench.bench_options import BenchOptions
from foreframe.api import Run, takes
from foreframe.forecasting.forecast_options import changed

if TYPE_CHECKING:
    from foreframe.addons.bench.leaderboard import Leaderboard
    from foreframe.forecasting.forecaster import Forecaster


@takes(BenchOptions)
def bench(
    what: "Mapping[str, Any] | Sequence[Any] | Forecaster | Run | str | os.PathLike[str]" = (),
    data: Any = None,
    options: BenchOptions | None = None,
    *,
    progress: Callable[[int, int], Any] | None = None,
    **changes: Any,
) -> "Leaderboard":
    """Compare forecasters on the same clips, as `foreframe bench` does.

        foreframe.bench(["runs/demo", "scenes"], clips=200, output="leaderboard")

    Args:
        what: forecasters as in `evaluate`: one, several, or {name of its row: forecaster}.
        data: what to score on, as in `evaluate`; by default the data of the first.
        options, changes: the fields of `BenchOptions` by name, below, or an object that they
            change.
        progress: called after each batch with the number of clips scored, and of all, over all
            forecasters.

    Returns:
        The leaderboard, which lies in `output` as leaderboard.json, .md and .png. Rows of other
        names that a leaderboard of the same frames has there stay.

    Raises:
        ValueError: as `fit` and `evaluate`; forecasters that do not fit each other; a leaderboard
            of other frames, or a training with another budget, in `output`.
        KeyboardInterrupt: Ctrl-C; the same call continues the trainings.
    """
    if data is not None:
        changes["data"] = data
    options = changed(options or BenchOptions(), changes)
    from foreframe.addons.bench.comparison import compare

    return compare(what, options, progress)
