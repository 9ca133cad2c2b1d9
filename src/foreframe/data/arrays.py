"""Clips and recordings that lie in .npy, .npz and .pt files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.clip import Clip
from foreframe.scaling import Scaling

ARRAYS = (".npy", ".npz", ".pt", ".pth")
# Names that an .npz may give to what belongs to its frames.
TIMES, ROWS, COLUMNS = ("times", "time", "valid_time"), ("latitude", "lat", "y"), ("longitude", "lon", "x")
PUBLISHED_SHAPE = (20, 10_000, 64, 64)  # mnist_test_seq.npy: frames first
_PUBLISHED_URL = "https://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy"
_PUBLISHED_MD5 = "be083ec986bfe91a449d63653c411eb2"


def read_array(path: str | Path, variable: str | None = None) -> tuple[np.ndarray, str]:
    """The array in a .npy (memory-mapped), .npz or .pt file, and its name ("" in a .npy).

    Args:
        path: of the file.
        variable: which array of an .npz or of a .pt's dict; needed where it holds several and none is called `frames` or `clips`.

    Raises:
        ValueError: no such file, not an array file, no such variable, pickled objects.
    """
    array, name, _ = _read_all(Path(path), variable)
    return array, name


def _read_all(path: Path, variable: str | None) -> tuple[np.ndarray, str, dict[str, np.ndarray]]:
    """The array, its name, and everything else that lies beside it in the file."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False), "", {}
        if path.suffix.lower() in (".pt", ".pth"):
            return _chosen(_tensors(path), variable)
        with np.load(path, allow_pickle=False) as held:
            if not isinstance(held, np.lib.npyio.NpzFile):
                raise ValueError("not an .npz archive")
            return _chosen(held, variable)
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]}") from None
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is not a whole {path.suffix} file of numbers") from error  # numpy's words advise unpickling
    except Exception as error:  # zipfile's own kinds for a damaged archive
        raise ValueError(f"{path} is damaged ({error})") from None


def _tensors(path: Path) -> dict[str, np.ndarray]:
    """A saved tensor, or a dict of them, without unpickling anything else."""
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for what is no file of tensors
        raise ValueError("not a file of tensors") from error
    held = held if isinstance(held, dict) else {"frames": held}
    return {str(name): value.detach().numpy() for name, value in held.items() if isinstance(value, Tensor)}


def _chosen(held: Any, variable: str | None) -> tuple[np.ndarray, str, dict[str, np.ndarray]]:
    files = list(held.files if hasattr(held, "files") else held)
    names = [variable] if variable is not None else [name for name in ("frames", "clips") if name in files]
    if not names:
        names = [name for name in files if held[name].ndim >= 3]
    if len(names) != 1 or names[0] not in files:
        missed = f"array {variable}" if variable is not None else "a single array of frames"
        raise KeyError(f"{missed} not found; variable names one of {', '.join(files) or 'none'}")
    beside = {name: held[name] for name in files if name in (*TIMES, *ROWS, *COLUMNS, "units")}
    return held[names[0]], names[0], beside


def read_arrays(path: str | Path, variable: str | None = None) -> list[Clip]:
    """Every recording in a file, in the data's own numbers; `foreframe.clips_from` says how axes are told apart.

    Arrays `times`, `latitude`, `longitude` and `units` beside the frames come along; rows that run south to north are turned.

    Raises:
        ValueError: what `read_array` raises, axes that fit no recording, or times that are no times.
    """
    frames, name, beside = _read_all(Path(path), variable)
    where = str(path)
    if frames.dtype.kind not in "fiub":
        raise ValueError(f"{path} holds {frames.dtype}, not numbers that frames are made of")
    if frames.ndim == 5 or frames.shape == PUBLISHED_SHAPE or (frames.ndim == 4 and name == "clips"):
        return [Clip(clip, name=f"{where}#{k}") for k, clip in enumerate(_as_clips(frames, where))]
    if frames.ndim == 3:
        frames = frames[:, None]
    if frames.ndim != 4 or frames.shape[1] > 4:
        cure = "; transpose(0, 3, 1, 2) puts channels second" if frames.ndim == 4 and frames.shape[3] <= 4 else ""
        raise ValueError(
            f"{path}: shape {frames.shape} is no recording (T,H,W) or (T,C,H,W) with up to 4 channels, nor clips (N,T,C,H,W){cure}"
        )
    if 0 in frames.shape:
        raise ValueError(f"{path}: shape {frames.shape} holds no frames")
    return [_described(frames, beside, where, "" if name in ("", "frames") else name)]


def holds_clips(path: str | Path, variable: str | None = None) -> bool:
    """Whether a file holds whole clips, (N,T,C,H,W) or (N,T,H,W), and not one recording to cut windows from."""
    frames, name = read_array(path, variable)
    if frames.shape == PUBLISHED_SHAPE or frames.ndim == 5 or name == "clips":
        return True
    return frames.ndim == 4 and frames.shape[1] > 4


def _described(frames: np.ndarray, beside: dict[str, np.ndarray], where: str, variable: str) -> Clip:
    """A recording with the times, units and coordinates that lie beside it in its file."""
    times = next((_times(beside[name], where) for name in TIMES if name in beside), None)
    if times is not None and len(times) != len(frames):
        raise ValueError(f"{where}: {len(frames)} frames, but {len(times)} times")
    coordinates, notes = {}, []
    for names, side in ((ROWS, frames.shape[2]), (COLUMNS, frames.shape[3])):
        for name in names:
            if name in beside and beside[name].shape in ((side,), frames.shape[2:]):
                coordinates[name] = beside[name]
    for name in ("latitude", "lat"):
        if name in coordinates and coordinates[name].flat[0] < coordinates[name].flat[-1]:
            frames = frames[:, :, ::-1]
            coordinates = {k: v[::-1] if k in ROWS or v.ndim == 2 else v for k, v in coordinates.items()}
            notes.append("rows ran south to north: turned north-up")
    units = str(beside["units"].flat[0]) if "units" in beside and beside["units"].size else ""
    return Clip(frames, times, units, coordinates, where, variable, tuple(notes))


