"""How fast and how exact is the exported page in Chromium, and how large is its folder?

    python benchmarks/serve/browser.py moving-mnist scenes quick --pages pages

A name is that of published weights, or of a small network in tests/small.py, whose weights are
noise. Prints the seconds of a forecast of as many 64x64 frames as in training, plain and of one
member, with one thread and with those that the browser takes; and the largest difference from
Python. Needs Chromium, npm and the packages of the extras export and test.
"""

import argparse
import gzip
import sys
from pathlib import Path

import numpy as np

import foreframe
from foreframe import Forecaster, MovingMNIST, Window
from foreframe.models.names import published

sys.path += [str(Path(__file__).parents[2] / "tests" / part) for part in ("", "addons/serve")]
from test_exported_page import FORECAST, hosted, opened

from small import built

REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="name")
    parser.add_argument("--pages", default="pages", help="where they are, or are exported to")
    given = parser.parse_args()
    for name in given.names:
        what = Forecaster.load(name) if name in published() else small(name)
        channels = what.model.takes or 1
        page = Path(given.pages) / name
        if not page.is_dir():
            foreframe.export(what, page, format="page", channels=channels)
        files = [file.read_bytes() for file in page.rglob("*") if file.is_file()]
        packed = sum(len(gzip.compress(file)) for file in files)
        whole = sum(map(len, files))
        print(f"{name}: {whole / 1e6:.1f} MB, gzipped {packed / 1e6:.1f} MB", flush=True)
        clip = MovingMNIST("test")[3][: what.window.past].numpy().repeat(channels, 1)
        expected = what.predict(clip, what.window.future, match="none")
        for threads in (False, True):
            with (
                hosted(page) as address,
                # The page's own digits stand still, and ask once.
                opened(f"{address}#paused=1&members=0", threads) as tab,
            ):
                if threads:
                    tab.wait_for_function("crossOriginIsolated")
                tab.locator("#answered", has_text="answered in").wait_for()
                print(f"  {measured(tab, clip, expected, what.model.draws)}", flush=True)


def small(name: str) -> Forecaster:
    return Forecaster(built(name).eval(), Window(10, 10))


def measured(tab, clip: np.ndarray, expected: np.ndarray, draws: bool) -> str:
    """Where it runs, the median seconds of a forecast, and the largest difference."""

    def forecast(**options) -> dict:
        options = {"steps": len(expected), **options}
        return tab.evaluate(FORECAST, [clip.ravel().tolist(), clip.shape, options])

    found = forecast()
    apart = np.abs(np.reshape(found["values"], found["shape"]) - expected).max()
    seconds = np.median([forecast()["seconds"] for _ in range(REPEATS)])
    words = f"{found['about']}: {seconds:.2f} s a forecast, largest difference {apart:.1e}"
    if draws:
        forecast(members=1)  # loads its graphs
        seconds = np.median([forecast(members=1, seed=k)["seconds"] for k in range(REPEATS)])
        words += f", {seconds:.2f} s a member"
    return words


if __name__ == "__main__":
    main()
