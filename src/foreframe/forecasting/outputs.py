"""Forecasts to files: films and pictures to look at, arrays and grids to go on with."""

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.base.files import atomic_write, check_writable
from foreframe.base.notes import warn
from foreframe.clips.clip import Clip, format_step, stamp
from foreframe.clips.ensembles import Ensemble
from foreframe.clips.scaling import Scaling
from foreframe.data.cf import write_grid
from foreframe.visuals import (
    Paint,
    animation_frames,
    members_by_name,
    paint_for,
    strip,
    strip_of_members,
    write_frames,
    write_gif,
    write_mp4,
    write_png,
)

PICTURES = (".mp4", ".gif", ".png")
VALUES = (".npy", ".npz", ".nc", ".zarr")


def check_output(path: str | Path, rolling: bool = False, sources: Sequence[Any] = ()) -> str:
    """Return the kind of file that a path names: its ending, or "" for a folder of numbered PNG
    pictures. Wrong paths raise an error before anything is computed.

    Args:
        rolling: whether it is for several forecasts, which are no single picture.
        sources: the inputs, which are not overwritten.

    Raises:
        ValueError: an unknown ending, an input, or a path that cannot be written to.
    """
    path = Path(path)
    kind = path.suffix
    kinds = [known for known in (*PICTURES, *VALUES) if known != ".png" or not rolling]
    if kind not in (*kinds, ""):
        raise ValueError(
            f"output {path}: cannot write {kind}; choose {', '.join(kinds)}, or a folder's name "
            "for numbered pictures"
        )
    what = "folder" if kind in ("", ".zarr") else "file"
    if path.exists() and path.is_dir() != (what == "folder"):
        raise ValueError(f"output {path} is there, and no {what}; choose another name")
    if not kind and path.is_dir() and any(path.iterdir()):
        raise ValueError(f"output {path} is a folder that is not empty; name a new one")
    try:
        check_writable(path.parent)
    except ValueError as error:
        raise ValueError(f"output {path}: {error}") from None
    inputs = [Path(one).resolve() for one in sources if isinstance(one, str | os.PathLike)]
    if path.resolve() in inputs:
        raise ValueError(f"output {path} is the input: name another file")
    return kind


def write_picture(
    path: str | Path, past: Clip, future: Clip | Ensemble, truth: Clip | None, paint: Paint
) -> None:
    """Write past, forecast and truth side by side as a .png, of members also their spread."""
    drawn = strip_of_members if isinstance(future, Ensemble) else strip
    *frames, times = _shown(past, future, truth)
    write_png(path, drawn(*frames, paint=paint, times=times))


def _shown(past: Clip, future: Clip | Ensemble, truth: Clip | None) -> tuple[Any, ...]:
    """Frames of the past, the forecast and the truth, and a label for each time."""
    some = future[0] if isinstance(future, Ensemble) else future
    came = None if truth is None else np.asarray(truth.frames)
    frames = np.asarray(past.frames), np.asarray(future.frames), came
    return *frames, captions(past.times, some.times)


