"""A network with its units: from frames in the data's units to the network's scale, and back."""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe import __version__
from foreframe.base.budget import GIB, OverBudgetError, check_budget
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, Window, check_frames, in_seconds
from foreframe.clips.ensembles import Ensemble
from foreframe.clips.frames import fill_missing, missing_where_unseen
from foreframe.clips.scaling import Moments, Scaling
from foreframe.data.maps import row_spacing
from foreframe.forecasting.compute import Compute
from foreframe.forecasting.forecast_options import (
    NONE,
    ForecastOptions,
    TiledOptions,
    check_match,
    matches,
)
from foreframe.forecasting.matches import match_of, matched, model_of
from foreframe.forecasting.tiles import LONG, tile_size
from foreframe.forecasting.trained import Trained
from foreframe.models import Model, model_name
from foreframe.models.exported import Exported
from foreframe.models.footprint import bound

Options = TypeVar("Options", bound=ForecastOptions)
Network = TypeVar("Network", bound="ScaledNetwork")

COPIES = 4  # copies of a forecast in memory while it is converted to the data's units and written
NO_RAIN = -1.0  # mm/h: values up to this one mark missing rain


class ScaledNetwork:
    """A model with its window, its scaling and a description of its training: the part of a
    `Forecaster` that neither opens recordings nor files. Arguments as of `Forecaster`.
    """

    pace = 1.0  # the time step relative to that of training

    def __init__(
        self,
        model: Model,
        window: Window = Window(),  # noqa: B008 (frozen)
        scaling: Scaling = Scaling(),  # noqa: B008
        trained: Trained = Trained(),  # noqa: B008
        about: Mapping[str, Any] | None = None,
        match: str = NONE,
        free: bool = False,
        folder: Path | None = None,
    ) -> None:
        self._elsewhere: Compute | None = None
        self.model, self.window, self.trained = model.in_units(scaling), window, trained
        self.scaling = scaling
        self.about, self.free, self.match = dict(about or {}), free, match
        self.folder = folder
        self.check_match(match)

    @property
    def device(self) -> torch.device:
        """The device of the weights, or the CPU if the weights are in another process. Frames are
        scaled and matched on it.
        """
        weight = next(self.model.parameters(), None)
        return torch.device("cpu") if weight is None or weight.is_meta else weight.device

    @property
    def compute(self) -> Compute:
        """The computation: in this process, unless set by `computed_by`."""
        return self._elsewhere or Compute(self.model)

    def computed_by(self: Network, compute: Compute) -> Network:
        """Return a copy that runs elsewhere; its own weights may be on torch's meta device."""
        other = copy(self)
        other._elsewhere = compute
        return other

    def options(self, options: Options) -> Options:
        """Fill in the forecaster's `match` if the options leave it open, and check them.

        Raises:
            ValueError: a match to a guide, or members, that the model does not have.
        """
        options = replace(options, match=options.match or self.match)
        self.check_match(options.match or NONE)
        if options.members and not self.model.draws:
            self.check_weights()
            raise ValueError(
                "this model has one future, and draws no members: train a flow of it, by --config "
                "RUN/config.yaml --weights RUN --model flow --model_args {} --loss mse"
            )
        return options

    def check_match(self, *names: str) -> None:
        """Refuse unknown matches, and matches that this model does not have.

        Raises:
            ValueError: the first of them.
        """
        check_match(*names)
        for name in names:
            match, others = match_of(name), ", ".join(other for other in matches() if other != name)
            if match.guided and self.model.guide is None:
                raise ValueError(f"match {name}: this model has no guide; choose {others}")
            if self.model.inputs and not match.inputs:
                raise ValueError(f"match {name}: this model has inputs; choose {others}")

    def check_weights(self) -> None:
        """Refuse an exported network, which can only forecast.

        Raises:
            ValueError: the network was exported.
        """
        if isinstance(self.model, Exported):
            raise ValueError(
                "an exported forecaster draws no members, and is neither saved nor exported again: "
                "for these take the one that was exported"
            )

    def check_size(
        self, shape: Sequence[int], steps: int, options: ForecastOptions, tile: int = 0
    ) -> None:
        """Refuse a forecast that takes more memory than the budget even if members, clips and tiles
        are computed one at a time.

        Args:
            shape: shape of the past, (T,C,H,W) or (B,T,C,H,W) in pixels.
            steps, options: as in `Forecaster.predict`.
            tile: side of tiles; 0 for whole frames.

        Raises:
            OverBudgetError: names the memory needed and a cure.
        """
        (t, c, h, w), clips = shape[-4:], shape[0] if len(shape) == 5 else 1
        model = model_of(self.model, options.match)
        values = clips * (options.members or 1) * steps * (c - self.model.inputs) * h * w
        past, part, made = min(t, LONG), tile_size(model, (c, h, w), tile), steps
        if isinstance(model, Exported):  # its graph always computes so many
            past, made = max(past, model.frames), max(steps, model.horizon)
        size = past, part, made
        need = 4 * COPIES * values + bound(*size)
        if need > options.budget * GIB:
            draws = options.members is not None
            need = 4 * COPIES * values + self.compute.footprint(*size, draws, options.match)
        what, cure = f"a forecast of {steps} frames of {c}x{h}x{w}", "forecast less, or in tiles"
        check_budget(need, options.budget, what, cure)

    def choose_tile(self, shape: Sequence[int], steps: int, options: TiledOptions) -> int:
        """Return the side of tiles, 0 for whole frames. Without `options.tile` tiles are used if a
        frame has more than four times the area of training, unless the model reduces large frames
        itself. They are as small as the memory budget requires. Arguments as in `check_size`.
        """
        if options.tile is not None:
            return options.tile
        trained, (h, w), side = self.trained.frame, shape[-2:], 0
        if trained and not self.model.reduces and h * w > 4 * trained[0] * trained[1]:
            side = max(64, *trained)
        while (side or max(h, w)) >= 256:
            try:
                self.check_size(shape, steps, options, side)
            except OverBudgetError:
                side = -(-(side or max(h, w)) // 128) * 64
            else:
                break
        return int(side)

    def fitted(self: Network, frames: Any) -> Network:
        """Return a copy for the time step of a `Clip`, or for a baseline without scaling one that
        is scaled to these frames: 0 to 255 for 8-bit pictures, else from the lowest to the highest
        value, with the units of a `Clip`. Frames as in `Forecaster.predict`.

        Raises:
            ValueError: no finite value.
        """
        if not self.free:
            paced = copy(self)
            if isinstance(frames, Clip):
                paced.pace = self.trained.pace(frames.step)
            return paced
        scaled = self.scaled(scaling_of(frames, self.model.channels))
        if isinstance(frames, Clip):
            scaled.model = on_grid_of(frames, scaled.model)
        return scaled

    def scaled(self: Network, scaling: Scaling) -> Network:
        """Return a copy with this scaling for a baseline without one; else this forecaster."""
        if not self.free:
            return self
        scaled = copy(self)
        scaled.model, scaled.scaling, scaled.free = self.model.in_units(scaling), scaling, False
        return scaled

    def past(self, frames: Any, what: str = "frames") -> Tensor:
        """Check frames in the data's units, and return them on the network's scale.

        Raises:
            ValueError: frames of the wrong rank, channels, dtype or range; `what` names them.
        """
        low, high = self.scaling.bounds
        c, least, most = self.model.takes, low, high
        if self.model.inputs:  # inputs may be outside the range of the forecast channels
            least, most = -math.inf, math.inf
        past = check_frames(frames, channels=c, low=least, high=most, missing=True, what=what)
        if self.model.inputs:
            targets = past[..., : self.model.channels, :, :]
            check_frames(targets, low=low, high=high, missing=True, what=what)
        if self.scaling.kind == "log":  # of rain
            past = past.masked_fill(past <= NO_RAIN, torch.nan)
        return self.scaling.to_network(past).to(self.device)

    def known_inputs(
        self, known: Any, last: Float[Tensor, "b _ h w"]
    ) -> Float[Tensor, "b s i h w"]:
        """Scale known inputs of future frames for the network, and fill unknown ones.

        Args:
            known: (S,I,H,W) or (B,S,I,H,W), array or tensor, NaN where unknown.
            last: (B,C+I,H,W), the last value of each channel, on the network's scale.

        Raises:
            ValueError: another number of inputs or size than the model's; infinite values.
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

    def finished(
        self,
        future: Float[Tensor, "n s c h w"],
        last: Float[Tensor, "b _ h w"],
        guide: Float[Tensor, "b s c h w"] | None,
        options: ForecastOptions,
        dtype: Any = None,
    ) -> Float[Tensor, "m b s c h w"]:
        """Return a network's forecast matched and in the data's units, NaN where no past frame had
        a value.

        Args:
            future: the members of the first clip first.
            last: the last value seen at each pixel, on the network's scale.
            guide: the forecast of the model's guide, for a match to it.
            dtype: dtype of the past frames: 8-bit pictures are on 0 to 255.
        """
        each, last = future.unflatten(0, (len(last), -1)), last[:, : future.shape[2]]
        each = matched(options.match, each, last, guide, options.members is not None)
        scaling, members = self.scaling.of(dtype), each.unbind(dim=1)
        return torch.stack([scaling.to_units(missing_where_unseen(m, last)) for m in members])

    def as_clip(self, futures: np.ndarray, past: Clip, times: Any) -> Clip | Ensemble:
        """Return a forecast (S,C,H,W), or of members (M,S,C,H,W), with its own times and the other
        attributes of the past.
        """
        future = replace(
            past,
            frames=futures if futures.ndim == 4 else futures[0],
            times=times,
            units=past.units or self.scaling.units,
            notes=(),
            start=None if past.times is None else past.times[-1],
            inputs=(),
        )
        return future if futures.ndim == 4 else Ensemble.like(future, futures)

    def config(self) -> dict[str, Any]:
        """Plain values that describe everything but the weights."""
        return {
            "foreframe": __version__,
            "model": model_name(self.model),
            "args": self.model.args,
            "window": asdict(self.window),
            "scaling": self.scaling.config(),
            "trained": self.trained.config(),
            "about": self.about,
        } | ({} if self.match == NONE else {"match": self.match})


def scaling_of(frames: Any, channels: int | None) -> Scaling:
    """Return the scaling of frames for a baseline: see `ScaledNetwork.fitted`.

    Args:
        frames: a `Clip`, or an array or a tensor whose last three axes are C, H and W.
        channels: number of forecast channels; the others are inputs. None for all.
    """
    units = frames.units if isinstance(frames, Clip) else ""
    values = np.asarray(frames.frames[0 : len(frames)] if isinstance(frames, Clip) else frames)
    if values.dtype == np.uint8:
        return Scaling(0.0, 255.0, units, "range")
    moments = Moments().plus(values[..., : channels or values.shape[-3], :, :])
    if not moments.count:
        raise ValueError("every value is missing; give frames that hold something")
    return Scaling(moments.lowest, max(moments.highest, moments.lowest + 1e-6), units, "minmax")


def on_grid_of(clip: Clip, model: Model) -> Model:
    """Return a model for the grid spacing and time step of a recording."""
    step = None if clip.step is None else in_seconds(clip.step)
    return model.on_grid(row_spacing(clip), step)
