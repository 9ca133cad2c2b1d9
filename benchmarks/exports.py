"""How far are exported graphs from the model?

    python benchmarks/exports.py quick moving-mnist ...

A name is that of a small network in tests/small.py, whose weights
are noise, or of published weights; name+members is the steps of a member. Prints the largest
differences at two sizes, as a share of the values' range, and the seconds of processor time.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import foreframe
from foreframe import Forecaster, Scaling, Window
from foreframe.models.names import published

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from small import built


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="name")
    given = parser.parse_args()
    for each in given.names:
        name, _, members = each.partition("+")
        what = name if name in published() else Forecaster(built(name), Window(4, 4), Scaling(0, 2))
        channels = 1 if isinstance(what, str) else what.model.takes or 1
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            parity = foreframe.export(
                what,
                Path(folder) / "out",
                channels=channels,
                noise=bool(members),
            )
        apart = ", ".join(f"{part} {value:.1e}" for part, value in parity.items())
        print(f"{each}: {apart} ({time.process_time() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
