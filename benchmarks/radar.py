"""Rain of an event that was not trained on: each of the radar archives left out in turn.

    python benchmarks/radar.py ARCHIVES --minutes 10 --seeds 3 [-- OPTIONS]
    python benchmarks/radar.py ARCHIVES --forecaster NAME_OR_FOLDER ... [-- OPTIONS]
    python benchmarks/radar.py --output FOLDER

ARCHIVES is the folder that examples/radar/prepare.py takes, which makes mm/h of it. Trains by
--config, examples/radar/radar.yaml, and the OPTIONS on all events but one, and scores on that one,
with events of 1 and 5 mm/h and the fractions skill score of 17 pixels; `--evaluate "OPTIONS"` are
for evaluate alone. With a forecaster nothing is trained: it is scored on each event, on the same
windows, and the OPTIONS are for evaluate; several count as one of several seeds. What is in the
folder of --output is not done again (benchmarks/recordings.py).

The tables have medians over seeds, for every row of the scorecards. The last one says which
forecast is, at every lead time: below optical flow in MSE and RMSE; at or above it in CSI; no more
than .02 below it in FSS; between .7 and 1.3 in frequency bias. Differences count to three decimals,
and where an event has no such rain nothing is asked.
"""

import argparse
import math
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recordings import (
    MSE,
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

EXAMPLE = Path(__file__).parents[1] / "examples" / "radar"
EVALUATE = ("--thresholds", "[1,5]", "--scales", "[17]", "--batch_size", "8")
# As in radar.yaml, for a forecaster that was trained on something else.
READ = "--reading.variable rain --reading.coarsen 2 --splits.tile 96 --splits.active 0.02"
SMALL_READ = "--reading.coarsen 1 --splits.tile 32"
SMALL = (
    "--past 2 --future 2 --batch_size 2 --validation_clips 2 --picture_every 0 --compile false "
    "--reading.coarsen 1 --splits.tile 32 --trainer.limit_train_batches 1 --trainer.max_steps 1"
)

Asked = Callable[[float, float], tuple[float, bool]]
"""Of a lead time: the forecast's score and optical flow's, to a number and whether it will do."""


def below(most: float) -> Asked:
    """Over optical flow's, less than so much."""
    return lambda own, flow: (over(own, flow), round(over(own, flow), 3) < most)


def less_by(most: float) -> Asked:
    """Less optical flow's, no less than minus so much."""
    return lambda own, flow: (own - flow, round(own - flow, 3) >= -most)


def between(low: float, high: float) -> Asked:
    """By itself, whatever optical flow's is."""
    return lambda own, _: (own, low <= round(own, 3) <= high)


@dataclass(frozen=True)
class Told:
    """A score: where it is in a scorecard but for the row, how a table has it, and what is asked of
    it.
    """

    title: str
    path: tuple[str, ...]
    claim: str
    asked: Asked
    form: str = ""
    times: float = 1


SCORES = (
    Told("MSE, `standard`, times 10,000", MSE, "MSE below", below(1), times=1e4),
    Told("RMSE, mm/h", ("scores", "physical", "rmse"), "RMSE below", below(1)),
    Told("CSI at 1 mm/h", ("events", "1 mm/h", "csi"), "CSI 1 at or above", less_by(0), ".3f"),
    Told("CSI at 5 mm/h", ("events", "5 mm/h", "csi"), "CSI 5 at or above", less_by(0), ".3f"),
    Told(
        "FSS at 5 mm/h, 17 pixels", ("events", "5 mm/h", "fss", "17"),
        "FSS 5 within .02 or above", less_by(0.02), ".3f",
    ),
    Told(
        "frequency bias at 1 mm/h", ("events", "1 mm/h", "bias"),
        "bias 1 in .7 to 1.3", between(0.7, 1.3), ".2f",
    ),
    Told(
        "frequency bias at 5 mm/h", ("events", "5 mm/h", "bias"),
        "bias 5 in .7 to 1.3", between(0.7, 1.3), ".2f",
    ),
)  # fmt: skip


def verdict(own: Sequence[float], flow: Sequence[float], asked: Asked) -> str:
    """Whether every lead time has what is asked, or the lead times that do not, and the worst."""
    told = {
        lead: asked(a, b)
        for lead, (a, b) in enumerate(zip(own, flow, strict=True), 1)
        if not math.isnan(a) and not math.isnan(b)
    }
    if not told:
        return "no such rain"
    numbers = [number for number, _ in told.values()]
    span = f"{min(numbers):.3f} to {max(numbers):.3f}"
    bad = [lead for lead, (_, good) in told.items() if not good]
    return f"no, {', '.join(f'+{lead}' for lead in bad)} ({span})" if bad else f"yes ({span})"


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


def without(event: str, events: Mapping[str, Path], output: Path) -> Path:
    """A folder that trains on all events but one, and tests on that."""
    folder = output / event / "data"
    for name, path in events.items():
        link = folder / ("test" if name == event else "train") / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(path.resolve())
    return folder


def made_up(folder: Path) -> Path:
    """Four small archives, for --quick."""
    import numpy as np

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


def tasks(
    given: argparse.Namespace, events: Mapping[str, Path], further: list[str]
) -> Iterator[tuple[Any, ...]]:
    """What `scored` takes, for each event, seed after seed."""
    if given.forecaster:
        what = f"{', '.join(given.forecaster)}, not trained here, on each event"
        for event in given.events or events:
            data = without(event, events, given.output)
            for forecaster in given.forecaster:
                to = given.output / event / f"{Path(forecaster).name}.json"
                command = [forecaster, "--data", str(data), *READ.split(), *EVALUATE]
                yield to, event, what, [], [*command, *further, *shlex.split(given.evaluate)]
        return
    what = f"Each event left out in turn: {given.minutes:g} minutes of training each"
    for seed in range(given.seeds):
        for event in given.events or events:
            data = without(event, events, given.output)
            train = ["--config", str(given.config), "--data", str(data)]
            train += ["--minutes", f"{given.minutes:g}", "--seed", str(seed), *further]
            evaluate = [*EVALUATE, *shlex.split(given.evaluate)]
            yield given.output / event / f"seed-{seed}.json", event, what, train, evaluate


def tell(of: Mapping[str, Sequence[Result]]) -> None:
    verdicts: dict[str, list[str]] = {}
    for event, results in of.items():
        done = [result for result in results if "card" in result]
        print(f"\n## {event}")
        for reason in failures(results):
            verdicts[f"{event}, a seed"] = [reason, *([""] * (len(SCORES) - 1))]
        if not done:
            continue
        forecasts, baselines = rows_of(done)
        for told in SCORES:
            rows = {row: values(done, row, *told.path) for row in (*forecasts, *baselines)}
            cells = {
                f"**{row}**" if row in forecasts else row: [
                    figure(told.times * number, told.form) for number in numbers
                ]
                for row, numbers in rows.items()
            }
            table(told.title, leads(done), cells)
            for row in forecasts if "optical_flow" in rows else ():
                said = verdict(rows[row][:-1], rows["optical_flow"][:-1], told.asked)
                verdicts.setdefault(f"{event}, {row}", []).append(said)
    print("\n## At every lead time, beside optical flow")
    table("", [told.claim for told in SCORES], verdicts)


def main(arguments: Sequence[str]) -> int:
    """Exit code 0: the tables are printed, whatever they say; 130: stopped, to be gone on with."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("archives", nargs="?", type=Path, metavar="ARCHIVES")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--events", nargs="+", metavar="EVENT", help="those to leave out, not all")
    parser.add_argument("--config", type=Path, default=EXAMPLE / "radar.yaml")
    parser.add_argument("--evaluate", default="", metavar="'OPTIONS'", help="for evaluate alone")
    parser.add_argument(
        "--forecaster", nargs="+", metavar="NAME_OR_FOLDER", help="to score untrained"
    )
    parser.add_argument("--output", type=Path, help="by default runs/radar-events")
    parser.add_argument(
        "--quick", action="store_true", help="small archives made here, one step: only a try"
    )
    ours, further = options(arguments)
    given = parser.parse_args(ours)
    default = "runs/radar-events-quick" if given.quick else "runs/radar-events"
    given.output = given.output or Path(default)
    if given.quick:
        given.archives = given.archives or made_up(given.output / "made-up")
        small = SMALL_READ if given.forecaster else SMALL
        given.seeds, further = min(given.seeds, 1), [*small.split(), *further]
    events = prepared(given.archives, given.output)
    if unknown := [event for event in given.events or () if event not in events]:
        leave(f"there is no event {unknown[0]}; choose of {', '.join(events)}")
    try:
        for task in tasks(given, events if given.archives else {}, further):
            scored(*task)
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
