"""The leaderboard of Moving MNIST: core-minutes of training to a validation MSE of 90, 50 and 30.

    python benchmarks/zoo/digits/leaderboard.py PICTURE --general NAME=RUN --structured NAME=RUN+RUN

Adds rows to results/moving_mnist/minutes.json, replaces those of the same name, prints the table
and draws the picture. A row is a run of one of the scripts beside this file, and RUN+RUN are its
parts, one after the other. Structured models assume that frames show a few moving objects.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

TARGETS = 90, 50, 30
GROUPS = "structured", "general"
RESULTS = Path(__file__).parents[2] / "results/moving_mnist"
ROWS = RESULTS / "minutes.json"


def row_of(runs: Sequence[str]) -> dict[str, Any]:
    """The scores of these parts of a training by core-minutes since the first began."""
    minutes, mse, ssim, before = [], [], [], 0.0
    for run in runs:
        for line in (Path(run) / "validation.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            minutes.append(round(before + row["seconds"] / 60, 2))
            mse.append(round(row["scores"]["openstl"]["mse"]["overall"], 2))
            ssim.append(round(row["scores"]["standard"]["ssim"]["overall"], 4))
        before = minutes[-1]
    return {"minutes": minutes, "mse": mse, "ssim": ssim}


def to_reach(row: dict[str, Any], target: float) -> float:
    """Minutes to this MSE; infinite if it was not reached."""
    points = zip(row["minutes"], row["mse"], strict=True)
    return min((minutes for minutes, mse in points if mse <= target), default=math.inf)


def table(rows: dict[str, dict[str, Any]]) -> str:
    head = [f"minutes to {target}" for target in TARGETS]
    lines = [f"| | {' | '.join(head)} | MSE at the end | SSIM | minutes |", f"|---|{'---|' * 6}"]
    for group in GROUPS:
        lines.append(f"| **{group} models** | | | | | | |")
        chosen = [(name, row) for name, row in rows.items() if row["group"] == group]
        for name, row in sorted(chosen, key=lambda of: of[1]["mse"][-1]):
            times = [to_reach(row, target) for target in TARGETS]
            cells = [f"{time:.0f}" if time < math.inf else "not reached" for time in times]
            end = f"{row['mse'][-1]:.1f} | {row['ssim'][-1]:.3f} | {row['minutes'][-1]:.0f}"
            lines.append(f"| {name} | {' | '.join(cells)} | {end} |")
    return "\n".join(lines)


def draw(rows: dict[str, dict[str, Any]], picture: Path) -> None:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for name, row in rows.items():
        style = "-" if row["group"] == "general" else "--"
        axis.plot(row["minutes"], row["mse"], style, marker=".", label=name)
    for target in TARGETS:
        axis.axhline(target, color="grey", linewidth=0.8)
        axis.annotate(
            f"{target}", (1, target), xycoords=("axes fraction", "data"), va="bottom", ha="right"
        )
    limit = json.loads((RESULTS / "limit.json").read_text(encoding="utf-8"))
    least = limit["both axes"]["MSE"]["overall"]
    axis.axhline(least, color="black", linestyle=":", label="limit of the task")
    axis.set(xscale="log", yscale="log", xlabel="core-minutes of training")
    axis.set_ylabel("validation MSE, summed over a frame")
    axis.set_ylim(top=200)  # black frames have 172
    for along in axis.xaxis, axis.yaxis:
        along.set_major_formatter("{x:g}")
        along.set_minor_formatter("{x:g}")
    figure.legend(loc="outside right upper")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path)
    for group in GROUPS:
        parser.add_argument(f"--{group}", nargs="+", default=[], metavar="NAME=RUN")
    given = vars(parser.parse_args(words))
    rows = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.is_file() else {}
    for group in GROUPS:
        for name, runs in (row.split("=", 1) for row in given[group]):
            rows[name] = {"group": group} | row_of(runs.split("+"))
    ROWS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    draw(rows, given["picture"])


if __name__ == "__main__":
    main()
