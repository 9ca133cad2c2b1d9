"""Anomaly detection: forecast errors that are unusual at their place.

Liu et al. 2018 score a frame by the squared error of its forecast. Here earlier frames show the
usual error of each place, so that a busy street is usual. The difference from the usual picture
finds objects at rest. Normal footage sets the threshold: see `threshold_of`.

Missing values (NaN) are neither scored nor learnt.
"""

import math
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor

from foreframe.addons.anomalies.anomaly_options import AnomalyOptions
from foreframe.base.notes import warn
from foreframe.base.progress import Progress, silent
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, in_seconds, stamp
from foreframe.clips.scaling import Scaling
from foreframe.clips.units import check_units
from foreframe.data.cuts import find_cuts
from foreframe.forecasting.forecast_options import ForecastOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.incoming import live_frames
from foreframe.forecasting.network import scaling_of
from foreframe.forecasting.recordings import reading_as_trained
from foreframe.models.baselines import LinearMotion
from foreframe.models.motion import gradient

SIDE = 128  # pixels along the longer side of the reduced frames, at most
POOLS = (4, 8, 16)  # sides of the squares of these pixels, over which squared errors are averaged
HIGHEST = 3  # squares of a frame whose mean is its score
FLOOR = 1 / 255**2  # of a squared error, in a range of 1: a step of 8-bit pictures
FAR = 100.0  # ranges: values beyond are clamped, since squares of float32 are limited
MEMORY = 1000  # frames: older ones lose weight
LEARNT = 5.0  # standard deviations from the mean: values beyond are clamped before they are learnt
WARM_UP = 10  # frames until a mean over frames is reliable
UNSCORED = 40  # frames until a score is reliable
LEFT_OUT = 0.25  # of normal footage, at its beginning, when little has been learnt
LEAST = 60  # frames of normal footage
LEARNING = 300.0, 200  # seconds and frames of default normal footage, whichever is longer
SAMPLED = 32  # frames that show the range of values
RECENT = 32  # frames that are searched for cuts and motion of the camera
APART = 24  # frames between the two that show motion of the camera
MOVES = 0.5  # of the highest phase correlation: a camera at rest has more for no shift
GONE = 0.05  # share of known places that may be missing if the whole frame is scored
GAP = 1.0  # seconds: alarms with at most this gap are one event
PACE = 25.0  # frames a second of recordings without times

Map = Float[Tensor, "h w"]


class Usual:
    """Mean and variance of a value, or of a map of values, over the frames so far."""

    def __init__(self) -> None:
        self.count, self.mean, self.variance = (torch.zeros(()) for _ in range(3))

    def __call__(self, values: Tensor) -> Tensor:
        """Return the deviation of values from their mean so far, in standard deviations, and then
        learn them. Means and variances of a map are averaged around each place, and half of the
        variance is the mean of all places. The result is NaN for missing values and in the first
        frames.
        """
        mean, variance = (m.where(self.count > 0, torch.nan) for m in (self.mean, self.variance))
        if self.mean.ndim:
            mean = _around(mean)
            variance = _around(variance + (self.mean - mean).square())
        z = (values - mean) / (0.5 * variance + 0.5 * variance.nanmean() + 1e-3).sqrt()
        z = z.where(self.count > WARM_UP, torch.nan)
        self.learn(values)
        return z

    def learn(self, values: Tensor) -> None:
        known = ~values.isnan()
        self.count = self.count + known
        rate = known / self.count.clamp(1, MEMORY)
        off = (values - self.mean).nan_to_num()
        # An event far beyond all others must not hide those after it.
        most = (self.variance + 1).sqrt().where(self.count > WARM_UP, math.inf) * LEARNT
        off = off.clamp(-most, most)
        self.mean = self.mean + rate * off
        self.variance = (1 - rate) * (self.variance + rate * off.square())


@dataclass(frozen=True)
class FrameScore:
    """The anomaly score of a frame.

    Args:
        frame: its number, counted from 0.
        time: seconds or a date, as in the recording; without times `PACE` frames a second.
        score: sum of standard deviations: about 0 is usual; NaN for a missing frame and the first
            frames.
        p: share of normal frames with a score at least as high.
        alarm: True if the score exceeds the threshold.
        y, x: the most unusual place, in pixels.
        seconds: since the start of the recording.
    """

    frame: int
    time: float | str
    score: float
    y: int
    x: int
    seconds: float
    p: float = math.nan
    alarm: bool = False


