"""`foreframe.anomalies` and `foreframe.watch`; the files .csv, .json, .png and .mp4."""

import csv
import json
import os
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from foreframe.addons.anomalies.anomaly_options import AnomalyOptions
from foreframe.addons.anomalies.watching import (
    Event,
    FrameScore,
    Normal,
    lasting,
    rounded,
    watched,
)
from foreframe.api import Run, takes
from foreframe.base.files import atomic_write, check_writable
from foreframe.base.progress import Progress, silent
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip
from foreframe.clips.scaling import Scaling
from foreframe.data.films import CAMERAS
from foreframe.forecasting.forecast_options import changed
from foreframe.forecasting.forecaster import Forecaster, open_forecaster
from foreframe.forecasting.incoming import may_grow
from foreframe.forecasting.outputs import paint_of, usual_fps
from foreframe.visuals import Paint, write_mp4
from foreframe.visuals.colours import GREY, ORANGE, PAPER
from foreframe.visuals.tables import Table

FILES = (".csv", ".json", ".png", ".mp4")
COLUMNS = ("frame", "time", "score", "p", "alarm", "y", "x")
SHOWN = 4  # events of a picture
BOX = 0.16  # of the shorter side
BAR = 0.04  # of the height


def is_live(source: str) -> bool:
    """Whether frames of a source may still come: standard input, a camera, or what grows."""
    return source == "-" or source.startswith(CAMERAS) or may_grow(source)


@takes(AnomalyOptions)
def anomalies(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    options: AnomalyOptions | None = None,
    *,
    weights: Forecaster | Run | str | os.PathLike[str] = "scenes",
    progress: Progress = silent,
    **changes: Any,
) -> "Anomalies":
    """Find what is unusual in a recording, as `foreframe anomalies` does.

        print(foreframe.anomalies("film.mp4", "unusual.png", weights="dense_motion"))

    Args:
        source: a film or other file of one recording, or a folder of pictures.
        output: .csv, .json, .png or .mp4 to write; by default none.
        options, changes: the fields of `AnomalyOptions` by name, or an object that they change.
        weights: a run, a forecaster, or an argument of `Forecaster.load`.
        progress: called with the number of frames seen and the total.

    Raises:
        ValueError: errors of loading, reading, forecasting and writing; too little normal footage.
    """
    options = changed(options or AnomalyOptions(), changes)
    source = os.fspath(source)
    if output is not None:
        check_anomaly_file(Path(output))
    if is_live(source) and not Path(source).is_dir():
        raise ValueError(f"{source} is live: `foreframe.watch` yields its events")
    forecaster, _ = open_forecaster(weights, options.device, options.compile)
    clip = forecaster.open(source, **(options.reading or {}))
    normal, each = watched(forecaster, clip, options, progress)
    parts = [*each]
    frames = tuple(part for part in parts if isinstance(part, FrameScore))
    events = tuple(part for part in parts if isinstance(part, Event))
    found = Anomalies(clip, frames, events, normal)
    if output is not None:
        found.write(Path(output))
    return found


@takes(AnomalyOptions)
def watch(
    source: str,
    options: AnomalyOptions | None = None,
    *,
    weights: Forecaster | Run | str | os.PathLike[str] = "scenes",
    **changes: Any,
) -> Generator[Event, None, None]:
    """Yield the events of a live recording, each after its end, as `foreframe anomalies` prints
    them.

        for event in foreframe.watch("film.mp4", normal="film.mp4", weights="dense_motion"):
            print(event.first, event.y, event.x)

    Args:
        source: a camera (rtsp://...), a folder that grows, "-" for a film on standard input, or a
            file, which is read as if it were live.
        options, changes, weights: as in `anomalies`.

    Raises:
        ValueError: as `anomalies`.
    """
    options = changed(options or AnomalyOptions(), changes)
    forecaster, _ = open_forecaster(weights, options.device, options.compile)
    _, each = watched(forecaster, source, options)
    yield from (one for one in each if isinstance(one, Event))


