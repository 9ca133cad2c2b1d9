"""How fast does data come, from a film and from a grid?

    python benchmarks/loading.py [FILM] [--old SRC] [--rounds 3]

Rows: windows of a film and of a Zarr store of radar frames, 1226x760, which is written here with
random rain: seconds until the first window (opening, decoding, fitting the scaling), and windows a
second in a random order after that; frames a second of a film that is read from its start and is
not kept, and of windows here and there of a grid that is not kept; the peak of memory.

Rows for what memory cannot hold, where it is made to hold a half: batches of a smaller radar store,
streamed in training's order or read in a random one, from the disk and from an S3 server that is
started here (`moto`), and decoded into a file; windows of a film decoded into a file, and of the
same film cut into a Zarr store of bytes.

Each row is a process, which starts anew for each round. With --old SRC, the folder `src` of another
checkout, both take turns. Tables have medians.
"""

import argparse
import json
import math
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np

FRAMES, ROWS, COLUMNS = 48, 1226, 760
SPLIT = {"shares": [0.5, 0.25, 0.25], "gap": 0}
LOG = {"kind": "log", "low": 0.1, "high": 100}


def write_radar(folder: str, chunk: int, frames: int, rows: int, columns: int) -> None:
    """Rain in mm/h, every five minutes, with a tenth of the map out of reach."""
    import xarray as xr

    random = np.random.default_rng(0)
    rain = random.gamma(0.2, 2, (frames, rows, columns)).astype(np.float32)
    rain[:, :, : columns // 10] = np.nan
    times = np.datetime64("2020-01-01", "ns") + np.arange(frames) * np.timedelta64(5, "m")
    grid = xr.Dataset({"rain": (("time", "y", "x"), rain, {"units": "mm/h"})}, {"time": times})
    grid.to_zarr(folder, consolidated=False, encoding={"rain": {"chunks": (chunk, rows, columns)}})


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


def streamed(place: str, chunk: int, in_training_order: bool = True) -> dict[str, float]:
    """Batches of eight windows of a store in `place`, half of which is held."""
    import foreframe.data.decoding as loading
    from foreframe.data import DataOptions, SplitOptions, open_dataset
    from foreframe.training.datamodule import KeyedBatches, ResumableLoader

    source, shape = f"{place}/small.zarr", (240, 306, 190)
    write_radar(source, chunk, *shape)
    loading.IN_MEMORY = 2 * math.prod(shape)
    options = DataOptions(source, {}, 5, 5, scaling=LOG, splits=SplitOptions(**SPLIT))
    began = time.perf_counter()
    dataset = open_dataset(options, "train")
    opened = time.perf_counter() - began
    near = dataset.stretches() if in_training_order else None
    began = time.perf_counter()
    batches = list(ResumableLoader(dataset, KeyedBatches(len(dataset), 8, 0, False, 0, 1, near), 0))
    rate = 8 * len(batches) / (time.perf_counter() - began)
    return {"seconds to open": opened, "windows/s": rate}


def from_s3(chunk: int, in_training_order: bool = True) -> dict[str, float]:
    import s3fs

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-c", "from moto.server import main; main()", "-p", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    os.environ |= keys | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    try:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", int(port))):
                break
            time.sleep(0.3)
        s3fs.S3FileSystem().mkdir("bucket")
        return streamed("s3://bucket", chunk, in_training_order)
    finally:
        server.kill()


def in_a_file(film: str, folder: str) -> dict[str, float]:
    """The second opening, which finds the file."""
    import foreframe.data.decoding as loading

    loading.IN_MEMORY, os.environ["FOREFRAME_CACHE"] = 0, folder
    windows(film)
    return windows(film)


def cut_into_zarr(film: str, folder: str) -> dict[str, float]:
    import zarr

    from foreframe import clips_from

    (clip,) = clips_from(film)
    t, *frame = clip.frames.shape
    began = time.perf_counter()
    array = zarr.create_array(
        f"{folder}/film.zarr", shape=(t, *frame), dtype="uint8", chunks=(8, *frame)
    )
    for k in range(0, t, 8):
        array[k : k + 8] = clip.frames[k : k + 8]
    wrote = time.perf_counter() - began
    stored = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    order = np.random.default_rng(0).integers(0, t - 10, 200).tolist()
    began = time.perf_counter()
    for k in order:
        np.asarray(array[k : k + 10], np.float32)
    rate = 200 / (time.perf_counter() - began)
    return {"seconds to cut": wrote, "share of a file": stored / array.nbytes, "windows/s": rate}


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


def measure(row: str, film: str, radar: str, folder: str) -> dict[str, float]:
    tiles = {**SPLIT, "tile": 128}
    rows = {
        "film, windows": lambda: windows(film),
        "film, in order": lambda: in_order(film),
        "film, in a file": lambda: in_a_file(film, folder),
        "film, cut into Zarr": lambda: cut_into_zarr(film, folder),
        "disk, chunks of 1": lambda: streamed(folder, 1),
        "disk, chunks of 8": lambda: streamed(folder, 8),
        "disk, chunks of 8, random": lambda: streamed(folder, 8, False),
        "S3, chunks of 1": lambda: from_s3(1),
        "S3, chunks of 8": lambda: from_s3(8),
        "S3, chunks of 8, random": lambda: from_s3(8, False),
        "radar, windows": lambda: windows(radar),
        "radar, tiles": lambda: windows(radar, LOG, tiles),
        "radar, not kept": lambda: here_and_there(radar),
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
        write_radar(radar, 1, FRAMES, ROWS, COLUMNS)
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
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(given.row, given.film, given.radar, folder)))
        return
    films = ["film, windows", "film, in order", "film, in a file", "film, cut into Zarr"]
    grids = ["radar, windows", "radar, tiles", "radar, not kept"]
    places = ("disk, chunks of 1", "disk, chunks of 8", "S3, chunks of 1", "S3, chunks of 8")
    large = [*places, *(f"{place}, random" for place in places[1::2])]
    trained = ["quick, drawn digits", "nowcast, radar tiles"]
    rows = given.rows or [*(films if given.film else []), *grids, *large, *trained]
    print("| data | what | now |" + (" old |" if given.old else ""))
    print("|---|---|---|" + ("---|" if given.old else ""))
    for line in table(rows, given.film, given.old, given.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
