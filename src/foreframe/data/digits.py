"""Where digit images come from, and how they are split into train, validation and test."""

import gzip
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.base.budget import GIB, in_gib
from foreframe.base.extras import needed
from foreframe.clips.data_options import BUDGET
from foreframe.data.npy import read_array, read_header

SPLITS = ("train", "validation", "test")
_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


def digit_images(
    source: str | Path = "mini",
    split: str = "train",
    root: str | Path = "data",
    download: bool = False,
) -> np.ndarray:
    """uint8 images (N,H,W), 0 = background, of one split.

    A hash of its own pixels gives each image its split: 8 in 10 train, 1 validation, 1 test. So no
    image (and no copy of one) is in two splits, whatever file it comes from: a model that was
    trained on "mnist" has not seen the embedded digits of test either. MNIST, Fashion-MNIST and
    KMNIST take test from their own test files.

    Args:
        source: "mini", "mnist", "fashion_mnist", "kmnist", or the path of an .npz (key `images`) or
            idx file (also .gz).
        split: train, validation or test.
        root: folder of torchvision's data sets.
        download: let torchvision download what `root` lacks.

    Raises:
        ValueError: unknown source, a file that is damaged, holds no images or more than 1 GiB of
            them, files that are missing and may not or cannot be downloaded.
    """
    source = str(source)
    if source in _TORCHVISION:
        if split == "test":
            return _torchvision_images(source, Path(root), download, False)
        images = _torchvision_images(source, Path(root), download, True)
    elif source == "mini":
        images = _npz_images(str(files("foreframe.data").joinpath("mnist_mini_5k.npz")))
    elif Path(source).suffix == ".npz" or "idx" in Path(source).name:
        if not Path(source).is_file():
            raise ValueError(f"digits: there is no file {source}")
        images = _npz_images(source) if source.endswith(".npz") else _idx_images(source)
    else:
        raise ValueError(
            f"digits: {source!r} is unknown; choose mini, {', '.join(_TORCHVISION)}, or an .npz or "
            "idx file"
        )
    chosen = images[_split_of(images) == SPLITS.index(split)]
    if len(chosen) == 0:
        raise ValueError(
            f"digits: {source} has {len(images)} images, too few to leave one for {split}"
        )
    return chosen


def _split_of(images: np.ndarray) -> np.ndarray:
    """(N,) the index into SPLITS that each image belongs to, by its content alone."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=4).digest() for image in images]
    tenth = np.array([digest[0] % 10 for digest in digests])
    return np.where(tenth < 8, 0, tenth - 7)


@cache
def _npz_images(path: str) -> np.ndarray:
    with _named(path), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if "images" in names:
            with archive.open("images.npy") as file:
                _check_memory(read_header(file).size, path)
            with archive.open("images.npy") as file:
                return _checked(read_array(file), path)
    raise ValueError(f"digits: {path} has no array `images` (it has {', '.join(names) or 'none'})")


@cache
def _idx_images(path: str) -> np.ndarray:
    """The format of LeCun's files: two zero bytes, a type, a rank, big-endian sizes, then the
    bytes.
    """
    opened = gzip.open if path.endswith(".gz") else open
    with _named(path), opened(path, "rb") as file:
        head = file.read(16)
        if len(head) < 16 or head[:4] != b"\x00\x00\x08\x03":
            raise ValueError(
                f"digits: {path} is not an idx file of 8-bit images (its first bytes are "
                f"{head[:4].hex()})"
            )
        n, h, w = struct.unpack(">3I", head[4:])
        _check_memory(n * h * w, path)
        pixels = file.read(n * h * w + 1)
        if len(pixels) != n * h * w:
            raise ValueError(
                f"digits: {path} should hold {n} images of {h}x{w} but is cut short or too long"
            )
    return _checked(np.frombuffer(pixels, dtype=np.uint8).reshape(n, h, w), path)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Whatever reading a damaged file raises, as a ValueError that names it."""
    try:
        yield
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if str(error).startswith("digits: "):
            raise
        reason = str(error) or type(error).__name__
        raise ValueError(f"digits: {path} cannot be read ({reason})") from None


def _check_memory(need: int, path: str) -> None:
    """Refuse more bytes of images than fit, as the file's header says (ValueError)."""
    if need > BUDGET * GIB:
        raise ValueError(
            f"digits: {path} says that it holds {in_gib(need)} of images; {BUDGET:g} GiB at most"
        )


def _checked(images: np.ndarray, path: str) -> np.ndarray:
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"digits: {path} holds {images.dtype} {images.shape}; images must be uint8 (N,H,W)"
        )
    return images


def _torchvision_images(source: str, root: Path, download: bool, train: bool) -> np.ndarray:
    datasets = needed("torchvision.datasets", "digits", f"digits {source}: reading them")
    kind: Any = getattr(datasets, _TORCHVISION[source])
    try:
        return kind(root, train=train, download=download).data.numpy()
    except (RuntimeError, OSError) as error:
        # urllib's and torchvision's, without a file or without a network
        if download:
            why = str(error).splitlines()[0]
            raise ValueError(
                f"digits {source}: the download to {root} failed ({why}); check the network"
            ) from None
        raise ValueError(
            f"digits {source}: nothing in {root}; allow the download (digits.download true), name "
            "the folder (digits.root), or use digits mini"
        ) from None
