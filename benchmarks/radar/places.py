"""Verify probabilities of rain, and the answer to "will it rain here within half an hour?".

    python benchmarks/radar/places.py ARCHIVES --weights RUN [--starts 5] [--members 16]
        [--places 200]

ARCHIVES, RUN and --output have the meaning that they have in benchmarks/radar/rain.py; forecasters
that it trained are reused. Each forecaster was trained without the event that it is scored on. The
calibration of an event is half the mean of the corrections learnt from the other events, plus the
event's own hindcasts. For each event and threshold the program prints the Brier score before and
after calibration, and draws reliability diagrams (OUTPUT/reliability.png). For random locations it
counts hits, misses and false alarms of "rain within 30 minutes", forecast when the probability is
at least 50 %, for `radar`, optical flow, STEPS, and STEPS with the same calibration.
OUTPUT/calibration.json is half the mean over all events, as published with the weights `radar`.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what several benchmarks share

from rain import prepared, without
from recordings import figure, leave, table

import foreframe
from foreframe import Clip
from foreframe.addons.radar.calibrating import learnt, quality, reliability
from foreframe.addons.radar.calibration import (
    Calibration,
    Chances,
    chances_of,
    corrected,
    diagrams,
    hindcasts,
)
from foreframe.addons.radar.places import Place
from foreframe.addons.radar.point_forecasts import point_forecasts
from foreframe.base.schema import typed
from foreframe.clips.ensembles import Ensemble
from foreframe.evaluation.score_options import EvaluateOptions
from foreframe.evaluation.scored import open_scored
from foreframe.forecasting.forecast import resolved
from foreframe.forecasting.forecast_options import PredictOptions

FLOW, STEPS, STEPS_CALIBRATED = "optical_flow", "pysteps/steps", "pysteps/steps, calibrated"
STEPS_MEMBERS = 24
STRIDE, STEPS_STRIDE = 2, 9  # frames between starts that teach: a forecast of STEPS takes a minute
THRESHOLDS = (0.2, 1.0, 5.0)  # mm/h
READ = {"variable": "rain", "coarsen": 2}
SOON = 6  # frames, half an hour
BLUR = 0.25


def taught(what: str, file: Path, members: int, cache: Path, stride: int = STRIDE) -> Calibration:
    """What an event teaches about a forecaster's probabilities; computed once, kept in a file."""
    if cache.is_file():
        return typed(Calibration, json.loads(cache.read_text()), "")
    data = {"data": str(file), "split": "all", "reading": READ, "splits": {"active": 0}}
    options = EvaluateOptions(
        **data, past=10, future=12, stride=stride, members=members, thresholds=THRESHOLDS, budget=8
    )
    found = reliability(open_scored(what, options))
    made = learnt({threshold: {BLUR: of[BLUR]} for threshold, of in found.items()})
    cache.write_text(json.dumps(asdict(made)))
    return made


def half_of(several: Sequence[Calibration]) -> Calibration:
    """Half of what events teach on the mean, and half as it is: each storm is another."""

    def lines(kind: str) -> Any:
        each = np.mean([getattr(one, kind) for one in several], axis=0)
        return ((each + np.array([0.0, 1.0])) / 2).round(4).tolist()

    return Calibration(BLUR, THRESHOLDS, lines("at"), lines("within"))


def calibrated(
    known: Calibration, threshold: float, future: Any, earlier: Sequence[tuple[Any, np.ndarray]]
) -> Chances:
    """Probabilities by what other events teach, and by this event's hindcasts."""
    now, *past = (
        chances_of(made.frames, threshold, BLUR) for made in (future, *(of for of, _ in earlier))
    )
    truths = (truth for _, truth in earlier)
    return corrected(known, now, threshold, [*zip(past, truths, strict=True)])


def steps_calibrated(clip: Clip, first: int, known: Calibration, future: Ensemble) -> Chances:
    """Probabilities of rain by STEPS, with the calibration that those of `radar` have."""
    steps = foreframe.Forecaster.load(STEPS)
    options = resolved(steps, clip, PredictOptions(steps=12, members=STEPS_MEMBERS, budget=8))
    earlier = [*hindcasts(steps, clip, first, options)]
    return calibrated(known, THRESHOLDS[0], future, earlier)


