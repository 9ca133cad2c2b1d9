"""How fast does data come, from a film and from a grid, and what is that beside a training step?

    python benchmarks/loading.py [FILM] [--old SRC] [--rounds 3]

Rows: windows of a film and of a Zarr store of radar frames, 1226x760, which is written here with
random rain: seconds until the first window (opening, decoding, fitting the scaling), and windows a
second in a random order after that; frames a second of a film that is read from its start and is
not kept, and of windows here and there of a grid that is not kept; a training step of `quick` and
of `nowcast` on one process, and the share of it that fetching the batch takes; the peak of memory.

Each row is a process, which starts anew for each round. With --old SRC, the folder `src` of another
checkout, both take turns. Tables have medians.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np

FRAMES, ROWS, COLUMNS = 48, 1226, 760
SPLIT = {"shares": [0.5, 0.25, 0.25], "gap": 0}


def write_radar(folder: Path) -> None:
    """Rain in mm/h, every five minutes, with a tenth of the map out of reach."""
    import xarray as xr

    random = np.random.default_rng(0)
    rain = random.gamma(0.2, 2, (FRAMES, ROWS, COLUMNS)).astype(np.float32)
    rain[:, :, : COLUMNS // 10] = np.nan
    times = np.datetime64("2020-01-01", "ns") + np.arange(FRAMES) * np.timedelta64(5, "m")
    grid = xr.Dataset({"rain": (("time", "y", "x"), rain, {"units": "mm/h"})}, {"time": times})
    grid.to_zarr(folder, consolidated=False, encoding={"rain": {"chunks": (1, ROWS, COLUMNS)}})


def windows(source: str, scaling: dict | None = None, splits: dict = SPLIT) -> dict[str, float]:
    from foreframe.data import DataOptions, SplitOptions, open_dataset

    began = time.perf_counter()
    split = SplitOptions(**splits)
    dataset = open_dataset(DataOptions(source, {}, 5, 5, scaling=scaling, splits=split), "train")
    dataset[0]
    opened = time.perf_counter() - began
    order = np.random.default_rng(0).integers(0, len(dataset), 200).tolist()
    began = time.perf_counter()
    for k in order:
        dataset[k]
    return {"seconds to open": opened, "windows/s": 200 / (time.perf_counter() - began)}


def in_order(source: str) -> dict[str, float]:
    from foreframe import clips_from

    (clip,) = clips_from(source)
    began = time.perf_counter()
    for k in range(0, 200, 10):
        clip.frames[k : k + 10]
    return {"frames/s": 200 / (time.perf_counter() - began)}


def here_and_there(source: str) -> dict[str, float]:
    from foreframe import clips_from

    (clip,) = clips_from(source)
    starts = np.random.default_rng(0).integers(0, len(clip) - 10, 20).tolist()
    began = time.perf_counter()
    for k in starts:
        clip.frames[k : k + 10]
    return {"windows/s": 20 / (time.perf_counter() - began)}


def step(
    model: str, source: str, scaling: dict | None = None, splits: dict | None = None
) -> dict[str, float]:
    from foreframe.clips.data_options import DataOptions, SplitOptions
    from foreframe.training.options import LearningOptions, MachineOptions, ModelOptions
    from foreframe.training.planning import plan

    split = SplitOptions(**(splits or {}))
    data = DataOptions(source, {}, 5, 5, batch_size=8, scaling=scaling, splits=split)
    machine = MachineOptions(compile=False)
    taken = plan(ModelOptions(model=model), data, LearningOptions(), machine)
    share = taken.fetch / (taken.fetch + taken.step)
    return {"s/step": taken.step, "share of fetching": share}


def measure(row: str, film: str, radar: str) -> dict[str, float]:
    scaling = {"kind": "log", "low": 0.1, "high": 100}
    tiles = {**SPLIT, "tile": 128}
    rows = {
        "film, windows": lambda: windows(film),
        "film, in order": lambda: in_order(film),
        "radar, windows": lambda: windows(radar),
        "radar, tiles": lambda: windows(radar, scaling, tiles),
        "radar, not kept": lambda: here_and_there(radar),
        "quick, drawn digits": lambda: step("quick", "moving_mnist"),
        "nowcast, radar tiles": lambda: step("nowcast", radar, scaling, tiles | {"active": 0.05}),
    }
    found = rows[row]()
    return found | {"MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def asked(row: str, film: str, radar: str, source: str) -> dict[str, float]:
    # Another checkout's own script knows its names.
    script = Path(source).resolve().parent / "benchmarks" / "loading.py" if source else __file__
    done = subprocess.run(
        [sys.executable, script, film, "--row", row, "--radar", radar],
        stdout=subprocess.PIPE,
        check=True,
        env=os.environ | ({"PYTHONPATH": source} if source else {}),
    )
    found: dict[str, float] = json.loads(done.stdout.decode().splitlines()[-1])
    return found


def table(rows: list[str], film: str, old: str, rounds: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        radar = str(Path(folder, "radar.zarr"))
        write_radar(Path(radar))
        for row in rows:
            sides = {"now": "", **({"old": old} if old else {})}
            found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
            for turn in range(rounds):
                for side in list(sides)[:: 1 if turn % 2 == 0 else -1]:
                    found[side].append(asked(row, film, radar, sides[side]))
            for what in found["now"][0]:
                values = [median(one[what] for one in found[side]) for side in sides]
                yield f"| {row} | {what} | " + " | ".join(f"{value:.3g}" for value in values) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("film", nargs="?", default="", help="such as one of 576x768")
    parser.add_argument("--old", default="", help="folder of another foreframe's sources")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", nargs="*", help="some of them; by default all")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--radar", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.row:
        print(json.dumps(measure(given.row, given.film, given.radar)))
        return
    films = ["film, windows", "film, in order"] if given.film else []
    grids = ["radar, windows", "radar, tiles", "radar, not kept"]
    rows = given.rows or [*films, *grids, "quick, drawn digits", "nowcast, radar tiles"]
    print("| data | what | now |" + (" old |" if given.old else ""))
    print("|---|---|---|" + ("---|" if given.old else ""))
    for line in table(rows, given.film, given.old, given.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
