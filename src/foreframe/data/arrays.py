"""Clips and recordings in arrays: .npy and .npz files, and what lies in memory already."""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.budget import check_budget
from foreframe.base.extras import needed
from foreframe.base.untrusted import IN_MEMORY
from foreframe.clips.clip import Clip, direction_of_name
from foreframe.clips.data_options import BUDGET
from foreframe.clips.frames import Frames, as_frames
from foreframe.clips.scaling import Scaling
from foreframe.data.datasets import ClipSet
from foreframe.data.npy import (
    Header,
    NpyFrames,
    check_numbers,
    frames_in,
    header_of,
    read_header,
)

ARRAYS = (".npy", ".npz")
# Names that an .npz may give to what belongs to its frames.
TIMES = ("times", "time")
PLACES = ("latitude", "lat", "y", "longitude", "lon", "x")
PUBLISHED_SHAPE = (20, 10_000, 64, 64)  # mnist_test_seq.npy: frames first
_PUBLISHED_URL = "https://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy"
_PUBLISHED_MD5 = "be083ec986bfe91a449d63653c411eb2"

Source = str | Path | np.ndarray | Tensor


class _Array(NamedTuple):
    """An array of numbers in a file, which is not read yet, or in memory.

    Args:
        where: what its file, or itself, is called in messages.
        name: in an archive; "" for a .npy, or in memory.
        shape: of the array.
        frames: gives its frames by their shape (T,C,H,W), read when they are needed; all at once
            where they lie in an archive, or where the first axis runs fastest.
    """

    where: str
    name: str
    shape: tuple[int, ...]
    frames: Callable[[tuple[int, ...]], Frames]


def _array(source: Source, variable: str | None, budget: float) -> _Array:
    """The array of frames in a file or in memory.

    Raises:
        ValueError: no such file, not an array file, no such variable, objects, anything but
            numbers.
    """
    if not isinstance(source, str | Path):
        values = array_of(source)
        name = data_name(source)
        return _Array(name, "", values.shape, lambda shape: as_frames(values.reshape(shape)))
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    with _in_one_line(path):
        headers = _headers(path)
        name = "" if "" in headers else _chosen(headers, variable)
        header = headers[name]
        check_numbers(header.dtype)

    def frames(shape: tuple[int, ...]) -> Frames:
        if name or header.fortran:
            return as_frames(read_named(path, [name], budget)[name].reshape(shape))
        return frames_in(path, replace(header, shape=shape), budget)

    return _Array(str(path), name, header.shape, frames)


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


def read_named(path: Path, names: Sequence[str], budget: float) -> dict[str, np.ndarray]:
    """Those of the named arrays that a file has, in this machine's byte order and in C order, as
    torch wants them.

    Raises:
        ValueError: more than the budget; pickled objects; a damaged file.
    """
    with _in_one_line(path):
        headers = {name: header for name, header in _headers(path).items() if name in names}
        # Turning an array whose first axis runs fastest takes it once more.
        need = sum(header.size * (2 if header.fortran else 1) for header in headers.values())
        each = [f"{name} of shape {header.shape}".lstrip() for name, header in headers.items()]
        what = ", ".join(each)
        check_budget(need, budget, what, "store it as .npy in C order, which is read by the frame")
        if "" in headers:
            arrays = {"": np.load(path, allow_pickle=False)}
        else:
            with np.load(path, allow_pickle=False) as held:
                arrays = {name: held[f"{name}.npy"] for name in headers}
    return {
        name: np.asarray(values, values.dtype.newbyteorder("="), order="C")
        for name, values in arrays.items()
    }


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Whatever reading a damaged file raises, as a ValueError of one line that names it."""
    try:
        yield
    except Exception as error:  # numpy, zipfile and zlib have half a dozen kinds
        reason = " ".join(str(error).replace(f"{path}", "").split())[:300] or type(error).__name__
        raise ValueError(f"{path} is not read as frames: {reason}") from None


def _chosen(headers: Mapping[str, Header], variable: str | None) -> str:
    """The name of the array of frames."""
    names = [name for name in ("frames", "clips") if name in headers]
    names = names or [name for name, header in headers.items() if len(header.shape) >= 3]
    if variable is None and len(names) == 1:
        return names[0]
    if variable is None or variable not in headers:
        missed = "a single array of frames" if variable is None else f"array {variable}"
        every = ", ".join(headers) or "none"
        raise ValueError(f"{missed} not found; variable names one of {every}")
    return variable


def read_arrays(source: Source, variable: str | None = None, budget: float = BUDGET) -> list[Clip]:
    """Every recording in a file or in memory, in the data's own numbers; `foreframe.clips_from`
    says how axes are told apart.

    Frames of a .npy are read when they are needed, those of an .npz at once. Arrays `times`,
    `latitude`, `longitude` and `units` beside the frames come along; rows that run south to north
    are turned.

    Args:
        source: .npy or .npz, an array or a tensor.
        variable: which array of an .npz; needed where it holds several and none is called `frames`
            or `clips`.
        budget: GiB that reading may take at once.

    Raises:
        ValueError: no such file, not an array file, no such variable, pickled objects, axes that
            fit no recording, times that are no times, more than the budget; what `array_of` raises.
    """
    array = _array(source, variable, budget)
    shape, where = array.shape, array.where
    if shape == PUBLISHED_SHAPE or len(shape) > (3 if array.name == "clips" else 4):
        return [Clip(frames, name=f"{where}#{k}") for k, frames in enumerate(_clips(array))]
    frames = array.frames(_as_recording(shape, where))
    if not array.name:
        return [Clip(frames, name=where)]
    beside = read_named(Path(where), [*TIMES, *PLACES, "units"], budget)
    return [_described(frames, beside, where, "" if array.name == "frames" else array.name)]


def _as_recording(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The shape (T,C,H,W) of an array that is one recording.

    Raises:
        ValueError: other axes, or nothing in it.
    """
    if not (len(shape) == 3 or (len(shape) == 4 and shape[1] <= 4)):
        raise ValueError(
            f"{name}: shape {shape} is no recording (T,H,W) or (T,C,H,W) with up to 4 channels, "
            "nor clips (N,T,C,H,W); transpose(0, 3, 1, 2) puts channels second"
        )
    if 0 in shape:
        raise ValueError(f"{name}: shape {shape} holds no frames")
    return shape if len(shape) == 4 else (shape[0], 1, *shape[1:])


