"""foreframe evaluate"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foreframe.cli.options import Parser, ReadingAsTrained, SplitsAsTrained, call
from foreframe.cli.progress import progress
from foreframe.memory import keep_memory
from foreframe.precision import AUTO, Precision, choice_in_words
from foreframe.trained import check_forecaster


def score_run(
    run: str,
    *,
    data: str | None = None,
    data_args: dict | None = None,
    reading: ReadingAsTrained = None,
    splits: SplitsAsTrained = None,
    split: str = "test",
    clips: int | None = None,
    batch_size: int = 16,
    thresholds: list[float] | None = None,
    scales: list[int] | None = None,
    period: int | None = None,
    stride: int | None = None,
    output: str | None = None,
    device: str = "auto",
    precision: Precision = "32-true",
) -> None:
    """Score a trained run beside the baselines

    Args:
        run: a run's folder, a saved folder, a checkpoint, or published weights: moving-mnist
        data: what to score on, as in foreframe train; by default the run's own data, unless these
            are imported or fetched
        data_args: its arguments, e.g. --data_args.digits fashion_mnist
        reading: how recordings are read where not as the run's own
        splits: how they are split where not as the run's own
        split: train, validation, test (or all, of a file)
        clips: how many; by default all
        batch_size: clips at once
        thresholds: of events, in the data's units, e.g. [0.5,2] for rain: CSI, POD, FAR, HSS
        scales: odd sides in pixels for the fractions skill score of these events, e.g. [5,17]
        period: adds a baseline that repeats so many steps, e.g. 24: the same hour yesterday
        stride: frames from window to window of recordings; by default the run's
        output: folder for the report; by default evaluation, of other data evaluation-DATA, in RUN
            or runs/NAME
        device: cpu, cuda, mps; auto takes cuda where there is one
        precision: bf16-mixed rounds, and is often faster; auto times both
    """
    if clips is not None and clips < 1:
        raise ValueError(f"clips must be at least 1, not {clips}")
    if not 1 <= batch_size <= 4096:
        raise ValueError(f"batch_size must be 1 to 4096, not {batch_size}")
    if split not in ("train", "validation", "test", "all"):
        raise ValueError(f"split {split!r} is unknown; choose train, validation, test or all")
    check_forecaster(run)

    from dataclasses import replace

    from foreframe.data import check_first_clip, is_recording, open_dataset
    from foreframe.evaluation import evaluate as score
    from foreframe.evaluation import write_report
    from foreframe.files import check_writable
    from foreframe.forecaster import Forecaster
    from foreframe.models import baselines_here
    from foreframe.options import as_data_args
    from foreframe.trained import data_of

    given = {"data_args": data_args or {}, "reading": reading or {}, "splits": splits or {}}
    told = as_data_args(given)["data_args"]
    forecaster = Forecaster.load(run, device)
    name, args = data_of(forecaster.trained, run, data, told)
    if data is None and "clips" not in told:
        args.pop("clips", None)  # how many clips an epoch had says nothing about how many to score
    other = data is not None and data != forecaster.trained.data
    if other and is_recording(name, args):
        args = forecaster.reading_of(name, args)
    if stride is not None:
        forecaster.window = replace(forecaster.window, stride=stride)
    dataset = open_dataset(name, split, forecaster.window, args, forecaster.scaling)
    check_first_clip(dataset, forecaster.window, forecaster.model.channels, name)
    beside = (
        Path(run)
        if Path(run).is_dir()
        else Path(run).parent
        if Path(run).exists()
        else Path("runs", run)
    )
    folder = (
        Path(output)
        if output
        else beside / (f"evaluation-{Path(name).stem}" if other else "evaluation")
    )
    check_writable(folder)  # what hours have scored must have a place to go
    if precision == AUTO:
        print(choice_in_words(forecaster.speedup(dataset[0].shape)))
    with progress("clips") as tell:
        card = score(
            forecaster,
            dataset,
            clips,
            batch_size,
            baselines_here(),
            thresholds or (),
            scales or (),
            period,
            tell,
            precision,
        )
    card = {"run": str(run), "data": name, "data_args": args, "split": split, **card}
    paths = write_report(folder, card, forecaster, dataset)
    print_table(card)
    print(in_words(card))
    print(f"{', '.join(path.name for path in paths)} lie in {folder}")


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
    for first in list(card["comparison"].values())[:1]:
        groups = f"{first['n']} {first['over']}"
        lines.append(
            f"tie: {groups} are too few to tell a difference from chance"
            if first["low"] is None
            else f"MSE over {card['reference']}'s: with 95 % intervals by a paired bootstrap of "
            f"the {groups}; tie: could be chance"
        )
    return lines


def beside(comparison: Mapping[str, Any]) -> str:
    """How many times the reference's MSE another one's is, and between what and what; or a tie."""
    if comparison["tie"]:
        return f"{comparison['ratio']:.2f} tie"
    low, high = comparison["ratio_low"], comparison["ratio_high"]
    return f"{comparison['ratio']:.2f} ({low:.2f}-{high:.2f})"


def in_words(card: Mapping[str, Any]) -> str:
    """Whether the reference is better or worse than each other forecaster, or that it is a tie."""
    parts: dict[str, list[str]] = {"better than": [], "worse than": [], "a tie with": []}
    for name, of in card["comparison"].items():
        spoken, share = name.replace("_", " "), 1 - 1 / of["ratio"] if of["ratio"] else -math.inf
        if of["tie"]:
            parts["a tie with"].append(spoken)
        elif of["difference"] > 0:
            parts["better than"].append(f"{spoken} (MSE {share:.0%} lower)")
        else:
            parts["worse than"].append(f"{spoken} (MSE {-share:.0%} higher)")
    said = [f"{how} {', '.join(names)}" for how, names in parts.items() if names]
    who = "The model" if card["reference"] == "model" else card["reference"]
    chance = " (the difference could be chance)" if parts["a tie with"] else ""
    return f"{who} is {'; '.join(said)}{chance}."


def parser() -> Parser:
    return Parser("evaluate", score_run)


def main(arguments: Sequence[str]) -> None:
    keep_memory()
    call(parser(), score_run, arguments)
