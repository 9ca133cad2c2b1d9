"""What is unusual in a recording: forecasts that fail more than is usual at their place.

Liu et al. 2018 take the squared error of the next frame's forecast as the score of a frame. Here it
is compared with what frames before have shown to be usual at each place, so that a street may be
busy where it always is, and so is the difference from the usual picture, so that what stands still
is found too. What alarms is decided by normal footage: see `threshold_of`.
"""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor

from foreframe.base.notes import warn
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, stamp
from foreframe.clips.scaling import Scaling
from foreframe.forecasting.forecast_options import AnomalyOptions, ForecastOptions
from foreframe.forecasting.forecaster import Forecaster
from foreframe.forecasting.incoming import live_frames
from foreframe.forecasting.recordings import scaling_of
from foreframe.models.motion import gradient

SIDE = 128  # pixels along the longer side of what is looked at, at most
POOLS = (4, 8, 16)  # sides of the squares of these pixels, in which squared errors are means
HIGHEST = 3  # squares of a frame, of whose mean its score is made
FLOOR = 1 / 255**2  # of a squared error, in a range of 1: a step of 8-bit pictures
MEMORY = 1000  # frames: what was usual longer ago counts ever less
WARM_UP = 10  # frames until a mean over frames says anything
LEFT_OUT = 0.25  # of normal footage, at its beginning, when little is known yet
LEAST = 40  # frames of normal footage
GAP = 1.0  # seconds: alarms that are no further apart are one event
PACE = 25.0  # frames a second of what has no times

Map = Float[Tensor, "h w"]


class Usual:
    """The mean and variance of a value, or of a map of values, over the frames so far."""

    def __init__(self) -> None:
        self.seen = 0
        self.mean, self.variance = torch.zeros(()), torch.zeros(())

    def __call__(self, values: Tensor) -> Tensor:
        """How many standard deviations values are above the mean: of a map of the means and
        variances around each place, and half of the variance is that of all places.
        """
        if not self.seen:
            return torch.zeros_like(values)
        mean, variance = self.mean, self.variance
        if values.ndim:
            mean = _around(mean)
            variance = _around(variance + (self.mean - mean).square())
        return (values - mean) / (0.5 * variance + 0.5 * variance.mean() + 1e-3).sqrt()

    def learn(self, values: Tensor) -> None:
        self.seen += 1
        rate = 1 / min(self.seen, MEMORY)
        off = values - self.mean
        self.mean = self.mean + rate * off
        self.variance = (1 - rate) * (self.variance + rate * off.square())


