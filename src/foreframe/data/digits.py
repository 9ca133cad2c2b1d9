"""Sources of digit images, and their split into train, validation and test."""

import gzip
import hashlib
import math
import struct
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from foreframe.base.budget import GIB, in_gib
from foreframe.base.extras import needed
from foreframe.base.wording import in_one_line
from foreframe.data.arrays import read_named
from foreframe.data.data_options import BUDGET

SPLITS = ("train", "validation", "test")
_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


def digit_images(
    source: str | Path = "mini",
    split: str = "train",
    root: str | Path = "data",
    download: bool = False,
) -> np.ndarray:
    """Return uint8 images (N,H,W), 0 = background, of one split.

    A hash of the pixels decides the split of an image: 8 in 10 train, 1 validation, 1 test. An
    image and its copies are in one split, for every file: a model trained on "mnist" has not used
    the embedded digits of test either. The test images of MNIST, Fashion-MNIST and KMNIST are from
    their test files.

    Args:
        source: "mini", "mnist", "fashion_mnist", "kmnist", or the path of an .npz (key `images`) or
            idx file (also .gz).
        split: train, validation or test.
        root: folder of torchvision's data sets.
        download: whether torchvision may download files missing in `root`.

    Raises:
        ValueError: unknown source; a damaged file, without images or with more than 1 GiB; missing
            files.
    """
    source = str(source)
    if source in _TORCHVISION:
        images = _torchvision_images(source, Path(root), download, split != "test")
        if split == "test":
            return images
    elif source == "mini":
        images = _images_in(str(files("foreframe.data").joinpath("mnist_mini_5k.npz")))
    elif Path(source).suffix == ".npz" or "idx" in Path(source).name:
        images = _images_in(source)
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
    """Return (N,) the index into SPLITS of each image, by its content."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=4).digest() for image in images]
    tenth = np.array([digest[0] % 10 for digest in digests])
    return np.where(tenth < 8, 0, tenth - 7)


@cache
def _images_in(path: str) -> UInt8[np.ndarray, "n h w"]:
    if not Path(path).is_file():
        raise ValueError(f"digits: there is no file {path}")
    with in_one_line(f"digits: {path} cannot be read"):
        if path.endswith(".npz"):
            images = read_named(Path(path), ["images"], BUDGET).get("images")
        else:
            images = _idx_images(path)
    if images is None or images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(f"digits: {path} holds no uint8 (N,H,W), which in an .npz is `images`")
    return images


def _idx_images(path: str) -> np.ndarray:
    """Read LeCun's format: two zero bytes, a type, a rank, big-endian sizes, and the values."""
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rb") as file:
        head = file.read(16)
        if len(head) < 16 or head[:4] != b"\x00\x00\x08\x03":
            raise ValueError("it has no header of an idx file of 8-bit images")
        shape = struct.unpack(">3I", head[4:])
        if math.prod(shape) > BUDGET * GIB:
            raise ValueError(f"its header states {in_gib(math.prod(shape))} of images")
        pixels = file.read(math.prod(shape) + 1)
    if len(pixels) != math.prod(shape):
        raise ValueError(f"it is truncated or too long for {shape}")
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _torchvision_images(source: str, root: Path, download: bool, train: bool) -> np.ndarray:
    datasets = needed("torchvision.datasets", "digits", f"digits {source}: reading them")
    kind: Any = getattr(datasets, _TORCHVISION[source])
    try:
        return kind(root, train=train, download=download).data.numpy()
    except (RuntimeError, OSError) as error:  # without a file, or without a network
        raise ValueError(
            f"digits {source}: they are not in {root} ({str(error).splitlines()[0]}); allow the "
            "download (digits.download true), name the folder (digits.root), or use digits mini"
        ) from None
