"""foreframe evaluate"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foreframe.cli.options import Parser, ReadingAsTrained, SplitsAsTrained, call
from foreframe.cli.progress import progress
from foreframe.memory import keep_memory
from foreframe.options import check_scoring
from foreframe.precision import AUTO, Precision, choice_in_words
from foreframe.trained import check_forecaster
from foreframe.wording import plural


def score_run(
    run: str | None = None,
    *,
    data: str | None = None,
    data_args: dict | None = None,
    reading: ReadingAsTrained = None,
    splits: SplitsAsTrained = None,
    split: str = "test",
    clips: int | None = None,
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
) -> None:
    """Score a trained run beside the baselines, or forecasts made elsewhere

    Args:
        run: a run's folder, a saved folder, a checkpoint, or published weights: moving-mnist;
            without one forecasts made elsewhere are scored, and the baselines
        data: what to score on, as in foreframe train; by default the run's own data, unless these
            are imported or fetched
        data_args: its arguments, e.g. --data_args.digits fashion_mnist
        reading: how recordings are read where not as the run's own
        splits: how they are split where not as the run's own
        split: train, validation, test (or all, of a file)
        clips: how many; by default all
        past: frames to look at; by default as many as the run was trained with, or 10
        future: frames to score; by default as many as the run was trained to forecast, or 10
        forecasts: of other programs, a file or [several,files], to score too: .npy or .npz
            (N,S,C,H,W) in the data's own units, in the order of the clips, or NetCDF or Zarr with
            start and lead times, as predict --every writes it
        pasts: .npy to write the past frames of the clips to, for another program to forecast from
        batch_size: clips at once
        thresholds: of events, in the data's units, e.g. [0.5,2] for rain: CSI, POD, FAR, HSS
        scales: odd sides in pixels for the fractions skill score of these events, e.g. [5,17]
        period: adds a baseline that repeats so many steps, e.g. 24: the same hour yesterday
        stride: frames from window to window of recordings; by default the run's
        output: folder for the report; by default evaluation, of other data evaluation-DATA, in RUN
            or runs/NAME, or here without a run
        device: cpu, cuda, mps; auto takes cuda where there is one
        precision: bf16-mixed rounds, and is often faster; auto times both
    """
    check_scoring(clips, past, future, batch_size, split, pasts)
    if run is not None:
        check_forecaster(run)

    from foreframe.files import check_writable
    from foreframe.run import open_scored

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
    if precision == AUTO:
        print(choice_in_words(scored.forecaster.speedup(scored.dataset[0].shape)))
    with progress("clips") as tell:
        events = thresholds or (), scales or (), period
        card = scored.score(clips, batch_size, None, *events, tell, precision)
    paths = scored.write_report(folder, {"run": run, **card})
    print_table(card)
    if forecasts and card["clips"] < len(scored.dataset) and clips is None:
        print(f"{card['clips']} of {len(scored.dataset)} clips: those that all forecasts are of.")
    print(in_words(card))
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
    """The scorecard on the screen: a row for each forecaster, then scores by lead time."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    reference = card["reference"]
    table = Table(
        title=f"{card['clips']} clips of {card['data']} ({card['split']}), "
        f"{card['past']} frames in, {card['future']} out",
        caption="\n".join(captions(card)),
        box=box.SIMPLE,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("", no_wrap=True)
    for name in (
        "MSE\nopenstl",
        "MAE\nopenstl",
        "SSIM\nopenstl",
        "PSNR\nopenstl",
        "MSE\nstandard",
        "SSIM\nstandard",
        "skill",
        f"MSE over\n{reference}'s",
    ):
        table.add_column(name, justify="right")
    for name, of in card["scores"].items():
        openstl, standard = of["openstl"], of["standard"]
        table.add_row(
            name,
            f"{openstl['mse']['overall']:.2f}",
            f"{openstl['mae']['overall']:.2f}",
            f"{openstl['ssim']['overall']:.4f}",
            f"{openstl['psnr']['overall']:.2f}",
            f"{standard['mse']['overall']:.5f}",
            f"{standard['ssim']['overall']:.4f}",
            f"{card['skill'][name]['overall']:.3f}",
            "" if name == reference else beside(card["comparison"][name]),
            style="bold" if name == reference else None,
        )
    console = Console(width=max(120, Console().width))  # a narrower table would lose figures
    console.print(table)
    by_lead: list[tuple[str, Any, tuple[str, ...], str]] = [
        (f"RMSE in {card['units']} by lead time", card["scores"], ("physical", "rmse"), ".3g")
        if card["units"]
        else ("MSE (openstl) by lead time", card["scores"], ("openstl", "mse"), ".1f")
    ]
    for threshold, of in card["events"].get(reference, {}).items():
        by_lead.append(
            (f"CSI at {threshold} by lead time", card["events"], (threshold, "csi"), ".3f")
        )
        for scale in of["fss"]:
            title = f"FSS at {threshold}, {scale} pixels, by lead time"
            by_lead.append((title, card["events"], (threshold, "fss", scale), ".3f"))
    for title, rows, path, form in by_lead:
        leads = Table(title=title, box=box.SIMPLE, title_justify="left")
        leads.add_column("", no_wrap=True)
        for lead in range(1, card["future"] + 1):
            leads.add_column(f"+{lead}", justify="right")
        for name, of in rows.items():
            for key in path:
                of = of[key]
            leads.add_row(name, *(format(value, form) for value in of["per_lead"]))
        Console(width=max(60 + 8 * card["future"], Console().width)).print(leads)


def captions(card: Mapping[str, Any]) -> list[str]:
    """What the columns of the table mean, a line each."""
    lines = [
        "openstl: sums over a frame, L = 2; standard: means a pixel, L = 1; "
        "skill: 1 - MSE / MSE of persistence"
    ]
    groups = drawn_from(card)
    if groups and not too_few(card):
        lines.append(
            f"MSE over {card['reference']}'s: with 95 % intervals by a paired bootstrap of "
            f"{groups}; tie: could be chance"
        )
    return lines


def drawn_from(card: Mapping[str, Any]) -> str:
    """What the bootstrap draws from: "24 clips"; "" where nothing was compared."""
    first = next(iter(card["comparison"].values()), None)
    return "" if first is None else plural(first["n"], first["over"].removesuffix("s"))


def too_few(card: Mapping[str, Any]) -> bool:
    """Whether there are too few clips to tell any difference from chance."""
    return any(of["low"] is None for of in card["comparison"].values())


def beside(comparison: Mapping[str, Any]) -> str:
    """How many times the reference's MSE another one's is, and between what and what; or a tie."""
    ratio, low, high = (comparison[name] for name in ("ratio", "ratio_low", "ratio_high"))
    if comparison["low"] is not None and comparison["tie"]:
        return f"{ratio:.2f} tie"
    return f"{ratio:.2f}" if low is None else f"{ratio:.2f} ({low:.2f}-{high:.2f})"


def in_words(card: Mapping[str, Any]) -> str:
    """Whether the reference is better or worse than each other forecaster, or that it is a tie."""
    who = "The model" if card["reference"] == "model" else card["reference"]
    if too_few(card):
        the = who.replace("The", "the")
        return f"Whether {the} is better or worse cannot be told from {drawn_from(card)}."
    parts: dict[str, list[str]] = {"better than": [], "worse than": [], "a tie with": []}
    for name, of in card["comparison"].items():
        spoken = name.replace("_", " ")
        share = 1 - 1 / of["ratio"] if of["ratio"] else -math.inf
        if of["tie"]:
            parts["a tie with"].append(spoken)
        elif of["difference"] > 0:
            parts["better than"].append(f"{spoken} (MSE {share:.0%} lower)")
        else:
            more = f"{-share:.0%} higher" if -share < 1 else f"{1 - share:.3g} times as high"
            parts["worse than"].append(f"{spoken} (MSE {more})")
    clauses = [f"{how} {', '.join(names)}" for how, names in parts.items() if names]
    chance = " (the difference could be chance)" if parts["a tie with"] else ""
    return f"{who} is {'; '.join(clauses)}{chance}." if clauses else ""


def parser() -> Parser:
    return Parser("evaluate", score_run)


def main(arguments: Sequence[str]) -> None:
    keep_memory()
    call(parser(), score_run, arguments)
