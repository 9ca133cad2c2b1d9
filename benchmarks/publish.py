"""Puts trained weights into the package.

    python benchmarks/publish.py NAME HOW RUN [RUN ...] [--data NAME] [--clips N]

Scores them on test clips beside the baselines, writes them as float16 to src/foreframe/weights/NAME
with a card, and scores what was written: exits with 1, and leaves the old weights, where float16
costs more than 0.1 %.

Of several runs that began with one another the mean of the weights is taken ("model soup", Wortsman
et al. 2022): where one has the lower error and the next is sharper, their mean has nearly the
better of both. The card has the settings of the last run.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import foreframe
from foreframe.data import open_splits
from foreframe.forecaster import WEIGHTS
from foreframe.trained import Trained


def table(card: dict[str, Any]) -> list[str]:
    leads = (0, 1, 2, 4, 6, 9)
    lines = []
    for convention, score, form in (
        ("openstl", "mse", ".1f"),
        ("openstl", "ssim", ".3f"),
        ("standard", "mse", ".5f"),
        ("standard", "ssim", ".3f"),
        ("standard", "psnr", ".2f"),
    ):
        head = "".join(f" +{k + 1} |" for k in leads)
        lines += [
            "",
            f"| {score.upper()} ({convention}) | overall |{head}",
            f"|---|---|{'---|' * len(leads)}",
        ]
        for name, scores in card["scores"].items():
            row = scores[convention][score]
            cells = "".join(f" {row['per_lead'][k]:{form}} |" for k in leads)
            lines.append(f"| {name.replace('_', ' ')} | {row['overall']:{form}} |{cells}")
    return lines


def mean_of(runs: Sequence[str]) -> foreframe.Forecaster:
    first, *others = map(foreframe.Forecaster.load, runs)
    weights = [forecaster.model.state_dict() for forecaster in (first, *others)]
    first.model.load_state_dict(
        {name: torch.stack([w[name] for w in weights]).mean(dim=0) for name in weights[0]}
    )
    return first


# What each drawn Dataset is made of, and whose that is; what a test clip is.
OF = {
    "moving_mnist": (
        "The weights are of MNIST digits (LeCun, Cortes and Burges, CC BY-SA 3.0).",
        "of digits that were not trained on (the embedded digits, split test)",
    ),
    "scenes": (
        "All that was trained on is drawn by foreframe itself; some shapes in it are MNIST digits "
        "(LeCun, Cortes and Burges, CC BY-SA 3.0).",
        "of drawn scenes that were not trained on (split test)",
    ),
}


def publish(name: str, how: str, runs: Sequence[str], data: str, clips: int) -> int:
    licence, which = OF[data]
    forecaster = mean_of(runs)
    test = open_splits(data, forecaster.window, {"clips": clips})["test"]
    before = foreframe.evaluate(forecaster, test, batch_size=32)
    last = Path(runs[-1])
    trained = last.parents[1] if last.suffix == ".ckpt" else last
    settings = (trained / "config.yaml").read_text(encoding="utf-8")
    # Digits have a size; scenes may be of any, and are forecast whole.
    frame = (64, 64) if data == "moving_mnist" else None
    forecaster.trained = Trained(data, frame=frame, preset=forecaster.trained.preset)
    folder = forecaster.save(WEIGHTS / f"{name}.new", half=True)
    after = foreframe.evaluate(foreframe.Forecaster.load(folder), test, batch_size=32)
    own, halved = (card["scores"]["model"]["openstl"]["mse"]["overall"] for card in (before, after))
    print(f"MSE (openstl) {own:.3f}, as float16 {halved:.3f}")
    if halved > 1.001 * own:
        shutil.rmtree(folder)
        return 1
    kept = "\n".join(
        line for line in settings.splitlines() if "null" not in line and "/" not in line
    )
    readme = (folder / "README.md").read_text(encoding="utf-8")
    lines = [
        readme.replace('"this folder"', f'"{name}"').rstrip(),
        "",
        "## Training",
        "",
        how,
        "",
        "```yaml",
        kept,
        "```",
        "",
        "## Scores",
        "",
        f"On {clips} clips {which}, {time.strftime('%d %B %Y')}.",
        "Both conventions are explained in docs/scores.md; `openstl` sums over a frame.",
        *table(after),
        "",
        licence,
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.rmtree(WEIGHTS / name, ignore_errors=True)
    folder.rename(WEIGHTS / name)
    print(
        json.dumps(
            {k: round(v["openstl"]["mse"]["overall"], 2) for k, v in after["scores"].items()}
        )
    )
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the weights: Forecaster.load(NAME)")
    parser.add_argument(
        "how", help="what the card says of the training: commands, data, seed, hours"
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder, of which the best checkpoint is taken, or a checkpoint",
    )
    parser.add_argument("--data", choices=OF, default="moving_mnist", help="what they forecast")
    parser.add_argument("--clips", type=int, default=2000)
    given = parser.parse_args()
    return publish(given.name, given.how, given.runs, given.data, given.clips)


if __name__ == "__main__":
    sys.exit(main())
