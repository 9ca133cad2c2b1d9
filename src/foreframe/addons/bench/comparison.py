"""`foreframe.bench`: train with equal budgets, score, rank and write."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from foreframe.addons.bench.bench_options import BenchOptions
from foreframe.addons.bench.contest import by_name, open_bench
from foreframe.addons.bench.equal import history_of, train_each
from foreframe.addons.bench.leaderboard import (
    Leaderboard,
    check_same,
    identity,
    merged,
    read_leaderboard,
    write_leaderboard,
)
from foreframe.addons.bench.rows import rows_of
from foreframe.api import Run, takes
from foreframe.base.files import check_writable
from foreframe.base.notes import listening
from foreframe.data.datasets import clip_set
from foreframe.evaluation.card import groups_of
from foreframe.evaluation.networks import fewer_within
from foreframe.forecasting.forecast_options import changed
from foreframe.forecasting.forecaster import Forecaster


@takes(BenchOptions)
def bench(
    what: "Mapping[str, Any] | Sequence[Any] | Forecaster | Run | str | os.PathLike[str]" = (),
    data: Any = None,
    options: BenchOptions | None = None,
    *,
    progress: Callable[[int, int], Any] | None = None,
    **changes: Any,
) -> Leaderboard:
    """Compare forecasters on the same clips, as `foreframe bench` does.

        foreframe.bench(["runs/demo", "scenes"], clips=200, output="leaderboard")

    Args:
        what: forecasters as in `evaluate`: one, several, or {name of its row: forecaster}.
        data: data to score on, as in `evaluate`; defaults to the data of the first forecaster.
        options, changes: the fields of `BenchOptions` by name, below, or an object that they
            change.
        progress: called after each batch with the number of scored clips and the number of all
            clips, over all forecasters.

    Returns:
        The leaderboard. It is also written to `output` as leaderboard.json, .md and .png. If
        `output` has a leaderboard of the same frames, its rows of other names stay.

    Raises:
        ValueError: as `fit` and `evaluate`; forecasters that do not fit each other; a leaderboard
            of other frames, or a training with another budget, in `output`.
        KeyboardInterrupt: Ctrl-C; the same call continues the trainings.
    """
    if data is not None:
        changes["data"] = data
    options = changed(options or BenchOptions(), changes)
    folder = Path(options.output)
    named = by_name(what, [folder / "runs" / Path(each).stem for each in options.to_train])
    check_writable(folder)
    before = read_leaderboard(folder)
    train_each(options)
    contest = open_bench(named, options)
    first, scorers = contest[0], [each.scorer for each in contest]
    dataset, window = clip_set(first.dataset), first.forecaster.window
    first.write_pasts()
    clips, least = scorers[0].clips, scorers[0].at_once
    if options.seconds is not None:
        clips = fewer_within(
            options.seconds, clips, least, lambda some: [each.score(some) for each in scorers]
        )
    found = identity(dataset, clips, window, first.where, first.forecaster.scaling.units)
    found["past"] = max(each.forecaster.window.past for each in contest)
    check_same(before, found, folder)
    groups, _ = groups_of(dataset, clips, window)
    rows: dict[str, dict[str, Any]] = {}
    for number, scorer in enumerate(scorers):

        def tell(done: int, total: int, before: int = number * len(clips)) -> None:
            if progress is not None:
                progress(before + done, len(scorers) * total)

        scores = scorer.score(clips, tell)
        made = rows_of(scorer, scores, groups, clips[0])
        rows |= _with_history(made, scorer, named.get(scorer.name))
    device = str(first.forecaster.device)
    board = merged(before, found, list(rows.values()), groups, device)
    write_leaderboard(folder, board)
    return board


def _with_history(rows: dict[str, Any], scorer: Any, run: Any) -> dict[str, Any]:
    """Return the rows of a forecaster with the training of its run, if it is one."""
    if isinstance(run, str | os.PathLike):
        with suppress(ValueError), listening(verbose=False):  # a damaged run
            trained = history_of(Path(run))
            for name in (scorer.name, *scorer.mean, *scorer.matches):
                rows[name]["trained"] = trained
    return rows
