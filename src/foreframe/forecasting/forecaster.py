"""Model + Window + Scaling + how its input is read: what is trained, saved, shipped and served."""

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe import __version__
from foreframe.base.budget import GIB, OverBudgetError, check_budget
from foreframe.base.files import atomic_write
from foreframe.base.notes import Note
from foreframe.base.shipped import FREE, WEIGHTS, check_forecaster, published
from foreframe.base.typed import OWN, UnknownError, brief, check_plain, typed
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, Window, check_frames
from foreframe.clips.data_options import GUIDE, LAST, NONE, check_match
from foreframe.clips.ensembles import Ensemble
from foreframe.clips.frames import fill_missing, missing_where_unseen
from foreframe.clips.scaling import Moments, Scaling
from foreframe.clips.units import check_units
from foreframe.data.inputs import known_after
from foreframe.forecasting.checkpoint_files import before, first_whole, read_checkpoint
from foreframe.forecasting.matching import match_members
from foreframe.forecasting.precision import (
    AUTO,
    EXACT,
    check_precision,
    computing,
    faster,
    times_as_fast,
)
from foreframe.forecasting.streaming import Stream, checked_steps, format_size
from foreframe.forecasting.trained import Trained, data_of
from foreframe.models import (
    Drawn,
    Model,
    Several,
    build_model,
    earlier,
    forecast_of,
    model_name,
    placed,
    weights_of,
    with_known,
)
from foreframe.models.footprint import at_once, bound, footprint

Array = TypeVar("Array", Tensor, np.ndarray)

BUDGET = 4.0  # GiB that a forecast may take
COPIES = 4  # of a forecast at once, on its way to the data's units and to a file
LONG = 64  # frames of the past that are encoded at a time
LONGEST = 2**20  # bytes of a config.json
FEW = 4  # frames in and out by which precisions are timed: big frames take long


