"""Rain beside its strongest opponents: whole domains in, each event left out of training.

    python benchmarks/radar/rain.py ARCHIVES --weights RUN [--starts 4] [--members 24] [-- OPTIONS]
    python benchmarks/radar/rain.py ARCHIVES --forecaster NAME_OR_FOLDER ... [-- OPTIONS]
    python benchmarks/radar/rain.py --output FOLDER

ARCHIVES is the folder that examples/radar/prepare.py takes, which makes mm/h of it. For each event
the weights of RUN, of generated rain (examples/radar/scenes.yaml), go on with all other events
(radar.yaml); the mean of the weights before and after, as the weights `radar` are, forecasts an
hour of that event from fifty minutes at a few starts, beside baselines and the nowcasts of pysteps
(`pip install 'foreframe[pysteps]'`), by `foreframe evaluate` with the OPTIONS. With --forecaster
nothing is trained. All are given the whole domain, at 2 km, and are scored wherever something was
measured. With --members these are scored, too, beside as many of STEPS and a lagged ensemble. What
is in the folder of --output is not done again (benchmarks/recordings.py).

The last table has, for each opponent, the forecaster's RMSE over its own: the geometric mean over
events, and where that lies by Student's t, taking events, not starts, as independent.
"""

import argparse
import math
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what several benchmarks share

from publish import RAIN, drawing, mean_of
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

import foreframe

EXAMPLE = Path(__file__).parents[2] / "examples" / "radar"
FREE = "persistence,dense_motion,optical_flow,faded_motion,lagged"
PYSTEPS = "pysteps/extrapolation,pysteps/sprog,pysteps/anvil"
STEPS = "pysteps/steps"
READ = (
    "--split all --reading.variable rain --reading.coarsen 2 --splits.active 0 "
    "--past 10 --future 12 --stride 9 --batch_size 1 --budget 4 --thresholds [1,5] --scales [17]"
)
RMSE = ("scores", "physical", "rmse")
SCALING = "{kind: log, low: 0.5, high: 100}"  # of the logarithmic scores, as of `radar`
OF_MEMBERS = {
    "fair CRPS, mm/h": ("physical", "fair_crps"),
    "spread over skill": ("physical", "spread_skill"),
    "fair Brier score at 1 mm/h": ("1 mm/h", "fair_brier"),
    "fair Brier score at 5 mm/h": ("5 mm/h", "fair_brier"),
}
T_95 = {2: 12.7, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57}  # Student's t of so many events


def prepared(archives: Path | None, output: Path) -> dict[str, Path]:
    """The events in mm/h, by name."""
    rain = output / "rain"
    if not rain.is_dir():
        if archives is None:
            return {}
        begun = output / "rain-begun"
        shutil.rmtree(begun, ignore_errors=True)
        command = [sys.executable, str(EXAMPLE / "prepare.py"), str(archives), str(begun)]
        done = subprocess.run(command, stdout=sys.stderr, check=False)
        if done.returncode:
            leave(f"{archives} was not prepared: {' '.join(command)}")
        begun.rename(rain)
    return {path.stem: path for path in sorted(rain.rglob("*.nc"))}


def without(event: str, events: Mapping[str, Path], weights: Path, output: Path) -> Path:
    """A forecaster that was trained on all events but one."""
    folder = output / event / "forecaster"
    if folder.is_dir():
        return folder
    data, run = output / event / "data", output / event / "run"
    others = [name for name in events if name != event]
    # All of the others are trained on: one of them stands in for a validation part, which chooses
    # nothing here.
    for part, names in (("train", others), ("validation", others[:1]), ("test", [event])):
        (data / part).mkdir(parents=True, exist_ok=True)
        for name in names:
            link = data / part / events[name].name
            if not link.exists():
                link.symlink_to(events[name].resolve())
    shutil.rmtree(run, ignore_errors=True)  # what was cut short
    train = ["--config", str(EXAMPLE / "radar.yaml"), "--data", str(data)]
    train += ["--weights", str(weights), "--run", str(run)]
    subprocess.run([sys.executable, "-m", "foreframe", "train", *train], check=True)
    last = run / "checkpoints" / "last.ckpt"
    forecaster, onward = mean_of([str(weights), str(last)]), foreframe.Forecaster.load(last)
    forecaster.model, forecaster.match = drawing(forecaster), "guide"
    forecaster.trained = onward.trained
    forecaster.save(folder)
    return folder


def made_up(folder: Path) -> Path:
    """Four small archives, for --quick."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:40, :48]
    t = np.arange(40)[:, None, None]
    times = np.datetime64("2020-01-01T00:00") + 5 * np.arange(40).astype("timedelta64[m]")
    archives = {"mch_rain_20150515": 120, "mch_rain_20160711": 120, "fmi_dbz_20170509": 150}
    for k, (name, peak) in enumerate((archives | {"knmi_acc_20100826": 150}).items()):
        far = np.hypot(rows - 20, (columns - (0.5 + 0.3 * k) * t) % 48 - 24)
        codes = (peak * np.exp(-((far / 9) ** 2))).astype(np.uint16 if "knmi" in name else np.uint8)
        codes[:, :2, :2] = np.iinfo(codes.dtype).max  # no data
        np.savez(folder / f"{name}.npz", frames=codes, times=times + k * np.timedelta64(400, "D"))
    return folder


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
        for title, (path, form) in RAIN.items():
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
    parser.add_argument("--weights", type=Path, metavar="RUN", help="to train from, on each event")
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
    whose = "each event left out" if given.weights else given.forecaster
    what = f"{whose}, whole domains, {given.starts} starts"
    try:
        for event, file in events.items() if given.archives else ():
            name = given.forecaster
            if given.weights:
                name = str(without(event, events, given.weights, given.output))
            how = ["--data", str(file), *READ.split(), "--clips", str(given.starts), *further]
            ours = [name, *how, "--match", "guide", "--baselines", f"[{given.baselines}]"]
            theirs = [STEPS, *how, "--scaling", SCALING, "--baselines", "[]"]
            for whose, command in (("own", ours), ("steps", theirs)):
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