def holds_clips(path: str | Path, variable: str | None = None) -> bool:
    """Whether a file holds whole clips, (N,T,C,H,W) or (N,T,H,W), and not one recording to cut
    windows from.
    """
    array = _array(path, variable, BUDGET)
    return array.name == "clips" or _has_clip_axes(array.shape)


def clips_in(source: Source) -> Sequence[Frames]:
    """The frames of each clip of a file or an array of clips, (N,T,C,H,W) or (N,T,H,W); those of a
    .npy are read when they are needed.

    Raises:
        ValueError: as `read_arrays`, or other axes.
    """
    return _clips(_array(source, None, BUDGET))


def _clips(array: _Array) -> Sequence[Frames]:
    """The clips (T,C,H,W) of an array of them.

    Raises:
        ValueError: other axes than those of clips; what reading raises.
    """
    n, t, *frame = _as_clips(array.shape, array.where)
    frames = array.frames((n * t, *frame))
    if array.shape != PUBLISHED_SHAPE:
        return [frames.part(k * t, (k + 1) * t) for k in range(n)]
    # Frames first: of a clip each lies n further on.
    if isinstance(frames, NpyFrames):
        return [replace(frames.part(k, k + t), step=n) for k in range(n)]
    values = frames[:]
    return [as_frames(values[k::n]) for k in range(n)]


