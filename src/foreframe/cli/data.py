"""foreframe data, foreframe data check"""

from collections.abc import Sequence
from typing import Any

from foreframe.cli.options import call


def look_at_data(
    data: str = "moving_mnist",
    data_args: dict | None = None,
    split: str = "train",
    past: int = 10,
    future: int = 10,
    clip: int = 0,
    output: str | None = None,
) -> None:
    """Look at the clips that a model would be trained on, and write one of them; foreframe data
    check PATH looks at recordings

    Args:
        data: as in foreframe train
        data_args: its arguments, e.g. --data_args.motion svg
        split: train, validation or test
        past: frames of the clip that count as past
        future: frames that follow
        clip: which clip to write
        output: .npy (its past frames), .gif or .png (all of it)
    """
    from pathlib import Path

    kind = "" if output is None else Path(output).suffix.lower()
    if output is not None and kind not in (".npy", ".gif", ".png"):
        raise ValueError(
            f"output {output}: cannot write {kind or 'a file without ending'}; choose .npy, .gif "
            "or .png"
        )

    import numpy as np

    from foreframe.clip import Window
    from foreframe.data import Recordings, check_first_clip, open_dataset
    from foreframe.files import atomic_write
    from foreframe.visuals import animation, strip, write_gif, write_png

    window = Window(past, future)
    dataset: Any = open_dataset(data, split, window, data_args)
    check_first_clip(dataset, window, None, data)
    if not 0 <= clip < len(dataset):
        raise ValueError(
            f"clip {clip} is not there: {data} ({split}) has clips 0 to {len(dataset) - 1}"
        )
    frames = np.asarray(dataset[clip])
    t, c, h, w = frames.shape
    print(f"{data} ({split}): {len(dataset)} clips")
    if isinstance(dataset, Recordings):
        print("\n".join(dataset.report()))
        print(f"scaled by {dataset.scaling}")
    print(
        f"clip {clip}: T={t} C={c} H={h} W={w}"
        f", values {np.nanmin(frames):.3g} to {np.nanmax(frames):.3g}, mean "
        f"{np.nanmean(frames):.4f}"
    )
    if output is None:
        return
    before, after = frames[:past], frames[past : past + future]
    if kind == ".npy":
        with atomic_write(output) as rough, rough.open("wb") as file:
            np.save(file, before)
    elif kind == ".gif":
        write_gif(output, animation(before, after))
    else:
        write_png(output, strip(before, after))
    print(f"clip {clip} lies in {output}")


def check_data(
    path: str,
    *,
    variable: str | None = None,
    reading: dict | None = None,
    past: int = 10,
    future: int = 10,
    stride: int = 1,
    dealing: dict | None = None,
    output: str = "contact-sheet.png",
) -> None:
    """Look through recordings before training on them: foreframe data check PATH

    Args:
        path: a film, GIF, folder of pictures, .npy, .npz, .pt, NetCDF or Zarr, or a folder of them
        variable: which array or variable, where there are several
        reading: how it is read, e.g. --reading.colour grey --reading.size [96,128]
        past: frames of a window that are past
        future: frames of a window that follow
        stride: frames from window to window
        dealing: how frames are dealt to train, validation and test, e.g. --dealing.by recording
        output: picture of frames spread over the recording; with several recordings the first one's
    """
    from pathlib import Path

    if Path(output).suffix.lower() != ".png":
        raise ValueError(f"output {output}: the contact sheet is a .png")

    import numpy as np

    from foreframe.clip import Window
    from foreframe.data import Dealing
    from foreframe.data.check import all_in_words, check_recordings, splits_in_words
    from foreframe.data.sources import reading_from
    from foreframe.visuals import Paint, contact_sheet, paint_for, write_png

    how = reading_from((reading or {}) | ({"variable": variable} if variable else {}))
    try:
        deal = Dealing(**(dealing or {}))
    except TypeError as error:
        raise ValueError(f"dealing: {str(error).replace('Dealing.__init__() ', '')}") from None
    window = Window(past, future, stride)
    found, counts = check_recordings(path, how)
    print("\n".join([*all_in_words(found), *splits_in_words(found, counts, deal, window)]))
    first, flags = found[0], found[0].flags()
    m, clip = first.moments, first.clip
    low, high = (
        (0.0, 255.0)
        if clip.frames.dtype == np.uint8
        else (m.lowest, m.highest)
        if m.count
        else (0.0, 1.0)
    )
    paint = (
        paint_for("auto", low, high, clip.units)
        if clip.units
        else Paint("grey", low, high if high > low else low + 1)
    )
    labels = [f"{k}" for k in first.shown_at]
    sheet = contact_sheet(
        np.stack(first.shown),
        labels,
        paint,
        flagged={i: flags[k] for i, k in enumerate(first.shown_at) if k in flags},
    )
    write_png(output, sheet)
    print(f"frames of {clip.name} lie side by side in {output}")


def main(arguments: Sequence[str]) -> None:
    if arguments and arguments[0] == "check":
        call("data check", check_data, arguments[1:])
    else:
        call("data", look_at_data, arguments)
