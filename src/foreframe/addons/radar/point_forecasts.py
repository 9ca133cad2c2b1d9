"""Forecasts at single places: in a sentence and a table, as .csv, .json and .geojson."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from foreframe.addons.radar.amounts import LEVELS, Amounts, plain
from foreframe.addons.radar.areas import Area
from foreframe.addons.radar.calibration import Chances, chances_of
from foreframe.addons.radar.places import HEADERS, Place
from foreframe.base.files import atomic_write
from foreframe.clips.clip import Clip, Variable, stamp
from foreframe.clips.ensembles import Ensemble
from foreframe.forecasting.recordings import RAIN
from foreframe.visuals.tables import Table, number

POINT_FILES = (".csv", ".json", ".geojson")
GAP = 30.0  # minutes: shorter gaps belong to an event


@dataclass(frozen=True, eq=False)
class PointForecast:
    """The forecast at one location.

    Args:
        place: the location.
        times: past and future times, in ISO format (UTC) or seconds; "" if unknown.
        leads: lead time of each forecast frame.
        unit: unit of the lead times: "min", "d" or "months"; "frames" without dates.
        variables: name and units of each channel.
        digits: decimals of each channel in tables.
        measured: (T,C), the past and the observed future, NaN if unknown.
        values: (M,S,C), members of the forecast, or a single forecast.
        drawn: True for members.
        threshold: in the data's units; None without probabilities.
        at, within: (S,), the probability that the threshold is reached at a lead time, and until
            then; NaN without a threshold.
        amounts: the rain of the next minutes; None if not asked for.
    """

    place: Place | Area
    times: Sequence[str]
    leads: Sequence[float]
    unit: str
    variables: Sequence[tuple[str, str]]
    digits: Sequence[int]
    measured: Float[np.ndarray, "t c"]
    values: Float[np.ndarray, "m s c"]
    drawn: bool
    threshold: float | None
    at: Float[np.ndarray, " s"]
    within: Float[np.ndarray, " s"]
    amounts: Amounts | None = None

    @property
    def _past(self) -> int:
        return len(self.times) - len(self.leads)

    @property
    def now(self) -> bool | None:
        """True if the last input frame reaches the threshold; None without a value."""
        last = self.measured[self._past - 1, 0]
        return None if np.isnan(last) else bool(last >= self.threshold)

    @property
    def has_chances(self) -> bool:
        """True if tables and files have probabilities."""
        return self.threshold is not None and self.drawn

    def outlook(self) -> dict[str, Any]:
        """Return the outlook as plain values, None if unknown, with times in `unit`:

        - `now`: True if the threshold is reached now;
        - `within`: the members' probability that it is reached within the forecast;
        - `begins`: median and range of 8 in 10 of the cases in which it is reached;
        - `until`, `ends`: the end of the event, `until` being the median, as in `begins`. Gaps of
          less than 30 minutes belong to the event;
        - `all_clear`: True if 30 minutes below the threshold follow within the forecast;
        - `up_to`: a value that 9 of 10 of these members do not exceed, rounded up;
        - `sum`: the amount in mm: median, range of 8 in 10 members and probabilities.

        Without a threshold it has the values at each lead time, or the members' median.
        """
        about: dict[str, Any] = {"units": self.variables[0][1], "unit": self.unit}
        about |= {"time": self.times[self._past - 1] or None}
        if self.threshold is None:
            median = plain(np.quantile(self.values, 0.5, axis=0).T)
            names = [name for name, _ in self.variables]
            return about | {"leads": self.leads, "values": dict(zip(names, median, strict=True))}
        found = about | {"threshold": self.threshold, "now": self.now}
        found |= dict.fromkeys(("within", "begins", "until", "ends", "all_clear", "up_to"))
        found["sum"] = self.amounts and self.amounts.config()
        total = float(self.within[-1])
        if np.isnan(total):
            return found
        found["within"] = round(total, 3) if self.drawn else None
        if total > 0 and not self.now:
            shares = {"median": 0.5, "from": 0.1, "to": 0.9}
            first = {name: (self.within >= part * total).argmax() for name, part in shares.items()}
            found["begins"] = {name: self.leads[int(k)] for name, k in first.items()}
        reached = self.values[..., 0] >= self.threshold
        wet = reached.any(axis=1)
        # A present event ends in all members, a coming one in the members that have it.
        if self.now or wet.any():
            found |= self._end(reached if self.now else reached[wet])
        if wet.any():
            found["up_to"] = _up(float(np.quantile(self.values[wet, :, 0].max(axis=1), 0.9)), about)
        return found

    def _end(self, reached: Bool[np.ndarray, "m s"]) -> dict[str, Any]:
        """Return the part of the outlook about the end of the event, from members that have it."""
        n, gap = len(self.leads), math.ceil(GAP / self.leads[0]) if self.unit == "min" else 1
        padded = np.pad(reached, ((0, 0), (0, gap - 1)))
        soon = np.lib.stride_tricks.sliding_window_view(padded, gap, axis=1).any(axis=2)
        over = np.logical_or.accumulate(reached | bool(self.now), axis=1) & ~soon
        ends = np.where(over.any(axis=1), over.argmax(axis=1), n)
        last: list[float | None] = [0, *self.leads[:-1], None]  # None: it goes on
        median, low, high = (int(end) for end in (np.median(ends), *np.quantile(ends, (0.1, 0.9))))
        return {
            "until": last[median],
            "ends": {"median": last[median], "from": last[low], "to": last[high]},
            "all_clear": self.now is not None and median + gap <= n,
        }

    def sentence(self) -> str:
        """Return the outlook in words."""
        if self.threshold is None:
            return ""
        amount = self.amounts.sentence() if self.amounts else ""
        return f"{self._event()} {amount}".rstrip()

    def _event(self) -> str:
        """Return the begin and the end of the event in words."""
        found, units, total = self.outlook(), self.variables[0][1], self.within[-1]
        event = f"{self.threshold:g} {units} or more".replace("  ", " ")
        event += " somewhere in the area" if isinstance(self.place, Area) else ""
        what = f"Rain ({event})" if units == RAIN else event
        if np.isnan(total):
            return f"{what}: no {'radar coverage' if units == RAIN else 'values'} here."
        up_to = f"; up to {found['up_to']:g} {units}" if found["up_to"] else ""
        likely = "most likely " if self.drawn else ""
        end = f"within {self._lead(-1)}".replace("within 60 min", "within the hour")
        if found["now"]:
            rest = "" if self.drawn else f", and all the time {end}"
            if (until := found["until"]) is not None:
                left = f"for another {self._named(until)}" if until else f"over in {self._lead(0)}"
                rest = f", {likely}{left}{self._after(found)}"
            if self.drawn:
                n = len(self.leads)
                some = sorted({max(1, n // 4), max(1, n // 2), n})
                then = (f"{self._lead(k - 1)}: {_percent(self.at[k - 1])}" for k in some)
                rest += f". In {', in '.join(then)}"
            return f"{what} in the last frame{rest}{up_to}."
        if not self.drawn and not total:
            return f"{'No rain' if units == RAIN else 'No value'} ({event}) {end}."
        text = f"{what} {end}{f': {_percent(total)}' if self.drawn else ''}."
        if total >= 0.1:
            begins, until = found["begins"], found["until"]
            begun = "Begins in" if total >= 0.5 else "If so, it begins in"
            text += f" {begun} {'about ' if self.drawn else ''}{self._named(begins['median'])}"
            text += _range(begins)
            if until is not None:
                brief = until <= begins["median"]
                text += ", brief" if brief else f", {likely}until {self._named(until)}"
                text += self._after(found)
            text += f"{up_to}."
        return text if found["now"] is False else f"{text} No value here in the last frame."

    def _after(self, found: Mapping[str, Any]) -> str:
        """Return the range of the end, and the all-clear of rain, in words."""
        clear = found["all_clear"] and found["units"] == RAIN and self.unit == "min"
        return _range(found["ends"]) + (f", then dry for at least {GAP:g} min" if clear else "")

    def _lead(self, k: int) -> str:
        return self._named(self.leads[k])

    def _named(self, lead: float) -> str:
        unit = self.unit.removesuffix("s") if lead == 1 else self.unit
        return f"{lead:g} {unit}"

    def __str__(self) -> str:
        """Return a table and the sentence. A line has the lead time, the time, the forecast of each
        variable or the members' median with the middle 8 of 10, and the probability of the
        threshold at that time and until then.
        """
        columns = [("", "time")]
        for about in self.variables:
            columns += [about, ("", "8 of 10")] if self.drawn else [about]
        columns += [("", "likely"), ("", "by then")] if self.has_chances else []
        quantiles, rows = np.quantile(self.values, (0.5, 0.1, 0.9), axis=0), {}
        for s, time in enumerate(self.times[self._past :]):
            cells = [f"{time[:10]} {time[11:16]} UTC" if time.endswith("Z") else time]
            for values, digits in zip(quantiles[:, s].T, self.digits, strict=True):
                middle, low, high = (number(value, f".{digits}f") for value in values)
                spread = low if low == high else f"{low} to {high}"
                cells += [middle, spread] if self.drawn else [middle]
            cells += [_percent(self.at[s]), _percent(self.within[s])] if self.has_chances else []
            rows[f"+{self._lead(s)}"] = cells
        title = f"{self.place.name}: {self.place}"
        return str(Table(title, columns, rows, [*filter(None, [self.sentence()])]))

    def config(self) -> dict[str, Any]:
        """Return plain values, None for NaN: the place, the outlook, the sentence, and the values
        at each time of the forecast.
        """
        times = []
        for s, time in enumerate(self.times[self._past :]):
            names = (name for name, _ in self.variables)
            values = dict(zip(names, map(plain, self.values[:, s].T), strict=True))
            own = {"time": time or None, "lead": self.leads[s], "values": values}
            if self.has_chances:
                own |= {"probability": plain(self.at[s]), "within": plain(self.within[s])}
            times.append(own)
        return self.place._asdict() | self.outlook() | {"sentence": self.sentence(), "times": times}

    def rows(self) -> Iterator[list[str]]:
        """Yield the lines of a .csv, without its header."""
        for t, time in enumerate(self.times):
            s = t - self._past
            for c, about in enumerate(self.variables):
                own = [self.measured[t, c]]
                own += [*self.values[:, s, c]] if s >= 0 else [np.nan] * len(self.values)
                if self.has_chances:
                    own += [self.at[s], self.within[s]] if s >= 0 else [np.nan, np.nan]
                yield [self.place.name, time, str(s + 1), *about, *map(_written, own)]
        yield from self._amount_rows()

    def _amount_rows(self) -> Iterator[list[str]]:
        """Yield a line with the amount of each channel in mm, and one for each probability."""
        if (found := self.amounts) is None:
            return
        where = [self.place.name, self.times[self._past + found.steps - 1], str(found.steps)]
        blanks = [""] * (2 if self.has_chances else 0)
        for name, own in zip(found.names, found.values.T, strict=True):
            yield [*where, f"{name} in {found.minutes} min", "mm", "", *map(_written, own), *blanks]
        for level, p in zip(LEVELS, found.chances, strict=False):
            name = f"{level} mm or more in {found.minutes} min"
            yield [*where, name, "1", *[""] * (1 + len(found.values)), _written(p[0]), ""]


def point_forecasts(
    places: Sequence[Place | Area],
    past: Clip,
    future: Clip | Ensemble,
    truth: Clip | None = None,
    threshold: float | None = None,
    chances: Chances | None = None,
    amounts: Amounts | None = None,
) -> list[PointForecast]:
    """Return the forecast at each of these places.

    Args:
        past, future, truth: as in `foreframe.forecasting.forecast.Forecast`.
        threshold: for probabilities of the first channel; None without.
        chances: calibrated probabilities of the threshold; by default the share of members.
        amounts: a map of the rain of the next minutes.
    """
    drawn = isinstance(future, Ensemble)
    some = future[0] if isinstance(future, Ensemble) else future
    n, steps = len(past), len(some)
    values = np.asarray(future.frames) if drawn else np.asarray(some.frames[0:steps])[None]
    unknown = np.full(values.shape[1:], np.nan)
    if chances is None:
        chances = Chances(unknown, unknown) if threshold is None else chances_of(values, threshold)
    after = unknown if truth is None else truth.frames[0:steps]
    measured = np.concatenate([past.frames[0:n], after])
    times = [""] * (n + steps)
    if past.times is not None and some.times is not None:
        zone = "Z" if past.times.dtype.kind == "M" else ""
        times = [f"{stamp(time)}{zone}" for time in (*past.times, *some.times)]
    leads, unit = _leads(past, some)
    channels = _channels(some)
    digits = [_digits(values[:, :, c], units) for c, (_, units) in enumerate(channels)]
    made = []
    for place in places:
        members = place.values_in(values)
        own = Chances(*map(place.values_in, chances))
        if isinstance(place, Area) and threshold is not None:
            own = Chances(*(p[..., 0, 0] for p in chances_of(members[..., None, None], threshold)))
        names = place.variables(channels)
        decimals = np.repeat(digits, len(names) // len(channels)).tolist()
        about = place.values_in(measured), members, drawn, threshold, own.at[:, 0], own.within[:, 0]
        summed = amounts and amounts.at(place, [name for name, _ in names])
        made.append(PointForecast(place, times, leads, unit, names, decimals, *about, summed))
    return made


def _leads(past: Clip, future: Clip) -> tuple[list[float], str]:
    """Return lead times in calendar months, days or minutes, without dates in frames; the unit."""
    if past.times is None or future.times is None or past.times.dtype.kind not in "MO":
        return [float(k + 1) for k in range(len(future))], "frames"
    ahead = np.array([time - past.times[-1] for time in future.times]).astype("timedelta64[s]")
    days, frames = ahead / np.timedelta64(1, "D"), np.arange(1, len(ahead) + 1)
    months = np.round(days[0] / 30.4) * frames
    if months[0] and (np.abs(days - 30.44 * months) < 4).all():
        return months.tolist(), "months"
    if (days % 1 == 0).all():
        return days.tolist(), "d"
    return [float(f"{1440 * day:.5g}") for day in days], "min"


def _digits(values: Float[np.ndarray, "m s h w"], units: str) -> int:
    """Return the decimals in tables, equal at all places: one for rain, else by the range."""
    if units == RAIN:
        return 1
    spread = np.nanmax(values, initial=-np.inf) - np.nanmin(values, initial=np.inf)
    return max(0, 2 - math.floor(math.log10(spread))) if 0 < spread < np.inf else 1


def _up(value: float, about: dict[str, Any]) -> float:
    """Round a value up to two significant digits, in kelvin to one decimal."""
    if not value:
        return 0.0
    decimals = 1 if about["units"] == "K" else 1 - math.floor(math.log10(abs(value)))
    return math.ceil(float(f"{value * 10.0**decimals:.6g}")) / 10.0**decimals


def write_point_forecasts(path: Path, forecasts: Sequence[PointForecast]) -> None:
    """Write .csv, a line for each place, time and variable (with `ahead` 0 for the last input
    frame), and for the amount and its probabilities; .json, a list of `PointForecast.config`; or
    .geojson, a point for each place.

    Raises:
        ValueError: the file cannot be written, and no partial one stays; .geojson for places
            without latitude and longitude.
    """
    first = forecasts[0]
    if path.suffix == ".geojson" and any(one.place.geometry is None for one in forecasts):
        raise ValueError(f"output {path}: the recording tells no latitudes; choose .json or .csv")
    with atomic_write(path) as rough, rough.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            members = [f"member_{k + 1}" for k in range(len(first.values))]
            names = members if first.drawn else ["forecast"]
            if first.has_chances:
                names += ["probability", "within"]
            header = ["place", "time", "ahead", "variable", "units", "measured", *names]
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([header, *(row for one in forecasts for row in one.rows())])
            return
        whole: Any = [one.config() for one in forecasts]
        if path.suffix == ".geojson":
            whole = {"type": "FeatureCollection", "features": [*map(_feature, forecasts)]}
        json.dump(whole, file)


def _feature(one: PointForecast) -> dict[str, Any]:
    about = {key: value for key, value in one.config().items() if key not in HEADERS[0]}
    return {"type": "Feature", "geometry": one.place.geometry, "properties": about}


def _channels(clip: Clip) -> list[tuple[str, str]]:
    """Return name and units of each channel."""
    n = clip.frames.shape[1]
    whole = Variable(clip.variable or ("value" if n == 1 else "channel"), clip.units, {}, n)
    return [
        (one.name if one.channels == 1 else f"{one.name} {c + 1}", one.units)
        for one in clip.variables or [whole]
        for c in range(one.channels)
    ]


def _written(value: Any) -> str:
    return "" if np.isnan(value) else f"{value:.7g}"


def _percent(chance: Any) -> str:
    return "" if np.isnan(chance) else f"{100 * chance:.0f} %"


def _range(times: Mapping[str, Any]) -> str:
    """Return the range of 8 in 10 cases, whose end may be unknown, in words."""
    start, end = times["from"], times["to"]
    if start == end:
        return ""
    return f" ({start:g} {'or more in 9' if end is None else f'to {end:g} in 8'} of 10 cases)"
