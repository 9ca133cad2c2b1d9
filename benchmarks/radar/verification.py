"""The page of a verification: tables and plots of the counts that verify.py made."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from recordings import figure, table

from foreframe.evaluation.metrics.spectra import WAVELENGTHS

WET = 0.2  # mm/h
HEAVY = "5"  # mm/h, as a name
SOON = 30  # minutes
BINS = 10
SHOWN = (5, 15, 30, 45, 60)  # lead times in tables, minutes
FEW = 5  # days: with fewer, events are the units of the bootstrap
DRAWS = 1000
CANDIDATES = np.arange(0.05, 1.0, 0.05)  # thresholds of probability for warnings

Event = Mapping[str, Any]
Events = Mapping[str, Event]
Score = Callable[[Sequence[Any]], np.ndarray]


def methods_of(events: Events) -> list[str]:
    """Methods without a failure, in the order in which they were named."""
    first = next(iter(events.values()))
    return [
        method
        for method in first["settings"]["methods"]
        if all("failed" not in row for event in events.values() for row in rows(event, method))
    ]


def rows(event: Event, method: str) -> list[Any]:
    """What a method made of each start of an event."""
    return [start["methods"][method] for start in event["starts"]]


# Scores of some starts, by lead time


def rmse(some: Sequence[Any]) -> np.ndarray:
    n, squares = (np.sum([row[name] for row in some], axis=0) for name in ("n", "squares"))
    return np.sqrt(squares / np.maximum(n, 1))


def crps(some: Sequence[Any]) -> np.ndarray:
    n, sums = (np.sum([row[name] for row in some], axis=0) for name in ("n", "crps"))
    return sums / np.maximum(n, 1)


def contingency(some: Sequence[Any], threshold: str) -> np.ndarray:
    """Hits, misses and false alarms (3,S)."""
    return np.sum([row[threshold]["table"] for row in some], axis=0)


def csi(some: Sequence[Any], threshold: str) -> np.ndarray:
    found = contingency(some, threshold)
    return ratio(found[0], found.sum(axis=0))


def fss(some: Sequence[Any], threshold: str) -> np.ndarray:
    gap, reference = np.sum([row[threshold]["fss"] for row in some], axis=0)
    return 1 - ratio(gap, reference)


def brier(some: Sequence[Any], threshold: str) -> dict[str, np.ndarray]:
    """Skill against the frequency in the same cases, and Murphy's parts of the score (1973,
    Journal of Applied Meteorology 12, 595-600), by lead time.
    """
    parts = [[row[threshold]["bins"][lead] for row in some] for lead in range(len(some[0]["n"]))]
    found: dict[str, list[float]] = {}
    for lead in parts:
        n, p, came = (np.sum([part[k] for part in lead], axis=0) for k in range(3))
        cases, score = n.sum(), sum(part[3] for part in lead) / n.sum()
        base = came.sum() / cases
        there = n > 0
        gaps = ratio(p[there], n[there]) - ratio(came[there], n[there])
        apart = ratio(came[there], n[there]) - base
        uncertainty = base * (1 - base)
        for name, value in {
            "skill": 1 - score / uncertainty if uncertainty else np.nan,
            "reliability": float((n[there] * gaps**2).sum() / cases),
            "resolution": float((n[there] * apart**2).sum() / cases),
            "uncertainty": uncertainty,
        }.items():
            found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items()}


def ratio(above: Any, below: Any) -> np.ndarray:
    above, below = np.asarray(above, float), np.asarray(below, float)
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)


# Warnings


def cases_of(event: Event, method: str, age: float) -> dict[str, np.ndarray]:
    """Each start and location that is dry and whose next half hour is known: the probability that
    a user hears, and the minutes from then until rain begins (infinite without rain, 0 or less
    if it began before).
    """
    values, minutes = np.array(event["values"], float), event["minutes"]
    leads = min(int((age + SOON) // minutes), len(rows(event, method)[0]["n"]))
    found: dict[str, list[np.ndarray]] = {"p": [], "until": []}
    for start in event["starts"]:
        first = start["first"]
        after = values[first - 1 : first + leads]
        usable = ~np.isnan(after).any(axis=0) & (after[0] < WET)
        wet = after[1:] >= WET
        begins = np.where(wet.any(axis=0), minutes * (wet.argmax(axis=0) + 1) - age, np.inf)
        p = np.array(start["methods"][method]["within"])[:, leads - 1]
        found["p"].append(np.where(usable, p, np.nan))
        found["until"].append(np.where(usable, begins, np.nan))
    return {name: np.array(each) for name, each in found.items()}


def outcome(cases: Mapping[str, np.ndarray], threshold: float) -> np.ndarray:
    """Hits, late warnings, misses and false alarms."""
    p, until = cases["p"], cases["until"]
    warned, rain = p >= threshold, np.isfinite(until)
    known = ~np.isnan(p)
    kinds = (warned & rain & (until > 0), warned & (until <= 0), ~warned & rain, warned & ~rain)
    return np.array([(kind & known).sum() for kind in kinds])


def fitted(others: Sequence[Mapping[str, np.ndarray]]) -> float:
    """The threshold of probability with the highest CSI in other events."""

    def success(threshold: float) -> float:
        hits, _, misses, alarms = sum(outcome(cases, threshold) for cases in others)
        return float(hits / max(hits + misses + alarms, 1))

    return float(max(CANDIDATES, key=success))


def warnings(events: Events, method: str, age: float) -> list[str]:
    """A row of the table of warnings: thresholds are fitted without the event they are used on."""
    cases = {name: cases_of(event, method, age) for name, event in events.items()}
    total, spells, days, ahead, used = np.zeros(4), 0, 0.0, [], []
    for name, event in events.items():
        others = [of for other, of in cases.items() if other != name]
        threshold = fitted(others or [cases[name]])
        used.append(threshold)
        own = cases[name]
        total = total + outcome(own, threshold)
        warned = own["p"] >= threshold
        ahead += own["until"][warned & np.isfinite(own["until"]) & (own["until"] > 0)].tolist()
        begun = warned & ~np.vstack([np.zeros_like(warned[:1]), warned[:-1]])
        spells += int(begun.sum())
        stride = event["settings"]["stride"] * event["minutes"] / 1440
        days += stride * warned.size
    hits, late, misses, alarms = map(int, total)
    return [
        f"{min(used):.2f} to {max(used):.2f}",
        *map(str, (hits, late, misses, alarms)),
        figure(float(ratio(hits, hits + alarms))),
        figure(float(ratio(hits, hits + misses))),
        figure(float(ratio(spells, days))),
        f"{np.median(ahead):g}" if ahead else "",
    ]


# Pairs


def units(events: Events) -> list[list[str]]:
    """Events by calendar day, or each event if there are fewer than five days."""
    days: dict[str, list[str]] = {}
    for name, event in events.items():
        days.setdefault(event["day"], []).append(name)
    return list(days.values()) if len(days) >= FEW else [[name] for name in events]


def paired(events: Events, ours: str, theirs: str, score: Score, low: bool) -> str:
    """The mean difference of ours from theirs, its interval of 95 %, and in how many units ours is
    better.
    """

    def of(unit: Sequence[str], method: str) -> float:
        return float(
            np.nanmean(score([row for name in unit for row in rows(events[name], method)]))
        )

    gaps = np.array([of(unit, ours) - of(unit, theirs) for unit in units(events)])
    gaps = gaps[~np.isnan(gaps)]
    if not gaps.size:
        return ""
    draws = np.random.default_rng(0).choice(gaps, (DRAWS, gaps.size)).mean(axis=1)
    below, above = np.quantile(draws, [0.025, 0.975])
    better = (gaps < 0).sum() if low else (gaps > 0).sum()
    interval = f"{gaps.mean():+.3f} [{below:+.3f}, {above:+.3f}]"
    return f"{interval}, better in {better} of {gaps.size}"


# The page


def tell(events: Events, age: float) -> None:
    """Print the tables."""
    names, every = methods_of(events), list(events.values())
    minutes = every[0]["minutes"]
    pooled = {name: [row for event in every for row in rows(event, name)] for name in names}
    print("# Verification of rain forecasts\n")
    for name, event in events.items():
        n = len(event["starts"])
        print(f"- {name}: {n} forecasts, {event['day']}; {event['machine']}; {event['date']}")
    for method in every[0]["settings"]["methods"]:
        failed = [
            row["failed"] for event in every for row in rows(event, method) if "failed" in row
        ]
        if failed:
            print(f"- {method} failed {len(failed)} times and is left out: {failed[0]}")
    if not names:
        return
    ours = names[0]
    last = len(pooled[ours][0]["n"])
    frames = sorted({min(last, max(1, round(lead / minutes))) for lead in SHOWN})
    columns = [f"+{k * minutes}" for k in frames]
    at = np.array(frames) - 1

    def by_lead(title: str, score: Score, of: Sequence[str] = names) -> None:
        print(f"\n## {title}")
        table("", columns, {name: [*map(figure, score(pooled[name])[at])] for name in of})

    by_lead("RMSE, mm/h", rmse)
    drawn = [name for name in names if "crps" in pooled[name][0]]
    by_lead("Fair CRPS of members, mm/h", crps, drawn)
    for threshold in ("1", HEAVY):
        print(f"\n## CSI at {threshold} mm/h (hits / misses / false alarms)")
        cells = {}
        for name in names:
            counts, values = contingency(pooled[name], threshold), csi(pooled[name], threshold)
            cells[name] = [
                f"{figure(values[k])} ({' / '.join(f'{int(n):,}' for n in counts[:, k])})"
                for k in at
            ]
        table("", columns, cells)
    share = np.mean([row["share"] for row in pooled[ours]])
    by_lead(f"FSS at {HEAVY} mm/h, 34 km", lambda some: fss(some, HEAVY))
    print(f"\nWindows lie inside the radar's coverage: {share:.0%} of the domain.")
    kind = "days" if len(units(events)) < len(events) or len(events) >= FEW else "events"
    print(f"\n## {ours} minus each other method, mean of all lead times")
    print(f"\nIntervals of 95 % from {DRAWS:,} draws of {len(units(events))} {kind}.")
    scores: dict[str, tuple[Score, bool]] = {
        "RMSE": (rmse, True),
        "CSI at 1 mm/h": (lambda some: csi(some, "1"), False),
        f"CSI at {HEAVY} mm/h": (lambda some: csi(some, HEAVY), False),
        "Brier skill at 1 mm/h": (lambda some: brier(some, "1")["skill"], False),
    }
    cells = {
        name: [paired(events, ours, name, score, low) for score, low in scores.values()]
        for name in names[1:]
    }
    table("", list(scores), cells)
    for threshold in ("1", HEAVY):
        print(f"\n## Brier skill at {threshold} mm/h, all lead times")
        found = {name: brier(pooled[name], threshold) for name in names}
        heads = list(found[ours])
        table(
            "", heads, {n: [f"{np.nanmean(of[h]):.4f}" for h in heads] for n, of in found.items()}
        )
    print("\n## Probabilities of 1 mm/h and what came, all lead times (cases)")
    heads = [f"{k / BINS:.1f} to {(k + 1) / BINS:.1f}" for k in range(BINS)]
    cells = {}
    for name in names:
        n, _, came = bins(pooled[name], "1")
        cells[name] = [f"{figure(f)} ({int(k):,})" for f, k in zip(ratio(came, n), n, strict=True)]
    table("", heads, cells)
    print(f"\n## Warnings: rain begins within {SOON} minutes at a location that is dry now")
    print(f"\nA user is informed {age:g} minutes after the time of the last frame.")
    heads = ["threshold", "hits", "late", "misses", "false alarms", "precision", "recall"]
    heads += ["warnings a day and location", "median minutes ahead"]
    table("", heads, {name: warnings(events, name, age) for name in names})
    print("\n![Scores by lead time, reliability and power](verification.png)")


def bins(some: Sequence[Any], threshold: str) -> np.ndarray:
    """Cases, summed probabilities and events (3,BINS), over all lead times."""
    found = [lead[:3] for row in some for lead in row[threshold]["bins"]]
    return np.sum(found, axis=0)


def draw(events: Events, path: Path) -> None:
    """RMSE and CSI by lead time, reliability at 1 mm/h, and the power half-way and at the end."""
    names, every = methods_of(events), list(events.values())
    picture, axes = plt.subplots(2, 3, figsize=(13, 7.5), layout="constrained")
    flat = axes.flat
    leads = every[0]["minutes"] * np.arange(1, len(rows(every[0], names[0])[0]["n"]) + 1)
    truths = [
        start["spectrum"] for event in every for start in event["starts"] if "spectrum" in start
    ]
    for name in names:
        some = [row for event in every for row in rows(event, name)]
        flat[0].plot(leads, rmse(some), label=name)
        flat[1].plot(leads, csi(some, HEAVY))
        flat[2].plot(leads, fss(some, HEAVY))
        n, p, came = bins(some, "1")
        there = n >= 20
        flat[3].plot(p[there] / n[there], came[there] / n[there], marker=".")
        powers = [row["spectrum"] for row in some if "spectrum" in row]
        for axis, lead in zip((flat[4], flat[5]), (len(leads) // 2, len(leads)), strict=True):
            if powers:
                both = (np.mean([one[lead - 1] for one in of], axis=0) for of in (powers, truths))
                axis.loglog(2 * np.array(WAVELENGTHS), np.divide(*both))
    flat[3].plot([0, 1], [0, 1], color="0.7", linewidth=1)
    titles = {
        "RMSE, mm/h": "minutes",
        f"CSI at {HEAVY} mm/h": "minutes",
        f"FSS at {HEAVY} mm/h, 34 km": "minutes",
        "reliability at 1 mm/h": "probability",
        f"power / observed, +{leads[len(leads) // 2 - 1]}": "wavelength, km",
        f"power / observed, +{leads[-1]}": "wavelength, km",
    }
    for axis, (title, x) in zip(flat, titles.items(), strict=True):
        axis.set(title=title, xlabel=x)
    flat[0].legend(fontsize=7)
    picture.savefig(path, dpi=80)
    plt.close(picture)
