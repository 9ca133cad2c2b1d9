"""Verify forecasts of rain as a weather service does, and write one page with plots.

    python benchmarks/radar/verify.py ARCHIVES --output FOLDER [--age 5] [--truth gauges.csv]

ARCHIVES is a folder of NetCDF files of rain in mm/h, one for each event, or the folder that
examples/radar/prepare.py takes; without it the program writes the page again from what is in
FOLDER. Every method of --methods forecasts an hour from the same frames of each event, on the
whole domain at about 2 km: foreframe's forecasters and baselines by name (`plain` is `radar` with
--match none), and methods of pysteps if it is installed. A method that fails is reported, too.
The time step is the recording's own, of 2-minute data as thinned for `radar`. FOLDER keeps the
counts of each event, so a stopped call continues. It does not mix results of different settings.

The page FOLDER/verification.md and FOLDER/verification.png contain:

- RMSE, the fair CRPS of members, and CSI with its hits, misses and false alarms, by lead time. FSS
  uses windows that lie wholly inside the radar's coverage, and the page states the share of the
  domain that they see.
- For each opponent the mean difference from the first method, its interval by a paired bootstrap
  of days (of events if there are fewer than five days), and the number of events in which the
  first method is better.
- Brier skill against climatology (the frequency in all events), with reliability, resolution,
  uncertainty and ten bins of probabilities with their numbers of cases.
- Warnings at locations that are dry now: rain begins within half an hour. The threshold of
  probability is the one with the highest CSI in all other events. The clock starts when the user
  is informed: --age minutes after the time of the last frame.
- The power of forecasts relative to observations, by wavelength and lead time, on the square of
  256 km with the most rain.

--truth replaces the radar at locations by rain gauges: a file with the columns name, latitude,
longitude (or row, column), time (UTC, ISO 8601) and value (mm/h during the time step that ends
then). A location counts as dry only if every value of the half hour is known.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # what several benchmarks share

from rain import made_up, prepared
from recordings import leave, machine
from verification import BINS, WET, draw, tell

import foreframe
from foreframe import Clip
from foreframe.addons.radar.calibration import chances_of
from foreframe.addons.radar.places import Place, places_at
from foreframe.evaluation.metrics.spectra import power
from foreframe.forecasting.forecast import resolved
from foreframe.forecasting.forecast_options import PredictOptions

METHODS = "radar,plain,optical_flow,pysteps/extrapolation,pysteps/sprog,pysteps/anvil,pysteps/steps"
MEMBERS = {"radar": 16, "pysteps/steps": 24}
THRESHOLDS = (WET, 1.0, 5.0)  # mm/h
WINDOW = 17  # pixels, the side of the windows of FSS
SQUARE = 128  # pixels, the side of the square whose spectra are compared

Field = np.ndarray  # (S,H,W), mm/h


def counted(forecast: Field, truth: Field) -> dict[str, Any]:
    """Sums of one forecast by lead time: squared errors, and for each threshold the contingency
    table and the parts of FSS.
    """
    known = ~np.isnan(truth) & ~np.isnan(forecast)
    error = np.where(known, forecast - truth, 0.0)
    found: dict[str, Any] = {
        "n": known.sum(axis=(1, 2)).tolist(),
        "squares": np.square(error).sum(axis=(1, 2)).tolist(),
    }
    whole = windows(known) > WINDOW**2 - 0.5
    found["share"] = whole.mean(axis=(1, 2)).tolist()
    for threshold in THRESHOLDS:
        made, came = ((of >= threshold) & known for of in (forecast, truth))
        table = [made & came, ~made & came, made & ~came]
        fractions = [np.where(whole, windows(of) / WINDOW**2, 0.0) for of in (made, came)]
        gap = np.square(fractions[0] - fractions[1]).sum(axis=(1, 2))
        reference = sum(np.square(of).sum(axis=(1, 2)) for of in fractions)
        found[f"{threshold:g}"] = {
            "table": [of.sum(axis=(1, 2)).tolist() for of in table],
            "fss": [gap.tolist(), np.asarray(reference).tolist()],
        }
    return found


def windows(marks: Field) -> Field:
    """The number of marked pixels in each square window that lies inside the frame."""
    total = np.pad(marks.astype(np.float64), ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
    k = min(WINDOW, *marks.shape[1:])
    return total[:, k:, k:] - total[:, :-k, k:] - total[:, k:, :-k] + total[:, :-k, :-k]


def probable(p: Field, truth: Field, threshold: float) -> list[Any]:
    """By lead time, for each of ten bins of probability: cases, sum of probabilities, cases in
    which the threshold was reached; and the sum of squared errors.
    """
    known = ~np.isnan(p) & ~np.isnan(truth)
    rows: list[Any] = []
    for share, came, where in zip(p, truth >= threshold, known, strict=True):
        own, reached = share[where], came[where].astype(float)
        bins = np.minimum((own * BINS).astype(int), BINS - 1)
        sums = [np.bincount(bins, of, BINS).tolist() for of in (None, own, reached)]
        rows.append([*sums, float(np.square(own - reached).sum())])
    return rows


def square_of(truth: Field) -> tuple[slice, slice] | None:
    """The square with the most rain among those that the radar covers at all times."""
    covered, amount = ~np.isnan(truth).any(axis=0), np.nan_to_num(truth).sum(axis=0)
    best, found = 0.0, None
    for row in range(0, covered.shape[0] - SQUARE + 1, 16):
        for column in range(0, covered.shape[1] - SQUARE + 1, 16):
            part = np.s_[row : row + SQUARE, column : column + SQUARE]
            if covered[part].all() and amount[part].sum() > best:
                best, found = float(amount[part].sum()), part
    return found


def spectrum(frames: Field, square: tuple[slice, slice]) -> list[list[float]]:
    """The power by lead time and wavelength, of a logarithm of rain as its range is large."""
    part = np.log10(np.maximum(np.nan_to_num(frames)[:, *square], 0.1))
    found = power(torch.from_numpy(part).float()[None, :, None])[:, 0].T
    return [[float(x) for x in row] for row in found]


def fair_crps(members: np.ndarray, truth: Field) -> list[float]:
    """The sum of the fair CRPS of members (M,S,H,W) by lead time, where truth is known."""
    m = len(members)
    sums = []
    for each, came in zip(members.swapaxes(0, 1), truth, strict=True):
        known = ~np.isnan(came) & ~np.isnan(each).any(axis=0)
        drawn = np.sort(each[:, known], axis=0)
        rank = 2 * np.arange(m)[:, None] - (m - 1)  # sum of all |a - b| = 2 * sum of rank * a
        apart = (rank * drawn).sum(axis=0) / (m * (m - 1))
        sums.append(float((np.abs(drawn - came[known]).mean(axis=0) - apart).sum()))
    return sums


def made_by(
    method: str, clip: Clip, first: int, past: int, steps: int
) -> tuple[Field, np.ndarray | None]:
    """A method's deterministic forecast, and its members (M,S,H,W) if it draws any."""
    forecaster = foreframe.Forecaster.load("radar" if method == "plain" else method)
    match = "none" if method == "plain" else None
    members = MEMBERS.get(method)

    def forecast(members: int | None) -> np.ndarray:
        options = PredictOptions(steps=steps, past=past, members=members, match=match, seed=0)
        options = resolved(forecaster, clip, forecaster.options(options))
        _, future = forecaster.forecast_from(clip, first, steps, past, options)
        return np.asarray(future.frames)[..., 0, :, :]

    drawn = forecast(members) if members else None
    mean = drawn is not None and method.startswith("pysteps/")  # STEPS is its members' mean
    return (drawn.mean(axis=0) if mean else forecast(None)), drawn  # type: ignore[union-attr]


