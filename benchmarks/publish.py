"""Puts trained weights into the package.

    python benchmarks/publish.py NAME HOW RUN [RUN ...] [--data KIND] [--clips N]
        [--scored TITLE=SCORECARD ...] [--perturbed] [--to FOLDER]

Scores the weights and the baselines on test clips, writes the weights as float16 with a card to
the folder of NAME, and scores the written file. Exits with 1 and keeps the old weights if float16
costs more than 0.1 %. With --perturbed the weights draw members, which are scored, too
(src/foreframe/addons/radar/perturbed.py). Each --scored scorecard.json of `foreframe evaluate` for
rain, such as one for radar recordings, adds tables to the card; scored members are compared with
the lagged ensemble.

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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import foreframe
from foreframe.base.wording import plural
from foreframe.data import DataOptions, open_splits
from foreframe.forecasting.trained import Trained
from foreframe.models import Model, build_model, model_name
from foreframe.models.names import published, weights_folder

MEMBERS = 16  # of models that draw any
RAIN = {  # scores of rain: where they are in a scorecard but for the row, how a table has them
    "RMSE, mm/h": (("scores", "physical", "rmse"), ""),
    "MSE on a logarithmic scale, times 10,000": (("scores", "standard", "mse"), ""),
    "CSI at 1 mm/h": (("events", "1 mm/h", "csi"), ".3f"),
    "CSI at 5 mm/h": (("events", "5 mm/h", "csi"), ".3f"),
    "FSS at 5 mm/h, 34 km": (("events", "5 mm/h", "fss", "17"), ".3f"),
    "frequency bias at 1 mm/h": (("events", "1 mm/h", "bias"), ".2f"),
    "frequency bias at 5 mm/h": (("events", "5 mm/h", "bias"), ".2f"),
}


def table(card: dict[str, Any]) -> list[str]:
    leads = (0, 1, 2, 4, 6, 9)
    lines = []
    for convention, score, form in (
        ("openstl", "mse", ".1f"),
        ("openstl", "mae", ".1f"),
        ("openstl", "bce", ".1f"),
        ("openstl", "ssim", ".3f"),
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


def ensemble_tables(card: dict[str, Any]) -> list[str]:
    """How good members are, by lead time; of single forecasts the CRPS is the absolute error."""
    leads = [lead for lead in (0, 1, 2, 4, 6, 9) if lead < card["future"]]
    ensembles = {name: of for name, of in card["ensemble"].items() if isinstance(of, dict)}
    lines = ["", "Members:"]
    for title, score, form in (
        ("fair CRPS, times 1,000", "fair_crps", ".2f"),
        ("spread / skill", "spread_skill", ".2f"),
        ("sharpness over the truth's", "sharpness", ".2f"),
        ("power at 8 pixels over the truth's", "power_at_8", ".2f"),
        ("ink", "ink", ".3f"),
    ):
        rows = {
            f"{name} ({of['members']})": of["scores"]["standard"][score]
            for name, of in ensembles.items()
        }
        if score == "fair_crps":
            rows |= {name: of["standard"]["mae"] for name, of in card["scores"].items()}
        head = "".join(f" +{lead + 1} |" for lead in leads)
        lines += ["", f"| {title} | overall |{head}", f"|---|---|{'---|' * len(leads)}"]
        for name, row in rows.items():
            times = 1000 if score == "fair_crps" else 1
            values = [times * of for of in (row["overall"], *(row["per_lead"][k] for k in leads))]
            cells = " | ".join(format(value, form) for value in values)
            lines.append(f"| {name.replace('_', ' ')} | {cells} |")
    return lines


def rain_tables(title: str, card: dict[str, Any]) -> list[str]:
    """Of a scorecard of rain, its scores by lead time."""
    leads = [lead for lead in (0, 1, 3, 5, 8, 11) if lead < card["future"]]
    lines = ["", f"### {title}", "", f"{card['clips']} windows."]
    for score, (path, form) in RAIN.items():
        head = "".join(f" +{lead + 1} |" for lead in leads)
        lines += ["", f"| {score} |{head}", f"|---|{'---|' * len(leads)}"]
        convention, *keys = path
        for name, of in card[convention].items():
            entry = of
            for key in keys:
                entry = entry[key]
            row = [entry["per_lead"][lead] for lead in leads]
            times = 1e4 if "10,000" in score else 1
            cells = ["" if v is None else format(times * v, form or ".3g") for v in row]
            lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return lines


def rain_members(card: dict[str, Any]) -> list[str]:
    """Of a scorecard of rain with members, theirs beside those of the lagged ensemble."""
    rows = {name: of for name, of in card.get("ensemble", {}).items() if name != "seed"}
    leads = [lead for lead in (0, 1, 3, 5, 8, 11) if lead < card["future"]]
    lines = []
    for title, convention, score, form in (
        ("CRPS, mm/h", "physical", "crps", ".3f"),
        ("fair CRPS, mm/h", "physical", "fair_crps", ".3f"),
        ("fair CRPS, `standard`", "standard", "fair_crps", ".4f"),
        ("spread over skill, `standard`", "standard", "spread_skill", ".2f"),
        ("sharpness", "standard", "sharpness", ".2f"),
        ("Brier score at 1 mm/h", "1 mm/h", "brier", ".4f"),
        ("Brier score at 5 mm/h", "5 mm/h", "brier", ".4f"),
    ):
        if rows:
            head = "".join(f" +{lead + 1} |" for lead in leads)
            lines += ["", f"| {title} |{head}", f"|---|{'---|' * len(leads)}"]
        for name, of in rows.items():
            row = of["scores"][convention][score]["per_lead"]
            cells = " | ".join(format(row[lead], form) for lead in leads)
            lines.append(f"| {name}, {plural(of['members'], 'member')} | {cells} |")
    return lines


def mean_of(runs: Sequence[str]) -> foreframe.Forecaster:
    first, *others = map(foreframe.Forecaster.load, runs)
    weights = [forecaster.model.state_dict() for forecaster in (first, *others)]
    first.model.load_state_dict(
        {name: torch.stack([w[name] for w in weights]).mean(dim=0) for name in weights[0]}
    )
    return first


def drawing(forecaster: foreframe.Forecaster) -> Model:
    """The forecaster's model, drawing members by noise that needs no training."""
    of = {model_name(forecaster.model): forecaster.model.args}
    model = build_model("perturbed", {"of": of})
    model.of.load_state_dict(forecaster.model.state_dict())
    return model.in_units(forecaster.scaling)


