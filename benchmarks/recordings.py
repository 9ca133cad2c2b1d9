"""Is the default command better than what is free, recording by recording?

    python benchmarks/recordings.py FILE ... --minutes 6 --seeds 3 [-- OPTIONS]
    python benchmarks/recordings.py FILE ... --forecaster NAME_OR_FOLDER [--whole] [-- OPTIONS]
    python benchmarks/recordings.py --output FOLDER

The first trains on each recording by `foreframe train --data FILE --minutes M --seed S`, with the
OPTIONS, and scores it on its test split by `foreframe evaluate`. The second trains nothing: it
scores a forecaster on the test split, or on all of each recording, with the OPTIONS for evaluate.
FILE is whatever --data takes: a film, a grid, a folder.

Each recording and seed has a JSON file in the folder of --output, with the commands, what they
took, on which machine, and the scorecard. What is in it is not done again: a call that was stopped
is made once more, and a training that was cut short begins anew, since its minutes would be others.
What failed is tried again, and stands in the table until then. Several calls may share a folder,
for recordings that need other OPTIONS, or for several machines; the third form prints the tables of
all that lies in it.

The tables have medians over seeds. "Free" is each row that is the name of a baseline, `cycle` too
where `--evaluate "--period 24"` asks for it; the best of them is the one with the lowest MSE over
all lead times. "Never worse" and "better" are of that MSE, to three decimals of the ratio.
"""

import argparse
import contextlib
import ctypes
import json
import math
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

from foreframe.base.files import atomic_write
from foreframe.base.wording import plural

HERE = Path(__file__).parent
FAR = 0.9  # of the best baseline's MSE: "at least 10 % better"
SMALL = (
    "--past 3 --future 2 --hidden 4 --batch_size 4 --validation_clips 2 "
    "--picture_every 0 --trainer.max_steps 2 --compile false"
)

Result = dict[str, Any]
"""Of a recording and a seed: "recording" by its name, "what" was done, "machine", "date", "train"
and "evaluate" (each with "command", "seconds" and "failed": why, or ""), "card" of evaluate, and
"steps" of the training."""


def leave(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(2)


# What is run


def machine() -> str:
    import torch

    import foreframe

    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    cores = f"{models[0] if models else platform.machine()}, {plural(os.cpu_count() or 1, 'core')}"
    threads = os.environ.get("OMP_NUM_THREADS")
    parts = [torch.cuda.get_device_name(0)] if torch.cuda.is_available() else []
    parts += [cores, f"{plural(int(threads), 'thread')}" if threads else "all threads"]
    commit = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty=+"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    ours = f"foreframe {foreframe.__version__} {commit}".strip()
    return ", ".join([*parts, f"torch {torch.__version__}", ours])


def ends_with_us() -> None:
    """Have Linux end this process when the one that started it has ended, however that ends."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def run(command: Sequence[str], log: Path) -> str:
    """Run a command of foreframe's. Why it failed, its last line, or "" where it did not."""
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"{time.strftime('%H:%M:%S')} foreframe {shlex.join(command)}", file=sys.stderr)
    with log.open("w", encoding="utf-8") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", "foreframe", *command],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, preexec_fn=ends_with_us,
        )  # fmt: skip
        try:
            code = started.wait()
        except BaseException:
            started.kill()
            started.wait()
            raise
    if code == 130:  # it was stopped by hand, and so are we
        raise KeyboardInterrupt
    if code == 0:
        return ""
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines()]
    last = next((line for line in reversed(lines) if line), f"see {log}")
    return last.removeprefix("foreframe: ") if code > 0 else f"killed by signal {-code}: {last}"


def read(file: Path) -> Result:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def write(file: Path, result: Result) -> None:
    with atomic_write(file) as rough:
        rough.write_text(json.dumps(result, indent=1), encoding="utf-8")


