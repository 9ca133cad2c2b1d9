"""foreframe evaluate"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from foreframe.cli.parser import Parser
from foreframe.cli.progress import progress
from foreframe.evaluation import EvaluateOptions
from foreframe.models.names import check_forecaster, is_name, name_of


def score_run(run: str | None = None, *, options: EvaluateOptions) -> None:
    """Score a trained run beside the baselines, or external forecasts

    Args:
        run: a run's folder, a saved folder, a checkpoint, or published weights, such as
            scenes; without one external forecasts are scored, and the baselines
    """
    if run is not None:
        check_forecaster(run)

    from foreframe.base.processes import rank_and_size
    from foreframe.evaluation.scored import evaluate_scored, open_scored
    from foreframe.visuals.tables import figures, wrap

    scored = open_scored(run, options)
    name = scored.where["data"]
    beside = report_folder(run, "" if scored.own else f"-{Path(name).stem}")
    folder = Path(options.output or beside)
    scored = replace(scored, options=replace(options, output=str(folder)))
    with progress("clips") as bar:
        card = evaluate_scored(scored, bar)
    if rank_and_size()[0] > 0:
        return
    print_table(card)
    if scored.forecaster.model.reduces and (size := scored.where["reading"].get("size")):
        print(f"Scored at {size[0]}x{size[1]}; foreframe predict gives frames as large as INPUT's.")
    if options.clips is None and card["clips"] < len(scored.dataset):
        why = "to save time; --clips all scores all"
        why = "that all forecasts cover" if options.forecasts else why
        print(f"Scored {card['clips']} of {len(scored.dataset):,} clips {why}.")
    print(*map(wrap, [*card["in_words"].splitlines(), figures(card)]), sep="\n")
    # Scores come first: pictures are forecast and drawn for a while.
    paths = scored.write_report(folder, card)
    print(f"{', '.join(path.name for path in paths)} lie in {folder}")


def report_folder(run: str | None, ending: str) -> Path:
    """The default folder of a report: beside the run's checkpoints, or here."""
    beside = Path(run or "")
    if is_name(run) or not beside.exists():
        beside = Path("runs", name_of(run) if run else "")
    return (beside.parent if beside.is_file() else beside) / f"evaluation{ending}"


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
