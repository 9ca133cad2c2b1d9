"""Clips and recordings in arrays: .npy and .npz files, and what lies in memory already."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.budget import check_budget
from foreframe.base.untrusted import IN_MEMORY
from foreframe.base.wording import in_one_line
from foreframe.clips.clip import Clip, Variable, direction_of_name
from foreframe.clips.frames import Frames, as_frames
from foreframe.clips.scaling import Scaling
from foreframe.data.data_options import BUDGET
from foreframe.data.datasets import ClipSet
from foreframe.data.npy import Header, NpyFrames, check_numbers, frames_in, header_of, read_header

ARRAYS = (".npy", ".npz")
# Names that an .npz may give to the places of its rows and columns.
PLACES = ("latitude", "lat", "y", "longitude", "lon", "x")
PUBLISHED_SHAPE = (20, 10_000, 64, 64)  # mnist_test_seq.npy: frames first

Source = str | Path | np.ndarray | Tensor


def _opened(
    source: Source, variable: str | None, budget: float
) -> tuple[str, str, np.ndarray | NpyFrames]:
    """The array of frames in a file or in memory: what it is called in messages, its name in an
    archive ("" for a .npy, or in memory), and its values, which are read at once out of an archive
    or where the first axis runs fastest, and else when they are needed.

    Raises:
        ValueError: no such file, not an array file, no such variable, objects, anything but
            numbers.
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
    """The headers of a file's arrays by name; "" is that of a .npy."""
    if path.suffix.lower() == ".npy":
        return {"": header_of(path)}
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy") and name != ".npy":
                with archive.open(name) as file:
                    headers[name.removesuffix(".npy")] = read_header(file)
    return headers


def _chosen(headers: Mapping[str, Header], variable: str | None) -> tuple[str, Header]:
    """The name of the array of frames, and its header."""
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
    """Those of the named arrays that a file has, in this machine's byte order and in C order, as
    torch wants them.

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


def read_arrays(source: Source, variable: str | None = None, budget: float = BUDGET) -> list[Clip]:
    """Every recording in a file or in memory, in the data's own numbers; `foreframe.clips_from`
    says how axes are told apart.

    Frames of a .npy are read when they are needed, those of an .npz at once. Arrays `times`,
    `latitude`, `longitude`, `units` and `channels`, their names, beside the frames come along; rows
    that run south to north are turned.

    Args:
        source: .npy or .npz, an array or a tensor.
        variable: which array of an .npz; needed where it holds several and none is called `frames`
            or `clips`.
        budget: GiB that reading may take at once.

    Raises:
        ValueError: no such file, not an array file, no such variable, pickled objects, axes that
            fit no recording, times that are no times, more than the budget; what `array_of` raises.
    """
    where, name, values = _opened(source, variable, budget)
    if _is_clips(values.shape, name):
        return [Clip(clip, name=f"{where}#{k}") for k, clip in enumerate(_clips(values, where))]
    frames = as_frames(values.reshape(_with_channels(values.shape, 4, where)))
    if not name:
        return [Clip(frames, name=where)]
    beside = read_named(Path(where), ["times", "channels", *PLACES, "units"], budget)
    return [_with_labels(frames, beside, where, "" if name == "frames" else name)]


def _is_clips(shape: tuple[int, ...], name: str = "") -> bool:
    """Whether an array holds clips (N,T,C,H,W) or (N,T,H,W), and not one recording (T,H,W) or
    (T,C,H,W), which has at most four channels.
    """
    return len(shape) > 4 or (len(shape) == 4 and (name == "clips" or shape[1] > 4))


def _with_channels(shape: tuple[int, ...], axes: int, name: str) -> tuple[int, ...]:
    """The shape of a recording (T,C,H,W), of 4 axes, or of clips (N,T,C,H,W), of 5.

    Raises:
        ValueError: other axes, channels last, or nothing in it.
    """
    last = len(shape) > 3 and shape[-1] <= 4 < shape[-3]
    if len(shape) not in (axes - 1, axes) or 0 in shape or last:
        cure = "; transpose(0, 3, 1, 2) puts channels second" if last else ""
        raise ValueError(
            f"{name}: shape {shape} is no recording (T,H,W) or (T,C,H,W) with up to 4 channels, "
            f"nor clips (N,T,H,W) or (N,T,C,H,W){cure}"
        )
    return shape if len(shape) == axes else (*shape[:-2], 1, *shape[-2:])


def holds_clips(source: Source, variable: str | None = None) -> bool:
    """Whether a file or an array holds whole clips, and not one recording to cut windows from."""
    if not isinstance(source, str | Path):
        return _is_clips(tuple(source.shape))
    with in_one_line(f"{source} is not read as frames"):
        name, header = _chosen(_headers(Path(source)), variable)
    return _is_clips(header.shape, name)


def clips_in(source: Source) -> Sequence[Frames]:
    """The frames of each clip of a file or an array of clips, (N,T,C,H,W) or (N,T,H,W); those of a
    .npy are read when they are needed.

    Raises:
        ValueError: as `read_arrays`, or other axes.
    """
    where, _, values = _opened(source, None, BUDGET)
    return _clips(values, where)


def _clips(values: np.ndarray | NpyFrames, where: str) -> Sequence[Frames]:
    """The clips (T,C,H,W) of an array of them.

    Raises:
        ValueError: other axes than those of clips; what reading raises.
    """
    n, t, *frame = _with_channels(values.shape, 5, where)
    frames = as_frames(values.reshape((n * t, *frame)))
    if values.shape != PUBLISHED_SHAPE:
        return [frames.part(k * t, (k + 1) * t) for k in range(n)]
    # Frames first: of a clip each lies t further on.
    if isinstance(frames, NpyFrames):
        return [replace(frames.part(k, k + n), step=t) for k in range(t)]
    return [as_frames(frames[:][k::t]) for k in range(t)]


def _with_labels(frames: Frames, beside: dict[str, np.ndarray], name: str, variable: str) -> Clip:
    """A recording with the times, units and coordinates that lie beside it in its file."""
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
    named = beside.get("channels", np.array([]))
    fit = named.dtype.kind == "U" and len({*named.flat}) == named.size == frames.shape[1]
    variables = tuple(Variable(str(channel)[:80], units) for channel in named.flat if fit)
    return Clip(frames, times, units, coordinates, name, variable, notes, variables=variables)


def _times(values: np.ndarray, frames: int, name: str) -> np.ndarray:
    """Stamps such as 201505151545 or 2019-03-01T00:00, numpy's own, or plain seconds, one a frame.

    Raises:
        ValueError: another number of them, or what is no time.
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
    """201505151545 as 2015-05-15T15:45; anything else as it is."""
    day, hour, minute = stamp[:8], stamp[8:10] or "00", stamp[10:12] or "00"
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{hour}:{minute}" if stamp.isdigit() else stamp


