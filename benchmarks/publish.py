"""Put a run's weights into the package: python benchmarks/publish.py RUN NAME "HOW IT WAS TRAINED" [CLIPS]

RUN is a run's folder, of which the best checkpoint is taken, or one of its checkpoints. Scores it on CLIPS (2,000) clips of test
digits beside the baselines, writes its weights as float16 to src/foreframe/weights/NAME with a card, and scores what it wrote:
exits with 1, and removes it, where float16 has cost more than 0.1 %.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import foreframe
from foreframe.forecaster import WEIGHTS


def table(card: dict[str, Any]) -> list[str]:
    leads = (0, 1, 2, 4, 6, 9)
    lines = []
    for convention, score, form in (
        ("openstl", "mse", ".1f"), ("openstl", "ssim", ".3f"), ("standard", "mse", ".5f"), ("standard", "ssim", ".3f"),
        ("standard", "psnr", ".2f"),
    ):  # fmt: skip
        head = "".join(f" +{k + 1} |" for k in leads)
        lines += ["", f"| {score.upper()} ({convention}) | overall |{head}", f"|---|---|{'---|' * len(leads)}"]
        for name, of in card["scores"].items():
            found = of[convention][score]
            cells = "".join(f" {found['per_lead'][k]:{form}} |" for k in leads)
            lines.append(f"| {name.replace('_', ' ')} | {found['overall']:{form}} |{cells}")
    return lines


def main(run: str, name: str, how: str, clips: int = 2000) -> int:
    forecaster = foreframe.Forecaster.load(run)
    test = foreframe.MovingMNIST("test", length=forecaster.window.length, clips=clips)
    before = foreframe.evaluate(forecaster, test, batch_size=32)
    trained = Path(run).parents[1] if run.endswith(".ckpt") else Path(run)
    settings = (trained / "config.yaml").read_text(encoding="utf-8")
    forecaster.about = {"data": "moving_mnist", "data_args": {}, "frame": [64, 64], "preset": forecaster.about.get("preset", "")}
    folder = forecaster.save(WEIGHTS / name, half=True)
    after = foreframe.evaluate(foreframe.Forecaster.load(folder), test, batch_size=32)
    own, halved = (card["scores"]["model"]["openstl"]["mse"]["overall"] for card in (before, after))
    print(f"MSE (openstl) {own:.3f}, as float16 {halved:.3f}")
    if halved > 1.001 * own:
        shutil.rmtree(folder)
        return 1
    kept = "\n".join(line for line in settings.splitlines() if "null" not in line and "/" not in line)
    lines = [
        (folder / "README.md").read_text(encoding="utf-8").replace('"this folder"', f'"{name}"').rstrip(),
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
        f"On {clips} clips of digits that were not trained on (the embedded digits, split test), {time.strftime('%d %B %Y')}.",
        "Both conventions are explained in docs/scores.md; `openstl` sums over a frame.",
        *table(after),
        "",
        "The weights are of MNIST digits (LeCun, Cortes and Burges, CC BY-SA 3.0).",
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(json.dumps({k: round(v["openstl"]["mse"]["overall"], 2) for k, v in after["scores"].items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], *map(int, sys.argv[4:5])))