@dataclass(frozen=True)
class Of:
    """What weights are made of.

    Args:
        title: of the weights, in their card and wherever they are chosen.
        licence: whose that is.
        which: what a test clip is.
        data: the Dataset of these clips: generated, by name or by import path.
        data_args: its arguments.
        frame: the size of the frames, where they have one; else they are forecast whole.
        step, spacing: as of `foreframe.forecasting.trained.Trained`.
    """

    title: str
    licence: str
    which: str
    data: str
    data_args: dict[str, Any] = field(default_factory=dict)
    frame: tuple[int, int] | None = None
    step: int | None = None
    spacing: tuple[float, float] | None = None


OF = {
    "moving_mnist": Of(
        "Handwritten digits that move (Moving MNIST)",
        "The weights are of MNIST digits (LeCun, Cortes and Burges, CC BY-SA 3.0).",
        "of digits that were not trained on (the embedded digits, split test)",
        "moving_mnist",
        frame=(64, 64),
    ),
    "scenes": Of(
        "Films and cameras",
        "All that was trained on is generated by `examples/scenes` of foreframe's repository; some "
        "shapes in it are MNIST digits (LeCun, Cortes and Burges, CC BY-SA 3.0).",
        "of generated scenes that were not trained on (split test)",
        "examples.scenes.Scenes",
    ),
    "rain": Of(
        "Rain of weather radars",
        "Trained on rain that is generated by `examples/scenes` of foreframe's repository, and "
        "after that on radar composites of the Finnish Meteorological Institute (9 May 2017, CC BY "
        "4.0), KNMI (26 August 2010) and MeteoSwiss (15 May 2015, 11 July 2016), as the pysteps "
        "project collects them.",
        "of generated rain that was not trained on (split test)",
        "examples.scenes.Scenes",
        {"kind": "rain", "length": 22},
        step=300,
        spacing=(2000.0, 2000.0),
    ),
}


def publish(
    name: str,
    how: str,
    runs: Sequence[str],
    kind: str,
    clips: int,
    scored: Sequence[str],
    perturbed: bool,
    to: Path,
) -> int:
    of = OF[kind]
    forecaster = mean_of(runs)
    if perturbed:
        forecaster.model, forecaster.match = drawing(forecaster), "guide"
    args = of.data_args | {"clips": clips}
    test = open_splits(DataOptions(of.data, args, **asdict(forecaster.window)))["test"]
    before = foreframe.evaluate(forecaster, test, clips="all", batch_size=32)
    last = Path(runs[-1])
    trained = last.parents[1] if last.suffix == ".ckpt" else last
    settings = (trained / "config.yaml").read_text(encoding="utf-8")
    preset = forecaster.trained.preset
    grid = {"frame": of.frame, "step": of.step, "spacing": of.spacing}
    forecaster.trained = Trained(of.data, of.data_args, preset=preset, **grid)
    forecaster.about = {"title": of.title}
    folder = forecaster.save(to / f"{name}.new")
    file = folder / "model.safetensors"
    save_file({key: value.half() for key, value in load_file(file).items()}, file)
    members = MEMBERS if forecaster.model.draws else None
    written = foreframe.Forecaster.load(folder)
    after = foreframe.evaluate(written, test, clips="all", batch_size=32, members=members)
    own, halved = (card["scores"]["model"]["openstl"]["mse"]["overall"] for card in (before, after))
    print(f"MSE (openstl) {own:.3f}, as float16 {halved:.3f}")
    if halved > 1.001 * own:
        shutil.rmtree(folder)
        return 1
    kept = "\n".join(
        line for line in settings.splitlines() if "null" not in line and "/" not in line
    )
    cards = {
        title: json.loads(Path(file).read_text(encoding="utf-8"))
        for title, _, file in (item.partition("=") for item in scored)
    }
    readme = (folder / "README.md").read_text(encoding="utf-8")
    lines = [
        readme.rstrip(),
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
        f"On {clips} clips {of.which}, {time.strftime('%d %B %Y')}.",
        "Both conventions are explained in docs/scores.md; `openstl` sums over a frame.",
        *table(after),
        *(ensemble_tables(after) if members else []),
        *(
            line
            for title, card in cards.items()
            for line in (*rain_tables(title, card), *rain_members(card))
        ),
        "",
        of.licence,
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.rmtree(to / name, ignore_errors=True)
    folder.rename(to / name)
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
    parser.add_argument("--scored", nargs="+", default=[], metavar="TITLE=SCORECARD")
    parser.add_argument("--perturbed", action="store_true", help="draw members by noise")
    parser.add_argument("--to", type=Path, help="by default where NAME is")
    given = parser.parse_args()
    if given.to is None and given.name not in published():
        parser.error("--to: name the folder of these new weights")
    to = given.to or weights_folder(given.name).parent
    rest = given.data, given.clips, given.scored, given.perturbed, to
    return publish(given.name, given.how, given.runs, *rest)


if __name__ == "__main__":
    sys.exit(main())