def write_moving(
    path: str | Path,
    forecasts: Iterable[tuple[Clip, Clip | Ensemble, Clip | None]],
    paint: Paint,
    fps: float,
    held: int = 0,
) -> None:
    """Write past, forecast and truth of each forecast as .mp4, .gif, or a folder of numbered
    pictures, the forecast framed in orange; the last one of each `held` times more. A note says
    where frames are shrunk.
    """
    kind = Path(path).suffix
    # Pixels along the longer side of frames: two side by side stay within 4096, which players take;
    # all pictures of a GIF are in memory at once.
    side = 768 if kind == ".gif" else 1920

    def pictures() -> Iterator[np.ndarray]:
        for clips in forecasts:
            past, future, truth, times = _shown(*clips)
            panels = members_by_name(future) if future.ndim == 5 else {"forecast": future}
            most = min(side, (2 * side + 64) // (len(panels) + (truth is not None)) - 24)
            h, w = past.shape[2:]
            if max(h, w) > most:
                warn(
                    f"frames of {h}x{w} are drawn with {most} pixels along the longer side; .mp4 "
                    "has more room than .gif, .npy keeps all, --reading.size forecasts smaller ones"
                )
            for one in animation_frames(past, panels, truth, paint=paint, times=times, most=most):
                yield one
            yield from [one] * held

    if kind == ".mp4":
        write_mp4(path, pictures(), fps)
    elif kind == ".gif":
        write_gif(path, np.stack(list(pictures())), fps)
    else:
        write_frames(path, pictures())


def write_values(
    path: str | Path,
    forecast: Clip | Ensemble | Sequence[Clip] | Sequence[Ensemble],
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write the values of a forecast, or of a list of forecasts with different starts; each may be
    an ensemble.

    .npy and .npz hold (S,C,H,W), of members (M,S,C,H,W), row 0 at the top, and for a list a leading
    axis; .nc and .zarr have the dimensions of the input file, for a list start and lead instead of
    time, and `realization` for members.

    Args:
        attributes: global attributes of a .nc or .zarr.

    Raises:
        ValueError: it cannot be written.
    """
    kind = Path(path).suffix
    if kind in (".nc", ".zarr"):
        write_grid(path, forecast, attributes)
        return
    given: list[Any] = [forecast] if isinstance(forecast, Clip | Ensemble) else list(forecast)
    arrays = {"frames": np.stack([np.asarray(of.frames) for of in given])}
    clips: list[Clip] = [of[0] if isinstance(of, Ensemble) else of for of in given]
    times = [clip.times for clip in clips if clip.times is not None]
    if times:
        arrays["times"] = np.stack([t if t.dtype.kind in "Mf" else t.astype(str) for t in times])
    if isinstance(forecast, Clip | Ensemble):
        arrays = {name: array[0] for name, array in arrays.items()}
    beside = {name: place.values for name, place in clips[0].coordinates.items() if place.dims}
    if clips[0].units:
        beside["units"] = np.array(clips[0].units)
    with atomic_write(path) as rough, rough.open("wb") as file:
        if kind == ".npy":
            np.save(file, arrays["frames"])
            return
        # By way of memory: on a full disk numpy's own writer leaves an open archive, which fails
        # once more when it is deleted.
        archive = io.BytesIO()
        np.savez_compressed(archive, **(beside | arrays))
        file.write(archive.getbuffer())


def paint_of(colours: str, scaling: Scaling, units: str, shown: Iterable[np.ndarray]) -> Paint:
    """Colours for frames: grey over the forecaster's range for data without units, else over the
    range of these frames.

    Raises:
        ValueError: unknown colours.
    """
    if not units and colours in ("auto", "grey"):
        return Paint("grey", scaling.low, scaling.high)
    known = [values for frames in shown if (values := frames[np.isfinite(frames)]).size]
    low = min((float(values.min()) for values in known), default=scaling.low)
    high = max((float(values.max()) for values in known), default=scaling.high)
    return paint_for(colours, low, high, units)


def captions(past: np.ndarray | None, future: np.ndarray | None) -> list[str] | None:
    """A label for each time of past and forecast, with the lead time; None without times."""
    if past is None or future is None:
        return None
    now = past[-1]
    ahead = [f"+{format_step(time - now)}" for time in future]
    if past.dtype.kind == "f":
        return [f"{time - now:.3g} s" for time in past] + ahead
    stamps = [stamp(time)[:16].replace("T", " ") for time in (*past, *future)]
    leads = [*[""] * len(past), *ahead]
    return [f"{stamp}  {lead}".rstrip() for stamp, lead in zip(stamps, leads, strict=True)]


def usual_fps(clip: Clip) -> float:
    """The rate of a clip with times in seconds, at most 240; 5 below one a second or otherwise."""
    step = clip.step if clip.times is not None and clip.times.dtype.kind == "f" else None
    return min(float(1 / step), 240.0) if step and 0 < step < 1 else 5.0


def slow_fps(clip: Clip) -> float:
    """The rate at which one can follow a short film: a quarter of the clip's own, but no less than
    5, unless it has less itself.
    """
    own = usual_fps(clip)
    return max(own / 4, min(own, 5.0))
