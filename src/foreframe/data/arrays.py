"""Clips and recordings in arrays: .npy and .npz files, and arrays in memory."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.budget import check_budget
from foreframe.base.untrusted import IN_MEMORY
from foreframe.base.wording import in_one_line
from foreframe.clips.clip import Clip, direction_of_name
from foreframe.clips.frames import Frames, as_frames
from foreframe.clips.scaling import Scaling
from foreframe.data.data_options import BUDGET
from foreframe.data.datasets import ClipSet
from foreframe.data.npy import Header, NpyFrames, check_numbers, frames_in, header_of, read_header

ARRAYS = (".npy", ".npz")
# Names of coordinates of rows and columns in an .npz.
PLACES = ("latitude", "lat", "y", "longitude", "lon", "x")

Source = str | Path | np.ndarray | Tensor
Names = str | Sequence[str] | None


def opened(
    source: Source, variable: Names, budget: float
) -> tuple[str, str, np.ndarray | NpyFrames]:
    """Return the array of frames in a file or in memory: its name for messages, its name in an
    archive (otherwise ""), and its values. Values of an archive or in Fortran order are read now,
    others on demand.

    Raises:
        ValueError: no such file, not an array file, no such variable, no numbers.
    """
    if not isinstance(source, str | Path):
        return data_name(source), "", array_of(source)
    path = Path(source)
    with in_one_line(f"{path} is not read as frames"):
        name, header = _chosen(_headers(path), variable)
        check_numbers(header.dtype)
    if name or header.fortran:
        return str(path), name, read_named(path, [name], budget)[name]
    return str(path), name, frames_in(path, header, budget)


def _headers(path: Path) -> dict[str, Header]:
    """Return the headers of a file's arrays by name; the array of a .npy has the name ""."""
    if path.suffix.lower() == ".npy":
        return {"": header_of(path)}
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy") and name != ".npy":
                with archive.open(name) as file:
                    headers[name.removesuffix(".npy")] = read_header(file)
    return headers


def _chosen(headers: Mapping[str, Header], variable: Names) -> tuple[str, Header]:
    """Return the name of the array of frames, and its header."""
    names = [name for name in ("", "frames", "clips") if name in headers]
    names = names or [name for name, header in headers.items() if len(header.shape) >= 3]
    if "" not in headers and variable is not None:
        names = [name for name in headers if name == variable]
    if len(names) != 1:
        every = ", ".join(headers) or "none"
        raise ValueError(
            f"{variable or 'a single array of frames'} not found; variable names one of {every}"
        )
    return names[0], headers[names[0]]


def read_named(path: Path, names: Sequence[str], budget: float) -> dict[str, np.ndarray]:
    """Return the named arrays that a file has, in native byte order and C order, as torch requires.

    Raises:
        ValueError: more than the budget; pickled objects; a damaged file.
    """
    with in_one_line(f"{path} is not read as frames"):
        headers = {name: header for name, header in _headers(path).items() if name in names}
        need = sum(header.size for header in headers.values())
        arrays = ", ".join(f"{name} {header.shape}".lstrip() for name, header in headers.items())
        cure = "store it as .npy in C order, which is read by the frame"
        check_budget(need, budget, f"{path}: {arrays}", cure)
        held = np.load(path, allow_pickle=False)
        found = {name: held[f"{name}.npy"] if name else held for name in headers}
    return {name: np.asarray(a, a.dtype.newbyteorder("="), order="C") for name, a in found.items()}


def read_arrays(source: Source, variable: Names = None, budget: float = BUDGET) -> list[Clip]:
    """Return every recording in a file or in memory, in data units. See `foreframe.clips_from` for
    the meaning of axes.

    Frames of a .npy are read on demand, frames of an .npz now. Other arrays of an .npz are used by
    their names: `times`, `latitude`, `longitude` and `units`. Rows from south to north
    are reversed.

    Args:
        source: .npy or .npz, an array or a tensor.
        variable: name of the array of an .npz; required if there are several, and none is called
            `frames` or `clips`.
        budget: GiB for a read.

    Raises:
        ValueError: no such file, not an array file, no such variable, pickled objects, axes that
            fit no recording, invalid times, more than the budget; errors of `array_of`.
    """
    where, name, values = opened(source, variable, budget)
    if _is_clips(values.shape, name):
        return [Clip(clip, name=f"{where}#{k}") for k, clip in enumerate(clips_of(values, where))]
    frames = as_frames(values.reshape(_with_channels(values.shape, 4, where)))
    if not name:
        return [Clip(frames, name=where)]
    beside = read_named(Path(where), ["times", *PLACES, "units"], budget)
    return [_with_labels(frames, beside, where, "" if name == "frames" else name)]