def step(file: Path, result: Result, name: str, command: list[str]) -> bool:
    """Run a command unless `result` says that it was, and note what came of it in `file`; whether
    it ended well.
    """
    told = result.get(name, {})
    if told.get("command") == command and not told["failed"]:
        return True
    began = time.monotonic()
    failed = run(command, file.with_suffix("") / f"{name}.log")
    seconds = time.monotonic() - began
    result[name] = {"command": command, "seconds": round(seconds, 1), "failed": failed}
    result |= {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
    write(file, result)
    return not failed


def scored(file: Path, name: str, what: str, train: list[str], evaluate: list[str]) -> Result:
    """Train and score, or go on with that.

    Args:
        file: its JSON; runs and reports lie in the folder of the same name.
        name: of the recording, in the tables.
        what: is done; a title of tables, for all results that have the same.
        train: the command without --run; empty where nothing is trained, and `evaluate` says what
            is scored.
        evaluate: the command without --output, and, after a training, without the run.
    """
    result, folder = read(file), file.with_suffix("")
    result |= {"recording": name, "what": what}
    report = folder / "evaluation"
    if train:
        command = ["train", *train, "--run", str(folder / "run")]
        told = result.get("train", {})
        if told and told["command"] != command and not told["failed"]:
            leave(
                f"{file} is of another training: foreframe {shlex.join(told['command'])}; name "
                "another --output"
            )
        if told.get("command") != command or told["failed"]:
            shutil.rmtree(folder / "run", ignore_errors=True)  # what was cut short
            result.pop("evaluate", None)
        if not step(file, result, "train", command):
            return result
        evaluate = [str(folder / "run"), *evaluate]
    every = [] if "--clips" in evaluate else ["--clips", "all"]
    command = ["evaluate", *evaluate, *every, "--output", str(report)]
    if step(file, result, "evaluate", command):
        result["card"] = read(report / "scorecard.json")
        if train:
            result["steps"] = steps_of(folder / "run")
        write(file, result)
    return result


def steps_of(run: Path) -> int | None:
    """Of a training, as its last validation says; None where it ended before any."""
    rows = run / "validation.jsonl"
    lines = rows.read_text(encoding="utf-8").splitlines() if rows.is_file() else []
    return json.loads(lines[-1])["step"] if lines else None


def names_of(files: Sequence[str]) -> dict[str, str]:
    """A name for each recording: that of its file or folder."""
    names = {}
    for file in files:
        name = Path(file).name.rpartition(".")[0] or Path(file).name
        if name in names and names[name] != file:
            leave(f"{names[name]} and {file} have one name, {name}; rename one of them")
        names[name] = file
    return names


def shrunk(file: str, side: int | None) -> list[str]:
    """The option that brings a recording's shorter side to so many pixels, where it is longer."""
    if side is None:
        return []
    from foreframe import clips_from

    h, w = clips_from(file)[0].frames.shape[-2:]
    if min(h, w) <= side:
        return []
    return ["--reading.size", f"[{round(h * side / min(h, w))},{round(w * side / min(h, w))}]"]


def made_up(folder: Path, h: int = 16, w: int = 20) -> list[str]:
    """Two small recordings, for --quick."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    rows, columns = np.mgrid[:h, :w]
    for name, speed in (("slow", 0.4), ("fast", 1.3)):
        t = np.arange(80)[:, None, None]
        sway, across = h / 4 * np.sin(speed * t / 4), (columns - speed * t) % w
        far = np.hypot(rows - h / 2 - sway, across - w / 2) / (h / 5)
        np.save(folder / f"{name}.npy", (255 * np.exp(-(far**2))).astype(np.uint8))
        files.append(str(folder / f"{name}.npy"))
    return files


# What is told


def values(results: Sequence[Result], row: str, *path: str) -> list[float]:
    """Of a row of the scorecards, medians over them: by lead time, and last over all of them."""

    def of(result: Result) -> list[float]:
        entry = result["card"][path[0]][row]
        for key in path[1:]:
            entry = entry[key]
        return [
            math.nan if value is None else value for value in (*entry["per_lead"], entry["overall"])
        ]

    every = [of(result) for result in results if row in result["card"][path[0]]]
    return [median(column) for column in zip(*every, strict=True)]


MSE = ("scores", "standard", "mse")


def rows_of(results: Sequence[Result]) -> tuple[list[str], list[str]]:
    """Forecasts and baselines in the scorecards, by their names."""
    from foreframe.models import FREE

    rows = list(dict.fromkeys(row for result in results for row in result["card"]["scores"]))
    return [row for row in rows if row not in FREE], [row for row in rows if row in FREE]


def best_of(results: Sequence[Result], baselines: Sequence[str]) -> str:
    """The baseline with the lowest MSE over all lead times."""
    errors = {row: values(results, row, *MSE)[-1] for row in baselines}
    known = {row: error for row, error in errors.items() if not math.isnan(error)}
    return min(known, key=known.__getitem__)


def over(error: float, rival: float) -> float:
    """The ratio of two errors; 1 where neither is any, as of frames that stand still."""
    return error / rival if rival else (math.inf if error else 1.0)


def failures(results: Sequence[Result]) -> list[str]:
    """Why seeds have no score, each reason once."""
    steps = [(name, result.get(name, {})) for result in results for name in ("train", "evaluate")]
    why = [f"{name} failed: {told['failed']}" for name, told in steps if told.get("failed")]
    return [reason.replace("|", "/") for reason in dict.fromkeys(why)]


def table(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    print(f"\n| {corner} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def figure(value: float, form: str = "") -> str:
    """A number, to three figures where no other form is asked for."""
    if math.isnan(value):
        return ""
    return format(value, form or (".0f" if abs(value) >= 100 else "#.3g"))


def leads(results: Sequence[Result]) -> list[str]:
    return [*(f"+{lead + 1}" for lead in range(results[0]["card"]["future"])), "all"]


def overall(of: Mapping[str, Sequence[Result]]) -> None:
    """A line for each recording and forecast, and what to make of them all."""
    trained = any("train" in result for results in of.values() for result in results)
    print("\n## All lead times\n\nMSE is the mean over pixels, `standard`, times 10,000.")
    columns = ["in, out", "windows", *(["steps"] if trained else []), "MSE", "best baseline"]
    columns += ["its MSE", "MSE over it", "of each seed"] if trained else ["its MSE", "MSE over it"]
    print(f"\n| recording | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    ratios: dict[str, dict[str, float]] = {}
    ahead: dict[str, set[str]] = {}
    for name, results in of.items():
        done, why = [result for result in results if "card" in result], failures(results)
        forecasts, baselines = rows_of(done)
        best = best_of(done, baselines) if done else ""
        for row in forecasts:
            each = [
                over(values([result], row, *MSE)[-1], values([result], best, *MSE)[-1])
                for result in done
                if row in result["card"]["scores"]
            ]
            own, rival = values(done, row, *MSE), values(done, best, *MSE)
            # A seed that failed has no forecast, and that is worse than any.
            ratios.setdefault(row, {})[name] = math.inf if why else median(each)
            flow = values(done, "optical_flow", *MSE) if "optical_flow" in baselines else []
            if flow and not why and all(a < b for a, b in zip(own[1:-1], flow[1:-1], strict=True)):
                ahead.setdefault(row, set()).add(name)
            card = done[0]["card"]
            took = [result["steps"] for result in done if result.get("steps") is not None]
            steps = [f"{median(took):.0f}" if took else ""] if trained else []
            seeds = [", ".join(f"{ratio:.3f}" for ratio in each)] if trained else []
            cells = [f"{card['past']}, {card['future']}", str(card["clips"]), *steps]
            cells += [figure(1e4 * own[-1]), best, figure(1e4 * rival[-1])]
            print(f"| {name}, {row} | {' | '.join([*cells, f'{median(each):.3f}', *seeds])} |")
        for reason in why:
            print(f"| {name} | {reason} |{' |' * (len(columns) - 1)}")
    print()
    for row, by_name in ratios.items():
        n = len(of)
        best_to_worst = [round(by_name.get(name, math.inf), 3) for name in of]
        never = all(ratio <= 1 for ratio in best_to_worst)
        print(
            f"{row}: never worse: {'yes' if never else 'no'}; 10 % better on "
            f"{sum(ratio <= FAR for ratio in best_to_worst)} of {n}; below the best baseline on "
            f"{sum(ratio < 1 for ratio in best_to_worst)} of {n}, at most "
            f"{max(best_to_worst):.3f} of it; below optical flow at every lead time from +2 on "
            f"{len(ahead.get(row, ()))} of {n}"
        )
    if not ratios:
        print(f"nothing was scored: 0 of {len(of)}")


def as_pictures(of: Mapping[str, Sequence[Result]]) -> None:
    """MS-SSIM, where frames are large enough, and the power at small scales."""
    print("\n## As pictures, all lead times")
    print("\nMS-SSIM times 100; power: at wavelengths of 8 pixels, over the truth's.")
    columns = ["MS-SSIM", "highest of a baseline", "its MS-SSIM"]
    rows = {}
    for name, results in of.items():
        done = [result for result in results if "card" in result]
        forecasts, baselines = rows_of(done)

        def score(row: str, score: str, done: Sequence[Result] = done) -> float:
            scored = done[0]["card"]["scores"][row]["standard"]
            return (
                values(done, row, "scores", "standard", score)[-1] if score in scored else math.nan
            )

        for row in forecasts:
            likest = max(baselines, key=lambda row: score(row, "ms_ssim"))
            likeness = [score(row, "ms_ssim"), score(likest, "ms_ssim")]
            own, rival = (figure(100 * value, ".2f") for value in likeness)
            sharp = row, best_of(done, baselines)
            power = [figure(score(each, "power_at_8"), ".2f") for each in sharp]
            rows[f"{row} of {name}"] = [own, likest if rival else "", rival, *power]
    table("recording", [*columns, "power", "power of the best baseline in MSE"], rows)


def by_lead(of: Mapping[str, Sequence[Result]]) -> None:
    for name, results in of.items():
        done = [result for result in results if "card" in result]
        if not done:
            continue
        forecasts, baselines = rows_of(done)
        best = best_of(done, baselines)
        print(f"\n## {name}: MSE by lead time, times 10,000")
        errors = {row: values(done, row, *MSE) for row in (*forecasts, *baselines)}
        rows = {
            f"**{row}**" if row in forecasts else row: [
                figure(1e4 * error) for error in errors[row]
            ]
            for row in errors
        }
        for row in forecasts:
            ratios = map(over, errors[row], errors[best])
            rows[f"{row} over {best}"] = [figure(ratio, ".3f") for ratio in ratios]
        table("", leads(done), rows)


def header(what: str, of: Mapping[str, Sequence[Result]]) -> None:
    """What was measured, where and when."""
    print(f"# {what}, medians of {plural(max(map(len, of.values())), 'seed')}\n")
    results = [result for seeds in of.values() for result in seeds]
    for where in sorted({result["machine"] for result in results}):
        dates = sorted(result["date"] for result in results if result["machine"] == where)
        when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        print(f"- {where}; {when} ({plural(len(dates), 'result')})")


def measured(folder: Path, names: Sequence[str] = ()) -> dict[str, dict[str, list[Result]]]:
    """What lies in a folder, by what was done and by recording, those of `names` or all."""
    found: dict[str, dict[str, list[Result]]] = {}
    for file in sorted(folder.glob("*/*.json")):
        result = read(file)
        name = result.get("recording")
        if "machine" in result and (name in names or (name and not names)):
            found.setdefault(result["what"], {}).setdefault(name, []).append(result)
    order = list(names)
    return {
        what: {name: of[name] for name in sorted(of, key=order.index if order else None)}
        for what, of in found.items()
    }


# Which


def options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before and after the first "--"."""
    given = list(arguments)
    where = given.index("--") if "--" in given else len(given)
    return given[:where], given[where + 1 :]


def tasks(given: argparse.Namespace, further: list[str]) -> Iterator[tuple[Any, ...]]:
    """What `scored` takes, for each recording, seed after seed."""
    names, extra = names_of(given.of), shlex.split(given.evaluate)
    if given.forecaster:
        split = "all" if given.whole else "test"
        what = f"{given.forecaster}, not trained on it, {split} of each recording"
        for name, file in names.items():
            to = given.output / name / f"{Path(given.forecaster).name}-{split}.json"
            command = [given.forecaster, "--data", file, "--split", split]
            yield to, name, what, [], [*command, *shrunk(file, given.side), *further, *extra]
        return
    what = f"{given.minutes:g} minutes of training each"
    for seed in range(given.seeds):
        for name, file in names.items():
            train = ["--data", file, "--minutes", f"{given.minutes:g}", "--seed", str(seed)]
            train += [*shrunk(file, given.side), *further]
            yield given.output / name / f"seed-{seed}.json", name, what, train, extra


def main(arguments: Sequence[str]) -> int:
    """Exit code 0: the tables are printed, whatever they say; 130: stopped, to be gone on with."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("of", nargs="*", metavar="FILE")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--side", type=int, help="pixels of the shorter side, where it is longer")
    parser.add_argument("--evaluate", default="", metavar="'OPTIONS'", help="for evaluate alone")
    parser.add_argument("--forecaster", metavar="NAME_OR_FOLDER", help="to score untrained")
    parser.add_argument("--whole", action="store_true", help="score that on all of each recording")
    parser.add_argument("--output", type=Path, help="by default runs/recordings")
    parser.add_argument(
        "--quick", action="store_true", help="small recordings made here, two steps: only a try"
    )
    ours, further = options(arguments)
    given = parser.parse_args(ours)
    given.output = given.output or Path(
        "runs/recordings-quick" if given.quick else "runs/recordings"
    )
    if given.whole and not given.forecaster:
        leave("--whole is for a --forecaster: a recording that is trained on has a test split")
    if given.quick:
        given.of = given.of or made_up(given.output / "made-up")
        given.seeds, further = (
            min(given.seeds, 1),
            [*([] if given.forecaster else SMALL.split()), *further],
        )
    titles = set()
    try:
        for task in tasks(given, further):
            titles.add(scored(*task)["what"])
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    found = measured(given.output, list(names_of(given.of)))
    if not found:
        leave(f"nothing was measured in {given.output}; name recordings")
    for what, of in found.items():
        if not titles or what in titles:
            header(what, of)
            overall(of)
            as_pictures(of)
            by_lead(of)
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
