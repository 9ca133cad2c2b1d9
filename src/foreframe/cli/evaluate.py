"""foreframe evaluate"""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from foreframe.base.memory import keep_memory
from foreframe.base.shipped import check_forecaster
from foreframe.base.wording import plural
from foreframe.cli.parser import Parser, call
from foreframe.cli.progress import progress
from foreframe.clips.data_options import Match, ReadingAsTrained, SplitsAsTrained, check_scoring
from foreframe.evaluation import ScoreOptions
from foreframe.forecasting.precision import Precision


def score_run(
    run: str | None = None,
    *,
    data: str | None = None,
    data_args: dict | None = None,
    reading: ReadingAsTrained = None,
    splits: SplitsAsTrained = None,
    split: str = "test",
    clips: int | Literal["all"] | None = None,
    past: int | None = None,
    future: int | None = None,
    forecasts: list[str] | str | None = None,
    pasts: str | None = None,
    batch_size: int = 16,
    thresholds: list[float] | None = None,
    scales: list[int] | None = None,
    period: int | None = None,
    stride: int | None = None,
    output: str | None = None,
    device: str = "auto",
    precision: Precision = "32-true",
    match: list[Match] | Match | None = None,
    members: int | None = None,
    seed: int = 0,
    budget: float = 2.0,
) -> None:
    """Score a trained run beside the baselines, or external forecasts

    Args:
        run: a run's folder, a saved folder, a checkpoint, or published weights (moving-mnist,
            radar, scenes); without one external
            forecasts are scored, and the baselines
        data: what to score on, as in foreframe train; by default the run's own data, unless these
            are imported or fetched
        data_args: its arguments, e.g. --data_args.digits fashion_mnist
        reading: how recordings are read where not as the run's own
        splits: how they are split where not as the run's own
        split: train, validation, test (or all, of a file)
        clips: how many, or all; by default as many as a minute allows, about, and all where there
            are forecasts
        past: frames to look at; by default as many as the run was trained with, or 10
        future: frames to score; by default as many as the run was trained to forecast, or 10
        forecasts: of other programs, a file or [several,files], to score too: .npy or .npz
            (N,S,C,H,W) in the data's own units (0 to 255 for films), in the order of the clips, or
            NetCDF, Zarr or .npz with start and lead times, as predict --every writes it
        pasts: .npy to write the past frames of the clips to, for another program to forecast from
        batch_size: clips at once, at most
        thresholds: of events, in the data's units, e.g. [0.5,2] for rain: CSI, POD, FAR, HSS
        scales: odd sides in pixels for the fractions skill score of these events, e.g. [5,17]
        period: adds a baseline that repeats so many steps, e.g. 24: the same hour yesterday
        stride: frames from window to window of recordings; by default the run's
        output: folder for the report; by default evaluation, of other data evaluation-DATA, in RUN
            or runs/NAME, or here without a run
        device: cpu, cuda, mps; auto takes cuda where there is one
        precision: bf16-mixed rounds, and is often faster; auto takes it where the processor
            multiplies such numbers
        match: last, guide or [last,guide] adds rows of the run's forecasts with the values of
            these, as foreframe predict --match makes them; of members, too; by default what the run
            says
        members: so many of each clip are drawn, and scored as an ensemble, too
        seed: of the members
        budget: GiB of memory that scoring a batch may take
    """
    check_scoring(clips, past, future, batch_size, split, pasts)
    if run is not None:
        check_forecaster(run)

    from foreframe.api import open_scored
    from foreframe.base.files import check_writable
    from foreframe.visuals import figures

    files = forecasts or ()
    scored = open_scored(
        run, data, data_args, reading, splits, past, future, files, split, stride, device
    )
    name = scored.where["data"]
    folder = Path(output or report_folder(run, "" if scored.own else f"-{Path(name).stem}"))
    check_writable(folder)  # what hours have scored must have a place to go
    if pasts is not None:
        written = plural(scored.write_pasts(pasts, clips), "clip")
        print(f"the past frames of {written} lie in {pasts}")
    options = ScoreOptions(
        clips,
        batch_size,
        thresholds=thresholds or (),
        scales=scales or (),
        period=period,
        precision=precision,
        match=match or (),
        members=members,
        seed=seed,
        budget=budget,
    )
    with progress("clips") as tell:
        card = scored.score(options, tell)
    print_table(card)
    if scored.forecaster.model.reduces and (
        size := (scored.where.get("data_args") or {}).get("size")
    ):
        print(f"Scored at {size[0]}x{size[1]}; foreframe predict gives frames as large as INPUT's.")
    if clips is None and not forecasts and card["clips"] < len(scored.dataset):
        print(
            f"{card['clips']} of {len(scored.dataset):,} clips, as many as a minute allows: "
            "--clips all scores each."
        )
    if forecasts and card["clips"] < len(scored.dataset) and clips is None:
        print(f"{card['clips']} of {len(scored.dataset)} clips: those that all forecasts are of.")
    say(card["in_words"])
    say(figures(card))
    # Scores come first: pictures are forecast and drawn for a while.
    paths = scored.write_report(folder, {"run": run, **card})
    print(f"{', '.join(path.name for path in paths)} lie in {folder}")


def report_folder(run: str | None, of: str) -> Path:
    """Where a report goes when nothing is said: beside the run's checkpoints, or here."""
    if run is None:
        beside = Path()
    elif Path(run).exists():
        beside = Path(run) if Path(run).is_dir() else Path(run).parent
    else:
        beside = Path("runs", run)
    return beside / f"evaluation{of}"


def print_table(card: Mapping[str, Any]) -> None:
    """The scorecard on the screen: a row for each forecaster, then events by lead time."""
    from foreframe.visuals import ensemble_table, event_tables, score_table

    print(score_table(card))
    if "ensemble" in card:
        print(f"\n{ensemble_table(card)}")
    for table in event_tables(card):
        print(f"\n{table}")


def say(text: str) -> None:
    """Print lines, broken between words where they are longer than the screen is wide."""
    for line in text.splitlines():
        print(textwrap.fill(line, max(80, shutil.get_terminal_size().columns)))


def parser() -> Parser:
    return Parser("evaluate", score_run)


def main(arguments: Sequence[str]) -> None:
    keep_memory()
    call(parser(), score_run, arguments)
