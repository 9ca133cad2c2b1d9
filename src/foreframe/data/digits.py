"""Where digit images come from, and how they are split into train, validation and test."""

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from foreframe.base.extras import needed

SPLITS = ("train", "validation", "test")
_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


def digit_images(
    source: str | Path = "mini",
    split: str = "train",
    root: str | Path = "data",
    download: bool = False,
) -> np.ndarray:
    """uint8 images (N,H,W), 0 = background, of one split.

    A hash of its own pixels gives each image its split: 8 in 10 train, 1 validation, 1 test.
    So no image (and no copy of one) is in two splits, whatever file it comes from: what a model
    trained on all of MNIST is tested on with the embedded digits it has never seen either. MNIST,
    Fashion-MNIST and KMNIST take test from their own test files.

    Args:
        source: "mini", "mnist", "fashion_mnist", "kmnist", or the path of an .npz (key `images`) or
            idx file (also .gz).
        split: train, validation or test.
        root: folder of torchvision's data sets.
        download: let torchvision download what `root` lacks.

    Raises:
        ValueError: unknown source, a file that holds no images, files that are missing and may
            not or cannot be downloaded.
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
    with np.load(path, allow_pickle=False) as arrays:
        if "images" not in arrays:
            names = ", ".join(arrays.files) or "none"
            raise ValueError(f"digits: {path} has no array `images` (it has {names})")
        return _checked(arrays["images"], path)


@cache
def _idx_images(path: str) -> np.ndarray:
    """The format of LeCun's files: two zero bytes, a type, a rank, big-endian sizes, then the
    bytes.
    """
    raw = Path(path).read_bytes()
    raw = gzip.decompress(raw) if path.endswith(".gz") else raw
    if len(raw) < 16 or raw[:4] != b"\x00\x00\x08\x03":
        raise ValueError(
            f"digits: {path} is not an idx file of 8-bit images (its first bytes are "
            f"{raw[:4].hex()})"
        )
    n, h, w = np.frombuffer(raw, dtype=">i4", count=3, offset=4)
    if len(raw) != 16 + n * h * w:
        raise ValueError(
            f"digits: {path} should hold {n} images of {h}x{w} but is cut short or too long"
        )
    return _checked(np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(n, h, w), path)


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
