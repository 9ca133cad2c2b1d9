"""Anomalies of a recording, with their files: .csv, .json, .png, .mp4."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.addons.anomalies.anomaly_options import AnomalyOptions
from foreframe.addons.anomalies.anomaly_pictures import anomaly_frame, anomaly_picture
from foreframe.addons.anomalies.watching import Event, FrameScore, Normal, lasting, rounded, watched
from foreframe.base.files import atomic_write, check_writable
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.clips.scaling import Scaling
from foreframe.forecasting.forecaster import open_forecaster
from foreframe.forecasting.incoming import is_live
from foreframe.forecasting.outputs import paint_of, usual_fps
from foreframe.visuals import Paint, write_mp4, write_png
from foreframe.visuals.tables import Table

FILES = (".csv", ".json", ".png", ".mp4")
COLUMNS = ("frame", "time", "score", "p", "alarm", "y", "x")
SHOWN = 4  # events of a picture


def find_anomalies(
    what: Any,
    source: str,
    output: Any,
    options: AnomalyOptions,
    progress: Callable[[int, int], Any],
) -> "Anomalies":
    """As `foreframe.anomalies`."""
    if output is not None:
        check_anomaly_file(output)
    if is_live(source) and not Path(source).is_dir():
        raise ValueError(f"{source} is live: `foreframe.watch` has its events as they come")
    forecaster, _ = open_forecaster(what, options.device, options.compile)
    clip = forecaster.open(source, **(options.reading or {}))
    *parts, normal = watched(forecaster, clip, options, progress)
    assert isinstance(normal, Normal)
    frames = tuple(part for part in parts if isinstance(part, FrameScore))
    events = tuple(part for part in parts if isinstance(part, Event))
    found = Anomalies(clip, frames, events, normal)
    if output is not None:
        found.write(output)
    return found


def check_anomaly_file(path: str | Path) -> None:
    """Refuse what cannot be written, before anything is computed.

    Raises:
        ValueError: an ending that is not of `FILES`; a folder that cannot be written to.
    """
    if Path(path).suffix not in FILES or Path(path).is_dir():
        raise ValueError(f"output {path}: choose {', '.join(FILES)}")
    check_writable(Path(path).parent)


@dataclass(frozen=True, eq=False)
class Anomalies:
    """The anomalies of a recording.

        found = foreframe.anomalies("street.mp4")
        print(found, found.events)
        found.write("found.png")

    Args:
        clip: the recording.
        frames: each frame's score, p value and alarm.
        events: alarms no more than a second apart.
        normal: the threshold, and the normal footage that decides it.
    """

    clip: Clip
    frames: tuple[FrameScore, ...]
    events: tuple[Event, ...]
    normal: Normal

    def write(self, path: str | Path) -> None:
        """Write a line for each frame (.csv), the events and the threshold (.json), the scores and
        the highest events (.png), or the film with its alarms framed (.mp4).

        Raises:
            ValueError: another ending, or it cannot be written.
        """
        check_anomaly_file(path)
        kind = Path(path).suffix
        if kind == ".png":
            highest = sorted(self.events, key=lambda event: -event.score)[:SHOWN]
            shown = [
                (self._pixels(e.frame), e.y, e.x, f"{_short(e.start)}\nto {_short(e.end)}")
                for e in highest
            ]
            scores = [one.score for one in self.frames]
            spans = [(event.first, event.last) for event in self.events]
            times = np.array([one.seconds for one in self.frames])
            if self.clip.times is not None and self.clip.times.dtype.kind == "M":
                times = self.clip.times
            write_png(path, anomaly_picture(times, scores, self.normal.threshold, spans, shown))
        elif kind == ".mp4":
            write_mp4(path, self._film(), usual_fps(self.clip))
        else:
            with atomic_write(path) as rough, rough.open("w", newline="") as file:
                if kind == ".json":
                    json.dump(self.config(), file, indent=1)
                    return
                lines = csv.writer(file)
                lines.writerow(COLUMNS)
                for one in self.frames:
                    lines.writerow(_plain(getattr(one, name)) for name in COLUMNS)

    def config(self) -> dict[str, Any]:
        """As .json has it."""
        normal = {
            "frames": len(self.normal.scores),
            "threshold": self.normal.threshold,
            "false_alarms": _plain(self.normal.rate),
            "hours": _plain(self.normal.hours),
        }
        return {"normal": normal, "events": [asdict(event) for event in self.events]}

    def _pixels(self, frame: int) -> np.ndarray:
        return self._paint(self.clip.frames[frame : frame + 1][0])

    @cached_property
    def _paint(self) -> Paint:
        clip = self.clip.without_inputs()
        some = np.linspace(0, len(clip) - 1, min(len(clip), 32)).astype(int)
        scaling = Scaling(0.0, 255.0) if clip.frames.dtype == np.uint8 else Scaling()
        return paint_of("auto", scaling, clip.units, (clip.frames[k : k + 1] for k in some))

    def _film(self) -> Iterator[np.ndarray]:
        during = {k: event for event in self.events for k in range(event.first, event.last + 1)}
        threshold = max(self.normal.threshold, 1e-6)  # 0 of a film in which nothing changes
        for one in self.frames:
            where = one if one.alarm else during.get(one.frame)
            place = None if where is None else (where.y, where.x)
            yield anomaly_frame(self._pixels(one.frame), one.score / threshold, place)

    def __str__(self) -> str:
        events = plural(len(self.events), "event") if self.events else "No events"
        said = (
            f"{events} in {lasting(self.frames[-1].seconds)} of footage. The normal footage "
            f"guarantees at most {rounded(self.normal.rate)} false alarms an hour."
        )
        if not self.events:
            return said
        heads = ["to", "peak", "p", "row, column"]
        rows = {
            _short(e.start): [_short(e.end), f"{e.score:.1f}", f"{e.p:.2g}", f"{e.y}, {e.x}"]
            for e in self.events
        }
        return f"{Table(said, [(head, '') for head in heads], rows, [])}"


def _short(time: float | str) -> str:
    return time[:16].replace("T", " ") if isinstance(time, str) else f"{time:g} s"


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return float(f"{value:.6g}") if isinstance(value, float) else value
