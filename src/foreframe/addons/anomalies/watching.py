"""Anomaly detection: forecasts that fail more than is usual at their place.

Liu et al. 2018 take the squared error of the next frame's forecast as the score of a frame. Here it
is compared with what frames before have shown to be usual at each place, so that a street may be
busy where it always is, and so is the difference from the usual picture, so that what stands still
is found too. Normal footage decides what alarms: see `threshold_of`.

A missing value (NaN) is neither scored nor learnt.
"""

import math
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor

from foreframe.addons.anomalies.anomaly_options import AnomalyOptions
from foreframe.base.notes import warn
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

SIDE = 128  # pixels along the longer side of what is looked at, at most
POOLS = (4, 8, 16)  # sides of the squares of these pixels, in which squared errors are means
HIGHEST = 3  # squares of a frame, of whose mean its score is made
FLOOR = 1 / 255**2  # of a squared error, in a range of 1: a step of 8-bit pictures
FAR = 100.0  # ranges: values further away count as so far, since squares of float32 end
MEMORY = 1000  # frames: what was usual longer ago counts ever less
LEARNT = 5.0  # standard deviations from the mean: what is further off is learnt as so far
WARM_UP = 10  # frames until a mean over frames is of use
UNSCORED = 40  # frames until a score is reliable
LEFT_OUT = 0.25  # of normal footage, at its beginning, when little is known yet
LEAST = 60  # frames of normal footage
LEARNING = 300.0, 200  # seconds and frames that are taken as normal by default, whichever is longer
SAMPLED = 32  # frames from which the range of values is known
RECENT = 32  # frames that are searched for cuts and motion of the camera
MOVES = 0.5  # of the highest phase correlation: a camera at rest has more for no shift
GONE = 0.05  # share of known places that may be missing where the whole frame is scored
GAP = 1.0  # seconds: alarms that are no further apart are one event
PACE = 25.0  # frames a second of what has no times

Map = Float[Tensor, "h w"]


class Usual:
    """The mean and variance of a value, or of a map of values, over the frames so far in which it
    is not missing.
    """

    def __init__(self) -> None:
        self.count, self.mean, self.variance = (torch.zeros(()) for _ in range(3))

    def __call__(self, values: Tensor) -> Tensor:
        """How many standard deviations values are above the mean before them: of a map of the
        means and variances around each place, and half of the variance is that of all places. NaN
        for missing values and in the first frames. Then learn the values.
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
    """How unusual a frame is.

    Args:
        frame: its number, counted from 0.
        time: as the recording has it: seconds, or a date; without times `PACE` frames a second.
        score: sum of standard deviations: about 0 is usual; NaN for a missing frame and the first
            frames.
        p: of normal footage so large a share of frames scores as high.
        alarm: whether the score is beyond the threshold.
        y, x: the most unusual place, in pixels.
        seconds: since the recording began.
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
    """Alarms no more than a second apart.

    Args:
        first, last: numbers of its frames.
        start, end: their times.
        frame, score, p, y, x: of its highest score.
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
    """Scores of frames as they come, in constant memory; each is compared with those before it.

    Args:
        forecaster: by which frames are forecast.
        scaling: of normal frames to [0,1]; values beyond are not cut.
        lead: frames ahead of the forecasts.

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
        """Another recording of the same scene begins, or this one goes on after a gap."""
        self.stream = self.forecaster.stream(self.lead, ForecastOptions(match="none"))
        self._forecasts = deque[Tensor](maxlen=self.lead)
        self.recent = deque[Tensor](maxlen=RECENT)

    @torch.inference_mode()
    def look(self, frame: Num[np.ndarray, "c h w"]) -> tuple[float, int, int]:
        """The score of a frame, in the data's units, and its most unusual place, row and column;
        NaN if all values are missing, and while too little is known.
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
        errors, motion = {"picture": _squared_error(self.picture, x)}, None
        if len(self._forecasts) == self.lead and len(self.recent) > 1:
            motion = (self.recent[-1] - self.recent[-2]).square().mean(dim=0)
            errors["forecast"] = _squared_error(self._forecasts[0], x)
        self.recent.append(x)
        self._forecasts.append(self._forecast(x))
        parts: dict[str, Tensor] = {}
        places = [(-math.inf, 0, 0)]
        for name, error in errors.items():
            moving = motion if name == "forecast" else None
            pools = sorted({min(pool, *error.shape) for pool in POOLS})
            found = [self._local(name, error, moving, pool) for pool in pools]
            highest = torch.stack([squares[0] for squares in found]).max()
            parts[name] = highest.where(highest.isfinite(), torch.nan)
            places += [squares[1:] for squares in found]
        _, y, left = max(places, key=lambda place: place[0])
        if "forecast" in errors:
            missing = errors["forecast"].isnan() & ~self.picture.isnan().any(dim=0)
            if float(missing.float().mean()) <= GONE:
                parts["whole"] = (errors["forecast"].nanmean() + FLOOR / 50).log()
        score = self._together(parts)
        # A step of a range at most: a frame far beyond it must not spoil the usual picture.
        step = (x - self.picture).clamp(-1, 1).nan_to_num() / min(self.seen, MEMORY)
        self.picture = torch.where(self.picture.isnan(), x, self.picture + step)
        return score, min(y * side, frame.shape[1] - 1), min(left * side, frame.shape[2] - 1)

    def _forecast(self, x: Tensor) -> Tensor:
        """The forecast `lead` frames ahead; what is beyond the range, which networks do not know,
        stays as it is. NaN where a frame has no value.
        """
        f, within = self.forecaster, x.clamp(0, 1)
        ahead = self.stream.push(f.scaling.to_units(within))
        return f.scaling.to_network(ahead[-1]).clamp(0, 1) + (x - within)

    def _local(
        self, name: str, error: Map, motion: Map | None, pool: int
    ) -> tuple[Tensor, float, int, int]:
        """The score of the most unusual squares of a map of errors; by how much the first of them
        is unusual, and its row and column. Minus infinity if there is none.
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
        """Logarithms of errors less what motion adds, before the frame: a line whose slope is that
        of all places.
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
        """The sum of what is unusual in each part. An error of the whole frame is so where it is
        too small as well: then the film stands still.
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
    """Means over each place and the eight around it."""
    return _means(F.pad(values[None, None], [1] * 4, mode="replicate")[0], 3, 1)[0]