def _is_clips(shape: tuple[int, ...], name: str = "") -> bool:
    """Whether an array has clips (N,T,C,H,W) or (N,T,H,W) instead of one recording (T,H,W) or
    (T,C,H,W). A recording has at most four channels.
    """
    return len(shape) > 4 or (len(shape) == 4 and (name == "clips" or shape[1] > 4))


def _with_channels(shape: tuple[int, ...], axes: int, name: str) -> tuple[int, ...]:
    """Return the shape of a recording (T,C,H,W), with 4 axes, or of clips (N,T,C,H,W), with 5.

    Raises:
        ValueError: other axes, channels last, or no values.
    """
    last = len(shape) > 3 and shape[-1] <= 4 < shape[-3]
    if len(shape) not in (axes - 1, axes) or 0 in shape or last:
        cure = "; transpose(0, 3, 1, 2) puts channels second" if last else ""
        raise ValueError(
            f"{name}: shape {shape} is no recording (T,H,W) or (T,C,H,W) with up to 4 channels, "
            f"nor clips (N,T,H,W) or (N,T,C,H,W){cure}"
        )
    return shape if len(shape) == axes else (*shape[:-2], 1, *shape[-2:])


def holds_clips(source: Source, variable: Names = None) -> bool:
    """Whether a file or an array has whole clips instead of one recording to cut into windows."""
    if not isinstance(source, str | Path):
        return _is_clips(tuple(source.shape))
    with in_one_line(f"{source} is not read as frames"):
        name, header = _chosen(_headers(Path(source)), variable)
    return _is_clips(header.shape, name)


def clips_of(values: np.ndarray | NpyFrames, where: str) -> Sequence[Frames]:
    """Return the clips (T,C,H,W) of an array; raises a ValueError for other axes."""
    n, t, *frame = _with_channels(values.shape, 5, where)
    if isinstance(values, NpyFrames):
        frames = values.reshape((n * t, *frame))
        return [frames.part(k * t, (k + 1) * t) for k in range(n)]
    return [as_frames(clip.reshape(t, *frame)) for clip in values]


def _with_labels(frames: Frames, beside: dict[str, np.ndarray], name: str, variable: str) -> Clip:
    """Return a recording with the times, units and coordinates of its file."""
    times = _times(beside["times"], len(frames), name) if "times" in beside else None
    coordinates = {}
    for key in PLACES:
        side = frames.shape[2 if direction_of_name(key) == "row" else 3]
        values = beside.get(key, np.array(""))
        if values.dtype.kind in "fiu" and values.shape in ((side,), frames.shape[2:]):
            coordinates[key] = values
    notes: tuple[str, ...] = ()
    latitude = coordinates.get("latitude", coordinates.get("lat"))
    if latitude is not None and latitude.flat[0] < latitude.flat[-1]:
        frames = as_frames(frames[:][:, :, ::-1])
        for key, values in coordinates.items():
            if values.ndim == 2 or direction_of_name(key) == "row":
                coordinates[key] = values[::-1]
        notes = ("rows ran south to north: turned north-up",)
    units = " ".join(str(beside["units"].flat[0]).split())[:80] if "units" in beside else ""
    return Clip(frames, times, units, coordinates, name, variable, notes)


def _times(values: np.ndarray, frames: int, name: str) -> np.ndarray:
    """Return one time a frame, from text such as 201505151545 or 2019-03-01T00:00, numpy's dates,
    or seconds.

    Raises:
        ValueError: another number of times, or invalid times.
    """
    try:
        if values.dtype.kind == "f" or (values.dtype.kind in "iu" and values.max() < 10**9):
            values = values.astype(np.float64)
        elif values.dtype.kind != "M":
            values = np.array([_iso(str(stamp)) for stamp in values], "datetime64[ns]")
        if values.shape == (frames,) and np.isfinite(values).all():
            return values
    except (ValueError, TypeError, OverflowError):
        pass
    raise ValueError(
        f"{name}: its times are not one time for each of {frames} frames; write 2019-03-01T00:00, "
        "or seconds"
    )


