"""The files of a stream: a forecast each, the last one under one name too, old ones removed."""

import os
import re
from contextlib import suppress
from pathlib import Path

import numpy as np

from foreframe.base.files import also_named, exists
from foreframe.base.notes import warn
from foreframe.forecasting.forecast import Forecast
from foreframe.forecasting.incoming import folder_of

_NAME = re.compile(r"frame-\d{6,}\.(nc|npy|csv)")


def check_output(folder: Path, source: str, state: str | None) -> None:
    """Refuse a folder for forecasts that is followed itself, or has forecasts of another stream.

    Args:
        source: of the frames.
        state: file of the stream's state, which may not exist yet.
    """
    if source != "-" and folder.resolve() == folder_of(source)[0].resolve():
        raise ValueError(f"--output {folder} is the folder that is followed; name another")
    written = [path for path in folder.glob("frame-*") if _NAME.fullmatch(path.name)]
    if written and (state is None or not exists(state)):
        raise ValueError(
            f"--output {folder} has forecasts of another stream; name a new folder, or resume that "
            "stream with its --state"
        )


def write_live(forecast: Forecast, frame: int, folder: Path, keep: float | None) -> Path | None:
    """Write the forecast after a frame of that number as frame-N, and as latest, in place of the
    last: .nc with times and grid, .npy without dates. The file's modification
    time is that of the frame, if it has a date.

    Args:
        keep: hours after which older ones are removed; None keeps all.

    Returns:
        The path; None, with a note, where it cannot be written: a disk may be full for a while, and
        the stream goes on.
    """
    times = forecast.past.times
    kind = ".nc" if times is not None and times.dtype.kind in "MO" else ".npy"
    path = folder / f"frame-{frame:06d}{kind}"
    try:
        forecast.write(path)
        if times is not None and times.dtype.kind == "M":
            # By the clock, which may jump, all others would be old at once.
            seconds = (times[-1] - np.datetime64(0, "s")) / np.timedelta64(1, "s")
            os.utime(path, (seconds, seconds))
        if keep is not None:
            _remove_older(path, keep)
        also_named(path, folder / f"latest{path.suffix}")
    except (ValueError, OSError) as error:
        warn(f"the forecast after frame {frame} is not written: {error}")
        return path if path.exists() else None
    return path


def _remove_older(path: Path, keep: float) -> None:
    """Remove the forecasts beside one whose frames are more than so many hours older."""
    oldest = path.stat().st_mtime - 3600 * keep
    for other in path.parent.iterdir():
        if _NAME.fullmatch(other.name):
            with suppress(OSError):  # somebody else removes it, too
                if other.stat().st_mtime < oldest:
                    other.unlink()
