"""The Dataset: which clip is which, and the numbers that describe it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from foreframe import Scaling
from foreframe.clips.keyed import further, key_of_name
from foreframe.data.moving_mnist import digit_images

from . import film, rain

SPLITS = ("train", "validation", "test")
KINDS = ("film", "rain")
RAIN = Scaling(0.5, 100.0, "mm/h", "log")
LARGEST = 2**24  # pixels of a clip
Key = int | tuple[int, int]  # index, or (epoch, index)


class Scenes(Dataset):
    """Clips (T,C,H,W), float32 in [0,1], of 256 levels as those of a camera or a radar.

    "film": textured shapes of many sizes and outlines, digits and walking figures, which move,
    turn, grow and sway independently, in front of and behind each other, before a background; now
    and then something large comes in and turns back; some surfaces bend as foliage, cloth and water
    do, or shimmer; the camera stands, pans, zooms, turns or shakes; light changes, frames have
    grain, blur and traces of compression, and a few films repeat frames.

    "rain": as radar sees it at 1 to 2 km and every 5 minutes: widespread rain, showers, fronts and
    storms, which grow and decay while a drift with shear carries them. The set's `scaling` is
    logarithmic, of mm/h, so that forecasts of what is trained on it come back in mm/h.

    `dataset[index]` is clip `index` of epoch 0; `dataset[epoch, index]` is that of a later epoch,
    which for the training split is a new one unless `fixed`. Validation and test clips are the same
    in every epoch.

    Args:
        split: "train", "validation" or "test". No clip and no digit image is in two of them.
        kind: "film" or "rain".
        canvas: H and W in pixels, one number or two, 16 or more.
        channels: 1, grey or rain, or 3, colour.
        length: frames in a clip.
        clips: clips in an epoch; by default 10,000 for training and 1,000 else.
        clean: leave out what light, a camera or a radar add: shimmer, grain, blur, compression;
            speckle.
        fixed: generate the training clips once and repeat them every epoch.
        seed: another seed, other clips.

    Raises:
        ValueError: unknown split, kind or channels; rain in colour; a canvas below 16 pixels;
            counts below 1; clips of too many pixels.
    """

    by_epoch = True  # items are asked for by (epoch, index)

    def __init__(
        self,
        split: str = "train",
        kind: str = "film",
        canvas: int | Sequence[int] = 64,
        channels: int = 1,
        length: int = 20,
        clips: int | None = None,
        clean: bool = False,
        fixed: bool = False,
        seed: int = 0,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is unknown; choose {', '.join(SPLITS)}")
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} of scenes is unknown; choose {', '.join(KINDS)}")
        if channels not in (1, 3):
            raise ValueError(f"scenes have 1 channel, grey, or 3, colour, not {channels}")
        if kind == "rain" and channels != 1:
            raise ValueError(f"rain has 1 channel, not {channels}")
        self.scaling = RAIN if kind == "rain" else Scaling()
        self.split, self.kind, self.channels, self.clean = split, kind, channels, clean
        self.length, self.seed = length, seed
        self.fixed = fixed or split != "train"
        self.clips = clips if clips is not None else (10_000 if split == "train" else 1_000)
        sides = (canvas, canvas) if isinstance(canvas, int) else tuple(canvas)
        if len(sides) != 2:
            raise ValueError(f"canvas is one number or two, H and W, not {list(sides)}")
        self.height, self.width = sides
        if min(self.length, self.clips) < 1:
            raise ValueError(f"length ({length}) and clips ({self.clips}) must each be at least 1")
        if min(self.height, self.width) < 16:
            raise ValueError(
                f"scenes need a canvas of at least 16x16, not {self.height}x{self.width}"
            )
        if self.length * self.height * self.width > LARGEST:
            raise ValueError(
                f"{self.length} frames of {self.height}x{self.width} are more than {LARGEST:,} "
                "pixels; give a smaller canvas or length"
            )
        self._digits = digit_images(split=split)
        self._key = key_of_name(f"{seed}/scenes/{kind}/{split}")

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, key: Key) -> Float[Tensor, "t c h w"]:
        return self.as_uint8([key])[0].float().div_(255)

    def as_uint8(self, keys: Sequence[Key]) -> UInt8[Tensor, "b t c h w"]:
        """Clips in bytes, which foreframe trains on: a quarter of the memory to move. Each is
        generated alone, so that none depends on the others.
        """
        clips = [self._frames(key) for key in map(self._key_of, keys)]
        return torch.stack([clip.mul(255).round_().to(torch.uint8) for clip in clips])

    def motion(self, key: Key) -> tuple[Float[np.ndarray, "t 2 h w"], Float[np.ndarray, "t h w"]]:
        """The truth of a clip's motion, from each frame to the next.

        Returns:
            (T-1,2,H,W): how far what is seen at a pixel goes, columns and then rows, in pixels.
            (T-1,H,W): 1 where it is seen in the next frame too; 0 where it is then hidden or
            outside, or where an edge shows two things in one pixel. Rain is never hidden.
        """
        clip_key, size = self._key_of(key), (self.length, self.height, self.width)
        if self.kind == "rain":
            return rain.advection(rain.draw_rain(_random(clip_key, 0), *size), *size)
        return film.motion(self._layers(clip_key), *size)

    def _key_of(self, key: Key) -> int:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not -self.clips <= index < self.clips:
            raise IndexError(f"clip {index} is outside this set of {self.clips}")
        epoch = 0 if self.fixed else epoch
        return int(further(self._key, epoch, index % self.clips)[0]) % 2**64

    def _layers(self, clip_key: int) -> list[film.Layer]:
        size = self.length, self.height, self.width
        return film.draw_layers(_random(clip_key, 0), *size, self.channels, self._digits)

    def _frames(self, clip_key: int) -> Float[Tensor, "t c h w"]:
        if self.kind == "rain":
            size = self.length, self.height, self.width
            rate = rain.rates(rain.draw_rain(_random(clip_key, 0), *size), *size)
            rate = rate if self.clean else rain.measured(_random(clip_key, 1), rate)
            return RAIN.to_network(rate).unsqueeze(1)
        layers, camera = self._layers(clip_key), _random(clip_key, 1)
        if self.clean:
            layers = [replace(layer, shimmers=None) for layer in layers]
            times = np.arange(self.length, dtype=float)
            return film.frames_of(layers, times, self.height, self.width).clamp_(0, 1)
        times = film.exposure_times(camera, self.length)
        seen = film.frames_of(layers, times.ravel(), self.height, self.width)
        if len(seen) > self.length:
            seen = seen.unflatten(0, (self.length, -1)).mean(dim=1)
        return film.recorded(camera, seen)


def _random(clip_key: int, stream: int) -> np.random.Generator:
    """numpy's generator of a clip. Philox takes a key as it is, and is cheap to build."""
    return np.random.Generator(np.random.Philox(key=np.array([clip_key, stream], np.uint64)))
