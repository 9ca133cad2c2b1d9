"""Clips and recordings that lie in .npy and .npz files."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.clip import Clip
from foreframe.scaling import Scaling

PUBLISHED_SHAPE = (20, 10_000, 64, 64)  # mnist_test_seq.npy: frames first
_PUBLISHED_URL = "https://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy"
_PUBLISHED_MD5 = "be083ec986bfe91a449d63653c411eb2"


def read_array(path: str | Path, variable: str | None = None) -> tuple[np.ndarray, str]:
    """The array in a .npy (memory-mapped) or .npz file, and its name ("" in a .npy).

    Args:
        path: of the file.
        variable: which array of an .npz; needed where it holds several and none is called `frames` or `clips`.

    Raises:
        ValueError: no such file, not an array file, no such variable, pickled objects.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False), ""
        with np.load(path, allow_pickle=False) as held:
            if not isinstance(held, np.lib.npyio.NpzFile):
                raise ValueError("not an .npz archive")
            names = [variable] if variable else [name for name in ("frames", "clips") if name in held] or held.files
            if len(names) != 1 or names[0] not in held:
                raise KeyError(f"it holds {', '.join(held.files)}; name one")
            return held[names[0]], names[0]
    except KeyError as error:
        raise ValueError(f"{path}: {variable or 'no single array'} not found: {error.args[0]}") from None
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is not a whole .npy or .npz file of numbers") from error  # numpy's words advise unpickling
    except Exception as error:  # zipfile's own kinds for a damaged archive
        raise ValueError(f"{path} is damaged ({error})") from None


def clips_from(path: str | Path, variable: str | None = None) -> list[Clip]:
    """Every clip in a file, in the data's own numbers.

    Axes are told apart so: (T,H,W) is one grey recording; (N,T,C,H,W) are N clips; of four axes, an array called `clips` and the
    published Moving MNIST file are clips (N,T,H,W), and anything else is one recording: (T,C,H,W) with at most 4 channels.

    Raises:
        ValueError: what `read_array` raises, or axes that fit none of these.
    """
    frames, name = read_array(path, variable)
    if frames.ndim == 3:
        return [Clip(frames[:, None])]
    if frames.ndim == 5 or frames.shape == PUBLISHED_SHAPE or (frames.ndim == 4 and name == "clips"):
        return [Clip(clip) for clip in _as_clips(frames, str(path))]
    if frames.ndim == 4 and frames.shape[1] <= 4:
        return [Clip(frames)]
    raise ValueError(
        f"{path}: shape {frames.shape} is no recording (T,H,W) or (T,C,H,W) with at most 4 channels, nor clips (N,T,C,H,W)"
    )


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
