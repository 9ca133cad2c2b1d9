"""Clips and recordings in arrays: .npy, .npz and .pt files, and what lies in memory already."""

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

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
from foreframe.data.npy import Header, check_whole, frames_in, read_header

ARRAYS = (".npy", ".npz", ".pt", ".pth")
# Names that an .npz may give to what belongs to its frames.
TIMES, ROWS, COLUMNS = (
    ("times", "time", "valid_time"),
    ("latitude", "lat", "y"),
    ("longitude", "lon", "x"),
)
BESIDE = (*TIMES, *ROWS, *COLUMNS, "units")
PUBLISHED_SHAPE = (20, 10_000, 64, 64)  # mnist_test_seq.npy: frames first
_BY_FRAME = "store it as .npy, which is read by the frame"
_PUBLISHED_URL = "https://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy"
_PUBLISHED_MD5 = "be083ec986bfe91a449d63653c411eb2"


@dataclass(frozen=True)
class _Layout:
    """What a file's headers say of its frames: the shape and dtype of the array, its name ("" in a
    .npy), and where it lies.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    name: str
    header: Header | None = None  # of a .npy
    # Those of a .pt, which has no headers: it is read at once.
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)


def _layout(path: Path, variable: str | None, budget: float) -> _Layout:
    """The array of frames in a file; that of a .npy or an .npz is not read yet.

    Raises:
        ValueError: no such file, not an array file, no such variable, objects, anything but
            numbers.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    kind = path.suffix.lower()
    with _in_one_line(path):
        if kind == ".npy":
            with path.open("rb") as file:
                header = read_header(file)
            layout = _Layout(header.shape, header.dtype, "", header)
        elif kind in (".pt", ".pth"):
            tensors = _tensors(path, budget)
            name = _chosen({name: values.ndim for name, values in tensors.items()}, variable)
            layout = _Layout(tensors[name].shape, tensors[name].dtype, name, tensors=tensors)
        else:
            with zipfile.ZipFile(path) as archive:
                headers = _headers(archive)
            name = _chosen({name: len(header.shape) for name, header in headers.items()}, variable)
            layout = _Layout(headers[name].shape, headers[name].dtype, name)
        if layout.dtype.kind not in "fiub" or layout.dtype.itemsize > 8:
            raise ValueError(
                f"it holds {layout.dtype}, not numbers that frames are made of; store float32"
            )
    return layout


