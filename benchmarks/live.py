"""Does a live stream last? A radar whose folder grows, and what happens in a month.

    python benchmarks/live.py [--frames 200] [--seconds 7.5] [--output FOLDER]

Frames of generated rain (120x120 at 2 km, dated five minutes apart) appear in a folder every so
many seconds, and `foreframe stream radar` follows it. On the way files are cut short, late, invalid
and missing, an hour is missing, the program is killed (SIGKILL) and started again, the clock jumps
(libfaketime, if it is installed) and the disk is full (a tmpfs, if it may be mounted).
Each is a line when it happens; the notes of the program lie in FOLDER/notes.txt. The last table has
the frames sent, the forecasts written, why others were not, and the memory of the program.
"""

import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from foreframe import Clip
from foreframe.data.cf import write_grid

SIDE, STEP, START = 120, np.timedelta64(5, "m"), np.datetime64("2026-07-01T00:00", "ns")
# What happens, evenly over the frames.
EVENTS = ["cut", "kill", "three missing", "hour missing", "clock forwards", "clock backwards"]
EVENTS += ["late", "disk full", "disk free", "invalid"]


class Program:
    """`foreframe stream` in a process of its own, what it prints, and its memory."""

    def __init__(self, source: Path, folder: Path, disk: Path) -> None:
        self.source, self.folder, self.disk = source, folder, disk
        self.written: collections.Counter[int] = collections.Counter()
        self.memory: list[tuple[float, float]] = []  # of each process, early and late, in MiB
        self.clock = folder / "clock"
        self.jump(0)
        self.start()

    def start(self) -> None:
        words = f"-m foreframe stream radar {self.source} --steps 6 --keep 2 --wait inf"
        words += f" --output {self.disk}/out --state {self.disk}/state"
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
        self.jumps = library is not None
        if library is not None:
            environment |= {"LD_PRELOAD": str(library), "DONT_FAKE_MONOTONIC": "1"}
            environment |= {"FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_NO_CACHE": "1"}
        self.memory.append((0.0, 0.0))
        with (self.folder / "notes.txt").open("a", encoding="utf-8") as notes:
            how: Any = {
                "stdout": subprocess.PIPE,
                "stderr": notes,
                "text": True,
                "env": environment,
            }
            self.process = subprocess.Popen([sys.executable, *words.split()], **how)
        threading.Thread(target=self.read, args=(self.process,), daemon=True).start()

    def read(self, process: subprocess.Popen[str]) -> None:
        for k, line in enumerate(process.stdout or ()):
            told, now = json.loads(line), resident(process.pid)
            self.written[told["frame"]] += "forecast" in told
            self.memory[-1] = (now if k <= 15 else self.memory[-1][0], now)

    def jump(self, hours: int) -> None:
        self.clock.with_suffix(".new").write_text(f"{hours:+d}h\n", encoding="utf-8")
        self.clock.with_suffix(".new").replace(self.clock)


def resident(pid: int) -> float:
    """Memory of a process in MiB (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def rain(k: int) -> np.ndarray:
    """(1,1,H,W) in mm/h: showers that drift to the east, and slowly become others."""
    draw = np.random.default_rng(0)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    waves = np.fft.fft2(draw.standard_normal((2, SIDE, SIDE))) * np.exp(-((20 * f) ** 2))
    smooth = np.fft.ifft2(waves).real
    field = np.cos(k / 60) * smooth[0] + np.sin(k / 60) * smooth[1]
    field = np.roll(field / smooth.std(), k, axis=1)
    return np.where(field > 0.8, np.exp(2 * field - 1), 0)[None, None].astype(np.float32)


def send(folder: Path, k: int, name: str = "", share: float = 1.0) -> None:
    """Put the file of a frame, or a part of it, into the folder at once."""
    places = {"y": 2000.0 * np.arange(SIDE)[::-1], "x": 2000.0 * np.arange(SIDE)}
    clip = Clip(rain(k), START + STEP * np.arange(k, k + 1), "mm/h", places, variable="rain")
    write_grid(folder.parent / "next.nc", clip)
    content = (folder.parent / "next.nc").read_bytes()
    (folder.parent / "next.nc").write_bytes(content[: int(share * len(content))])
    os.replace(folder.parent / "next.nc", folder / (name or f"rain_{k:05d}.nc"))


def small_disk(folder: Path) -> bool:
    """Whether a small file system could be mounted there."""
    folder.mkdir()
    mount = f"mount -t tmpfs -o size=48m tmpfs {folder}".split()
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


def happen(what: str, k: int, program: Program, source: Path, small: bool) -> int:
    """Make it happen after frame k; the number of the next one, as far as frames are left out."""
    filler, said = program.disk / "filler", what
    if what == "cut":
        send(source, k, share=0.1)
        k += 1
    elif what == "kill":
        program.process.kill()
        program.process.wait()
        program.start()
    elif what.endswith("missing"):
        k += 3 if what.startswith("three") else 12
    elif what.startswith("clock"):
        said += "" if program.jumps else ": left out, libfaketime is not installed"
        program.jump(24 if what == "clock forwards" else -24)
    elif what == "late":
        send(source, k - 4, f"rain_{k - 4:05d}b.nc")
    elif what == "disk full":
        said += "" if small else ": left out, no tmpfs may be mounted"
        if small:
            subprocess.run(["cp", "/dev/zero", str(filler)], capture_output=True, check=False)
    elif what == "disk free":
        filler.unlink(missing_ok=True)
    else:
        (source / f"rain_{k - 1:05d}_.nc").write_bytes(b"no NetCDF")
    print(f"{time.strftime('%H:%M:%S')}  frame {k:5d}  {said}", flush=True)
    return k


def main(frames: int, seconds: float, output: Path) -> int:
    """Exit code 0: all frames were forecast but those that cannot be."""
    source, disk = output / "source", output / "disk"
    source.mkdir(parents=True)
    small = small_disk(disk)
    program = Program(source, output, disk)
    plan = {round(n * frames / 11): what for n, what in enumerate(EVENTS, 1)}
    k = 0  # of the next frame
    for sent in range(frames):
        if sent in plan:
            k = happen(plan[sent], k, program, source, small)
        send(source, k)
        k += 1
        time.sleep(seconds)
    time.sleep(max(30, 3 * seconds))
    program.process.terminate()
    code = program.process.wait(60)
    left = [path.name for path in (disk / "out").iterdir()]
    notes = (output / "notes.txt").read_text(encoding="utf-8")
    written = sum(count > 0 for count in program.written.values())
    print(f"{frames} frames sent, {written} forecast; the program ended with exit code {code}")
    for kind in ("is not written", "is not saved", "left out", "missing before"):
        print(f"{len(re.findall(kind, notes)):4d} notes: {kind}")
    for early, late in program.memory:
        print(f"memory of the process: {early:.0f} MiB early, {late:.0f} MiB late")
    print(f"{len(left)} files in the output, {sum(name[0] == '.' for name in left)} partial")
    if small:
        subprocess.run(["umount", str(disk)], check=False)
    return int(code != 0 or "Traceback" in notes or frames - written > 2 + frames // 10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=7.5)
    parser.add_argument("--output", type=Path, help="a new folder; by default a temporary one")
    given = parser.parse_args()
    sys.exit(main(given.frames, given.seconds, given.output or Path(tempfile.mkdtemp())))