def _iso(stamp: str) -> str:
    """Return 201505151545 as 2015-05-15T15:45, and other text unchanged."""
    day, hour, minute = stamp[:8], stamp[8:10] or "00", stamp[10:12] or "00"
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{hour}:{minute}" if stamp.isdigit() else stamp


def data_name(source: Any) -> str:
    """Return the name of data in messages, config.yaml and model cards: a path or name, or a
    description of data in memory.
    """
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, np.ndarray | Tensor):
        kind = str(source.dtype).removeprefix("torch.")
        return f"{IN_MEMORY}{kind} array of {'x'.join(map(str, source.shape))}"
    kind = type(source).__name__
    if is_xarray(source):
        return f"{IN_MEMORY}{kind} {getattr(source, 'name', None) or ''}".rstrip()
    return f"{IN_MEMORY}{kind}" + (f" of {len(source)} items" if hasattr(source, "__len__") else "")


def is_xarray(source: Any) -> bool:
    """Whether this is an xarray object, without importing xarray."""
    return type(source).__module__.partition(".")[0] == "xarray"


def array_of(source: np.ndarray | Tensor) -> np.ndarray:
    """Return the values as a plain array, without a copy if possible; masked values are missing.

    Raises:
        ValueError: no numbers.
    """
    if isinstance(source, Tensor):
        # numpy has no bfloat16.
        source = source.float() if source.dtype == torch.bfloat16 else source
        source = source.detach().cpu().numpy()
    is_masked = isinstance(source, np.ma.MaskedArray)
    values = np.ma.filled(source.astype(np.float32), np.nan) if is_masked else source
    check_numbers(values.dtype)
    # torch supports native byte order only.
    return np.asarray(values, values.dtype.newbyteorder("="))


class ArrayClips(ClipSet):
    """Clips (T,C,H,W), float32 in [0,1], of one array of clips (N,T,C,H,W) or (N,T,H,W).

    8-bit values are divided by 255, as in `scaling`; floats must be in [0,1]. Splits are blocks of
    whole clips in order: the first 80 % train, the next 10 % validation, the last 10 % test.

    Args:
        source: .npy (read on demand) or .npz (read now), an array or a tensor.
        split: "train", "validation", "test" or "all".
        variable: name of the array of an .npz.
        budget: GiB for a read.

    Raises:
        ValueError: errors of `read_arrays` and `array_of`, numbers that are neither 8-bit nor
            floats, other axes, or a split without clips.
    """

    def __init__(
        self,
        source: Source,
        split: str = "test",
        variable: Names = None,
        budget: float = BUDGET,
    ) -> None:
        self.name, _, values = opened(source, variable, budget)
        clips = clips_of(values, self.name)
        dtype = clips[0].dtype
        if dtype != np.uint8 and dtype.kind != "f":
            raise ValueError(f"{self.name}: dtype {dtype}; clips are uint8, or floats in [0, 1]")
        self.scaling = Scaling(0, 255) if dtype == np.uint8 else Scaling()
        self.clips = clips[split_block(len(clips), split)]
        self._whole = 255.0 if dtype == np.uint8 else 1.0
        if not self.clips:
            raise ValueError(
                f"{self.name}: none of its {len(clips)} clips is for {split}; give a Dataset for "
                "each split"
            )

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Float[Tensor, "t c h w"]:
        return torch.from_numpy(np.array(self.clips[index], dtype=np.float32)).div_(self._whole)

    def dtype_of(self, index: int) -> np.dtype:
        return self.clips[index].dtype


def split_block(n: int, split: str) -> slice:
    """Return the block of n ordered items of a split, so that neighbours in time stay together."""
    a, b = n * 8 // 10, n * 9 // 10
    ends = {"train": (0, a), "validation": (a, b), "test": (b, n), "all": (0, n)}
    return slice(*ends[split])
