"""How good after how long? python benchmarks/quality.py PICTURE [--minutes M] [--digits FILE]
RECIPE_OR_RUN ...

Trains each recipe (a name or a YAML file) on Moving MNIST for M minutes, its schedule running on
the clock, one after the other; what was trained before is a run's folder, and is taken as it is.
Then prints the validation MSE (`openstl`) at 1, 4, 15, 30, 60 and 120 minutes, and draws it against
seconds of training, validation included. Before its end a schedule shows less than a shorter one
would have reached.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

AT = (1, 4, 15, 30, 60, 120)


def trained(config: str, minutes: float, digits: str) -> Path:
    run = Path("runs/quality") / f"{Path(config).stem}-{minutes:g}min-{Path(digits).stem}"
    if not (run / "validation.jsonl").exists():
        command = [
            sys.executable,
            "-m",
            "foreframe",
            "train",
            "--config",
            config,
            "--run",
            str(run),
        ]
        command += [
            "--minutes",
            f"{minutes:g}",
            "--epochs",
            "1000000",
            "--data_args.digits",
            digits,
            "--picture_every",
            "0",
        ]
        command += [
            "--precision",
            "bf16-mixed",
            "--trainer.val_check_interval",
            "00:00:00:20",
            "--validation_clips",
            "100",
        ]
        # The same clips for all, the tutorial's too.
        command += ["--data_args.motion", "srivastava"]
        subprocess.run(command, check=True)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path)
    parser.add_argument("of", nargs="+", metavar="RECIPE_OR_RUN")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--digits", default="mini")
    given = parser.parse_args()
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    print(
        f"| validation MSE after, minutes | {' | '.join(map(str, AT))} | the end "
        f"|\n|---|{'---|' * len(AT)}---|"
    )
    for one in given.of:
        run = Path(one) if Path(one).is_dir() else trained(one, given.minutes, given.digits)
        name = run.name if Path(one).is_dir() else Path(one).stem
        rows = [
            json.loads(line)
            for line in (run / "validation.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        points = [(row["seconds"], row["scores"]["openstl"]["mse"]["overall"]) for row in rows]
        by = [[mse for seconds, mse in points if seconds <= 60 * minutes] for minutes in AT]
        ended = points[-1][0] / 60
        cells = [
            f"{found[-1]:.1f}" if found and ended > 0.9 * minutes else ""
            for found, minutes in zip(by, AT, strict=True)
        ]
        print(
            f"| {name} | {' | '.join(cells)} | {points[-1][1]:.1f} ({ended:.0f} min) |", flush=True
        )
        axis.plot(*zip(*points, strict=True), marker=".", label=name)
    axis.set(
        xscale="log", yscale="log", xlabel="seconds of training", ylabel="validation MSE (openstl)"
    )
    axis.grid(alpha=0.3, which="both")
    axis.yaxis.set_major_formatter("{x:.0f}")
    axis.yaxis.set_minor_formatter("{x:.0f}")
    axis.set_xticks(
        [15 * 2**k for k in range(12) if axis.get_xlim()[0] < 15 * 2**k < axis.get_xlim()[1]]
    )
    axis.xaxis.set_major_formatter("{x:.0f}")
    axis.xaxis.set_minor_formatter("")
    axis.legend()
    given.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.picture, dpi=110)


if __name__ == "__main__":
    main()