def _times(values: np.ndarray, where: str) -> np.ndarray:
    """Stamps such as 201505151545 or 2019-03-01T00:00, numpy's own, or plain seconds."""
    if values.dtype.kind in "Mf":
        return values
    if values.dtype.kind in "iu" and values.max(initial=0) < 10**9:
        return values.astype(np.float64)
    try:
        text = values.astype(str)
        if all(one.isdigit() for one in text):
            text = np.array([f"{one[:4]}-{one[4:6]}-{one[6:8]}T{one[8:10] or '00'}:{one[10:12] or '00'}" for one in text])
        return text.astype("datetime64[ns]")
    except ValueError:
        raise ValueError(f"{where}: times such as {str(values.flat[0])!r} are none that are read; write 2019-03-01T00:00") from None


def stand_in(clip: Clip) -> int | None:
    """The number by which a gridded field of whole numbers marks what was not measured: the largest of its type, where at least 1 %
    of the pixels hold it in every frame. Pictures, whose white is that number too, have no times; floats have NaN."""
    dtype = clip.frames.dtype
    if dtype.kind != "u" or clip.times is None or clip.times.dtype.kind == "f" or clip.frames.shape[1] != 1:
        return None
    most = int(np.iinfo(dtype).max)
    always = np.asarray(clip.frames[0:1]) == most
    for k in range(0, len(clip), max(1, len(clip) // 16)):  # a sample: masks do not change
        if always.mean() < 0.01:
            return None
        always &= np.asarray(clip.frames[k : k + 1]) == most
    return most if always.mean() >= 0.01 else None


class ArrayClips(Dataset):
    """Clips (T,C,H,W), float32 in [0,1], from one file of clips (N,T,C,H,W) or (N,T,H,W).

    8-bit values are divided by 255 and `scaling` says so; floats must lie in [0,1] already. Splits are blocks of whole clips in
    the file's order: the first 80 % train, the next 10 % validation, the last 10 % test. The published Moving MNIST file is one
    test split and nothing else.

    Args:
        path: .npy (memory-mapped) or .npz.
        split: "train", "validation", "test" or "all".
        variable: which array of an .npz.

    Raises:
        ValueError: what `read_array` raises, other axes, or a split without clips.
    """

    def __init__(self, path: str | Path, split: str = "test", variable: str | None = None) -> None:
        frames, _ = read_array(path, variable)
        published = frames.shape == PUBLISHED_SHAPE
        if published and split in ("train", "validation"):
            raise ValueError(f"{path} is the published test set: train on data moving_mnist, and evaluate on it")
        clips = _as_clips(frames, str(path))
        if frames.dtype != np.uint8 and frames.dtype.kind != "f":
            raise ValueError(f"{path}: dtype {frames.dtype}; clips are uint8, or floats in [0, 1]")
        self.scaling = Scaling(0, 255) if frames.dtype == np.uint8 and not published else Scaling()
        block = slice(None) if published else split_block(len(clips), split)
        self.clips = clips[block]
        self._whole = 255.0 if frames.dtype == np.uint8 else 1.0
        if len(self.clips) == 0:
            raise ValueError(f"{path}: {len(clips)} clips are too few to leave one for {split}")

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Float[Tensor, "t c h w"]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return torch.from_numpy(np.array(self.clips[index], dtype=np.float32)).div_(self._whole)


def split_block(n: int, split: str) -> slice:
    """The block of n items in order that a split gets: 80, 10 and 10 %, so that neighbours in time stay together."""
    a, b = n * 8 // 10, n * 9 // 10
    return {"train": slice(0, a), "validation": slice(a, b), "test": slice(b, n), "all": slice(0, n)}[split]


def _as_clips(frames: np.ndarray, path: str) -> np.ndarray:
    """A view (N,T,C,H,W)."""
    if frames.shape == PUBLISHED_SHAPE:
        frames = frames.transpose(1, 0, 2, 3)
    if frames.ndim not in (4, 5):
        raise ValueError(f"{path}: shape {frames.shape}; a file of clips is (N,T,C,H,W) or (N,T,H,W)")
    return frames[:, :, None] if frames.ndim == 4 else frames


def published_moving_mnist(path: str | Path = "data/mnist_test_seq.npy", download: bool = False) -> ArrayClips:
    """The 10,000 published test clips (Srivastava et al. 2015), memory-mapped from `path`; fetched there first if `download`.

    Raises:
        ValueError: when the file is not there and may not, or cannot, be downloaded, or is another file.
    """
    path = Path(path)
    if not path.is_file():
        if not download:
            raise ValueError(f"there is no {path}; put mnist_test_seq.npy there, or allow the download (download true, 820 MB)")
        try:
            from torchvision.datasets.utils import download_url

            download_url(_PUBLISHED_URL, str(path.parent), path.name, _PUBLISHED_MD5)
        except ImportError:
            raise ValueError("torchvision downloads the published clips; pip install 'foreframe[digits]'") from None
        except (RuntimeError, OSError) as error:
            raise ValueError(f"the download of {path.name} failed ({error}); check the network") from None
    clips = ArrayClips(path)
    if clips.clips.shape != (10_000, 20, 1, 64, 64):
        raise ValueError(f"{path} has shape {clips.clips.shape}, which is not the published test set's")
    return clips