def _as_clips(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The shape (N,T,C,H,W) of an array of clips.

    Raises:
        ValueError: other axes, or nothing in it.
    """
    if len(shape) not in (4, 5) or 0 in shape:
        kind = "holds no frames" if 0 in shape else "a file of clips is (N,T,C,H,W) or (N,T,H,W)"
        raise ValueError(f"{name}: shape {shape}; {kind}")
    if shape == PUBLISHED_SHAPE:
        return shape[1], shape[0], 1, *shape[2:]
    return shape if len(shape) == 5 else (*shape[:2], 1, *shape[2:])


def _described(frames: Frames, beside: dict[str, np.ndarray], name: str, variable: str) -> Clip:
    """A recording with the times, units and coordinates that lie beside it in its file."""
    stamps = next((beside[key] for key in TIMES if key in beside), None)
    times = None if stamps is None else _times(stamps, len(frames), name)
    height, width = frames.shape[2:]
    coordinates = {}
    for key in PLACES:
        side = height if direction_of_name(key) == "row" else width
        values = beside.get(key, np.array(""))
        if values.dtype.kind in "fiu" and values.shape in ((side,), (height, width)):
            coordinates[key] = values
    notes: tuple[str, ...] = ()
    latitude = coordinates.get("latitude", coordinates.get("lat"))
    if latitude is not None and latitude.flat[0] < latitude.flat[-1]:
        frames = as_frames(frames.read(0, len(frames))[:, :, ::-1])
        for key, values in coordinates.items():
            if values.ndim == 2 or direction_of_name(key) == "row":
                coordinates[key] = values[::-1]
        notes = ("rows ran south to north: turned north-up",)
    units = " ".join(str(beside["units"].flat[0]).split())[:80] if "units" in beside else ""
    return Clip(frames, times, units, coordinates, name, variable, notes)


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
        right = values.shape == (frames,) and np.isfinite(values).all()
    except (ValueError, TypeError, OverflowError):
        right = False
    if not right:
        raise ValueError(
            f"{name}: its times are not one time for each of {frames} frames; write "
            "2019-03-01T00:00, or seconds"
        )
    return values


def _iso(stamp: str) -> str:
    """201505151545 as 2015-05-15T15:45; anything else as it is."""
    if not stamp.isdigit():
        return stamp
    day = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"
    return f"{day}T{stamp[8:10] or '00'}:{stamp[10:12] or '00'}"


def stand_in(clip: Clip) -> int | None:
    """The number by which a gridded field of whole numbers marks what was not measured: the largest
    of its type, where at least 1 % of the pixels hold it in every frame. Pictures, whose white is
    that number too, have no times; floats have NaN.
    """
    dtype = clip.frames.dtype
    dated = clip.times is not None and clip.times.dtype.kind != "f"
    if dtype.kind != "u" or not dated or clip.frames.shape[1] != 1:
        return None
    most = int(np.iinfo(dtype).max)
    always = np.asarray(clip.frames[0:1]) == most
    for k in range(0, len(clip), max(1, len(clip) // 16)):  # a sample: masks do not change
        if always.mean() < 0.01:
            return None
        always &= np.asarray(clip.frames[k : k + 1]) == most
    return most if always.mean() >= 0.01 else None


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
    """The same values as a plain array, not copied where they are in this machine's memory.

    Raises:
        ValueError: a masked array, values that are no numbers, no values, fewer than three axes.
    """
    name = data_name(source)
    if isinstance(source, np.ma.MaskedArray):
        raise ValueError(
            f"{name}: masked; values.astype(float).filled(np.nan) marks what is missing"
        )
    if isinstance(source, Tensor):
        # numpy knows no bfloat16
        source = source.float() if source.dtype == torch.bfloat16 else source
        source = source.detach().cpu().numpy()
    if source.dtype.kind not in "fiub" or source.size == 0:
        raise ValueError(f"{name}: it holds no numbers that frames are made of; give float32")
    if source.ndim < 3:
        raise ValueError(f"{name}: no recording (T,H,W) or (T,C,H,W), nor clips (N,T,C,H,W)")
    # torch knows the byte order of this machine alone.
    return np.asarray(source, source.dtype.newbyteorder("="))


def are_clips(source: np.ndarray | Tensor) -> bool:
    """Whether an array holds whole clips, (N,T,C,H,W) or (N,T,H,W), as a .npy file of its shape
    would, and not one recording to cut windows from.
    """
    return _has_clip_axes(tuple(source.shape))


def _has_clip_axes(shape: tuple[int, ...]) -> bool:
    return shape == PUBLISHED_SHAPE or len(shape) == 5 or (len(shape) == 4 and shape[1] > 4)


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
        name = self.name = data_name(source)
        array = _array(source, variable, budget)
        published = array.shape == PUBLISHED_SHAPE
        clips = _clips(array)
        dtype = clips[0].dtype
        if published and split in ("train", "validation"):
            raise ValueError(
                f"{name} is the published test set: train on data moving_mnist, and evaluate on it"
            )
        if dtype != np.uint8 and dtype.kind != "f":
            raise ValueError(f"{name}: dtype {dtype}; clips are uint8, or floats in [0, 1]")
        self.scaling = Scaling(0, 255) if dtype == np.uint8 and not published else Scaling()
        self.clips = clips[slice(None) if published else split_block(len(clips), split)]
        self._dtype, self._whole = dtype, 255.0 if dtype == np.uint8 else 1.0
        if len(self.clips) == 0:
            raise ValueError(f"{name}: {len(clips)} clips are too few to leave one for {split}")

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Float[Tensor, "t c h w"]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return torch.from_numpy(np.array(self.clips[index], dtype=np.float32)).div_(self._whole)

    def dtype_of(self, index: int) -> np.dtype:
        return self._dtype


def split_block(n: int, split: str) -> slice:
    """The block of n items in order that a split gets: 80, 10 and 10 %, so that neighbours in time
    stay together.
    """
    a, b = n * 8 // 10, n * 9 // 10
    ends = {"train": (0, a), "validation": (a, b), "test": (b, n), "all": (0, n)}
    return slice(*ends[split])


def published_moving_mnist(
    path: str | Path = "data/mnist_test_seq.npy", download: bool = False, split: str = "test"
) -> ArrayClips:
    """The 10,000 published test clips (Srivastava et al. 2015), read from `path` one by one;
    fetched there first if `download`.

    Raises:
        ValueError: a split to train on; when the file is not there and may not, or cannot, be
            downloaded, or is another file.
    """
    if split in ("train", "validation"):
        raise ValueError("moving_mnist_published is a test set: train on data moving_mnist")
    path = Path(path)
    if not path.is_file():
        if not download:
            raise ValueError(
                f"there is no {path}; put mnist_test_seq.npy there, or allow the download "
                "(download true, 820 MB)"
            )
        utils = needed("torchvision.datasets.utils", "digits", "downloading the published clips")
        try:
            utils.download_url(_PUBLISHED_URL, str(path.parent), path.name, _PUBLISHED_MD5)
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"the download of {path.name} failed ({error}); check the network"
            ) from None
    clips = ArrayClips(path)
    if (len(clips), *clips.clips[0].shape) != (10_000, 20, 1, 64, 64):
        raise ValueError(f"{path} is not the published test set: its shape is another")
    return clips