def data_name(source: Any) -> str:
    """What data is called in messages, config.yaml and model cards: a path or name as it is, else
    what it is, without its values.
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
    """Whether this is an xarray object; xarray itself is imported by whoever made one."""
    return type(source).__module__.partition(".")[0] == "xarray"


def array_of(source: np.ndarray | Tensor) -> np.ndarray:
    """The same values as a plain array, not copied where they are in this machine's memory; masked
    ones are missing.

    Raises:
        ValueError: values that are no numbers.
    """
    if isinstance(source, Tensor):
        # numpy knows no bfloat16
        source = source.float() if source.dtype == torch.bfloat16 else source
        source = source.detach().cpu().numpy()
    is_masked = isinstance(source, np.ma.MaskedArray)
    values = np.ma.filled(source.astype(np.float32), np.nan) if is_masked else source
    check_numbers(values.dtype)
    # torch knows the byte order of this machine alone.
    return np.asarray(values, values.dtype.newbyteorder("="))


class ArrayClips(ClipSet):
    """Clips (T,C,H,W), float32 in [0,1], of one array of clips (N,T,C,H,W) or (N,T,H,W).

    8-bit values are divided by 255 and `scaling` says so; floats must lie in [0,1] already. Splits
    are blocks of whole clips in the array's order: the first 80 % train, the next 10 % validation,
    the last 10 % test. The published Moving MNIST file is one test split and nothing else.

    Args:
        source: .npy, whose clips are read when they are needed, or .npz, which is read at once; or
            an array or a tensor.
        split: "train", "validation", "test" or "all".
        variable: which array of an .npz.
        budget: GiB that reading may take at once.

    Raises:
        ValueError: what `read_arrays` and `array_of` raise, numbers that are neither 8-bit nor
            floats, other axes, or a split without clips.
    """

    def __init__(
        self,
        source: Source,
        split: str = "test",
        variable: str | None = None,
        budget: float = BUDGET,
    ) -> None:
        self.name, _, values = _opened(source, variable, budget)
        published, clips = values.shape == PUBLISHED_SHAPE, _clips(values, self.name)
        dtype = clips[0].dtype
        if dtype != np.uint8 and dtype.kind != "f":
            raise ValueError(f"{self.name}: dtype {dtype}; clips are uint8, or floats in [0, 1]")
        self.scaling = Scaling(0, 255) if dtype == np.uint8 and not published else Scaling()
        shares = (0, 0) if published else (8, 1)  # tenths that train and validate
        self.clips = clips[split_block(len(clips), split, *shares)]
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


def split_block(n: int, split: str, train: int = 8, validation: int = 1) -> slice:
    """The block of n items in order that a split gets, so that neighbours in time stay together:
    so many tenths train and validate, and the rest tests.
    """
    a, b = n * train // 10, n * (train + validation) // 10
    ends = {"train": (0, a), "validation": (a, b), "test": (b, n), "all": (0, n)}
    return slice(*ends[split])
