"""Clips and recordings in arrays: .npy and .npz files, and what lies in memory already."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
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
from foreframe.clips.clip import Clip
from foreframe.clips.data_options import BUDGET
from foreframe.clips.frames import Frames, as_frames
from foreframe.clips.scaling import Scaling
from foreframe.data.datasets import ClipSet
from foreframe.data.npy import Header, NpyFrames, frames_in, header_of, read_header

ARRAYS = (".npy", ".npz")
# Names that an .npz may give to what belongs to its frames.
TIMES, ROWS, COLUMNS = (
    ("times", "time", "valid_time"),
    ("latitude", "lat", "y"),
    ("longitude", "lon", "x"),
)
BESIDE = (*TIMES, *ROWS, *COLUMNS, "units")
PUBLISHED_SHAPE = (20, 10_000, 64, 64)  # mnist_test_seq.npy: frames first
_PUBLISHED_URL = "https://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy"
_PUBLISHED_MD5 = "be083ec986bfe91a449d63653c411eb2"


class _Stored(NamedTuple):
    """An array in a file, which is not read yet; the one of a .npy has no name, ""."""

    path: Path
    name: str
    header: Header

    @property
    def shape(self) -> tuple[int, ...]:
        return self.header.shape

    @property
    def by_frame(self) -> bool:
        """Whether its frames can be read one at a time."""
        return not self.name and not self.header.fortran

    def frames(self, shape: tuple[int, ...], budget: float) -> NpyFrames:
        """The frames (T,C,H,W) of an array that is read by the frame."""
        return frames_in(self.path, replace(self.header, shape=shape), budget)

    def values(self, budget: float) -> np.ndarray:
        """The whole array, in memory."""
        return _read(self.path, [self.name], budget)[self.name]


def _stored(path: Path, variable: str | None) -> _Stored:
    """The array of frames in a file.

    Raises:
        ValueError: no such file, not an array file, no such variable, objects, anything but
            numbers.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    with _in_one_line(path):
        headers = _headers(path)
        single = path.suffix.lower() == ".npy"
        name = "" if single else _chosen({n: len(h.shape) for n, h in headers.items()}, variable)
        dtype = headers[name].dtype
        if dtype.kind not in "fiub" or dtype.itemsize > 8:
            raise ValueError(
                f"it holds {dtype}, not numbers that frames are made of; store float32"
            )
    return _Stored(path, name, headers[name])


def _headers(path: Path) -> dict[str, Header]:
    """The headers of a file's arrays by name; "" is that of a .npy."""
    if path.suffix.lower() == ".npy":
        return {"": header_of(path)}
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as file:
                    headers[name.removesuffix(".npy")] = read_header(file)
    return headers


