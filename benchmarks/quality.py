"""How good after how long?

    python benchmarks/quality.py PICTURE [--minutes M] [--digits FILE] RECIPE_OR_RUN ...

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
        train = [sys.executable, "-m", "foreframe", "train", "--config", config, "--run", str(run)]
        # The same clips for all, the tutorial's too.
        data = f"--data_args.digits {digits} --data_args.motion srivastava --validation_clips 100"
        how_long = f"--minutes {minutes:g} --epochs 1000000 --precision bf16-mixed"
        reports = "--trainer.val_check_interval 00:00:00:20 --picture_every 0"
        subprocess.run([*train, *f"{data} {how_long} {reports}".split()], check=True)
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
        f"| validation MSE after, minutes | {' | '.join(map(str, AT))} | the end |\n"
        f"|---|{'---|' * len(AT)}---|"
    )
    for source in given.of:
        if Path(source).is_dir():
            run = Path(source)
            name = run.name
        else:
            run = trained(source, given.minutes, given.digits)
            name = Path(source).stem
        written = (run / "validation.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in written.splitlines()]
        points = [(row["seconds"], row["scores"]["openstl"]["mse"]["overall"]) for row in rows]
        ended = points[-1][0] / 60
        cells = []
        for minutes in AT:
            errors = [mse for seconds, mse in points if seconds <= 60 * minutes]
            cells.append(f"{errors[-1]:.1f}" if errors and ended > 0.9 * minutes else "")
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
