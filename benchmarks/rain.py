"""Rain beside its strongest opponents: whole domains in, each event left out of training.

    python benchmarks/rain.py ARCHIVES [--forecaster NAME_OR_FOLDER] [--starts 4] [--members 24]
        [-- OPTIONS]
    python benchmarks/rain.py --output FOLDER

ARCHIVES is the folder that examples/radar/prepare.py takes, which makes mm/h of it. Of each event a
forecaster, as it is named or, where the folder has a run of each event's name, the one that did not
train on that event, forecasts an hour from fifty minutes at a few starts, beside baselines and
the nowcasts of pysteps (`pip install 'foreframe[pysteps]'`), by `foreframe evaluate` with the
OPTIONS. All are given the whole domain, at 2 km, and are scored wherever something was measured.
With --members these are scored, too, beside as many of STEPS and a lagged ensemble. What is in the
folder of --output is not done again (benchmarks/recordings.py).

The last table has, for each opponent, the forecaster's RMSE over its own: the geometric mean over
events, and where that lies by Student's t, taking events, not starts, as independent.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from radar import made_up, prepared
from recordings import (
    Result,
    failures,
    figure,
    header,
    leads,
    leave,
    measured,
    options,
    over,
    rows_of,
    scored,
    table,
    values,
)

FREE = "persistence,dense_motion,optical_flow,faded_motion,lagged"
PYSTEPS = "pysteps/extrapolation,pysteps/sprog,pysteps/anvil"
STEPS = "pysteps/steps"
READ = (
    "--split all --reading.variable rain --reading.coarsen 2 --splits.active 0 "
    "--past 10 --future 12 --stride 9 --batch_size 1 --budget 4 --thresholds [1,5] --scales [17]"
)
RMSE = ("scores", "physical", "rmse")
SCORES = {
    "RMSE, mm/h": (RMSE, ""),
    "MSE on a logarithmic scale, times 10,000": (("scores", "standard", "mse"), ""),
    "CSI at 1 mm/h": (("events", "1 mm/h", "csi"), ".3f"),
    "CSI at 5 mm/h": (("events", "5 mm/h", "csi"), ".3f"),
    "FSS at 5 mm/h, 34 km": (("events", "5 mm/h", "fss", "17"), ".3f"),
    "frequency bias at 1 mm/h": (("events", "1 mm/h", "bias"), ".2f"),
    "frequency bias at 5 mm/h": (("events", "5 mm/h", "bias"), ".2f"),
}
OF_MEMBERS = {
    "fair CRPS, mm/h": ("physical", "fair_crps"),
    "spread over skill": ("physical", "spread_skill"),
    "fair Brier score at 1 mm/h": ("1 mm/h", "fair_brier"),
    "fair Brier score at 5 mm/h": ("5 mm/h", "fair_brier"),
}
T_95 = {2: 12.7, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57}  # Student's t of so many events


def spread(ratios: Sequence[float]) -> str:
    """The geometric mean, and its interval of 95 %."""
    logs = [math.log(ratio) for ratio in ratios if ratio > 0 and math.isfinite(ratio)]
    if not logs:
        return ""
    mean, n = fmean(logs), len(logs)
    if n not in T_95:
        return f"{math.exp(mean):.2f}"
    half = T_95[n] * stdev(logs) / math.sqrt(n)
    return f"{math.exp(mean):.2f} [{math.exp(mean - half):.2f}, {math.exp(mean + half):.2f}]"


def parts_of_brier(scores: Mapping[str, Any]) -> dict[str, list[float]]:
    """Murphy's reliability (0 is best) and resolution (more is better), by lead time."""
    found: dict[str, list[float]] = {"reliability": [], "resolution": []}
    names = ("probabilities", "frequencies", "cases")
    for p, f, n in zip(*(scores[name]["per_lead"] for name in names), strict=True):
        bins = [(a or 0, b or 0, k) for a, b, k in zip(p, f, n, strict=True) if k]
        all_of = sum(k for *_, k in bins)
        base = sum(b * k for _, b, k in bins) / all_of
        found["reliability"].append(sum(k * (a - b) ** 2 for a, b, k in bins) / all_of)
        found["resolution"].append(sum(k * (b - base) ** 2 for _, b, k in bins) / all_of)
    return found


