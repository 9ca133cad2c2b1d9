"""foreframe evaluate"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from foreframe.base.progress import progress
from foreframe.cli.parser import Parser
from foreframe.evaluation import EvaluateOptions
from foreframe.models.names import check_forecaster


def score_run(run: str | None = None, *, options: EvaluateOptions) -> None:
    """Score a trained run and the baselines, or external forecasts

    Args:
        run: a run's folder, a saved folder, a checkpoint, or published weights, such as
            scenes; without a run external forecasts and the baselines are scored
    """
    if run is not None:
        check_forecaster(run)

    with progress("clips") as tell:
        from foreframe.api import evaluate
        from foreframe.base.processes import rank_and_size
        from foreframe.visuals.tables import figures, wrap

        options = replace(options, output=options.output or "auto")
        card = evaluate(run, options=options, progress=tell)
    if rank_and_size()[0] > 0:
        return
    print_table(card)
    lines = [*card.remarks, *card["in_words"].splitlines(), figures(card)]
    print(*map(wrap, lines), sep="\n")
    print(f"{', '.join(path.name for path in card.report)} are in {card.report[0].parent}")


def print_table(card: Mapping[str, Any]) -> None:
    """Print the scorecard: a row for each forecaster, then pictures and events by lead time."""
    from foreframe.visuals import ensemble_table, further_tables, score_table

    print(score_table(card))
    if "ensemble" in card:
        print(f"\n{ensemble_table(card)}")
    for table in further_tables(card):
        print(f"\n{table}")


def parser() -> Parser:
    common = (
        "data data_args protocol past future reading split clips batch_size baselines thresholds "
        "scales lpips match members seed forecasts output device precision budget"
    )
    return Parser("evaluate", score_run, common=common)