def gauges(path: Path, clip: Clip) -> tuple[list[Place], np.ndarray]:
    """The locations of a table of gauges, and their values (T,N) at the frames' times, NaN if
    unknown.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    wanted = {"name", "time", "value"}
    if not lines or not wanted <= lines[0].keys():
        leave(f"{path}: the first line must name the columns {', '.join(sorted(wanted))}")
    y, x = ("latitude", "longitude") if "latitude" in lines[0] else ("row", "column")
    points = {line["name"]: f"{line[y]},{line[x]}" for line in lines}
    names = list(points)
    times = np.asarray(clip.times).astype("datetime64[s]")
    values = np.full((len(times), len(names)), np.nan)
    rows = {str(moment): k for k, moment in enumerate(times)}
    for line in lines:
        moment = str(np.datetime64(line["time"].removesuffix("Z"), "s"))
        if moment in rows and line["value"]:
            values[rows[moment], names.index(line["name"])] = float(line["value"])
    return places_at(clip, list(points.values())), values


def drawn_places(truth: np.ndarray, number: int) -> tuple[list[Place], np.ndarray]:
    """Random locations that the radar always covers, and its values (T,N) there."""
    cells = np.argwhere(~np.isnan(truth).any(axis=0))
    some = np.random.default_rng(0).choice(cells, min(number, len(cells)), replace=False)
    places = [Place(f"{row},{column}", int(row), int(column)) for row, column in some]
    return places, truth[:, some[:, 0], some[:, 1]]


def verified(file: Path, given: argparse.Namespace) -> dict[str, Any]:
    """The counts of each start of an event, and of each method."""
    reader = foreframe.Forecaster.load("radar")
    clip = reader.open(str(file))
    truth = np.asarray(clip.frames[0 : len(clip)])[:, 0]
    places, values = gauges(given.truth, clip) if given.truth else drawn_places(truth, given.places)
    times = np.asarray(clip.times).astype("datetime64[m]")
    minutes = int((times[1] - times[0]).astype(int))
    steps, past, starts = given.ahead // minutes, given.before // minutes, []
    for first in range(past, len(clip) - steps + 1, given.stride):
        came, (row, column) = truth[first : first + steps], np.array([p[1:3] for p in places]).T
        square = square_of(came)
        start: dict[str, Any] = {"first": first, "methods": {}}
        if square:
            start["spectrum"] = spectrum(came, square)
        for method in given.methods:
            try:
                forecast, members = made_by(method, clip, first, past, steps)
            except Exception as error:  # a failure is a result
                start["methods"][method] = {"failed": f"{type(error).__name__}: {error}"}
                continue
            found = counted(forecast, came)
            drawn = forecast[None] if members is None else members
            if members is not None:
                found["crps"] = fair_crps(members, came)
            if square:
                each = [spectrum(member, square) for member in drawn]
                found["spectrum"] = np.mean(each, axis=0).tolist()
            for threshold in THRESHOLDS:
                at, within = chances_of(drawn[:, :, None], threshold)
                found[f"{threshold:g}"]["bins"] = probable(at[:, 0], came, threshold)
                if threshold == WET:
                    found["within"] = np.round(within[:, 0, row, column].T, 3).tolist()
            start["methods"][method] = found
        starts.append(start)
        print(f"{file.stem}: start {first}", file=sys.stderr, flush=True)
    return {
        "day": str(times[0])[:10],
        "minutes": minutes,
        "values": np.round(values, 2).tolist(),
        "starts": starts,
    }


def stored(file: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The results of an event, or None without any."""
    if not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    if found["settings"] != settings:
        changed = [name for name in settings if found["settings"].get(name) != settings[name]]
        leave(f"{file} has other {', '.join(changed)}; use another --output, or remove it")
    return found