def tell_members(results: Sequence[Result]) -> dict[str, list[float]]:
    """The tables of one event's ensembles; the CRPS of each, by lead time."""
    cards: dict[str, Any] = {}
    for result in results:
        own, *_ = result["card"]["scores"]
        for row, card in result["card"].get("ensemble", {}).items():
            if row != "seed" and not (own == STEPS and row == "lagged"):
                cards[STEPS if own == STEPS else row] = card["scores"]
    names = leads(results)
    for title, (convention, score) in OF_MEMBERS.items():
        found = {row: scores[convention][score] for row, scores in cards.items()}
        rows = {row: [*of["per_lead"], of["overall"]] for row, of in found.items()}
        cells = {row: [figure(math.nan if x is None else x) for x in rows[row]] for row in rows}
        if cells:
            table(f"members: {title}", names, cells)
    for row, scores in cards.items():
        parts = parts_of_brier(scores["1 mm/h"])
        title = f"{row}: parts of the Brier score at 1 mm/h"
        table(title, names[:-1], {part: [*map(figure, parts[part])] for part in parts})
    return {row: scores["physical"]["fair_crps"]["per_lead"] for row, scores in cards.items()}


def tell(of: Mapping[str, Sequence[Result]]) -> None:
    ratios: dict[str, list[list[float]]] = {}
    members: dict[str, list[list[float]]] = {}
    names: list[str] = []
    for event, results in of.items():
        done = [result for result in results if "card" in result]
        print(f"\n## {event}")
        for reason in failures(results):
            print(f"\n{reason}")
        if not done:
            continue
        forecasts, free = rows_of(done)
        names = leads(done)
        forecasts.sort(key=lambda row: row != "model")
        crps = tell_members(done)
        for row in crps.keys() & {STEPS, "lagged"}:
            best = "model matched to guide" if "model matched to guide" in crps else "model"
            pairs = [over(*pair) for pair in zip(crps[best], crps[row], strict=True)]
            members.setdefault(row, []).append(pairs)
        for title, (path, form) in SCORES.items():
            times = 1e4 if "10,000" in title else 1
            rows = {
                row: [times * number for number in values(done, row, *path)]
                for row in (*forecasts, *free)
            }
            cells = {row: [figure(number, form) for number in rows[row]] for row in rows}
            table(title, names, {f"**{r}**" if r in forecasts else r: cells[r] for r in cells})
            if path == RMSE:
                for row in free:
                    pairs = zip(rows[forecasts[0]], rows[row], strict=True)
                    ratios.setdefault(row, []).append([over(*pair) for pair in pairs])
    for title, found in (("RMSE", ratios), ("CRPS of members", members)):
        if found:
            print(f"\n## {title} over that of each opponent, over events")
            each = {row: [*map(spread, zip(*of, strict=True))] for row, of in found.items()}
            table("", names[: len(next(iter(each.values())))], each)


def main(arguments: Sequence[str]) -> int:
    """Exit code 0: the tables are printed, whatever they say; 130: stopped, to be gone on with."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("archives", nargs="?", type=Path, metavar="ARCHIVES")
    parser.add_argument("--forecaster", default="radar", metavar="NAME_OR_FOLDER")
    parser.add_argument("--starts", type=int, default=4, help="forecasts of each event")
    parser.add_argument("--members", type=int, help="score so many, and of STEPS")
    parser.add_argument("--baselines", default=f"{FREE},{PYSTEPS}", help="opponents, with commas")
    parser.add_argument("--output", type=Path, default=Path("runs/rain"))
    parser.add_argument("--quick", action="store_true", help="small archives made here: only a try")
    ours, further = options(arguments)
    given = parser.parse_args(ours)
    if given.quick:
        given.archives = given.archives or made_up(given.output / "made-up")
        given.starts, further = 1, ["--reading.coarsen", "1", *further]
    events = prepared(given.archives, given.output)
    what = f"{given.forecaster}, each event whole, {given.starts} starts"
    try:
        for event, file in events.items() if given.archives else ():
            own = Path(given.forecaster) / event
            how = ["--data", str(file), *READ.split(), "--clips", str(given.starts), *further]
            name = str(own) if own.is_dir() else given.forecaster
            ours = [name, *how, "--baselines", f"[{given.baselines}]"]
            theirs = [STEPS, *how, "--baselines", "[]"]
            for whose, command in ((Path(given.forecaster).name, ours), ("steps", theirs)):
                if given.members:
                    command += ["--members", str(given.members)]
                scored(given.output / event / f"{whose}.json", event, what, [], command)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    found = measured(given.output, list(events))
    if not found:
        leave(f"nothing was measured in {given.output}; name the folder of ARCHIVES")
    for what, of in found.items():
        header(what, of)
        tell(of)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