def tried(
    folder: Path,
    file: Path,
    known: Calibration,
    known_steps: Calibration,
    starts: int,
    members: int,
    places: int,
) -> dict[str, Any]:
    """Diagrams before and after, and what is said at places, of one event."""
    forecaster = foreframe.Forecaster.load(folder)
    clip = forecaster.open(str(file), **READ)
    options = resolved(forecaster, clip, PredictOptions(steps=12, members=members, budget=8))
    observed = np.asarray(clip.frames[0 : len(clip)])
    cells = np.argwhere(~np.isnan(observed).any(axis=(0, 1)))
    drawn = np.random.default_rng(0).choice(cells, min(places, len(cells)), replace=False)
    spots = [Place(f"{row},{column}", int(row), int(column)) for row, column in drawn]
    found: dict[str, Any] = {"diagrams": {}, "said": []}
    firsts = np.linspace(min(22, len(clip) - SOON), len(clip) - SOON, starts).astype(int)
    for first in map(int, firsts):
        past, future = forecaster.forecast_from(clip, first, 12, options.past, options)
        earlier = [*hindcasts(forecaster, clip, first, options)]
        truth = observed[first : first + 12]
        for threshold in THRESHOLDS:
            after = calibrated(known, threshold, future, earlier)
            before = chances_of(future.frames, threshold)
            pair = [diagrams(of, truth, threshold, 12) for of in (before, after)]
            found["diagrams"].setdefault(threshold, []).append(pair)
        chances = calibrated(known, THRESHOLDS[0], future, earlier)
        ours = point_forecasts(spots, past, future, None, THRESHOLDS[0], chances)
        rows = {"radar": ours}
        others = {FLOW: {}, STEPS: {"members": STEPS_MEMBERS}}
        for name, how in others.items():
            given = {"steps": 12, "after": first - 1, "reading": READ, "budget": 8}
            made = foreframe.predict(name, str(file), **given, **how)
            rows[name] = point_forecasts(spots, made.past, made.future, None, THRESHOLDS[0])
        of_steps = steps_calibrated(clip, first, known_steps, made.future)
        about = made.past, made.future, None, THRESHOLDS[0], of_steps
        rows[STEPS_CALIBRATED] = point_forecasts(spots, *about)
        for k, spot in enumerate(spots):
            wet = observed[first - 1 : first + 12, 0, spot.row, spot.column] >= THRESHOLDS[0]
            begun = int(wet[1:].argmax()) + 1 if wet[1:].any() else 0
            one = {"now": bool(wet[0]), "begun": begun, "leads": len(wet) - 1}
            one |= {name: float(points[k].within[SOON - 1]) for name, points in rows.items()}
            own = ours[k]
            one["within"] = float(own.within[-1])
            begins = own.outlook()["begins"] or {}
            one["interval"] = [begins.get(name) for name in ("from", "median", "to")]
            found["said"].append(one)
        print(f"{file.stem}: start {first}", file=sys.stderr, flush=True)
    return found