def _read(path: Path, names: Sequence[str], budget: float) -> dict[str, np.ndarray]:
    """Those of the named arrays that a file has, in this machine's byte order and in C order, as
    torch wants them.

    Raises:
        ValueError: more than the budget; pickled objects; a damaged file.
    """
    arrays = {}
    with _in_one_line(path):
        headers = {name: header for name, header in _headers(path).items() if name in names}
        what = f"{names[0]} of shape {headers[names[0]].shape}".lstrip()
        # Turning an array whose first axis runs fastest takes it once more.
        need = sum(header.size * (2 if header.fortran else 1) for header in headers.values())
        check_budget(need, budget, what, "store it as .npy in C order, which is read by the frame")
        archive = None if "" in headers else zipfile.ZipFile(path)
        with archive or nullcontext():
            for name in headers:
                with archive.open(f"{name}.npy") if archive else path.open("rb") as file:
                    values = np.lib.format.read_array(file, allow_pickle=False)
                native = values.dtype.newbyteorder("=")
                arrays[name] = np.ascontiguousarray(values, native) if values.ndim else values
    return arrays


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Whatever reading a damaged file raises, as a ValueError of one line that names it."""
    try:
        yield
    except (ValueError, OSError, EOFError, MemoryError) as error:
        reason = " ".join(str(error).replace(f"{path}", "").split()) or type(error).__name__
        raise ValueError(f"{path} is not read as frames: {reason}") from None
    except Exception as error:  # zipfile's and zlib's own kinds for a damaged archive
        raise ValueError(
            f"{path} is damaged ({' '.join(str(error).split())[:160]}); make or fetch it again"
        ) from None


def _chosen(axes: Mapping[str, int], variable: str | None) -> str:
    """The name of the array of frames among arrays with so many axes each."""
    names = [name for name in ("frames", "clips") if name in axes]
    if variable is not None:
        names = [variable]
    elif not names:
        names = [name for name, count in axes.items() if count >= 3]
    if len(names) != 1 or names[0] not in axes:
        missed = f"array {variable}" if variable is not None else "a single array of frames"
        raise ValueError(f"{missed} not found; variable names one of {', '.join(axes) or 'none'}")
    return names[0]


def read_arrays(
    path: str | Path, variable: str | None = None, budget: float = BUDGET
) -> list[Clip]:
    """Every recording in a file, in the data's own numbers; `foreframe.clips_from` says how axes
    are told apart.

    Frames of a .npy are read when they are needed, those of an .npz at once. Arrays `times`,
    `latitude`, `longitude` and `units` beside the frames come along; rows that run south to north
    are turned.

    Args:
        path: .npy or .npz.
        variable: which array of an .npz; needed where it holds several and none is called `frames`
            or `clips`.
        budget: GiB that reading may take at once.

    Raises:
        ValueError: no such file, not an array file, no such variable, pickled objects, axes that
            fit no recording, times that are no times, more than the budget.
    """
    array = _stored(Path(path), variable)
    where, shape = str(path), array.shape
    clips = _holds_many(array)
    if not clips:
        _check_recording(shape, f"{path}: shape {shape} is no")
    if 0 in shape:
        raise ValueError(f"{path}: shape {shape} holds no frames")
    if clips:
        frames_of = _clips(array, budget)
        return [Clip(frames, name=f"{where}#{k}") for k, frames in enumerate(frames_of)]
    t, *channels, h, w = shape
    four = (t, *(channels or [1]), h, w)
    if array.by_frame:
        return [Clip(array.frames(four, budget), name=where)]
    arrays = _read(array.path, [array.name, *BESIDE], budget)
    frames = arrays.pop(array.name).reshape(four)
    variable = "" if array.name == "frames" else array.name
    return [_described(frames, arrays, where, variable)]


def _check_recording(shape: tuple[int, ...], refusal: str) -> None:
    """Refuse axes that are not those of a recording."""
    if len(shape) == 3 or (len(shape) == 4 and shape[1] <= 4):
        return
    last = len(shape) == 4 and shape[3] <= 4
    cure = "; transpose(0, 3, 1, 2) puts channels second" if last else ""
    raise ValueError(
        f"{refusal} recording (T,H,W) or (T,C,H,W) with up to 4 channels, nor clips "
        f"(N,T,C,H,W){cure}"
    )


def _holds_many(array: _Stored) -> bool:
    """Whether these are whole recordings, one after the other, and not the frames of one."""
    shape, named = array.shape, array.name == "clips"
    return shape == PUBLISHED_SHAPE or len(shape) == 5 or (named and len(shape) == 4)


def holds_clips(path: str | Path, variable: str | None = None) -> bool:
    """Whether a file holds whole clips, (N,T,C,H,W) or (N,T,H,W), and not one recording to cut
    windows from.
    """
    array = _stored(Path(path), variable)
    return array.name == "clips" or _has_clip_axes(array.shape)


def clips_in(
    path: str | Path, variable: str | None = None, budget: float = BUDGET
) -> Sequence[Frames]:
    """The frames of each clip of a file of clips, (N,T,C,H,W) or (N,T,H,W); those of a .npy are
    read when they are needed.

    Raises:
        ValueError: as `read_arrays`, or other axes.
    """
    return _clips(_stored(Path(path), variable), budget)


def _clips(array: _Stored, budget: float) -> Sequence[Frames]:
    """The clips (T,C,H,W) of a file of them; those of a .npy are read when they are needed.

    Raises:
        ValueError: other axes than those of clips; what reading raises.
    """
    path, shape = array.path, array.shape
    if len(shape) not in (4, 5):
        raise ValueError(f"{path}: shape {shape}; a file of clips is (N,T,C,H,W) or (N,T,H,W)")
    if 0 in shape:
        raise ValueError(f"{path}: shape {shape} holds no clips")
    if not array.by_frame:
        return [as_frames(clip) for clip in _clip_axes(array.values(budget), str(path))]
    published = shape == PUBLISHED_SHAPE
    (t, n) = shape[:2] if published else (shape[1], shape[0])
    channels, h, w = (1, *shape[2:]) if len(shape) == 4 else shape[2:]
    frames = array.frames((n * t, channels, h, w), budget)
    if published:  # frames first: of a clip each lies n further on
        return [replace(frames.part(k, k + t), step=n * frames.step) for k in range(n)]
    return [frames.part(k * t, (k + 1) * t) for k in range(n)]


def _described(
    frames: np.ndarray, beside: dict[str, np.ndarray], where: str, variable: str
) -> Clip:
    """A recording with the times, units and coordinates that lie beside it in its file."""
    stamps = [beside[name] for name in TIMES if name in beside]
    times = _times(stamps[0], len(frames), where) if stamps else None
    coordinates, notes = {}, []
    for names, side in ((ROWS, frames.shape[2]), (COLUMNS, frames.shape[3])):
        for name in names:
            if name in beside and beside[name].shape in ((side,), frames.shape[2:]):
                if beside[name].dtype.kind in "fiu":
                    coordinates[name] = beside[name]
                else:
                    notes.append(f"{name} is left out: it holds {beside[name].dtype}, not numbers")
    for name in ("latitude", "lat"):
        if name in coordinates and coordinates[name].flat[0] < coordinates[name].flat[-1]:
            frames = frames[:, :, ::-1]
            coordinates = {
                k: v[::-1] if k in ROWS or v.ndim == 2 else v for k, v in coordinates.items()
            }
            notes.append("rows ran south to north: turned north-up")
    words = [str(text) for text in beside.get("units", np.array([])).flat[:1]]
    units = " ".join(" ".join(words).split())[:80]
    return Clip(frames, times, units, coordinates, where, variable, tuple(notes))


def _times(values: np.ndarray, frames: int, where: str) -> np.ndarray:
    """Stamps such as 201505151545 or 2019-03-01T00:00, numpy's own, or plain seconds, one a frame.

    Raises:
        ValueError: another number of them, or what is no time.
    """
    if values.shape != (frames,):
        raise ValueError(
            f"{where}: {frames} frames, but times of shape {values.shape}; store one time a frame"
        )
    try:
        times = _as_times(values)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f"{where}: times such as {str(values[0])[:40]!r} are none that are read; write "
            "2019-03-01T00:00"
        ) from None
    absent = np.flatnonzero(~np.isfinite(times))
    if absent.size:
        raise ValueError(f"{where}: frame {absent[0]} has no time; drop such frames first")
    return times


def _as_times(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "M":
        bare = np.datetime_data(values.dtype)[0] == "generic"
        return values.astype("datetime64[ns]") if bare else values
    if values.dtype.kind == "m":
        return values / np.timedelta64(1, "s")
    if values.dtype.kind == "f" or (values.dtype.kind in "iu" and values.max() < 10**9):
        return values.astype(np.float64)
    text = values.astype(str)
    if all(stamp.isdigit() for stamp in text):
        text = np.array(
            [f"{s[:4]}-{s[4:6]}-{s[6:8]}T{s[8:10] or '00'}:{s[10:12] or '00'}" for s in text]
        )
    return text.astype("datetime64[ns]")


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
    if isinstance(source, Mapping) and not is_xarray(source):
        kinds = [f"{split}: {type(dataset).__name__}" for split, dataset in source.items()]
        return IN_MEMORY + ", ".join(kinds)
    kind = type(source).__name__
    if is_xarray(source):
        sizes = ", ".join(f"{name} {size}" for name, size in source.sizes.items())
        return f"{IN_MEMORY}{kind} {getattr(source, 'name', None) or ''}".rstrip() + f" ({sizes})"
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
    frames = np.asarray(source)
    if frames.dtype.kind not in "fiub":
        raise ValueError(f"{name}: not numbers that frames are made of; give float32 or uint8")
    if frames.size == 0:
        raise ValueError(f"{name}: it holds nothing")
    if frames.ndim < 3:
        raise ValueError(f"{name}: no recording (T,H,W) or (T,C,H,W), nor clips (N,T,C,H,W)")
    # torch knows the byte order of this machine alone.
    return np.asarray(frames, frames.dtype.newbyteorder("="))


def are_clips(source: np.ndarray | Tensor) -> bool:
    """Whether an array holds whole clips, (N,T,C,H,W) or (N,T,H,W), as a .npy file of its shape
    would, and not one recording to cut windows from.
    """
    return _has_clip_axes(tuple(source.shape))


def _has_clip_axes(shape: tuple[int, ...]) -> bool:
    return shape == PUBLISHED_SHAPE or len(shape) == 5 or (len(shape) == 4 and shape[1] > 4)


def recordings_in(source: np.ndarray | Tensor) -> list[Clip]:
    """Every recording in an array, in its own numbers: one of (T,H,W) or (T,C,H,W), or N of
    (N,T,C,H,W).

    Raises:
        ValueError: what `array_of` raises, other axes.
    """
    frames, name = array_of(source), data_name(source)
    if frames.ndim == 5 or frames.shape == PUBLISHED_SHAPE:
        return [Clip(clip, name=f"{name} [{k}]") for k, clip in enumerate(_clip_axes(frames, name))]
    _check_recording(frames.shape, f"{name}: no")
    return [Clip(frames[:, None] if frames.ndim == 3 else frames, name=name)]


def _clip_axes(frames: np.ndarray, name: str) -> np.ndarray:
    """A view (N,T,C,H,W)."""
    if frames.shape == PUBLISHED_SHAPE:
        frames = frames.transpose(1, 0, 2, 3)
    if frames.ndim not in (4, 5):
        raise ValueError(f"{name}: an array of clips is (N,T,C,H,W) or (N,T,H,W)")
    return frames[:, :, None] if frames.ndim == 4 else frames


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
        source: str | Path | np.ndarray | Tensor,
        split: str = "test",
        variable: str | None = None,
        budget: float = BUDGET,
    ) -> None:
        name = self.name = data_name(source)
        published = False
        if isinstance(source, str | Path):
            array = _stored(Path(source), variable)
            clips, dtype = _clips(array, budget), array.header.dtype
            published = array.shape == PUBLISHED_SHAPE
        else:
            values = _clip_axes(array_of(source), name)
            clips, dtype = [as_frames(clip) for clip in values], values.dtype
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
        raise ValueError(
            f"{path} has {len(clips)} clips of {clips.clips[0].shape}, and so is not the published "
            "test set"
        )
    return clips
