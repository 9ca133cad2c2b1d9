"""False alarms, guaranteed and observed: python -m examples.anomalies.promised FILM...

Nothing in these films is an event. The first half of each is normal footage, so the alarms of the
second half are false. For several rates it prints the expected number over all films, at most, and
the observed number, with the 95 % interval of its Poisson mean.
"""

from argparse import ArgumentParser

import numpy as np
import torch
from scipy.stats import chi2

import foreframe
from examples.anomalies.compare import PICTURES, grey
from foreframe.addons.anomalies.watching import PACE, Event, FrameScore, Watch, alarms, threshold_of

RATES = (100.0, 200.0, 400.0, 800.0)  # an hour: halves of films are short


def scored(path: str, weights: str, most: int) -> list[FrameScore]:
    """Every frame's score; `PACE` frames are a second."""
    watch = Watch(foreframe.Forecaster.load(weights), PICTURES)
    return [
        FrameScore(k, k / PACE, *watch.look(frame[None]), k / PACE)
        for k, frame in enumerate(grey(path, most))
    ]


def counted(scores: list[FrameScore], rate: float) -> tuple[float, int]:
    """The numbers of false alarms in the second half: at most expected, and observed."""
    half = len(scores) // 2
    normal = threshold_of(scores[:half], rate)
    hours = (len(scores) - half) / PACE / 3600
    events = sum(isinstance(one, Event) for one in alarms(scores[half:], normal))
    return normal.rate * hours, events


def main() -> None:
    parser = ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("films", nargs="+")
    parser.add_argument("--weights", default="scenes")
    parser.add_argument("--most", type=int, default=2400, help="frames of a film")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    films = [scored(path, asked.weights, asked.most) for path in asked.films]
    print("| false alarms an hour, at most | expected, at most | observed | its 95 % interval |")
    print("|---|---|---|---|")
    for rate in RATES:
        each = [counted(scores, rate) for scores in films]
        expected, seen = (float(np.sum(column)) for column in zip(*each, strict=True))
        low, high = (
            chi2.ppf(0.025, 2 * seen) / 2 if seen else 0.0,
            chi2.ppf(0.975, 2 * seen + 2) / 2,
        )
        by_film = ", ".join(f"{n} of {e:.1f}" for e, n in each)
        print(f"| {rate:g} | {expected:.1f} | {seen:.0f} ({by_film}) | {low:.1f} to {high:.1f} |")


if __name__ == "__main__":
    main()