def _means(values: Float[Tensor, "c h w"], side: int, step: int) -> Float[Tensor, "c _ _"]:
    """Means over squares of the values that are not missing; NaN if all are."""
    known = ~values.isnan()
    total = F.avg_pool2d(values.nan_to_num(), side, step)
    return total if bool(known.all()) else total / F.avg_pool2d(known.float(), side, step)


def _reduced(values: Float[Tensor, "c h w"], channels: int | None) -> tuple[Tensor, int]:
    """Means over squares of pixels, and over channels where a model takes any number of them; and
    the side of the squares.
    """
    values = values if channels else values.mean(dim=0, keepdim=True)
    side = min(-(-max(values.shape[1:]) // SIDE), *values.shape[1:])
    return _means(values, side, side), side


def _squared_error(forecast: Tensor, x: Float[Tensor, "c h w"]) -> Map:
    """What is left of a forecast's squared error, over channels, when the gain and offset of all
    values, as a camera's exposure has them, and a shift of the whole frame are taken out.

    These are fitted by least squares, the shift by the gradient (Lucas & Kanade 1981), with weights
    that leave out what differs most; twice, since a gradient is only right for small shifts. NaN
    where either is missing.
    """
    for _ in range(2):
        by_x, by_y = (slope[0] for slope in gradient(forecast[None]))
        columns = torch.stack([forecast, torch.ones_like(x), by_x, by_y], dim=-1).flatten(0, 2)
        columns, off = columns.nan_to_num(), (x - forecast).flatten()
        width = 1.5 * off.abs().nanmedian() + 0.5 / 255
        weights = (1 / (1 + (off / width).square())).nan_to_num()
        weighted = columns * weights[:, None]
        # So little that only a frame without any structure feels it.
        ridge = len(off) * torch.diag(torch.tensor([1e-5, 1e-5, 1e-7, 1e-7])).to(x)
        fit = torch.linalg.solve(columns.T @ weighted + ridge, weighted.T @ off.nan_to_num())
        forecast = forecast + (columns @ fit).view_as(x)
    return (x - forecast).square().mean(dim=0)


@dataclass(frozen=True)
class Normal:
    """What normal footage says of scores.

    Args:
        scores: of its frames, in order of size.
        threshold: a higher score is an alarm.
        rate: the expected number of false alarms an hour, at most.
        hours: of footage.
        gap: seconds: alarms that are no further apart are one event.
    """

    scores: np.ndarray
    threshold: float
    rate: float
    hours: float
    gap: float

    def judged(self, one: FrameScore) -> FrameScore:
        """A score with its p value and alarm; a missing frame has none."""
        if math.isnan(one.score):
            return one
        above = len(self.scores) - int(np.searchsorted(self.scores, one.score))
        p = (1 + above) / (1 + len(self.scores))
        return replace(one, p=p, alarm=one.score > self.threshold)


def rounded(value: float) -> str:
    """A number for a sentence."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def lasting(seconds: float) -> str:
    """A duration for a sentence."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{rounded(seconds / length)} {unit}"
    return f"{rounded(seconds)} s"


def threshold_of(seen: Sequence[FrameScore], rate: float) -> Normal:
    """The threshold that normal footage exceeds so rarely that at most `rate` false alarms an hour
    are expected: the events in its T hours, and one more, are at most T times as many. For
    if any order of stretches of footage is equally likely, the next one holds the highest score
    no more often than the others (conformal prediction; Vovk et al. 2005). The first quarter, when
    little was known, is left out, as are frames without a score.

    Args:
        seen: frames of normal footage, one recording after the other.

    Warns:
        Note: too little footage for this rate; then the threshold is the highest score.

    Raises:
        ValueError: hardly any footage.
    """
    scores = np.array([one.score for one in seen])
    counted = np.isfinite(scores) & (np.arange(len(seen)) >= LEFT_OUT * len(seen))
    # Time goes back if another recording begins.
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

    # The lowest of the scores that does; all above it do. Of many alarms neighbours become one
    # event, so there are fewer events again: no more than a twentieth of the frames are alarms.
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
    """Each frame, judged by normal footage, and each event when it is over."""
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
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> Iterator[FrameScore | Event | Normal]:
    """Each frame with its score, p value and alarm; each event when it is over, a second after its
    last frame; and at last what normal footage has said.

    Without normal footage, the first `LEARNING` seconds or frames are taken as normal, whichever
    last longer, but at most half of a recording. These frames come when they are over.

    Args:
        source: a recording, or what is live as `live_frames` has it.

    Raises:
        ValueError: errors of reading and forecasting; too little normal footage.
    """
    names = [options.normal] if isinstance(options.normal, str) else [*options.normal]
    normals = [forecaster.open(one, **(options.reading or {})) for one in names]
    recordings = [*normals, source] if isinstance(source, Clip) else normals
    name, length = (source, 0) if isinstance(source, str) else (source.name, len(source))
    each = _frames(forecaster, source, options)
    if not (footage := normals or recordings):
        footage = [*islice(each, SAMPLED)]
        each = chain(footage, each)
    for clip in recordings:
        _check_alike(clip, footage[0])
    watch = Watch(forecaster, _scaling(forecaster, footage), options.lead)
    pace = PACE / reading_as_trained(forecaster, "-", options.reading or {}).every
    seen: list[FrameScore] = []
    for clip in normals:
        seen += _scores(watch, _frames(forecaster, clip, options), clip.name, pace, footage[0])
    scores = _scores(watch, each, name, pace, footage[0], lambda done: progress(done, length))
    beginning: list[FrameScore] = []
    if not normals:
        warn(
            f"without --normal, the first {lasting(LEARNING[0])} of {name}, but at least "
            f"{LEARNING[1]} frames and at most half of a recording, are taken as normal"
        )
        for one in scores:
            beginning.append(one)
            number, (seconds, frames) = len(beginning), LEARNING
            if number == length // 2 or (number >= frames and one.seconds >= seconds):
                break
        else:
            warn(f"{name} ended in the learning phase: all of it is taken as normal")
    normal = threshold_of(seen or beginning, options.false_alarms)
    early = round(LEFT_OUT * len(beginning))  # little is known yet, so nothing is an alarm
    yield from beginning[:early]
    yield from alarms(chain(beginning[early:], scores), normal)
    yield normal


def _scores(
    watch: Watch,
    clips: Iterator[Clip],
    name: str,
    pace: float,
    first: Clip,
    progress: Callable[[int], Any] = lambda done: None,
) -> Iterator[FrameScore]:
    """The scores of frames, the last ones of clips, not judged yet. A note tells of a camera that
    is not at rest.

    Args:
        pace: frames a second of what has no times.
        first: what units and size must be like.
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
        if number % WARM_UP == 0:
            progress(number)
        if not change and len(watch.recent) == RECENT and number % (RECENT // 2) == 0:
            change = _change_of_view([*watch.recent]) if frame.dtype == np.uint8 else ""
            if change:
                when = f"{time} s" if plain else time
                warn(f"{name}: {change} before {when}; the camera must be at rest")


def _check_alike(clip: Clip, first: Clip) -> None:
    """Refuse a recording in other units or of another size than the first one."""
    check_units(clip.units, first.units, clip.name, "the normal footage has")
    (h, w), (rows, columns) = (one.frames.shape[2:] for one in (clip, first))
    if (h, w) != (rows, columns):
        raise ValueError(
            f"{clip.name} has frames of {h}x{w}, but {first.name} has {rows}x{columns}: all must "
            "have one size; --reading.size [H,W] sets it"
        )


def _change_of_view(frames: Sequence[Tensor]) -> str:
    """The change of what a camera shows, a cut or its motion; "" if it is at rest: then the phase
    correlation is high for a shift of a pixel at most, whatever else moves.
    """
    film = torch.stack([*frames])
    if find_cuts(film.numpy()):
        return "there is a cut"
    few = film[None, ::4]  # far enough apart for a slow pan
    shifts = LinearMotion().encode(few)["correlation"][0]
    at_rest = shifts.roll((1, 1), (0, 1))[:3, :3].max()
    return "the camera moves" if float(at_rest) < MOVES * float(shifts.max()) else ""


def _frames(forecaster: Forecaster, source: Clip | str, options: AnomalyOptions) -> Iterator[Clip]:
    """Frames in the data's own units, each at the end of a clip."""
    if isinstance(source, Clip):
        return (source[k : k + 1] for k in range(len(source)))
    wait = None if options.wait is None else float(options.wait)
    return live_frames(forecaster, source, None, wait, **(options.reading or {}))


def _scaling(forecaster: Forecaster, footage: Sequence[Clip]) -> Scaling:
    """To [0,1]: as the forecaster was trained, if on values with units; else of 8-bit pictures 0 to
    255, and of others the range of some frames of normal footage.

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