def check_anomaly_file(path: str | Path) -> None:
    """Check that a file can be written, before anything is computed.

    Raises:
        ValueError: an ending that is not in `FILES`; a folder that cannot be written to.
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
        events: alarms with gaps of at most a second.
        normal: the threshold, and the normal footage that sets it.
    """

    clip: Clip
    frames: tuple[FrameScore, ...]
    events: tuple[Event, ...]
    normal: Normal

    def write(self, path: str | Path, progress: Progress = silent) -> None:
        """Write a line for each frame (.csv), the events and the threshold (.json), the scores and
        the highest events (.png), or the film with its alarms framed (.mp4).

        Args:
            progress: called with the number of frames written to a film and the total.

        Raises:
            ValueError: another ending, or it cannot be written.
        """
        check_anomaly_file(path)
        kind = Path(path).suffix
        if kind == ".mp4":
            write_mp4(path, self._film(progress), usual_fps(self.clip))
            return
        with atomic_write(path) as rough:
            if kind == ".png":
                self._draw(rough)
            elif kind == ".json":
                rough.write_text(json.dumps(self.config(), indent=1))
            else:
                with rough.open("w", newline="") as file:
                    lines = csv.writer(file)
                    lines.writerow(COLUMNS)
                    for one in self.frames:
                        lines.writerow(_plain(getattr(one, name)) for name in COLUMNS)

    def config(self) -> dict[str, Any]:
        """Return the content of the .json file."""
        normal = {
            "frames": len(self.normal.scores),
            "threshold": self.normal.threshold,
            "false_alarms": _plain(self.normal.rate),
            "hours": _plain(self.normal.hours),
        }
        return {"normal": normal, "events": [asdict(event) for event in self.events]}

    def _draw(self, path: Path) -> None:
        """Plot the scores over time, with the threshold and the events, below the highest ones."""
        from matplotlib.figure import Figure

        highest = sorted(self.events, key=lambda event: -event.score)[:SHOWN]
        times, dated = np.array([one.seconds for one in self.frames]), False
        if self.clip.times is not None and self.clip.times.dtype.kind == "M":
            times, dated = self.clip.times, True
        figure = Figure(figsize=(12, 6 if highest else 3), layout="constrained")
        cells = figure.add_gridspec(2 if highest else 1, max(1, len(highest)))
        axis = figure.add_subplot(cells[-1, :])
        axis.plot(times, [one.score for one in self.frames], linewidth=0.8)
        axis.axhline(self.normal.threshold, color="C1", linewidth=1)
        for event in self.events:
            axis.axvspan(times[event.first], times[event.last], color="C1", alpha=0.25, linewidth=1)
        axis.set(xlabel="" if dated else "seconds", ylabel="score", xlim=(times[0], times[-1]))
        for k, event in enumerate(highest):
            one = figure.add_subplot(cells[0, k])
            one.imshow(_framed(self._pixels(event.frame), event.y, event.x))
            one.set_title(f"{_short(event.start)}\nto {_short(event.end)}", fontsize=9)
            one.set_axis_off()
        figure.savefig(path)

    def _film(self, progress: Progress) -> Iterator[np.ndarray]:
        """Yield the frames, each above a bar of its score whose middle is the threshold. An event
        has an orange bar, and a box around its place.
        """
        during = {k: event for event in self.events for k in range(event.first, event.last + 1)}
        threshold = max(self.normal.threshold, 1e-6)  # 0 for a film without any change
        for one in self.frames:
            place = one if one.alarm else during.get(one.frame)
            pixels = self._pixels(one.frame)
            h, w = pixels.shape[:2]
            bar = np.full((max(4, int(BAR * h)), w, 3), PAPER, np.uint8)
            share = np.nan_to_num(one.score) / threshold / 2
            bar[:, : int(np.clip(share, 0, 1) * w)] = ORANGE if place else GREY
            bar[:, w // 2] = 255
            yield np.concatenate([_framed(pixels, place.y, place.x) if place else pixels, bar])
            progress(one.frame + 1, len(self.frames))

    def _pixels(self, frame: int) -> np.ndarray:
        return self._paint(self.clip.frames[frame : frame + 1][0])

    @cached_property
    def _paint(self) -> Paint:
        clip = self.clip.without_inputs()
        some = np.linspace(0, len(clip) - 1, min(len(clip), 32)).astype(int)
        scaling = Scaling(0.0, 255.0) if clip.frames.dtype == np.uint8 else Scaling()
        return paint_of("auto", scaling, clip.units, (clip.frames[k : k + 1] for k in some))

    def __str__(self) -> str:
        events = plural(len(self.events), "event") if self.events else "No events"
        title = (
            f"{events} in {lasting(self.frames[-1].seconds)} of footage. The normal footage "
            f"guarantees at most {rounded(self.normal.rate)} false alarms an hour."
        )
        if not self.events:
            return title
        heads = ["to", "peak", "p", "row, column"]
        rows = {
            _short(e.start): [_short(e.end), f"{e.score:.1f}", f"{e.p:.2g}", f"{e.y}, {e.x}"]
            for e in self.events
        }
        return str(Table(title, [(head, "") for head in heads], rows, []))


def _framed(pixels: np.ndarray, y: int, x: int) -> np.ndarray:
    h, w = pixels.shape[:2]
    half, line = max(3, int(BOX * min(h, w) / 2)), max(1, min(h, w) // 150)
    picture = Image.fromarray(pixels)
    corners = max(0, x - half), max(0, y - half), min(w, x + half) - 1, min(h, y + half) - 1
    ImageDraw.Draw(picture).rectangle(corners, outline=ORANGE, width=line)
    return np.asarray(picture)


def _short(time: float | str) -> str:
    return time[:16].replace("T", " ") if isinstance(time, str) else f"{time:g} s"


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return float(f"{value:.6g}") if isinstance(value, float) else value