@dataclass(frozen=True)
class Event:
    """Alarms at most a second apart.

    Args:
        first, last: numbers of the first and last frame.
        start, end: their times.
        frame, score, p, y, x: the frame with the highest score.
    """

    first: int
    last: int
    start: float | str
    end: float | str
    frame: int
    score: float
    p: float
    y: int
    x: int


class Watch:
    """Scores incoming frames in constant memory, each by comparison with the frames before it.

    Args:
        forecaster: forecasts the frames.
        scaling: maps normal frames to [0,1]; values beyond are not cut.
        lead: lead time of the forecasts in frames.

    Attributes:
        recent: the last frames, reduced.
    """

    def __init__(self, forecaster: Forecaster, scaling: Scaling, lead: int = 1) -> None:
        self.forecaster, self.scaling, self.lead = forecaster.scaled(Scaling()), scaling, lead
        if forecaster.model.inputs:
            raise ValueError("anomalies are not found by models with inputs; take scenes")
        self.picture: Tensor | None = None  # the usual one
        self.seen = 0
        self.usual = defaultdict[Any, Usual](Usual)
        self._with_motion, self._of_motion = 0.0, 1e-3
        self.begin()

    def begin(self) -> None:
        """Begin another recording of the same scene, or continue after a gap."""
        self.stream = self.forecaster.stream(self.lead, ForecastOptions(match="none"))
        self._forecasts = deque[Tensor](maxlen=self.lead)
        self.recent = deque[Tensor](maxlen=RECENT)

    @torch.inference_mode()
    def look(self, frame: Num[np.ndarray, "c h w"]) -> tuple[float, int, int]:
        """Return the score of a frame, in the data's units, and its most unusual row and column.
        The score is NaN if all values are missing, and for the first frames.
        """
        scaling = self.scaling.of(frame.dtype)
        values = scaling.to_network(torch.from_numpy(np.asarray(frame, np.float32)))
        values = values.where(values.isfinite(), torch.nan).clamp(-FAR, FAR)
        x, side = _reduced(values, self.forecaster.model.takes)
        if x.isnan().all():
            self.begin()
            return math.nan, 0, 0
        self.seen += 1
        self.picture = x if self.picture is None else self.picture
        errors: dict[str, tuple[Map, Map | None]] = {"picture": (_error(self.picture, x), None)}
        if len(self._forecasts) == self.lead and len(self.recent) > 1:
            motion = (self.recent[-1] - self.recent[-2]).square().mean(dim=0)
            errors["forecast"] = _error(self._forecasts[0], x), motion
        self.recent.append(x)
        self._forecasts.append(self._forecast(x))
        parts: dict[str, Tensor] = {}
        places = [(-math.inf, 0, 0)]
        for name, (error, moving) in errors.items():
            pools = sorted({min(pool, *error.shape) for pool in POOLS})
            found = [self._local(name, error, moving, pool) for pool in pools]
            highest = torch.stack([squares[0] for squares in found]).max()
            parts[name] = highest.where(highest.isfinite(), torch.nan)
            places += [squares[1:] for squares in found]
        _, y, left = max(places, key=lambda place: place[0])
        if "forecast" in errors:
            error, _ = errors["forecast"]
            missing = error.isnan() & ~self.picture.isnan().any(dim=0)
            if float(missing.float().mean()) <= GONE:
                parts["whole"] = (error.nanmean() + FLOOR / 50).log()
        score = self._together(parts)
        # At most one range per step: an extreme frame must not spoil the usual picture.
        step = (x - self.picture).clamp(-1, 1).nan_to_num() / min(self.seen, MEMORY)
        self.picture = torch.where(self.picture.isnan(), x, self.picture + step)
        return score, min(y * side, frame.shape[1] - 1), min(left * side, frame.shape[2] - 1)

    def _forecast(self, x: Tensor) -> Tensor:
        """Return the forecast `lead` frames ahead. Values beyond the range of networks persist. NaN
        stays NaN.
        """
        f, within = self.forecaster, x.clamp(0, 1)
        ahead = self.stream.push(f.scaling.to_units(within))
        return f.scaling.to_network(ahead[-1]).clamp(0, 1) + (x - within)

    def _local(
        self, name: str, error: Map, motion: Map | None, pool: int
    ) -> tuple[Tensor, float, int, int]:
        """Return the score of the most unusual squares of a map of errors, then the deviation of
        the first of them and its row and column. Minus infinity if there is none.
        """
        step = max(1, pool // 2)
        logs = _logs(error, pool, step)
        if motion is not None:
            logs = self._for_its_motion(logs, _logs(motion, pool, step), pool)
        z = self.usual[name, pool](logs).nan_to_num(nan=-math.inf)
        top = z.flatten().topk(min(HIGHEST, z.numel()))
        row, column = divmod(int(top.indices[0]), z.shape[1])
        middle = pool // 2
        return top.values.mean(), float(top.values[0]), row * step + middle, column * step + middle

    def _for_its_motion(self, logs: Map, motion: Map, pool: int) -> Map:
        """Subtract the effect of the motion before the frame from logarithms of errors: a line with
        the same slope at all places.
        """
        error, moved = self.usual["error", pool], self.usual["motion", pool]
        faster = motion - moved.mean
        both = ((logs - error.mean) * faster).where(moved.count > WARM_UP, torch.nan).nanmean()
        if both.isfinite():
            self._with_motion += float(both)
            self._of_motion += float(faster.square().nanmean())
        error.learn(logs)
        moved.learn(motion)
        return logs - self._with_motion / self._of_motion * faster

    def _together(self, parts: dict[str, Tensor]) -> float:
        """Return the sum of the deviations of all parts. A small error of the whole frame counts
        too: then the film is frozen.
        """
        total = 0.0
        for name, value in parts.items():
            z = float(self.usual[name](value))
            if not math.isnan(z):
                total += abs(z) if name == "whole" else z
        return total if self.seen >= UNSCORED + self.lead else math.nan


def _logs(squares: Map, pool: int, step: int) -> Tensor:
    return (_means(squares[None], pool, step)[0] + FLOOR).log()


def _around(values: Map) -> Map:
    """Return 3x3 means."""
    return _means(F.pad(values[None, None], [1] * 4, mode="replicate")[0], 3, 1)[0]


def _means(values: Float[Tensor, "c h w"], side: int, step: int) -> Float[Tensor, "c _ _"]:
    """Return means over squares, without missing values; NaN if all are missing."""
    known = ~values.isnan()
    total = F.avg_pool2d(values.nan_to_num(), side, step)
    return total if bool(known.all()) else total / F.avg_pool2d(known.float(), side, step)


def _reduced(values: Float[Tensor, "c h w"], channels: int | None) -> tuple[Tensor, int]:
    """Return means over squares of pixels, and over channels if the model accepts any number of
    them, with the side of the squares.
    """
    values = values if channels else values.mean(dim=0, keepdim=True)
    side = min(-(-max(values.shape[1:]) // SIDE), *values.shape[1:])
    return _means(values, side, side), side


def _error(forecast: Tensor, x: Float[Tensor, "c h w"]) -> Map:
    """Return a forecast's squared error, the mean over channels, after a correction of gain, offset
    (a camera's exposure) and shift of the whole frame.

    A least-squares fit with robust weights finds these, the shift by the gradient (Lucas & Kanade
    1981). It runs twice, since gradients suit small shifts only. NaN if either value is missing.
    """
    for _ in range(2):
        by_x, by_y = (slope[0] for slope in gradient(forecast[None]))
        columns = torch.stack([forecast, torch.ones_like(x), by_x, by_y], dim=-1).flatten(0, 2)
        columns, off = columns.nan_to_num(), (x - forecast).flatten()
        width = 1.5 * off.abs().nanmedian() + 0.5 / 255
        weights = (1 / (1 + (off / width).square())).nan_to_num()
        weighted = columns * weights[:, None]
        # Small enough to affect only frames without structure.
        ridge = len(off) * torch.diag(torch.tensor([1e-5, 1e-5, 1e-7, 1e-7])).to(x)
        fit = torch.linalg.solve(columns.T @ weighted + ridge, weighted.T @ off.nan_to_num())
        forecast = forecast + (columns @ fit).view_as(x)
    return (x - forecast).square().mean(dim=0)


@dataclass(frozen=True)
class Normal:
    """The scores of normal footage and their threshold.

    Args:
        scores: sorted.
        threshold: a higher score is an alarm.
        rate: upper bound of the expected false alarms an hour.
        hours: duration of the footage.
        gap: seconds: alarms with at most this gap are one event.
    """

    scores: np.ndarray
    threshold: float
    rate: float
    hours: float
    gap: float

    def judged(self, one: FrameScore) -> FrameScore:
        """Return a score with its p value and alarm; a missing frame has neither."""
        if math.isnan(one.score):
            return one
        above = len(self.scores) - int(np.searchsorted(self.scores, one.score))
        p = (1 + above) / (1 + len(self.scores))
        return replace(one, p=p, alarm=one.score > self.threshold)


def rounded(value: float) -> str:
    """Format a number for a sentence."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def lasting(seconds: float) -> str:
    """Format a duration for a sentence."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{rounded(seconds / length)} {unit}"
    return f"{rounded(seconds)} s"


def threshold_of(seen: Sequence[FrameScore], rate: float) -> Normal:
    """Return the threshold with at most `rate` expected false alarms an hour.

    The events above it in T hours of normal footage, plus one, are at most `rate` times T. If all
    orders of stretches of footage are equally likely, the next one is as likely as any other to
    have the highest score (conformal prediction; Vovk et al. 2005). The first quarter and frames
    without a score are ignored.

    Args:
        seen: frames of normal footage, one recording after the other.

    Warns:
        Note: too little footage for this rate; then the threshold is the highest score.

    Raises:
        ValueError: fewer than `LEAST` frames.
    """
    scores = np.array([one.score for one in seen])
    counted = np.isfinite(scores) & (np.arange(len(seen)) >= LEFT_OUT * len(seen))
    # Another recording starts at 0 again.
    steps = np.diff([one.seconds for one in seen], prepend=seen[0].seconds).clip(0)
    hours, gap = float(steps[counted].sum()) / 3600, max(GAP, 2 * float(np.median(steps)))
    if counted.sum() < LEAST - UNSCORED or not hours:
        raise ValueError(
            f"too little normal footage: {plural(len(seen), 'frame')}, "
            f"{lasting(float(steps.sum()))}; {LEAST} that are not missing are the least: give "
            f"--normal, or a film of {2 * LEAST}"
        )
    scores, at = scores[counted], np.cumsum(steps)[counted]
    high = np.sort(scores)[::-1]

    def expected(threshold: float) -> float:
        alarms = at[scores > threshold]
        return (1 + min(1, len(alarms)) + int((np.diff(alarms) > gap).sum())) / hours

    # The lowest score that fulfils this. Many alarms would join to few events, so the search is
    # limited to a twentieth of the frames.
    k = bisect_right(high[: max(1, len(high) // 20)], rate, key=expected)
    threshold = float(high[max(0, k - 1)])
    if (promised := expected(threshold)) > rate:
        warn(
            f"{lasting(float(steps.sum()))} of normal footage can only guarantee that there are at "
            f"most {rounded(promised)} false alarms an hour; for {rate:g} an hour give "
            f"{lasting(3600 / rate / (1 - LEFT_OUT))}"
        )
    return Normal(high[::-1], threshold, promised, hours, gap)


def alarms(scores: Iterable[FrameScore], normal: Normal) -> Iterator[FrameScore | Event]:
    """Yield each frame with its p value and alarm, and each event after its end."""
    event: tuple[FrameScore, ...] = ()  # the first, the highest and the last alarm
    for one in map(normal.judged, scores):
        if event and event[-1].seconds < one.seconds - normal.gap:
            yield _event(*event)
            event = ()
        yield one
        if one.alarm:
            first, peak, _ = event or (one, one, one)
            event = first, max(peak, one, key=lambda alarm: alarm.score), one
    if event:
        yield _event(*event)


def _event(first: FrameScore, peak: FrameScore, last: FrameScore) -> Event:
    spans = first.frame, last.frame, first.time, last.time
    return Event(*spans, peak.frame, peak.score, peak.p, peak.y, peak.x)


def watched(
    forecaster: Forecaster,
    source: Clip | str,
    options: AnomalyOptions,
    progress: Progress = silent,
) -> tuple[Normal, Iterator[FrameScore | Event]]:
    """Return the threshold, and an iterator over each frame with its score, p value and alarm and
    over each event, a second after its last frame.

    Without normal footage, the first `LEARNING` seconds or frames count as normal, whichever is
    longer, but at most half of a recording. These frames follow when they have been learnt.

    Args:
        source: a recording, or a live source of `live_frames`.
        progress: called with the number of frames seen and the total, unless the source is live.

    Raises:
        ValueError: errors of reading and forecasting; too little normal footage.
    """
    reading, wait = options.reading or {}, None if options.wait is None else float(options.wait)
    names = [options.normal] if isinstance(options.normal, str) else options.normal
    normals = [forecaster.open(one, **reading) for one in names]
    if isinstance(source, Clip):
        name, length, recordings = source.name, len(source), [*normals, source]
        frames = _frames(source)
    else:
        name, length, recordings = source, 0, normals
        frames = live_frames(forecaster, source, None, wait, **reading)
    footage = normals or recordings or [*islice(frames, SAMPLED)]
    frames = frames if recordings else chain(footage, frames)
    for clip in recordings:
        _check_alike(clip, footage[0])
    watch = Watch(forecaster, _scaling(forecaster, footage), options.lead)
    pace = PACE / reading_as_trained(forecaster, "-", reading).every
    total, numbers = sum(map(len, recordings)), count(1)
    progress(0, total)

    def scores(clips: Iterator[Clip], name: str) -> Iterator[FrameScore]:
        for one in _scores(watch, clips, name, pace, footage[0]):
            progress(next(numbers), total)
            yield one

    seen = [one for clip in normals for one in scores(_frames(clip), clip.name)]
    each = scores(frames, name)
    beginning = [] if normals else _beginning(each, name, length)
    normal = threshold_of(seen or beginning, options.false_alarms)
    early = round(LEFT_OUT * len(beginning))  # little has been learnt, so nothing is an alarm
    return normal, chain(beginning[:early], alarms(chain(beginning[early:], each), normal))


def _frames(clip: Clip) -> Iterator[Clip]:
    return (clip[k : k + 1] for k in range(len(clip)))


def _beginning(scores: Iterator[FrameScore], name: str, length: int) -> list[FrameScore]:
    """Return the first frames of a recording of `length` frames, or of a live one of 0, which count
    as normal.
    """
    warn(
        f"without --normal, the first {lasting(LEARNING[0])} of {name}, but at least "
        f"{LEARNING[1]} frames and at most half of a recording, are taken as normal"
    )
    beginning = []
    for number, one in enumerate(scores, 1):
        beginning.append(one)
        seconds, frames = LEARNING
        if number == length // 2 or (number >= frames and one.seconds >= seconds):
            return beginning
    warn(f"{name} ended in the learning phase: all of it is taken as normal")
    return beginning


def _scores(
    watch: Watch, clips: Iterator[Clip], name: str, pace: float, first: Clip
) -> Iterator[FrameScore]:
    """Yield the scores of frames, each the last of a clip. A note reports a moving camera.

    Args:
        pace: frames a second of recordings without times.
        first: a clip of the same units and size.
    """
    watch.begin()
    began, change = None, ""
    for number, clip in enumerate(clips):
        _check_alike(clip, first)
        if clip.times is None and number == 0:
            warn(f"{name} has no times: {PACE:g} frames a second are assumed")
        now: Any = number / pace if clip.times is None else clip.times[-1]
        began = now if number == 0 else began
        plain = isinstance(now, int | float | np.number)
        time, frame = round(float(now), 3) if plain else stamp(now), clip.frames[-1]
        yield FrameScore(number, time, *watch.look(frame), in_seconds(now - began))
        pictures = frame.dtype == np.uint8 and len(watch.recent) == RECENT
        if pictures and not change and number % (RECENT // 2) == 0:
            change = _change_of_view([*watch.recent])
            if change:
                when = f"{time} s" if plain else time
                missed = "scores assume a camera at rest and miss events"
                warn(f"{name}: {change} before {when}; {missed}")


def _check_alike(clip: Clip, first: Clip) -> None:
    """Raise an error if a recording differs from the first one in units or size."""
    check_units(clip.units, first.units, clip.name, "the normal footage has")
    (h, w), (rows, columns) = (one.frames.shape[2:] for one in (clip, first))
    if (h, w) != (rows, columns):
        raise ValueError(
            f"{clip.name} has frames of {h}x{w}, but {first.name} has {rows}x{columns}: all must "
            "have one size; --reading.size [H,W] sets it"
        )


def _change_of_view(frames: Sequence[Tensor]) -> str:
    """Describe a cut or a motion of the camera; "" for a camera at rest, whose phase correlation of
    distant frames is high for a shift of at most a pixel, whatever else moves.
    """
    film = torch.stack([*frames])
    if find_cuts(film.numpy()):
        return "there is a cut"
    pairs = torch.stack([film[:-APART], film[APART:]], dim=1)
    shifts = LinearMotion().encode(pairs)["correlation"].sum(dim=0)
    at_rest = shifts.roll((1, 1), (0, 1))[:3, :3].max()
    return "the camera moves" if float(at_rest) < MOVES * float(shifts.max()) else ""


def _scaling(forecaster: Forecaster, footage: Sequence[Clip]) -> Scaling:
    """Return the scaling to [0,1]: the forecaster's own if its data have units. Otherwise 8-bit
    pictures are 0 to 255, and other data have the range of some normal frames.

    Raises:
        ValueError: no frames, or no values in them.
    """
    if forecaster.scaling.units:
        return forecaster.scaling
    if not footage:
        raise ValueError("no frame came")
    few = -(-SAMPLED // len(footage))
    at = [(clip, k) for clip in footage for k in range(0, len(clip), -(-len(clip) // few))]
    return scaling_of(np.concatenate([c.frames[k].reshape(1, 1, -1) for c, k in at], -1), None)
