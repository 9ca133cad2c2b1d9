"""Use the installed foreframe as a user would, on a small film and a small grid, in seconds: the
proof that a wheel holds all it needs. For an empty environment, in another folder:

    python PATH/.ci/try_installed.py FOLDER
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import xarray as xr

import foreframe
from foreframe.visuals import write_mp4

FRAMES = 320  # a tenth of them has a window of validation
CUT = "--trainer.max_steps 3 --validation_clips 4 --epochs 1 --minutes null --batch_size 2"


def run(*words: str) -> None:
    print("$ foreframe", *words, flush=True)
    subprocess.run([sys.executable, "-m", "foreframe", *words], check=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    drift = np.stack([np.roll(np.eye(48, dtype=np.float32), 2 * t, axis=1) for t in range(FRAMES)])
    write_mp4(folder / "film.mp4", (255 * np.stack([drift] * 3, -1)).astype(np.uint8), fps=10)
    times = np.datetime64("2026-01-01", "ns") + np.arange(FRAMES) * np.timedelta64(1, "h")
    grid = xr.Dataset({"t2m": (("time", "y", "x"), 280 + drift, {"units": "K"})}, {"time": times})
    grid.to_netcdf(folder / "grid.nc")
    run("--version")
    for source, output in (("film.mp4", "future.mp4"), ("grid.nc", "future.nc")):
        recording, name = str(folder / source), str(folder / source.partition(".")[0])
        run("train", "--config", "quick", "--data", recording, "--run", name, *CUT.split())
        run("evaluate", name, "--clips", "2")
        run("predict", name, recording, "-o", str(folder / output))
    run("data", "--split", "test", "--clip", "7", "--output", str(folder / "clip.npy"))
    run("predict", "moving-mnist", str(folder / "clip.npy"), "-o", str(folder / "digits.gif"))
    run("predict", "scenes", str(folder / "film.mp4"), "-o", str(folder / "scenes.mp4"))
    for output in ("future.mp4", "future.nc", "digits.gif", "scenes.mp4"):
        assert (folder / output).stat().st_size > 1000, output
    print("foreframe", foreframe.__version__, "from", Path(foreframe.__file__).parent, "works")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
