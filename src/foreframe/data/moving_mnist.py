"""Moving MNIST: digits that drift over a black canvas and bounce off its walls.

Clips are generated. A clip is a pure function of (seed, split, epoch, index), for any number of
workers, rank, machine or order. Two rules of motion:

- `srivastava` (Srivastava et al. 2015, arXiv 1502.04681; in the benchmark): 28-px digits. Their
  real-valued position moves 0.1 of the free range a frame at a random angle, is clamped at the
  walls and reversed there. Digits overlay by maximum.
- `svg` (Denton & Fergus 2018, arXiv 1802.07687; in the tutorial): 32-px digits with whole-pixel
  speeds -4..4 per axis, reversed or drawn again at the walls. Digits are added and clipped.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from foreframe.base.budget import GIB, in_gib
from foreframe.base.extras import needed
from foreframe.base.schema import typed
from foreframe.base.wording import in_one_line
from foreframe.clips.frames import resized
from foreframe.clips.keyed import double_uniforms, further, key_of, key_of_name, mixed
from foreframe.data.arrays import read_named
from foreframe.data.data_options import BUDGET
from foreframe.data.datasets import ClipSet, Key

SPLITS = ("train", "validation", "test")
_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
BLOCK = 2**19  # bytes of digits' layers to process at a time
MANY = 10**8


@dataclass(frozen=True)
class Motion:
    """A rule of motion and its speed.

    Args:
        rule: "srivastava" or "svg".
        speed: srivastava: share of the free range a frame (0.1); svg: the fastest whole-pixel speed
            per axis (4).
        redraw: svg only: draw a new velocity at a wall instead of a reversal: 1 to `speed` away
            from it, -speed to `speed` along it, like the authors' code without `deterministic`.
        digit_px: side of a digit in pixels (28 for srivastava, 32 for svg).
    """

    rule: str = "srivastava"
    speed: float | None = None
    redraw: bool = False
    digit_px: int | None = None

    def __post_init__(self) -> None:
        if self.rule not in ("srivastava", "svg"):
            raise ValueError(f"motion rule {self.rule!r} is unknown; choose srivastava or svg")
        usual_speed, usual_side = {"srivastava": (0.1, 28), "svg": (4.0, 32)}[self.rule]
        speed = usual_speed if self.speed is None else self.speed
        object.__setattr__(self, "speed", speed)
        object.__setattr__(self, "digit_px", self.digit_px or usual_side)
        if self.redraw and self.rule != "svg":
            raise ValueError(
                "only the svg rule redraws velocities at the walls; use rule svg, or redraw false"
            )
        if speed < 0 or (self.rule == "svg" and speed != int(speed)):
            raise ValueError(
                f"speed {speed} does not fit the {self.rule} rule: 0 or more, and whole pixels for "
                "svg"
            )


class MovingMNIST(ClipSet):
    """Clips (T,1,H,W), float32 in [0,1].

    `dataset[index]` is clip `index` of epoch 0; `dataset[epoch, index]` is a clip of a later epoch.
    Each epoch of the training split has new clips unless `fixed`. Validation and test clips are the
    same in every epoch.

        clip = foreframe.MovingMNIST("test")[7]  # (20,1,64,64)

    Args:
        split: "train", "validation" or "test", without a common digit image.
        digits: "mini" (5,000 MNIST digits, embedded), "mnist", "fashion_mnist", "kmnist"
            (torchvision), an .npz file, or a mapping {source, root, download}; downloads require
            `download`.
        motion: "srivastava", "svg", or a mapping {rule, speed, redraw, digit_px} (see `Motion`).
        canvas: H and W in pixels, one number or two.
        count: digits in a clip.
        length: frames in a clip.
        clips: clips in an epoch; by default 10,000 for training, otherwise 1,000.
        fixed: repeat the training clips in every epoch.
        seed: seed of the motion of the digits.

    Raises:
        ValueError: unknown split, digits or motion; digits that do not fit the canvas; counts below
            1.
    """

    name = "moving_mnist"
    by_epoch = True

    def __init__(
        self,
        split: str = "train",
        digits: str | Path | Mapping[str, Any] = "mini",
        motion: str | Mapping[str, Any] | Motion = "srivastava",
        canvas: int | Sequence[int] = 64,
        count: int = 2,
        length: int = 20,
        clips: int | None = None,
        fixed: bool = False,
        seed: int = 0,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is unknown; choose {', '.join(SPLITS)}")
        if not isinstance(motion, Motion):
            motion = typed(
                Motion, {"rule": motion} if isinstance(motion, str) else motion, "motion"
            )
        self.split, self.motion = split, motion
        self.count, self.length, self.seed = count, length, seed
        self.fixed = fixed or split != "train"
        self.clips = clips if clips is not None else (10_000 if split == "train" else 1_000)
        self.height, self.width = (canvas, canvas) if isinstance(canvas, int) else canvas
        self._check_size()
        source = {"source": digits} if isinstance(digits, str | Path) else digits
        images, side = digit_images(split=split, **source), motion.digit_px or 0
        self.images = resized(images[:, None], side, side, images.dtype)[:, 0]
        self._key = key_of_name(f"{seed}/{split}")

    def _check_size(self) -> None:
        side = self.motion.digit_px or 0
        if min(self.count, self.length, self.clips) < 1 or self.clips > MANY:
            raise ValueError(
                f"count ({self.count}), length ({self.length}) and clips ({self.clips}) must each "
                f"be at least 1, and clips {MANY:,} at most"
            )
        if min(self.height, self.width) <= side:
            raise ValueError(
                f"{side}-px digits need a canvas larger than {side}x{side}, not "
                f"{self.height}x{self.width}"
            )
        need = 4 * self.length * (self.height * self.width + self.count * side**2)
        if need > GIB:
            raise ValueError(
                f"a clip would take {in_gib(need)} of memory; draw shorter or smaller ones"
            )

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, key: Key) -> Float[Tensor, "t 1 h w"]:
        return self.batch([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[Float[Tensor, "t 1 h w"]]:
        """Return the items of a batch for the collate_fn of a DataLoader."""
        return list(self.batch(keys).unbind())

    def batch(self, keys: Sequence[Key]) -> Float[Tensor, "b t 1 h w"]:
        """Return a batch of clips, faster than one by one."""
        return self.compact(keys).to(torch.float32).div_(255)

    def compact(self, keys: Sequence[Key]) -> UInt8[Tensor, "b t 1 h w"]:
        """Return a batch in 0..255, for training, which divides by 255 on the device."""
        randoms, which = self._keys(keys)
        return self._frames(self.positions(randoms), which)

    def futures(
        self, keys: Sequence[Key], past: int, n: int, seed: int = 0
    ) -> Float[Tensor, "b n s 1 h w"]:
        """Draw n futures after the first `past` frames of clips, from the positions and velocities
        of the digits. With `redraw`, this is the distribution of the best possible forecast. Other
        rules have one future.
        """
        randoms, which = self._keys(keys)
        by_seed = mixed(randoms ^ key_of(seed).numpy())
        anew = further(by_seed[:, None], np.arange(1, n + 1)).ravel()
        corners = self.positions(randoms.repeat(n), (past, anew))
        frames = self._frames(corners, which.repeat(n, axis=0)).to(torch.float32).div_(255)
        return frames[:, past:].unflatten(0, (len(randoms), n))

    def _keys(self, keys: Sequence[Key]) -> tuple[np.ndarray, np.ndarray]:
        """Return random keys (B,) and numbers of digit images (B, count)."""
        pairs = [(0, key) if isinstance(key, int | np.integer) else key for key in keys]
        epochs, indices = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        if (indices < -self.clips).any() or (indices >= self.clips).any():
            raise IndexError(f"clip {indices.max()} is outside this set of {self.clips}")
        epochs = np.zeros_like(epochs) if self.fixed else epochs
        randoms = further(self._key, epochs, indices % self.clips)
        which = double_uniforms(randoms, self.count, stream=0) * len(self.images)
        return randoms, which.astype(np.int64)

    def positions(
        self, keys: np.ndarray, anew: tuple[int, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return top-left corners (row, column) in whole pixels, each (B, count, T), for clips with
        these random keys (B,). `anew` is a frame, and the keys of draws from there on.
        """
        size = self.motion.digit_px or 0
        room = np.array([self.height - size, self.width - size])
        if self.motion.rule == "srivastava":
            u = double_uniforms(keys, 3 * self.count, stream=1).reshape(len(keys), self.count, 3)
            angle = 2 * np.pi * u[..., 2]
            speed = (self.motion.speed or 0) * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
            track = _clamped_track(u[..., :2], speed, self.length)
            corner = (track * room[:, None]).astype(np.int64)
        else:
            corner = self._svg_track(keys, room, anew)
        return corner[..., 0, :], corner[..., 1, :]

    def _frames(
        self, corners: tuple[np.ndarray, np.ndarray], which: np.ndarray
    ) -> UInt8[Tensor, "b t 1 h w"]:
        """Draw each digit into a separate layer, all frames in one assignment of whole rows. A few
        clips at a time fit into the processor's cache.
        """
        rows, columns = corners
        b, n, t, h, w = len(which), self.count, self.length, self.height, self.width
        size = self.images.shape[-1]
        # (count, B, T), in bytes from the corner of a frame.
        places = (rows * w + columns).transpose(1, 0, 2)
        together = max(1, BLOCK // (n * t * h * w))
        layers = np.empty((n, together, t, h, w), dtype=np.uint8)
        starts = (np.arange(n * together * t) * h * w).reshape(n, together, t)
        # Rows of digits as items of `size` bytes (N, row), and all their possible positions (corner
        # of the digit, row).
        digits = np.ascontiguousarray(self.images).view(f"V{size}")[..., 0]
        run = np.ndarray((1,), f"V{size}", layers)
        runs = np.lib.stride_tricks.as_strided(
            run, (layers.size - (size - 1) * w - size + 1, size), (1, w)
        )
        frames = np.empty((b, t, h, w), np.uint8)
        for first in range(0, b, together):
            block = slice(first, min(first + together, b))
            many = block.stop - first
            layers.fill(0)
            runs[starts[:, :many] + places[:, block]] = digits[which[block].T][:, :, None]
            if self.motion.rule == "srivastava":
                layers[:, :many].max(axis=0, out=frames[block])
            else:
                total = layers[:, :many].sum(axis=0, dtype=np.uint16)
                np.minimum(total, 255, out=frames[block], casting="unsafe")
        return torch.from_numpy(frames).unsqueeze(2)

    def _svg_track(
        self, keys: np.ndarray, room: np.ndarray, anew: tuple[int, np.ndarray] | None
    ) -> np.ndarray:
        """Return corners (B, count, 2, T): a start in 0..room-1 and a velocity in -speed..speed;
        positions are clipped to 0 and room-1. A draw depends on the one before, so corners are
        computed frame by frame.
        """
        b, n, length, top = len(keys), self.count, self.length, int(self.motion.speed or 0)
        u = double_uniforms(keys, 4 * n, stream=1).reshape(b, n, 2, 2)
        place = (u[..., 0] * room).astype(np.int64)
        speed = (u[..., 1] * (2 * top + 1)).astype(np.int64) - top
        u = double_uniforms(keys, length * n * 4, stream=2).reshape(b, n, length, 2, 2)
        if anew is not None:
            first, others = anew
            more = double_uniforms(others, length * n * 4, stream=2).reshape(u.shape)
            u[:, :, first:] = more[:, :, first:]
        any_speed = (u[..., 1] * (2 * top + 1)).astype(np.int64) - top
        away = (u[..., 0] * top).astype(np.int64) + min(1, top)
        track = np.empty((*place.shape, length), dtype=np.int64)
        for t in range(length):
            # Rows before columns: in a corner, the draw of the columns replaces the rows' one.
            for axis in (0, 1):
                below = place[..., axis] < 0
                hit = below | (place[..., axis] >= room[axis])
                back = -speed[..., axis]
                if self.motion.redraw:
                    back = np.where(below, 1, -1) * away[:, :, t, axis]
                    other = speed[..., 1 - axis]
                    speed[..., 1 - axis] = np.where(hit, any_speed[:, :, t, axis], other)
                speed[..., axis] = np.where(hit, back, speed[..., axis])
                place[..., axis] = np.clip(place[..., axis], 0, room[axis] - 1)
            track[..., t] = place
            place = place + speed
        return track


def _clamped_track(start: np.ndarray, speed: np.ndarray, length: int) -> np.ndarray:
    """Return positions in [0,1] after 1..length steps of srivastava, (..., length), in closed form.

    A digit is put onto a wall and reversed there. After its first wall, each crossing has the same
    number of steps.
    """
    v = np.maximum(np.abs(speed), 1e-12)[..., None]
    start, ahead = start[..., None], (speed > 0)[..., None]
    t = np.arange(1, length + 1)
    to_wall = np.maximum(np.ceil(np.where(ahead, 1 - start, start) / v), 1)
    crossing = np.ceil(1 / v)
    since = t - to_wall
    turns, steps = np.divmod(np.maximum(since, 0), crossing)
    at_top = ahead ^ (turns % 2 == 1)  # the last wall
    bounced = np.where(at_top, 1 - steps * v, steps * v)
    free = start + np.where(ahead, v, -v) * t
    return np.clip(np.where(since < 0, free, bounced), 0, 1)


# -- digits


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
        source: "mini", "mnist", "fashion_mnist", "kmnist", or the path of an .npz (key `images`).
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
    elif Path(source).suffix == ".npz":
        images = _images_in(source)
    else:
        raise ValueError(
            f"digits: {source!r} is unknown; choose mini, {', '.join(_TORCHVISION)} or a .npz file"
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
        images = read_named(Path(path), ["images"], BUDGET).get("images")
    if images is None or images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(f"digits: {path} has no `images`, uint8 (N,H,W)")
    return images


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
