"""foreframe bench"""

from contextlib import ExitStack
from typing import Any

from foreframe.addons.bench.bench_options import BenchOptions
from foreframe.base.processes import Stopped
from foreframe.base.progress import progress
from foreframe.cli.parser import Parser
from foreframe.models.names import check_forecaster


def compare(
    runs: list[str] = [],  # noqa: B006 (never changed)
    *,
    options: BenchOptions,
) -> None:
    """Compare forecasters on the same clips: foreframe bench RUN RUN -o FOLDER

    Scores, ranks with ties, time and memory are written to FOLDER as leaderboard.json, .md and
    .png. If FOLDER has a leaderboard of the same clips, its other rows stay.

    Args:
        runs: runs, saved folders, checkpoints, published weights, such as scenes,
            baselines; optional with --train or --forecasts
    """
    for run in runs:
        check_forecaster(run)

    with progress("the start"):
        from foreframe.addons.bench.comparison import bench

    bars: list[Any] = []
    try:
        with ExitStack() as stack:

            def tell(done: int, total: int) -> None:  # trainings show their own
                if not bars:
                    bars.append(stack.enter_context(progress("clips")))
                bars[0](done, total)

            board = bench(runs, options=options, progress=tell)
    except KeyboardInterrupt:
        raise Stopped("stopped; the same command continues the trainings") from None
    print(board)
    print(f"\nleaderboard.json, leaderboard.md and leaderboard.png are in {options.output}")


def parser() -> Parser:
    common = (
        "train minutes train_steps training data data_args past future reading split "
        "clips baselines thresholds match members output device precision"
    )
    return Parser("bench", compare, common=common)