def hits(said: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Hits, misses, false alarms, their ratios and the Brier score of rain within half an hour."""
    p = np.array([one[name] for one in said])
    came = np.array([0 < one["begun"] <= SOON for one in said])
    hit, miss, alarm = (
        int(of.sum()) for of in (came & (p >= 0.5), came & (p < 0.5), ~came & (p >= 0.5))
    )
    rates = (
        hit / max(hit + miss, 1),
        alarm / max(hit + alarm, 1),
        hit / max(hit + miss + alarm, 1),
    )
    return [
        str(hit),
        str(miss),
        str(alarm),
        *(f"{rate:.2f}" for rate in rates),
        f"{np.mean((p - came) ** 2):.4f}",
    ]


def tell(found: Mapping[str, Mapping[str, Any]]) -> None:
    for event, of in found.items():
        cells = {}
        for threshold, pairs in of["diagrams"].items():
            for kind, name in enumerate(("then", "by then")):
                both = [sum(pair[k] for pair in pairs) for k in range(2)]
                row = [quality(one[:, kind : kind + 1]) for one in both]
                (brier, gap), (brier_after, gap_after) = row
                numbers = (brier, brier_after, brier_after / brier, gap, gap_after)
                cells[f"{threshold:g} mm/h, {name}"] = [figure(number) for number in numbers]
        heads = ["Brier score", "calibrated", "ratio", "farthest from reliable", "calibrated"]
        table(f"{event}: reliability, all lead times", heads, cells)
    columns = ["hits", "misses", "false alarms", "POD", "FAR", "CSI", "Brier score"]
    said = {event: of["said"] for event, of in found.items()}
    said["all events"] = [one for of in said.values() for one in of]
    for event, every in said.items():
        for which, some in (("", every), (", dry now", [one for one in every if not one["now"]])):
            rows = {name: hits(some, name) for name in ("radar", FLOW, STEPS, STEPS_CALIBRATED)}
            table(f"{event}{which}: rain within 30 minutes at {len(some)} places", columns, rows)
        sure = [
            one
            for one in every
            if not one["now"] and one["begun"] and one["within"] >= 0.5 and one["leads"] == 12
        ]
        inside = [one["interval"][0] <= 5 * one["begun"] <= one["interval"][2] for one in sure]
        off = [abs(one["interval"][1] - 5 * one["begun"]) for one in sure]
        if sure:
            print(
                f"\nWhere rain was likely and began ({len(sure)} places): {np.mean(inside):.0%} in "
                f"the interval of 8 in 10, {np.median(off):g} min off in the middle"
            )


def draw(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Reliability diagrams of each event and threshold, before and after."""
    figure_, axes = plt.subplots(
        len(found),
        len(THRESHOLDS),
        figsize=(9, 3 * len(found)),
        squeeze=False,
        layout="constrained",
    )
    for row, (event, of) in zip(axes, found.items(), strict=True):
        for axis, (threshold, pairs) in zip(row, of["diagrams"].items(), strict=True):
            axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
            for k, name in enumerate(("share of members", "calibrated")):
                for kind, dashes in enumerate(("-", ":")):
                    n, total, came = sum(pair[k] for pair in pairs)[:, kind].sum(axis=1)
                    tenth = np.round(10 * total / np.maximum(n, 1)).astype(int)
                    n, total, came = (np.bincount(tenth, of, 11) for of in (n, total, came))
                    there = n >= 200
                    label = f"{name}, {('then', 'by then')[kind]}"
                    axis.plot(
                        total[there] / n[there], came[there] / n[there], dashes, marker=".",
                        color=f"C{k}", label=label,
                    )  # fmt: skip
            axis.set(
                title=f"{event[:8]}, {threshold:g} mm/h", xlabel="probability", ylabel="frequency"
            )
    axes[0][0].legend(fontsize=6)
    figure_.savefig(path, dpi=80)


def main(arguments: Sequence[str]) -> int:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("archives", type=Path, metavar="ARCHIVES")
    parser.add_argument("--weights", type=Path, required=True, metavar="RUN")
    parser.add_argument("--starts", type=int, default=5, help="forecasts of each event")
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("runs/rain"))
    given = parser.parse_args(arguments)
    events = prepared(given.archives, given.output)
    if len(events) < 2:
        leave(f"{given.archives} has no events to leave out in turn")
    taught_by, steps_taught_by = {}, {}
    for event, file in events.items():
        folder = without(event, events, given.weights, given.output)
        cache = folder.parent / "calibration.json"
        taught_by[event] = taught(str(folder), file, given.members, cache)
        cache = folder.parent / "calibration-steps.json"
        steps_taught_by[event] = taught(STEPS, file, STEPS_MEMBERS, cache, STEPS_STRIDE)
        print(f"{event}: learnt", file=sys.stderr, flush=True)
    of_all = asdict(half_of(list(taught_by.values())))
    (given.output / "calibration.json").write_text(json.dumps(of_all))
    found = {}
    for event, file in events.items():
        known, known_steps = (
            half_of([one for name, one in each.items() if name != event])
            for each in (taught_by, steps_taught_by)
        )
        folder = given.output / event / "forecaster"
        how = known, known_steps, given.starts, given.members, given.places
        found[event] = tried(folder, file, *how)
    tell(found)
    draw(found, given.output / "reliability.png")
    said = {event: of["said"] for event, of in found.items()}
    (given.output / "places.json").write_text(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