class Forecaster:
    """Forecasts in the data's own units.

    Args:
        model: anything that keeps the promise of `foreframe.models`.
        window: the past and future that it was trained with.
        scaling: the data's units to [0,1] and back.
        trained: what it was trained on, from which its data are read alike; see `Trained`.
        about: plain values for the model card, such as its title or its scores; nothing reads them.
        match: how its forecasts are best used: matched to "last" or "guide", or "none" (see
            `predict`).
        free: of a baseline by its name, whose scale is that of the frames that it is given.

    Attributes:
        budget: GiB of memory that a forecast may take; a larger one is refused before it takes any.
    """

    def __init__(
        self,
        model: Model,
        window: Window = Window(),  # noqa: B008 (frozen)
        scaling: Scaling = Scaling(),  # noqa: B008
        trained: Trained = Trained(),  # noqa: B008
        about: Mapping[str, Any] | None = None,
        match: str = NONE,
        free: bool = False,
    ) -> None:
        self.model, self.window, self.scaling, self.trained = model, window, scaling, trained
        self.about, self.free = dict(about or {}), free
        self.match = match
        self.check_match(match)
        self.budget = BUDGET
        self._speedups: dict[tuple[Any, ...], float] = {}  # by device and frame size
        self._loaded_as: tuple[Any, Any] = (None, None)  # model and arguments as the file has them

    @property
    def device(self) -> torch.device:
        weight = next(self.model.parameters(), None)
        return torch.device("cpu") if weight is None else weight.device

    @overload
    def predict(
        self,
        frames: Clip,
        steps: int,
        tile: int = 0,
        overlap: int | None = None,
        precision: str = EXACT,
        known: Any = None,
        match: str | None = None,
        members: None = None,
        seed: int = 0,
    ) -> Clip: ...

    @overload
    def predict(
        self,
        frames: Clip,
        steps: int,
        tile: int = 0,
        overlap: int | None = None,
        precision: str = EXACT,
        known: Any = None,
        match: str | None = None,
        *,
        members: int,
        seed: int = 0,
    ) -> Ensemble: ...

    @overload
    def predict(
        self,
        frames: Array,
        steps: int,
        tile: int = 0,
        overlap: int | None = None,
        precision: str = EXACT,
        known: Any = None,
        match: str | None = None,
        members: int | None = None,
        seed: int = 0,
    ) -> Array: ...

    @torch.inference_mode()
    def predict(
        self,
        frames: Any,
        steps: int,
        tile: int = 0,
        overlap: int | None = None,
        precision: str = EXACT,
        known: Any = None,
        match: str | None = None,
        members: int | None = None,
        seed: int = 0,
    ) -> Any:
        """Forecast the `steps` frames that follow.

        Args:
            frames: (T,C,H,W) or (B,T,C,H,W), array or tensor, any T >= 1, in the data's own units;
                or a `Clip`, whose 8-bit pictures are 0 to 255 also where the model was trained on 0
                to 1. NaN is a missing value: the last value seen at that pixel stands in for it. A
                model with I inputs takes (T,C+I,H,W), the inputs last.
            steps: how many frames, at least 1; more than it was trained for is allowed.
            tile: forecast big frames in square tiles of this side, blended where they overlap, to
                bound memory; 0 takes them whole.
            overlap: pixels that neighbouring tiles share, a quarter of a tile by default. The outer
                third of it is thrown away, so tiles equal the whole if that third is at least as
                wide as the model can see. A model with group norm sees all of a frame, in means and
                spreads: its tiles are close to the whole, and blended, but not equal to it.
            precision: "32-true"; "bf16-mixed", in which the network multiplies numbers of three
                figures (bfloat16, by torch.autocast); or "auto", the faster of them, timed once for
                frames of this size: see `speedup`.
            known: (S,I,H,W) or (B,S,I,H,W), the inputs of the S frames that follow, NaN where they
                are not known; where nothing is known the last one seen stands in.
            match: the forecast's ranks keep, its values become, frame by frame, those of the "last"
                one seen, or of what the model's "guide" forecasts for that time: as much heavy rain
                as these have, and a larger squared error; see `forecasting/matching.py`. Tiles are
                matched when they are joined. "none" gives the plain forecast; None what the
                forecaster's own `match` says.
            members: so many possible futures, of a model that draws them; None for its one
                forecast.
            seed: of the members: the same seed gives the same ones, for any past and in tiles.

        Returns:
            (steps,C,H,W) or (B,steps,C,H,W), float32, array or tensor as given, in the same units,
            NaN where every past value was missing; a `Clip`, with the times that follow, for a
            `Clip`. Of members the same with an axis for them before it, (members,...), or an
            `Ensemble` for a `Clip`.

        Raises:
            ValueError: frames of the wrong rank, channels, dtype or range, or with nothing but
                missing values; steps below 1; a clip in other units than the forecaster's; tiles
                that cannot be laid; more memory than the budget; a precision that is unknown, or
                that the device does not have; a match that is unknown, or to a guide that the model
                lacks; members below 1, or of a model that draws none.
        """
        steps, match = checked_steps(steps), match or self.match
        check_precision(precision)
        self.check_match(match)
        self.check_members(members)
        if self.free:
            how = tile, overlap, precision, known, match
            return self.fitted(frames).predict(frames, steps, *how)
        drawn = None if members is None else Drawn(members, seed, self.scaling.network_bounds)
        if isinstance(frames, Clip):
            return self._predict_clip(frames, steps, tile, overlap, precision, known, match, drawn)
        if isinstance(frames, Tensor | np.ndarray) and frames.ndim in (4, 5):
            self.check_size(frames.shape, steps, tile, members)
        past = self._past(frames)
        single = past.ndim == 4
        past, last = fill_missing(past.unsqueeze(0) if single else past)
        known = None if known is None else self.known_inputs(known, last)
        n, frame = members or 1, self._tile(past.shape[2:], tile)
        group = at_once(self.model, len(past) * n, past.shape[1], frame, steps, drawn is not None)
        done = []
        with computing(self.settled(precision, past.shape[2:], tile), self.device):
            for k in range(0, len(past), max(1, group // n)):
                clips = slice(k, k + max(1, group // n))
                inputs = None if known is None else known[clips]
                laid = tile, overlap, inputs, match == GUIDE, drawn, group
                future, guide = self._in_tiles(past[clips], steps, *laid)
                seen = last[clips, : future.shape[2]]
                each = future.unflatten(0, (-1, n))
                if match != NONE:
                    each = match_members(match, each, seen, guide)
                done.append(torch.stack([self._in_units(of, seen) for of in each.unbind(dim=1)]))
        future = torch.cat(done, dim=1)  # (members,B,steps,C,H,W)
        future = future.squeeze(1) if single else future
        future = future.squeeze(0) if drawn is None else future
        return future.cpu().numpy() if isinstance(frames, np.ndarray) else future.to(frames.device)

    def _in_units(
        self, future: Float[Tensor, "b s c h w"], last: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b s c h w"]:
        return self.scaling.to_units(missing_where_unseen(future, last))

    def fitted(self, frames: Any) -> "Forecaster":
        """Of a baseline by its name the one on the scale of these frames, as `predict` takes them:
        0 to 255 of 8-bit pictures, else from their lowest to their highest value, in the units of
        a `Clip`. Any other forecaster as it is.

        Raises:
            ValueError: no finite value.
        """
        if not self.free:
            return self
        units = frames.units if isinstance(frames, Clip) else ""
        values = np.asarray(frames.frames[0 : len(frames)] if isinstance(frames, Clip) else frames)
        low, high = 0.0, 255.0
        if values.dtype != np.uint8:
            moments = Moments().plus(values[..., : self.model.channels or values.shape[-3], :, :])
            if not moments.count:
                raise ValueError("every value is missing; give frames that hold something")
            low, high = moments.lowest, max(moments.highest, moments.lowest + 1e-6)
        own = copy(self)  # with the same budget
        kind = "range" if values.dtype == np.uint8 else "minmax"
        own.scaling, own.free = Scaling(low, high, units, kind), False
        return own

    def check_match(self, *match: str | None) -> None:
        """Refuse matches that are unknown, or to a guide where the model has none.

        Raises:
            ValueError: the first of them.
        """
        check_match(*match)
        if GUIDE in match and self.model.guide is None:
            raise ValueError(
                f"match {GUIDE}: this model draws upon no guide; choose {LAST}, which takes the "
                "values of the last frame seen"
            )

    def check_members(self, members: int | None) -> None:
        """Refuse members of a model that draws none.

        Raises:
            ValueError: or fewer than 1.
        """
        if members is None:
            return
        if isinstance(members, bool) or not isinstance(members, int) or members < 1:
            raise ValueError(f"members are 1 or more, not {members}")
        if not self.model.draws:
            raise ValueError(
                "this model has one future, and draws no members: train a flow of it, by --config "
                "RUN/config.yaml --weights RUN --model flow --model_args {} --loss mse, or one "
                "that has noise, by --model_args.noise.whole 16 --loss crps"
            )

    def repeats(self, members: int | None) -> str:
        """A note where members are the same ones again, as of several models that draw nothing
        themselves; "" where each is another.
        """
        if members is None or not isinstance(self.model, Several):
            return ""
        n = len(self.model.models)
        if members <= n or any(model.draws for model in self.model.models):
            return ""
        return (
            f"this forecaster joins {n} runs of one future each, so of {members} members "
            f"{members - n} repeat the first ones; --members {n} gives each once"
        )

    def check_size(
        self, shape: Sequence[int], steps: int, tile: int = 0, members: int | None = None
    ) -> None:
        """Refuse a forecast that would take more memory than the budget, though it takes one member
        of one tile of one clip after the other.

        Args:
            shape: of the past, (T,C,H,W) or (B,T,C,H,W) in pixels.
            steps, tile, members: as in `predict`.

        Raises:
            ValueError: with what it would take, and the cure.
        """
        (t, c, h, w), clips = shape[-4:], shape[0] if len(shape) == 5 else 1
        kept = 4 * COPIES * clips * (members or 1) * steps * (c - self.model.inputs) * h * w
        one = min(t, LONG), self._tile((c, h, w), tile), steps
        need = kept + bound(*one)
        if need > self.budget * GIB:
            need = kept + footprint(self.model, *one, members is not None)
        cure = "forecast fewer " + ("members or " if (members or 1) > 1 else "") + "steps"
        cure += " or in tiles" if not tile else ""
        check_budget(
            need, self.budget, f"a forecast of {steps} frames of {format_size((c, h, w))}", cure
        )

    @torch.inference_mode()
    def speedup(self, shape: Sequence[int], tile: int = 0) -> float:
        """How many times as fast "bf16-mixed" is here as "32-true", timed when first asked for.

        That takes a second or two, longer with big frames.

        Args:
            shape: of what is forecast, (...,C,H,W) in pixels.
            tile: as in `predict`.
        """
        size = self._tile(shape[-3:], tile)
        key = (str(self.device), *size)
        if key not in self._speedups:
            model = self.model.eval()
            past = torch.linspace(0, 1, math.prod(size), device=self.device).view(1, 1, *size)
            past = past.expand(-1, FEW, -1, -1, -1)  # any frames do: they take the same time

            def forecast() -> Tensor:
                return model.decode(model.encode(past), FEW)[..., :1, :1].cpu()

            self._speedups[key] = times_as_fast(forecast, self.device)
        return self._speedups[key]

    def settled(self, precision: str, shape: Sequence[int], tile: int = 0) -> str:
        """The precision that is meant: of "auto" the faster one for frames (...,C,H,W)."""
        return faster(self.speedup(shape, tile)) if precision == AUTO else precision

    def _side(self, tile: int) -> int:
        """Of tiles: a rest of a block would be filled up with the tile's edge."""
        return -(-tile // self.model.stride) * self.model.stride

    def _tile(self, frame: Sequence[int], tile: int) -> tuple[int, int, int]:
        """(C,H,W) of what is forecast at a time of such a frame."""
        (c, h, w), side = frame, self._side(tile)
        return (c, min(h, side), min(w, side)) if side > 0 else (c, h, w)

    def _laid(self, tile: int, h: int, w: int) -> tuple[int, int]:
        """The side of tiles of frames h x w, as asked or next above, and what they begin at
        multiples of: so that none cuts a block that is seen as one, and all see blocks of one size,
        also the last, in the corner, which reaches to the frame's ends. Where no such side is near,
        the corner's blocks may be others.
        """
        first = self._side(tile)
        for side in range(first, 2 * first, self.model.stride):
            stride = self.model.stride_in((min(side, h), min(side, w)))
            corner = [n if n <= side else side + (n - side) % stride for n in (h, w)]
            if side % stride == 0 and self.model.stride_in(corner) == stride:
                return side, stride
        return first, self.model.stride_in((min(first, h), min(first, w)))

    def _predict_clip(
        self,
        clip: Clip,
        steps: int,
        tile: int,
        overlap: int | None,
        precision: str,
        known: Any,
        match: str | None,
        drawn: Drawn | None,
    ) -> Clip | Ensemble:
        check_units(clip.units, self.scaling.units, clip.name or "the clip")
        known = known_after(clip, len(clip), steps) if known is None else known
        try:
            past = self.scaling.from_pictures(np.asarray(clip.frames[0 : len(clip)]))
            how = tile, overlap, precision, known, match
            asked = (None,) if drawn is None else (drawn.n, drawn.seed)
            futures = self.predict(past, steps, *how, *asked)
        except ValueError as error:
            raise ValueError(f"{clip.name}: {error}" if clip.name else str(error)) from None
        pictures = self.scaling.of(clip.frames.dtype)
        if pictures is not self.scaling:  # what is on [0, 1] is on the network's scale
            futures = pictures.to_units(futures)
        units, start = (
            clip.units or self.scaling.units,
            None if clip.times is None else clip.times[-1],
        )
        future = replace(
            clip,
            frames=futures if drawn is None else futures[0],
            times=clip.times_after(steps),
            units=units,
            notes=(),
            start=start,
            inputs=(),
        )
        return future if drawn is None else Ensemble.like(future, futures)

    def _in_tiles(
        self,
        past: Float[Tensor, "b t _ h w"],
        steps: int,
        tile: int,
        overlap: int | None,
        known: Float[Tensor, "b _ _ h w"] | None,
        guided: bool,
        drawn: Drawn | None,
        group: int,
    ) -> tuple[Float[Tensor, "n s _ h w"], Float[Tensor, "b s _ h w"] | None]:
        """The forecast, of each member, and that of the guide where it is asked for."""
        self.model.eval()
        if tile < 0:
            raise ValueError(
                f"tiles have a side of at least 1 pixel, not {tile}; 0 takes frames whole"
            )
        b, _, c, h, w = past.shape
        tile, stride = self._laid(tile, h, w) if tile else (0, 1)
        if not tile or (h <= tile and w <= tile):
            return self._whole(past, steps, known, guided, drawn, group)
        shared = min(tile // 4, tile - stride) if overlap is None else overlap
        if not 0 <= shared <= tile - stride:
            raise ValueError(
                f"tiles of {tile} pixels overlap by 0 to {tile - stride}, not by {shared}"
            )
        c -= self.model.inputs
        n = b if drawn is None else b * drawn.n
        totals = [past.new_zeros(k, steps, c, h, w) for k in ((n, b) if guided else (n,))]
        weights = past.new_zeros(h, w)
        for rows in _tiles(h, tile, shared, stride):
            for columns in _tiles(w, tile, shared, stride):
                weight = (_ramp(rows, h, shared)[:, None] * _ramp(columns, w, shared)).to(
                    past.device
                )
                part = None if known is None else known[..., rows, columns]
                how = guided, drawn, group, (rows.start, columns.start)
                parts = self._whole(past[..., rows, columns], steps, part, *how)
                for total, forecast in zip(totals, filter(torch.is_tensor, parts), strict=True):
                    total[..., rows, columns] += forecast * weight
                weights[rows, columns] += weight
        forecast, *guide = (total.div_(weights) for total in totals)
        return forecast, guide[0] if guide else None

    def _whole(
        self,
        past: Float[Tensor, "b t _ h w"],
        steps: int,
        known: Float[Tensor, "b _ _ h w"] | None,
        guided: bool,
        drawn: Drawn | None,
        group: int,
        place: tuple[int, int] = (0, 0),
    ) -> tuple[Float[Tensor, "n s _ h w"], Float[Tensor, "b s _ h w"] | None]:
        """A long past is taken in part by part: memory does not grow with it."""
        state = None
        for part in past.split(LONG, dim=1):
            state = self.model.encode(part, state)
        assert state is not None
        state = state if known is None else with_known(state, known)
        state = state if drawn is None else placed(state, *place)
        return forecast_of(self.model, state, steps, guided, drawn, group)

    def open(self, source: Any, recording: int | None = None, **reading: Any) -> Clip:
        """The recording to forecast, read as the training data were, unless told otherwise; but a
        film is one recording, whatever scenes it was trained by.

        Args:
            source: as of `foreframe.clips_from`.
            recording: which one, counted from 0, where the source holds several.
            reading: fields of `foreframe.data.ReadOptions`, in place of those of training.

        Warns:
            Note: what reading noted, and what speaks against this being data of the kind that was
                trained on, where nothing proves it.

        Raises:
            ValueError: what reading raises; several recordings and none chosen; other channels
                than the model's.
        """
        from foreframe.base.notes import warn
        from foreframe.data import clips_from

        own = self.reading_of(source, reading, whole=True)
        options = own | {"cuts": reading.get("cuts", False)}
        clips = clips_from(source, **options)
        if recording is None and len(clips) > 1:
            raise ValueError(
                f"{source} holds {len(clips)} recordings; choose one with --recording, 0 to "
                f"{len(clips) - 1}"
            )
        if recording is not None and not 0 <= recording < len(clips):
            raise ValueError(
                f"there is no recording {recording}: {source} holds {len(clips)}, counted from 0"
            )
        clip = clips[recording or 0]
        self.check_channels(clip.frames.shape[1], source, clip.frames.dtype)
        for note in (*clip.notes, *self._doubts(clip)):
            warn(f"{source}: {note}")
        return clip

    def data_to_score(
        self, where: str, data: str | None, given: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        """The name of the data to score on and their arguments: those of training, changed by what
        the user says; other recordings are read as those of training.

        Args:
            where: the user's name for this forecaster, for the message.
            data: from the user; None for the data of training.
            given: arguments from the user.

        Raises:
            ValueError: as `data_of`.
        """
        from foreframe.data import is_recording

        name, args = data_of(self.trained, where, data, given)
        # How many clips an epoch had says nothing about how many to score.
        if data is None and "clips" not in given:
            args.pop("clips", None)
        if data not in (None, self.trained.data) and is_recording(name, args):
            args = self.reading_of(name, args)
        return name, args

    def reading_of(
        self, source: Any, given: Mapping[str, Any], whole: bool = False
    ) -> dict[str, Any]:
        """Options of `foreframe.clips_from` for a source: those of training, changed by `given`.

        Args:
            whole: of a model that sees large frames reduced as large as they are, whatever it was
                trained and scored on.
        """
        trained = dict(self.trained.reading)
        if whole and self.model.reduces:
            trained.pop("size", None)
        trained.pop("budget", None)  # that is the user's
        if str(source).lower().endswith((".npy", ".npz", ".pt", ".pth")):
            for name in ("variable", "targets"):  # a grid gave it that name
                trained.pop(name, None)
        return trained | dict(given)

    def check_channels(self, c: int, source: Any, dtype: Any) -> None:
        """Refuse frames of `c` channels where the model takes others, and colours, which are three
        channels of 8 bits, where it takes any channels but was trained on values with units.

        Raises:
            ValueError: with the option of reading that cures it, where one does.
        """
        takes, scaling = self.model.takes, self.scaling
        has_units = scaling.units and (scaling.low, scaling.high) != (0.0, 255.0)
        if takes is None and has_units and c == 3 and dtype == np.uint8:
            raise ValueError(
                f"{source}: its 3 channels are colours, but the model was trained on "
                f"{scaling.units}; where brightness stands for that: --reading.colour grey"
            )
        if takes in (None, c):
            return
        cure = {
            1: "; --reading.colour grey makes it one",
            3: "; --reading.colour rgb makes it three",
        }.get(takes or 0, "")
        raise ValueError(f"{source}: {plural(c, 'channel')}, but the model takes {takes}{cure}")

    def _doubts(self, clip: Clip) -> Iterator[str]:
        scaling = self.scaling
        if scaling.units and not clip.units and clip.attributes:  # a grid, which could have said
            yield f"it tells no units, and is taken to be in {scaling.units}"
        if scaling.kind not in ("minmax", "standard"):
            return  # a fixed range refuses by itself: no frame is read for nothing
        last = clip.frames[len(clip) - 1 : len(clip), : clip.channels]
        known = last[np.isfinite(last)]
        if known.size and (known.min() > scaling.high or known.max() < scaling.low):
            yield (
                f"its last frame has values from {known.min():.4g} to {known.max():.4g}, all "
                f"outside {scaling.low:.4g} to {scaling.high:.4g}, which the model was trained on"
            )

    def usual_tile(self, size: Sequence[int]) -> int:
        """The side of tiles for frames of more than four times the area that was trained on.

        Args:
            size: (H, W) of the frames.

        Returns:
            0, which takes frames whole, for smaller ones, where the trained size is not known, or
            where the model sees large frames reduced.
        """
        trained, (h, w) = self.trained.frame, size
        if not trained or self.model.reduces or h * w <= 4 * trained[0] * trained[1]:
            return 0
        return int(max(64, *trained))

    def fitting_tile(
        self, side: int, shape: Sequence[int], steps: int, members: int | None = None
    ) -> int:
        """This side of tiles, or a smaller one with which a forecast stays within the budget.

        Args:
            side: 0 for frames as they are.
            shape, steps, members: as of `check_size`.
        """
        while (side or max(shape[-2:])) >= 256:
            try:
                self.check_size(shape, steps, side, members)
            except OverBudgetError:
                side = -(-(side or max(shape[-2:])) // 128) * 64
            else:
                break
        return side

    def forecast_from(
        self,
        clip: Clip,
        first: int,
        steps: int,
        past: int,
        tile: int = 0,
        overlap: int | None = None,
        precision: str = EXACT,
        match: str | None = None,
        members: int | None = None,
        seed: int = 0,
    ) -> tuple[Clip, Any]:
        """Forecast frames `first` to `first + steps` of a recording from the `past` frames before.

        Returns:
            Those frames, fewer where the recording has fewer before `first`, and the forecast,
            with the recording's own times as far as it goes: a clip, or an `Ensemble` of members.

        Raises:
            ValueError: as `predict`.
        """
        before = clip[max(0, first - past) : first]
        known = known_after(clip, first, steps)
        drawn = {} if members is None else {"members": members, "seed": seed}
        future = self.predict(before, steps, tile, overlap, precision, known, match, **drawn)
        times = clip.times_from(first, steps)
        if isinstance(future, Ensemble):
            return before.without_inputs(), Ensemble([replace(of, times=times) for of in future])
        return before.without_inputs(), replace(future, times=times)

    def stream(
        self,
        steps: int | None = None,
        precision: str = EXACT,
        match: str | None = None,
        members: int | None = None,
        seed: int = 0,
    ) -> Stream:
        """A forecast after every frame: `live = forecaster.stream()`, then
        `forecast = live.push(frame)` for each frame of a camera.

        Args:
            steps: of each forecast; by default as many as were trained for.
            precision: as in `predict`; "auto" is timed at the first frame.
            match, members, seed: as in `predict`.

        Raises:
            ValueError: steps below 1; a precision, a match or members that `predict` refuses.
        """
        match = match or self.match
        check_precision(precision)
        self.check_match(match)
        self.check_members(members)
        steps = self.window.future if steps is None else steps
        drawn = None if members is None else Drawn(members, seed, self.scaling.network_bounds)
        return Stream(self, checked_steps(steps), precision, match, drawn)

    def _past(self, frames: Any) -> Tensor:
        low, high = self.scaling.bounds
        if not self.model.inputs:
            c = self.model.channels
            past = check_frames(frames, channels=c, low=low, high=high, missing=True)
        else:  # inputs may leave the range of what is forecast
            past = check_frames(
                frames, channels=self.model.takes, low=-math.inf, high=math.inf, missing=True
            )
            check_frames(past[..., : self.model.channels, :, :], low=low, high=high, missing=True)
        return self.scaling.to_network(past).to(self.device)

    def known_inputs(
        self, known: Any, last: Float[Tensor, "b _ h w"]
    ) -> Float[Tensor, "b s i h w"]:
        """Inputs of the frames that follow, as the network takes them.

        Args:
            known: (S,I,H,W) or (B,S,I,H,W), array or tensor, NaN where they are not known.
            last: (B,C+I,H,W), the last value seen of each, on the network's scale.

        Raises:
            ValueError: another number of inputs or another size than the model's, no numbers.
        """
        inputs = self.model.inputs
        values = torch.as_tensor(np.array(known) if isinstance(known, np.ndarray) else known)
        values = values.float().to(self.device)
        values = values.unsqueeze(0) if values.ndim == 4 else values
        wanted = (last.shape[0], inputs, *last.shape[2:])
        if not inputs or values.ndim != 5 or (values.shape[0], *values.shape[2:]) != wanted:
            raise ValueError(
                f"known inputs of shape {tuple(values.shape)}, but the model has "
                f"{plural(inputs, 'input')}; give (S,{inputs},{last.shape[2]},{last.shape[3]})"
            )
        if values.isinf().any():
            raise ValueError("known inputs hold infinite values; NaN marks what is not known")
        return fill_missing(self.scaling.inputs_to_network(values), last[:, -inputs:])[0]

    def config(self) -> dict[str, Any]:
        """Plain values from which everything but the weights can be built again."""
        return {
            "foreframe": __version__,
            "model": model_name(self.model),
            "args": self.model.args,
            "window": asdict(self.window),
            "scaling": self.scaling.config(),
            "trained": asdict(self.trained),
            "about": self.about,
        } | ({} if self.match == NONE else {"match": self.match})

    def save(self, folder: str | Path, half: bool = False) -> Path:
        """Write config.json, model.safetensors and a model card, README.md, into `folder`, which is
        made.

        Args:
            folder: where.
            half: weights as float16: half the size, and forecasts that differ in the fourth figure
                or so. They load as float32.

        Raises:
            ValueError: when the folder cannot be written, or the model has no name in MODELS.
        """
        from safetensors.torch import save

        folder, config = Path(folder), self.config()
        weights = {
            name: value.detach().cpu().contiguous()
            for name, value in self.model.state_dict().items()
        }
        if half:
            weights = {
                name: value.half() if value.is_floating_point() else value
                for name, value in weights.items()
            }
        with atomic_write(folder / "model.safetensors") as rough:
            # The save_file of safetensors calls a full disk an error of the format.
            rough.write_bytes(save(weights))
        with atomic_write(folder / "config.json") as rough:
            rough.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        with atomic_write(folder / "README.md") as rough:
            rough.write_text(
                _card(config, sum(p.numel() for p in self.model.parameters())), encoding="utf-8"
            )
        return folder

    @classmethod
    def load(cls, what: str | Path, device: str | torch.device = "cpu") -> "Forecaster":
        """From a saved folder, a run's folder (its best checkpoint; where that is damaged the one
        before, with a warning), a checkpoint file, or what comes with foreframe. Nothing is
        unpickled.

        Args:
            what: the folder or file; or the name of weights in this package, such as
                "moving-mnist", or of a baseline, such as "persistence", where no file is called so.
            device: any of torch's, or "auto": a CUDA device where there is one.

        Raises:
            ValueError: when it does not exist, is damaged, or of another model.
        """
        what = Path(what)
        if what.is_file() and what.suffix == ".ckpt":
            return _from_checkpoint(what, device)
        if not what.exists() and str(what) in published():
            return _from_folder(WEIGHTS / str(what), device)
        if not what.exists() and str(what) in FREE:
            return cls(build_model(str(what)), free=True)
        check_forecaster(what)
        if not what.is_dir():
            raise ValueError(f"{what} is neither a folder nor a .ckpt")
        if (what / "model.safetensors").is_file():
            return _from_folder(what, device)
        best, last = (what / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
        try:
            path, checkpoint, note = first_whole((best, before(best), last, before(last)))
        except FileNotFoundError:
            raise ValueError(
                f"{what} holds neither model.safetensors nor checkpoints/best.ckpt; did its "
                "training get as far as saving?"
            ) from None
        if note:
            warnings.warn(Note(note), stacklevel=2)
        return _from_checkpoint(path, device, checkpoint)


def joined(forecasters: Sequence[Forecaster], names: Sequence[str] = ()) -> Forecaster:
    """One forecaster whose members are these, and whose forecast is their mean.

    Args:
        forecasters: what it was trained on is said of the first of them.
        names: of each, for messages and the model card; by default their numbers.

    Raises:
        ValueError: none, or forecasters of other channels, or of another scaling, than the first.
    """
    if not forecasters:
        raise ValueError("an ensemble is of 1 forecaster or more")
    names = names or [f"forecaster {k + 1}" for k in range(len(forecasters))]
    first = forecasters[0]
    for name, other in zip(names, forecasters, strict=True):
        if other.scaling.config() != first.scaling.config():
            raise ValueError(
                f"an ensemble is on one scale, but {names[0]} is on "
                f"{_scale_in_words(first.scaling)} and {name} on {_scale_in_words(other.scaling)}; "
                "train both on one, as --scaling says it"
            )
    of = [{model_name(one.model): one.model.args} for one in forecasters]
    model = build_model("several", {"of": of}, budget=math.inf)
    assert isinstance(model, Several)
    for own, one in zip(model.models, forecasters, strict=True):
        own.load_state_dict(one.model.state_dict())
    about = {
        "title": f"Ensemble of {plural(len(names), 'forecaster')}",
        "joins": [
            name + _origin_in_words(one.trained)
            for name, one in zip(names, forecasters, strict=True)
        ],
        "members": f"its forecast is the mean of these, and its members are theirs, in this order: "
        f"members={len(names)} gives a future of each",
    }
    trained = replace(first.trained, preset="", seed=None)  # which each has of its own
    return Forecaster(model.eval(), first.window, first.scaling, trained, about)


def _scale_in_words(scaling: Scaling) -> str:
    """All that two scalings may differ in."""
    inputs = ", ".join(f"{low:.9g} to {high:.9g}" for low, high in scaling.inputs)
    values = f"{scaling.low:.9g} to {scaling.high:.9g} {scaling.units}".rstrip()
    return f"{scaling.kind} {values}" + (f" (inputs {inputs})" if inputs else "")


def _origin_in_words(trained: Trained) -> str:
    known = [f"preset {trained.preset}"] if trained.preset else []
    known += [] if trained.seed is None else [f"seed {trained.seed}"]
    return f" ({', '.join(known)})" if known else ""


def _tiles(side: int, tile: int, overlap: int, stride: int) -> list[slice]:
    """Stretches that cover `side`, each starting at a multiple of `stride`, at least `overlap` in
    common with their neighbours.
    """
    if side <= tile:
        return [slice(0, side)]
    last = (side - tile) // stride * stride
    count = 1 + max(1, -(-last // max(stride, (tile - overlap) // stride * stride)))
    starts = sorted({int(last * k / (count - 1)) // stride * stride for k in range(count)})
    return [slice(start, side if start == last else start + tile) for start in starts]


def _ramp(part: slice, side: int, overlap: int) -> Float[Tensor, " n"]:
    """A tile's weight along one axis: next to nothing over the outer third of the overlap, where it
    lacks surroundings, rising over the middle third; whole where it ends with the frame.
    """
    n, third = part.stop - part.start, overlap / 3
    place = torch.arange(n, dtype=torch.float32) + 0.5
    rise, fall = (place - third) / max(third, 1), (n - place - third) / max(third, 1)
    weight = torch.ones(n)
    if part.start > 0:
        weight = torch.minimum(weight, rise)
    if part.stop < side:
        weight = torch.minimum(weight, fall)
    return weight.clamp(min=1e-12)  # never nothing at all: somebody must cover each pixel


def _from_config(
    config: Any, weights: Any, where: str, device: str | torch.device = "cpu"
) -> Forecaster:
    """Build the model that `config` describes and fill it with `weights`. Both may be a stranger's:
    everything is checked before memory is taken.

    Raises:
        ValueError: when they do not fit each other, or are not what they should be.
    """
    parts = ("model", "args", "window", "scaling")
    if not isinstance(config, Mapping) or not isinstance(weights, Mapping):
        raise ValueError(
            f"{where} does not hold a foreframe model, but "
            f"{brief(weights if isinstance(config, Mapping) else config)}"
        )
    lacking = [name for name in parts if name not in config]
    if lacking:
        raise ValueError(f"{where} does not hold a foreframe model: {', '.join(lacking)} missing")
    try:
        trained, about = _described(config)
        window, scaling = (
            typed(Window, config["window"], "window"),
            typed(Scaling, config["scaling"], "scaling"),
        )
        weights = earlier.weights(weights, config["model"])
        _check_weights(weights, weights_of(config["model"], config["args"]))
        # Without a budget: it is as large as the weights, which are in memory already.
        model = build_model(config["model"], config["args"], budget=math.inf)
        model.load_state_dict(dict(weights))
        # as convolutions on a CPU like them
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    except UnknownError as error:
        raise ValueError(f"{where} needs {error.what}, which is unknown here; {OWN}") from None
    except ValueError as error:
        raise ValueError(f"{where} does not hold a foreframe model: {error}") from None
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"{where} does not hold a foreframe model: {str(error).splitlines()[0]}"
        ) from None
    try:
        model.to(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {device!r} cannot be used here; choose cpu, cuda, mps or auto"
        ) from error
    try:
        match = str(config.get("match", NONE))
        forecaster = Forecaster(model.eval(), window, scaling, trained, about, match)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    forecaster._loaded_as = config["model"], config["args"]
    return forecaster


def _check_weights(weights: Mapping[Any, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights of another network than one with such shapes, and such as cannot be weights of
    any.

    Raises:
        ValueError: a name, a shape, a type, or a value that is not finite.
    """
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"its weights have {brief(name)}, which is a {type(value).__name__}")
        if (
            value.is_quantized
            or value.layout != torch.strided
            or value.is_complex()
            or value.is_meta
        ):
            raise ValueError(
                f"its weight {brief(name)} is of a kind that no model here has, {value.dtype}"
            )
        if value.is_floating_point() and not value.float().isfinite().all():
            raise ValueError(
                f"its weight {brief(name)} holds NaN or infinity: its training went wrong, or the "
                "file is damaged"
            )
    if not shapes:
        return
    for name in [*shapes, *weights]:
        own, shape = weights.get(name), shapes.get(name)
        if own is None or shape is None:
            raise ValueError(
                f"its weights {'lack' if own is None else 'have'} {brief(name)}, unlike the model "
                "that it describes"
            )
        if tuple(own.shape) != shape:
            raise ValueError(
                f"its weight {name} is {format_size(own.shape)}, but {format_size(shape)} in the "
                "model that it describes"
            )
        if not own.is_floating_point():
            raise ValueError(f"its weight {name} is of {own.dtype}, not of floating point")


def _described(config: Mapping[str, Any]) -> tuple[Trained, dict[str, Any]]:
    """What a file tells of the training, checked, and its free words, which nothing reads.

    Raises:
        ValueError: a field that does not exist, or has a value that it cannot have.
    """
    from foreframe.clips.data_options import ReadOptions
    from foreframe.data.readers import SUFFIXES

    names = [field.name for field in fields(Trained)]
    about = config.get("about") or {}
    check_plain(about, "about")
    if not isinstance(about, Mapping):
        raise ValueError(f"about holds words by name, not {brief(about)}")
    trained_on = config.get("trained")
    if trained_on is None:  # older files have them among their words
        trained_on = {n: v for n, v in about.items() if n in names}
        about = {n: v for n, v in about.items() if n not in names}
        data, data_args = str(trained_on.get("data", "")), trained_on.get("data_args")
        if isinstance(data_args, Mapping) and ("/" in data or data.lower().endswith(SUFFIXES)):
            trained_on["reading"] = {
                f.name: data_args[f.name] for f in fields(ReadOptions) if f.name in data_args
            }
    trained = typed(Trained, trained_on, "trained")
    typed(ReadOptions, trained.reading, "trained.reading")
    return trained, dict(about)


def _from_folder(folder: Path, device: str | torch.device) -> Forecaster:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with (folder / "config.json").open("rb") as file:
            raw = file.read(LONGEST + 1)
        if len(raw) > LONGEST:
            raise ValueError(f"config.json is larger than {LONGEST // 1024} KiB")
        config = json.loads(raw.decode("utf-8"))
        weights = load_file(folder / "model.safetensors")
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} is not whole: {Path(error.filename or 'a file').name} is missing"
        ) from None
    except (SafetensorError, ValueError, RecursionError, OSError, MemoryError) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, RecursionError):
            reason = "config.json is nested without end"
        raise ValueError(f"{folder} is damaged: {reason}; copy or train it again") from None
    return _from_config(config, weights, str(folder), device)


def _from_checkpoint(
    path: Path, device: str | torch.device, checkpoint: dict[str, Any] | None = None
) -> Forecaster:
    checkpoint = read_checkpoint(path) if checkpoint is None else checkpoint
    return _from_config(checkpoint["forecaster"], _weights_in(checkpoint), str(path), device)


def _weights_in(checkpoint: Mapping[str, Any]) -> Any:
    weights = checkpoint.get("state_dict")
    if isinstance(weights, Mapping):
        return {str(name).removeprefix("network."): value for name, value in weights.items()}
    return weights


def _card(config: Mapping[str, Any], parameters: int) -> str:
    window, scaling = config["window"], config["scaling"]
    trained = config["trained"]
    about = {name: value for name, value in trained.items() if value not in ("", None, {})}
    about |= config["about"]
    each = config["args"]["of"] if config["model"] == "several" else []
    what = f"{len(each)} models as one," if each else f"A `{config['model']}`"
    made = "By default it forecasts" if each else "It was trained to forecast"
    lines = [
        "---",
        "library_name: foreframe",
        "tags: [video-prediction, forecasting]",
        "---",
        f"# {about.get('title', config['model'])}",
        "",
        f"{what} of {parameters:,} parameters, written by foreframe "
        f"{config['foreframe']}. "
        f"{made} {window['future']} frames from {window['past']}; "
        f"values {scaling['low']:g} to {scaling['high']:g} {scaling['units']}".rstrip()
        + ".",
        "",
        "```python",
        "import foreframe",
        "",
        'forecaster = foreframe.Forecaster.load("this folder")',
        "future = forecaster.predict(frames, steps=20)  # frames (T,C,H,W) in the data's own units",
        "```",
    ]
    for name, value in about.items():
        if name != "title":
            lines += [
                "",
                f"**{name}**: {json.dumps(value) if isinstance(value, dict | list) else value}",
            ]
    return "\n".join(lines) + "\n"
