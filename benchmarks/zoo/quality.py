"""How good after how long, and after how much computation?

    python benchmarks/zoo/quality.py PICTURE NAME ... [--minutes M] [--digits FILE] [--rates R ...]

Trains each on Moving MNIST for M minutes, its schedule running on the clock, one after the other: a
recipe (by name or a YAML file), or by the recipe `unet_small` another preset or one of CANDIDATES
in candidates.py, with each of the learning rates. A run's folder is taken as it is, and
FIRST+SECOND as one training, of which SECOND began with the weights of FIRST. OMP_NUM_THREADS says
on how many cores; `--parallel 2` trains two at a time; `--processor_time` counts minutes of the
processor, not of the clock.

Prints the validation MSE (`openstl`) after some minutes, times the processes of a training, and at
the end with SSIM (`standard`), steps, clips and operations (six for each multiply-add of a clip's
forecast), and draws it against minutes and against operations. Before its end a schedule shows less
than a shorter one would have reached.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from candidates import CANDIDATES
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from foreframe.models import build_model, multiply_adds
from foreframe.training.recipes import recipes

AT = (1, 2, 4, 10, 20, 40, 120)
HERE = Path(__file__).parent


def command(source: str, rate: float | None) -> tuple[str, list[str]]:
    """The name of a training, and what `foreframe train` is told."""
    name = re.sub(r"\W+", "-", Path(source).stem) + (f"-{rate:g}" if rate else "")
    learning = ["--learning_rate", f"{rate:g}"] if rate else []
    if source in recipes() or Path(source).is_file():
        config = source if source in recipes() else str(Path(source).resolve())
        return name, ["--config", config, *learning]
    model, args = CANDIDATES.get(source, (source, {}))
    words = [word for key, of in args.items() for word in (f"--model_args.{key}", json.dumps(of))]
    return name, ["--config", "unet_small", "--model", model, *words, *learning]


def trained(source: str, rate: float | None, minutes: float, digits: str, more: str) -> list[Path]:
    """The folder of a training, which is begun or gone on with where it has not had its minutes; or
    those of its parts.
    """
    parts = [Path(part) for part in source.split("+")]
    if all(part.is_dir() for part in parts):
        return parts
    name, words = command(source, rate)
    run = Path("runs/quality") / f"{name}-{minutes:g}min-{Path(digits).stem}"
    begun = (run / "validation.jsonl").is_file()
    if not begun or row_of([run])["minutes"][-1] < 0.98 * minutes:
        train = [sys.executable, "-m", "foreframe", "train", "--import", "candidates"]
        # The same clips for all, the tutorial's too.
        data = f"--data_args.digits {digits} --data_args.motion srivastava --validation_clips 200"
        how_long = f"--minutes {minutes:g} --epochs 1000000 --precision auto"
        often = f"--trainer.val_check_interval 00:00:{max(1, minutes // 10):02.0f}:00"
        reports = f"{often} --picture_every 0 --verbose false"
        begin = [*words, *f"{data} {how_long} {reports} --run {run.resolve()}".split()]
        given = ["--resume", str(run.resolve())] if begun else begin
        subprocess.run([*train, *more.split(), *given], check=True, cwd=HERE)
    return [run]


def row_of(parts: Sequence[Path]) -> dict[str, Any]:
    """What a training came to, in all its parts."""
    lists: dict[str, list[float]] = {"minutes": [], "mse": [], "pflop": []}
    minutes, steps, clips = 0.0, 0, 0
    for run in parts:
        written = (run / "validation.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in written.splitlines()]
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        network = build_model(config["model"], {"channels": 1} | config["model_args"])
        clip = 6e-15 * multiply_adds(network, 10, 10, (64, 64))
        processes = config["devices"] if isinstance(config["devices"], int) else 1
        batch = config["batch_size"] * processes
        for row in rows:
            lists["minutes"].append(minutes + processes * row["seconds"] / 60)
            lists["mse"].append(row["scores"]["openstl"]["mse"]["overall"])
            lists["pflop"].append(clip * (clips + batch * row["step"]))
        end = rows[-1]
        minutes, steps = lists["minutes"][-1], steps + end["step"]
        clips += batch * end["step"]
    ssim = end["scores"]["standard"]["ssim"]["overall"]
    return {**lists, "ssim": ssim, "steps": steps, "clips": clips}


def line_of(name: str, row: dict[str, Any]) -> str:
    cells, ended = [], row["minutes"][-1]
    for at in AT:
        errors = [mse for t, mse in zip(row["minutes"], row["mse"], strict=True) if t <= at]
        cells.append(f"{errors[-1]:.1f}" if errors and ended > at else "")
    end = f"{ended:.0f} | {row['steps']:,} | {row['clips']:,} | {row['pflop'][-1]:.2f}"
    return f"| {name} | {' | '.join(cells)} | {row['mse'][-1]:.1f} | {row['ssim']:.3f} | {end} |"


def draw(rows: dict[str, dict[str, Any]], picture: Path) -> None:
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    written = (HERE.parent / "results/moving_mnist/limit.json").read_text(encoding="utf-8")
    limit = json.loads(written)["both axes"]["MSE"]["overall"]
    for axis, by, label in zip(axes, ("minutes", "pflop"), ("minutes", "PFLOP"), strict=True):
        for name, row in rows.items():
            axis.plot(row[by], row["mse"], marker=".", label=name)
        axis.axhline(limit, color="black", linestyle=":", label="limit of the task")
        axis.set(xscale="log", yscale="log", xlabel=f"{label} of training")
        axis.set_ylim(top=200)  # what is above has learnt nothing yet: black frames have 172
        axis.grid(alpha=0.3, which="both")
        axis.yaxis.set_major_formatter("{x:.0f}")
        axis.yaxis.set_minor_formatter("{x:.0f}")
        axis.xaxis.set_major_formatter("{x:g}")
    axes[0].set_ylabel("validation MSE (openstl)")
    lines, names = axes[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside right upper", fontsize="small")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path)
    parser.add_argument("of", nargs="+", metavar="NAME")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--digits", default="mini")
    parser.add_argument("--rates", nargs="+", type=float, default=[None])
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--processor_time", action="store_true")
    given = parser.parse_args(words)
    more = "--import processor_time" if given.processor_time else ""
    digits = given.digits if given.digits == "mini" else str(Path(given.digits).resolve())
    print(
        f"| validation MSE after, minutes | {' | '.join(map(str, AT))} | end | SSIM | minutes | "
        f"steps | clips | PFLOP |\n|---|{'---|' * (len(AT) + 6)}"
    )
    rows = {}
    with ThreadPoolExecutor(given.parallel) as pool:
        trainings = {
            f"{source} {rate:g}" if rate else source: pool.submit(
                trained, source, rate, given.minutes, digits, more
            )
            for source in given.of
            for rate in given.rates
        }
        for name, training in trainings.items():
            rows[name] = row_of(training.result())
            print(line_of(name, rows[name]), flush=True)
    draw(rows, given.picture)


if __name__ == "__main__":
    main()