def _values(path: Path, layout: _Layout, budget: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The array itself, in memory and in this machine's byte order, and those of its file that
    describe it (`BESIDE`).

    Raises:
        ValueError: more than the budget; a damaged file.
    """
    with _in_one_line(path):
        if layout.header is not None:
            check_whole(path, layout.header)
            what = "an array whose first axis runs fastest"
            check_budget(2 * layout.header.size, budget, what, "store it in C order")
            count, offset = math.prod(layout.shape), layout.header.offset
            values = np.fromfile(path, layout.dtype, count, offset=offset)
            return _native(values.reshape(layout.shape[::-1]).T), {}
        arrays = dict(layout.tensors)
        if not arrays:
            with zipfile.ZipFile(path) as archive:
                headers = _headers(archive)
                wanted = [name for name in headers if name == layout.name or name in BESIDE]
                need = sum(headers[name].size for name in wanted)
                check_budget(need, budget, f"{layout.name} of shape {layout.shape}", _BY_FRAME)
                arrays = {name: _member(archive, name) for name in wanted}
        frames = _native(arrays.pop(layout.name))
        return frames, {name: _native(arrays[name]) for name in BESIDE if name in arrays}


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


def _headers(archive: zipfile.ZipFile) -> dict[str, Header]:
    """The headers of the arrays in an .npz, by name."""
    headers = {}
    for info in archive.infolist():
        if info.filename.endswith(".npy"):
            with archive.open(info) as file:
                headers[info.filename.removesuffix(".npy")] = header = read_header(file)
            if not header.dtype.hasobject and info.file_size < header.offset + header.size:
                raise ValueError(
                    f"{info.filename} is cut short: its header promises {header.size} bytes"
                )
    return headers


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _native(values: np.ndarray) -> np.ndarray:
    """The same values in this machine's byte order and in C order, as torch wants them."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("=")) if values.ndim else values


def _tensors(path: Path, budget: float) -> dict[str, np.ndarray]:
    """A saved tensor, or a dict of them, without unpickling anything else."""
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
    check_budget(size, budget, "a file of tensors, which is read at once,", _BY_FRAME)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for what is no file of tensors
        raise ValueError("not a file of tensors") from error
    content = content if isinstance(content, dict) else {"frames": content}
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    for name, value in tensors.items():  # a stride of 0 makes much of little
        need = value.numel() * value.element_size()
        check_budget(need, budget, f"tensor {name} of shape {tuple(value.shape)}")
    return {name: _as_array(value) for name, value in tensors.items()}


def _as_array(values: Tensor) -> np.ndarray:
    """A tensor as numpy has it, which knows no bfloat16; not copied where it need not be."""
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


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

    Frames of a .npy are read when asked for, the others at once. Arrays `times`, `latitude`,
    `longitude` and `units` beside the frames come along; rows that run south to north are turned.

    Args:
        path: .npy, .npz or .pt.
        variable: which array of an .npz or of a .pt's dict; needed where it holds several and none
            is called `frames` or `clips`.
        budget: GiB that reading may take at once.

    Raises:
        ValueError: no such file, not an array file, no such variable, pickled objects, axes that
            fit no recording, times that are no times, more than the budget.
    """
    path = Path(path)
    layout = _layout(path, variable, budget)
    where, shape = str(path), layout.shape
    clips = _is_clips(layout)
    if not clips:
        _check_recording(shape, f"{path}: shape {shape} is no")
    if 0 in shape:
        raise ValueError(f"{path}: shape {shape} holds no frames")
    if clips:
        frames_of = _clips(path, layout, budget)
        return [Clip(frames, name=f"{where}#{k}") for k, frames in enumerate(frames_of)]
    if layout.header is not None and not layout.header.fortran:
        t, *channels, h, w = shape
        header = replace(layout.header, shape=(t, *(channels or [1]), h, w))
        return [Clip(frames_in(path, header, budget), name=where)]
    frames, beside = _values(path, layout, budget)
    frames = frames[:, None] if frames.ndim == 3 else frames
    return [_described(frames, beside, where, "" if layout.name in ("", "frames") else layout.name)]


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


def _is_clips(layout: _Layout) -> bool:
    shape = layout.shape
    return (
        shape == PUBLISHED_SHAPE or len(shape) == 5 or (layout.name == "clips" and len(shape) == 4)
    )


def holds_clips(path: str | Path, variable: str | None = None, budget: float = BUDGET) -> bool:
    """Whether a file holds whole clips, (N,T,C,H,W) or (N,T,H,W), and not one recording to cut
    windows from.
    """
    layout = _layout(Path(path), variable, budget)
    return layout.name == "clips" or _has_clip_axes(layout.shape)


def clips_in(
    path: str | Path, variable: str | None = None, budget: float = BUDGET
) -> Sequence[Frames]:
    """The frames of each clip of a file of clips, (N,T,C,H,W) or (N,T,H,W); those of a .npy are
    read when asked for.

    Raises:
        ValueError: as `read_arrays`, or other axes.
    """
    return _clips(Path(path), _layout(Path(path), variable, budget), budget)


def _clips(path: Path, layout: _Layout, budget: float) -> Sequence[Frames]:
    """The clips (T,C,H,W) of a file of them; those of a .npy are read when asked for.

    Raises:
        ValueError: other axes than those of clips; what reading raises.
    """
    shape = layout.shape
    published = shape == PUBLISHED_SHAPE
    if len(shape) not in (4, 5):
        raise ValueError(f"{path}: shape {shape}; a file of clips is (N,T,C,H,W) or (N,T,H,W)")
    if 0 in shape:
        raise ValueError(f"{path}: shape {shape} holds no clips")
    if layout.header is not None and not layout.header.fortran:
        (t, n) = shape[:2] if published else (shape[1], shape[0])
        channels, h, w = (1, *shape[2:]) if len(shape) == 4 else shape[2:]
        frames = frames_in(path, replace(layout.header, shape=(n * t, channels, h, w)), budget)
        if published:  # frames first: of a clip each lies n further on
            return [replace(frames.part(k, k + t), step=n * frames.step) for k in range(n)]
        return [frames.part(k * t, (k + 1) * t) for k in range(n)]
    values, _ = _values(path, layout, budget)
    return [as_frames(clip) for clip in _clip_axes(values, str(path))]


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
    frames = _as_array(source) if isinstance(source, Tensor) else np.asarray(source)
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
        source: .npy, whose clips are read when asked for, or .npz, which is read at once; or an
            array or a tensor.
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
            layout = _layout(Path(source), variable, budget)
            clips, dtype = _clips(Path(source), layout, budget), layout.dtype
            published = layout.shape == PUBLISHED_SHAPE
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
    """The 10,000 published test clips (Srivastava et al. 2015), read from `path` when asked for;
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