@dataclass(frozen=True)
class FrameScore:
    """How unusual a frame is.

    Args:
        frame: its number, counted from 0.
        time: as the recording has it: seconds, or a date; without times `PACE` frames a second.
        score: sums of standard deviations: about 0 is usual.
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
        scaling: of the frames to [0,1].
        lead: frames ahead of the forecasts.
    """

    def __init__(self, forecaster: Forecaster, scaling: Scaling, lead: int = 1) -> None:
        self.forecaster, self.scaling, self.lead = forecaster.scaled(Scaling()), scaling, lead
        if forecaster.model.inputs:
            raise ValueError("anomalies are not found by models with inputs; take scenes")
        self.picture: Tensor | None = None  # the usual one
        self.seen = 0
        self.usual: dict[Any, Usual] = {}
        self._with_motion, self._of_motion = 0.0, 1e-3
        self.begin()

    def begin(self) -> None:
        """Another recording of the same scene begins."""
        self.stream = self.forecaster.stream(self.lead, ForecastOptions(match="none"))
        self._forecasts = deque[Tensor](maxlen=self.lead)
        self._before = deque[Tensor](maxlen=2)

    @torch.inference_mode()
    def look(self, frame: Num[np.ndarray, "c h w"]) -> tuple[float, int, int]:
        """The score of a frame, in the data's units, and its most unusual place, row and column; 0
        while too little is known. Missing values are the lowest.

        Raises:
            ValueError: frames of another size than before.
        """
        scaling = self.scaling.of(frame.dtype)
        values = scaling.to_network(torch.from_numpy(np.asarray(frame, np.float32)))
        x, side = _reduced(values.nan_to_num().clamp(0, 1), self.forecaster.model.takes)
        self.seen += 1
        errors: dict[str, Map] = {}
        if len(self._forecasts) == self.lead:
            errors["forecast"] = _squared_error(self._forecasts[0], x)
        if self.picture is None:
            self.picture = x
        if x.shape != self.picture.shape:
            raise ValueError("all frames, of normal footage too, must have one size and channels")
        errors["picture"] = _squared_error(self.picture, x)
        motion = None
        if len(self._before) == 2:
            motion = (self._before[1] - self._before[0]).square().mean(dim=0)
        self._before.append(x)
        self._forecasts.append(self._forecast(x))
        parts, (y, left) = {}, (0, 0)
        highest = -math.inf
        for name, error in errors.items():
            moving = motion if name == "forecast" else None
            parts[name], place, z = self._local(name, error, moving)
            if z > highest:
                highest, (y, left) = z, place
        if "forecast" in errors:
            parts["whole"] = (errors["forecast"].mean() + FLOOR / 50).log()
        score = self._together(parts)
        self.picture = self.picture + (x - self.picture) / min(self.seen, MEMORY)
        return score, min(y * side, frame.shape[1] - 1), min(left * side, frame.shape[2] - 1)

    def _forecast(self, x: Tensor) -> Tensor:
        f = self.forecaster
        ahead = self.stream.push(f.scaling.to_units(x))
        return f.scaling.to_network(ahead[-1]).nan_to_num().clamp(0, 1)

    def _local(
        self, name: str, error: Map, motion: Map | None
    ) -> tuple[Tensor, tuple[int, int], float]:
        """The score of the most unusual squares of a map of errors; where they are, and by how much
        they are unusual.
        """
        scores, place, highest = [], (0, 0), -math.inf
        for pool in sorted({min(pool, *error.shape) for pool in POOLS}):
            step = max(1, pool // 2)
            logs = _logs(error, pool, step)
            if motion is not None:
                logs = self._for_its_motion(logs, _logs(motion, pool, step), pool)
            usual = self.usual.setdefault((name, pool), Usual())
            z = usual(logs)
            usual.learn(logs)
            top = z.flatten().topk(min(HIGHEST, z.numel()))
            scores.append(top.values.mean())
            if float(top.values[0]) > highest:
                highest = float(top.values[0])
                row, column = divmod(int(top.indices[0]), z.shape[1])
                place = row * step + pool // 2, column * step + pool // 2
        return torch.stack(scores).max(), place, highest

    def _for_its_motion(self, logs: Map, motion: Map, pool: int) -> Map:
        """Logarithms of errors less what motion adds, before the frame: a line whose slope is that
        of all places.
        """
        error, moved = (
            self.usual.setdefault((part, pool), Usual()) for part in ("error", "motion")
        )
        faster = motion - moved.mean
        if moved.seen > WARM_UP:
            self._with_motion += float(((logs - error.mean) * faster).mean())
            self._of_motion += float(faster.square().mean())
        error.learn(logs)
        moved.learn(motion)
        return logs - self._with_motion / self._of_motion * faster

    def _together(self, parts: dict[str, Tensor]) -> float:
        """The sum of what is unusual in each part. An error of the whole frame is so where it is
        too small as well: then the film stands still.
        """
        total = 0.0
        for name, value in parts.items():
            if self.seen <= WARM_UP:
                continue
            usual = self.usual.setdefault(name, Usual())
            z = float(usual(value))
            usual.learn(value)
            total += abs(z) if name == "whole" else z
        return total if self.seen > 2 * WARM_UP + self.lead else 0.0


def _logs(squares: Map, pool: int, step: int) -> Tensor:
    return (F.avg_pool2d(squares[None], pool, step)[0] + FLOOR).log()


def _around(values: Map) -> Map:
    """Means over each place and the eight around it."""
    return F.avg_pool2d(F.pad(values[None, None], [1] * 4, mode="replicate"), 3, 1)[0, 0]


def _reduced(values: Float[Tensor, "c h w"], channels: int | None) -> tuple[Tensor, int]:
    """Means over squares of pixels, and over channels where a model takes any number of them; and
    the side of the squares.
    """
    values = values if channels else values.mean(dim=0, keepdim=True)
    side = min(-(-max(values.shape[1:]) // SIDE), *values.shape[1:])
    return F.avg_pool2d(values[None], side)[0], side


def _squared_error(forecast: Tensor, x: Float[Tensor, "c h w"]) -> Map:
    """What is left of a forecast's squared error, over channels, when the gain and offset of all
    values, as a camera's exposure has them, and a shift of the whole frame are taken out.

    These are fitted by least squares, the shift by the gradient (Lucas & Kanade 1981), with weights
    that leave out what differs most; twice, since a gradient is only right for small shifts.
    """
    for _ in range(2):
        by_x, by_y = (slope[0] for slope in gradient(forecast[None]))
        columns = torch.stack([forecast, torch.ones_like(x), by_x, by_y], dim=-1).flatten(0, 2)
        off = (x - forecast).flatten()
        width = 1.5 * off.abs().median() + 0.5 / 255
        weights = 1 / (1 + (off / width).square())
        weighted = columns * weights[:, None]
        # So little that only a frame without any structure feels it.
        ridge = len(off) * torch.diag(torch.tensor([1e-5, 1e-5, 1e-7, 1e-7])).to(x)
        fit = torch.linalg.solve(columns.T @ weighted + ridge, weighted.T @ off)
        forecast = forecast + (columns @ fit).view_as(x)
    return (x - forecast).square().mean(dim=0)


@dataclass(frozen=True)
class Normal:
    """What normal footage says of scores.

    Args:
        scores: of its frames, in order of size.
        threshold: a higher score is an alarm.
        rate: false alarms an hour that are to be expected, at most.
        hours: of footage.
        gap: seconds: alarms that are no further apart are one event.
    """

    scores: np.ndarray
    threshold: float
    rate: float
    hours: float
    gap: float

    def judged(self, one: FrameScore) -> FrameScore:
        """A score with its p value and alarm."""
        above = len(self.scores) - int(np.searchsorted(self.scores, one.score))
        p = (1 + above) / (1 + len(self.scores))
        return replace(one, p=p, alarm=one.score > self.threshold)


def rounded(value: float) -> str:
    """A number for a sentence."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def threshold_of(seen: Sequence[FrameScore], rate: float) -> Normal:
    """The threshold that normal footage exceeds so rarely that at most `rate` false alarms an hour
    are to be expected: the events in its T hours, and one more, are at most T times as many. For
    where any order of stretches of footage is equally likely, the next one holds the highest score
    no more often than the others (conformal prediction; Vovk et al. 2005). The first quarter, when
    little was known, is left out.

    Args:
        seen: frames of normal footage, one recording after the other.

    Warns:
        Note: too little footage for this rate; then the threshold is the highest score.

    Raises:
        ValueError: hardly any footage.
    """
    if len(seen) < LEAST:
        raise ValueError(
            f"{plural(len(seen), 'frame')} of normal footage; {LEAST} are the least: give "
            f"--normal, or a film of {2 * LEAST}"
        )
    kept = slice(int(LEFT_OUT * len(seen)), None)
    # Where another recording begins time goes back.
    steps = np.diff([one.seconds for one in seen], prepend=seen[0].seconds).clip(0)
    scores, at = np.array([one.score for one in seen])[kept], np.cumsum(steps)[kept]
    hours, gap = float(steps[kept].sum()) / 3600, max(GAP, 2 * float(np.median(steps)))
    high = np.sort(scores)[::-1]

    def expected(threshold: float) -> float:
        alarms = at[scores > threshold]
        return (1 + min(1, len(alarms)) + int((np.diff(alarms) > gap).sum())) / hours

    # The lowest of the scores that does; all above it do. Of many alarms neighbours become one
    # event, so there are fewer events again: no more than a twentieth of the frames are alarms.
    k = bisect_right(high[: max(1, len(high) // 20)], rate, key=expected)
    threshold = float(high[max(0, k - 1)])
    if (promised := expected(threshold)) > rate:
        minutes = 60 * (1 / rate - hours) / (1 - LEFT_OUT)
        warn(
            f"{60 * hours:.2g} minutes of normal footage, its first quarter left out, can promise "
            f"no fewer than {rounded(promised)} false alarms an hour; for {rate:g} give "
            f"{rounded(minutes)} minutes more"
        )
    return Normal(high[::-1], threshold, promised, hours, gap)


class Alarms:
    """Scores of frames as they come, judged by normal footage; and alarms that follow each other as
    events.

    Args:
        rate: false alarms an hour, at most.
        normal: what normal footage has said; None takes the first frames as such.
        enough: whether a frame is the last of these.
    """

    def __init__(
        self, rate: float, normal: Normal | None, enough: Callable[[FrameScore], bool]
    ) -> None:
        self.rate, self.normal, self.enough = rate, normal, enough
        self._waiting: list[FrameScore] = []
        self._open: tuple[FrameScore, ...] = ()  # the first, the highest and the last of an event

    def take(self, one: FrameScore) -> list[FrameScore | Event]:
        """The frames that are judged by now, and the events that are over: those of normal footage
        come when it is over.
        """
        self._waiting.append(one)
        return self._judged() if self.normal or self.enough(one) else []

    def end(self) -> list[FrameScore | Event]:
        """As `take`, when nothing more will come."""
        return [*self._judged(), *self._over(math.inf)]

    def _judged(self) -> list[FrameScore | Event]:
        self.normal = normal = self.normal or threshold_of(self._waiting, self.rate)
        found: list[FrameScore | Event] = []
        for each in map(normal.judged, self._waiting):
            found += [*self._over(each.seconds - normal.gap), each]
            if each.alarm:
                first, peak, _ = self._open or (each, each, each)
                self._open = (first, max(peak, each, key=lambda one: one.score), each)
        self._waiting = []
        return found

    def _over(self, seconds: float) -> list[Event]:
        """The event whose last frame was before that time."""
        if not self._open or self._open[-1].seconds >= seconds:
            return []
        first, peak, last = self._open
        self._open = ()
        spans = first.frame, last.frame, first.time, last.time
        return [Event(*spans, peak.frame, peak.score, peak.p, peak.y, peak.x)]


def watched(
    forecaster: Forecaster,
    source: Clip | str,
    options: AnomalyOptions,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> Iterator[FrameScore | Event | Normal]:
    """Each frame with its score, p value and alarm; each event when it is over, a second after its
    last frame; and at last what normal footage has said.

    Without normal footage that is the first half of a recording, and of a live source so much of
    its beginning as the rate takes. These frames come when it is over.

    Args:
        source: a recording, or what is live as `live_frames` has it.

    Raises:
        ValueError: errors of reading and forecasting; too little normal footage.
    """
    given = [options.normal] if isinstance(options.normal, str) else [*options.normal]
    normals = [forecaster.open(one, **(options.reading or {})) for one in given]
    watch = Watch(forecaster, _scaling(forecaster, (*normals, source)[0]), options.lead)
    seen = [one for clip in normals for one in _scores(watch, clip, options)]
    length = len(source) if isinstance(source, Clip) else 0
    seconds = 3600 / options.false_alarms / (1 - LEFT_OUT)

    def enough(one: FrameScore) -> bool:
        return one.frame + 1 >= length // 2 if length else one.seconds >= seconds

    if isinstance(source, Clip) and not given:
        warn(f"the first half of {source.name}, {plural(length // 2, 'frame')}, is taken as normal")
    normal = threshold_of(seen, options.false_alarms) if given else None
    alarms = Alarms(options.false_alarms, normal, enough)
    for one in _scores(watch, source, options):
        if one.frame % WARM_UP == WARM_UP - 1:  # the first frame says little of the others
            progress(one.frame + 1, length)
        yield from alarms.take(one)
    yield from alarms.end()
    assert alarms.normal is not None
    yield alarms.normal


def _scores(watch: Watch, source: Clip | str, options: AnomalyOptions) -> Iterator[FrameScore]:
    """The scores of frames, not judged yet."""
    watch.begin()
    began: Any = None
    for number, (frame, now) in enumerate(_frames(watch.forecaster, source, options)):
        if number == 0:
            began = now
            if now is None:
                name = source.name if isinstance(source, Clip) else source
                warn(f"{name} has no times: {PACE:g} frames a second are assumed")
        dated = isinstance(now, np.datetime64)
        second = np.timedelta64(1, "s") if dated else 1
        seconds = number / PACE if now is None else float((now - began) / second)
        time = stamp(now) if dated else round(seconds if now is None else float(now), 3)
        yield FrameScore(number, time, *watch.look(frame), seconds)


def _frames(
    forecaster: Forecaster, source: Clip | str, options: AnomalyOptions
) -> Iterator[tuple[np.ndarray, Any]]:
    """Frames (C,H,W) with their times, None without."""
    if isinstance(source, Clip):
        for k in range(len(source)):
            yield source.frames[k : k + 1][0], None if source.times is None else source.times[k]
        return
    wait = None if options.wait is None else float(options.wait)
    for past in live_frames(forecaster, source, None, wait, **(options.reading or {})):
        yield past.frames[len(past) - 1], None if past.times is None else past.times[-1]


def _scaling(forecaster: Forecaster, source: Clip | str) -> Scaling:
    """To [0,1]: as the forecaster was trained, if on values with units; else of 8-bit pictures 0 to
    255, and of others the range of some frames.
    """
    if forecaster.scaling.units or not isinstance(source, Clip):
        return forecaster.scaling
    some = np.linspace(0, len(source) - 1, min(len(source), 32)).astype(int)
    return scaling_of(np.concatenate([source.frames[k : k + 1] for k in some]), None)