def main(arguments: Sequence[str]) -> int:
    """Exit code 0: the page is written, whatever it says; 130: stopped."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("archives", nargs="?", type=Path, metavar="ARCHIVES")
    parser.add_argument("--methods", default=METHODS, help="names with commas; the first is ours")
    parser.add_argument("--stride", type=int, default=2, help="frames from start to start")
    parser.add_argument("--before", type=int, default=50, help="minutes of the past")
    parser.add_argument("--ahead", type=int, default=60, help="minutes of the forecast")
    parser.add_argument("--age", type=float, default=5, help="minutes until a user is informed")
    parser.add_argument("--truth", type=Path, metavar="GAUGES.csv", help="truth at locations")
    parser.add_argument("--places", type=int, default=200, help="random locations without --truth")
    parser.add_argument("--output", type=Path, default=Path("runs/verification"))
    parser.add_argument("--quick", action="store_true", help="small archives made here: only a try")
    given = parser.parse_args(arguments)
    given.methods = given.methods.split(",")
    if given.quick:
        given.archives = given.archives or made_up(given.output / "made-up")
    settings = {"methods": given.methods, "stride": given.stride, "places": given.places}
    settings |= {"before": given.before, "ahead": given.ahead}
    settings |= {"truth": str(given.truth or "radar"), "members": MEMBERS}
    files = {file.stem: file for file in sorted((given.archives or given.output).rglob("*.nc"))}
    files = files or prepared(given.archives, given.output)
    try:
        for name, file in files.items() if given.archives else ():
            counts = given.output / f"{name}.json"
            if stored(counts, settings) is None:
                found = verified(file, given) | {"settings": settings, "machine": machine()}
                found |= {"date": time.strftime("%Y-%m-%d")}
                given.output.mkdir(parents=True, exist_ok=True)
                counts.write_text(json.dumps(found))
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    events = {file.stem: stored(file, settings) for file in sorted(given.output.glob("*.json"))}
    if not events:
        leave(f"nothing was verified in {given.output}; name the folder of ARCHIVES")
    page = given.output / "verification.md"
    with page.open("w", encoding="utf-8") as file, redirect_stdout(file):
        tell(events, given.age)
        draw(events, given.output / "verification.png")
    print(f"Wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
