"""Model + Window + Scaling + how its input is read: what is trained, saved, shipped and served."""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe import __version__
from foreframe.base.budget import GIB, OverBudgetError, check_budget
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, Window, check_frames
from foreframe.clips.data_options import GUIDE, LAST, NONE, check_match
from foreframe.clips.ensembles import Ensemble
from foreframe.clips.frames import fill_missing, missing_where_unseen
from foreframe.clips.scaling import Moments, Scaling
from foreframe.clips.units import check_units
from foreframe.data.inputs import known_after
from foreframe.forecasting.forecast_options import ForecastOptions, TiledOptions
from foreframe.forecasting.matching import match_members
from foreframe.forecasting.precision import computing
from foreframe.forecasting.recordings import open_recording
from foreframe.forecasting.saving import read_forecaster, write_forecaster
from foreframe.forecasting.streaming import Stream, checked_steps, format_size
from foreframe.forecasting.tiles import LONG, forecast_in_tiles, tile_size
from foreframe.forecasting.trained import Trained
from foreframe.models import EnsembleRequest, Model, ModelEnsemble, model_name
from foreframe.models.footprint import at_once, bound, footprint

Array = TypeVar("Array", Tensor, np.ndarray)
Options = TypeVar("Options", bound=ForecastOptions)

COPIES = 4  # of a forecast at once, on its way to the data's units and to a file


class Forecaster:
    """Forecasts in the data's own units.

    Args:
        model: anything that has the interface of `foreframe.models`.
        window: the past and future that it was trained with.
        scaling: the data's units to [0,1] and back.
        trained: what it was trained on, from which its data are read alike; see `Trained`.
        about: plain values for the model card, such as its title or its scores; nothing reads them.
        match: how its forecasts are best used: matched to "last" or "guide", or "none" (see
            `predict`).
        free: of a baseline by its name, whose scale is that of the frames that it is given.
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

    def __repr__(self) -> str:
        """What it is, in a few lines."""
        name, window, scaling = model_name(self.model), self.window, self.scaling
        weights = sum(p.numel() for p in self.model.parameters())
        trained = f" on {self.trained.data}" if self.trained.data else ""
        values = f"{scaling.low:g} to {scaling.high:g} {scaling.units}".rstrip()
        return (
            f"Forecaster: {name} of {weights:,} parameters, trained{trained}\n"
            f"  forecasts {window.future} frames from {window.past}, and as many as are wanted\n"
            f"  values of {values} ({scaling.kind})"
        )

    @property
    def device(self) -> torch.device:
        weight = next(self.model.parameters(), None)
        return torch.device("cpu") if weight is None else weight.device

    @overload
    def predict(
        self,
        frames: Clip,
        steps: int,
        options: TiledOptions | None = None,
        *,
        known: Any = None,
        members: None = None,
        **changes: Any,
    ) -> Clip: ...

    @overload
    def predict(
        self,
        frames: Clip,
        steps: int,
        options: TiledOptions | None = None,
        *,
        known: Any = None,
        members: int,
        **changes: Any,
    ) -> Ensemble: ...

    @overload
    def predict(
        self,
        frames: Array,
        steps: int,
        options: TiledOptions | None = None,
        *,
        known: Any = None,
        **changes: Any,
    ) -> Array: ...

    @torch.inference_mode()
    def predict(
        self,
        frames: Any,
        steps: int,
        options: TiledOptions | None = None,
        *,
        known: Any = None,
        **changes: Any,
    ) -> Any:
        """Forecast the `steps` frames that follow.

        Args:
            frames: (T,C,H,W) or (B,T,C,H,W), array or tensor, any T >= 1, in the data's own units;
                or a `Clip`, whose 8-bit pictures are 0 to 255 also where the model was trained on 0
                to 1. NaN is a missing value: the last value seen at that pixel stands in for it. A
                model with I inputs takes (T,C+I,H,W), the inputs last.
            steps: how many frames, at least 1; more than it was trained for is allowed.
            options, changes: the fields of `TiledOptions` (forecasting/forecast_options.py), by
                name, such as `tile=256` or `members=8`, or an object of them that these change.
                Without `tile` frames are taken whole. Of tiles the outer third of an overlap is
                thrown away, so tiles equal the whole if that third is at least as wide as the model
                can see; one with group norm sees all of a frame, in means and spreads: its tiles
                are close to the whole, and blended, but not equal to it. Tiles are matched when
                they are joined.
            known: (S,I,H,W) or (B,S,I,H,W), the inputs of the S frames that follow, NaN where they
                are not known; where nothing is known the last one seen stands in.

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
        steps = checked_steps(steps)
        options = self.options(replace(options or TiledOptions(), **changes))
        if self.free:
            return self.fitted(frames).predict(frames, steps, options, known=known)
        if isinstance(frames, Clip):
            return self._predict_clip(frames, steps, known, options)
        if isinstance(frames, Tensor | np.ndarray) and frames.ndim in (4, 5):
            self.check_size(frames.shape, steps, options, options.tile or 0)
        future = self._forecast(frames, steps, known, options)
        return future.cpu().numpy() if isinstance(frames, np.ndarray) else future.to(frames.device)

    def options(self, given: Options) -> Options:
        """The same, with the forecaster's own `match` where none is given.

        Raises:
            ValueError: a match to a guide, or members, that the model does not have.
        """
        options = replace(given, match=given.match or self.match)  # type: ignore[arg-type]
        self.check_match(options.match)
        if options.members is not None and not self.model.draws:
            raise ValueError(
                "this model has one future, and draws no members: train a flow of it, by --config "
                "RUN/config.yaml --weights RUN --model flow --model_args {} --loss mse, or one "
                "that has noise, by --model_args.noise.whole 16 --loss crps"
            )
        if isinstance(self.model, ModelEnsemble) and options.members is not None:
            n = len(self.model.each)
            if options.members > n:
                raise ValueError(f"this forecaster joins {n} runs, its members: {n} at most")
        return options

    def ensemble_request(self, options: ForecastOptions) -> EnsembleRequest | None:
        """The members that the options ask for; None for a single forecast."""
        if options.members is None:
            return None
        return EnsembleRequest(options.members, options.seed, self.scaling.network_bounds)

    def _predict_clip(
        self, clip: Clip, steps: int, known: Any, options: TiledOptions
    ) -> Clip | Ensemble:
        check_units(clip.units, self.scaling.units, clip.name or "the clip")
        known = known_after(clip, len(clip), steps) if known is None else known
        try:
            past = self.scaling.from_pictures(np.asarray(clip.frames[0 : len(clip)]))
            self.check_size(past.shape, steps, options, options.tile or 0)
            futures = self._forecast(past, steps, known, options).cpu().numpy()
        except ValueError as error:
            raise ValueError(f"{clip.name}: {error}" if clip.name else str(error)) from None
        pictures = self.scaling.of(clip.frames.dtype)
        if pictures is not self.scaling:  # what is on [0, 1] is on the network's scale
            futures = pictures.to_units(futures)
        future = replace(
            clip,
            frames=futures if options.members is None else futures[0],
            times=clip.times_after(steps),
            units=clip.units or self.scaling.units,
            notes=(),
            start=None if clip.times is None else clip.times[-1],
            inputs=(),
        )
        return future if options.members is None else Ensemble.like(future, futures)

    def _forecast(self, frames: Any, steps: int, known: Any, options: TiledOptions) -> Tensor:
        """The forecast of a past in the data's units, as `predict` gives it, a few clips and
        members at a time, so that they stay within the memory of a group.
        """
        past = self._past(frames)
        single = past.ndim == 4
        past, last = fill_missing(past.unsqueeze(0) if single else past)
        known = None if known is None else self.known_inputs(known, last)
        ensemble, tile, match = self.ensemble_request(options), options.tile or 0, options.match
        n, frame = options.members or 1, tile_size(self.model, past.shape[2:], tile)
        group = at_once(
            self.model, len(past) * n, past.shape[1], frame, steps, ensemble is not None
        )
        done = []
        with computing(options.precision, self.device):
            for k in range(0, len(past), max(1, group // n)):
                clips = slice(k, k + max(1, group // n))
                future, guide = forecast_in_tiles(
                    self.model,
                    past[clips],
                    steps,
                    tile,
                    options.overlap,
                    None if known is None else known[clips],
                    match == GUIDE,
                    ensemble,
                    group,
                )
                seen = last[clips, : future.shape[2]]
                each = future.unflatten(0, (-1, n))
                if match not in (None, NONE):
                    each = match_members(match, each, seen, guide)
                each = [missing_where_unseen(member, seen) for member in each.unbind(dim=1)]
                done.append(torch.stack([self.scaling.to_units(member) for member in each]))
        future = torch.cat(done, dim=1)  # (members,B,steps,C,H,W)
        future = future.squeeze(1) if single else future
        return future.squeeze(0) if ensemble is None else future

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
        own = copy(self)
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

    def check_size(
        self, shape: Sequence[int], steps: int, options: ForecastOptions, tile: int = 0
    ) -> None:
        """Refuse a forecast that would take more memory than the budget, though it takes one member
        of one tile of one clip after the other.

        Args:
            shape: of the past, (T,C,H,W) or (B,T,C,H,W) in pixels.
            steps, options: as in `predict`.
            tile: the side of tiles.

        Raises:
            OverBudgetError: with what it would take, and the cure.
        """
        (t, c, h, w), clips = shape[-4:], shape[0] if len(shape) == 5 else 1
        members = options.members or 1
        kept = 4 * COPIES * clips * members * steps * (c - self.model.inputs) * h * w
        one = min(t, LONG), tile_size(self.model, (c, h, w), tile), steps
        need = kept + bound(*one)
        if need > options.budget * GIB:
            need = kept + footprint(self.model, *one, options.members is not None)
        cure = "forecast fewer " + ("members or " if members > 1 else "") + "steps"
        cure += " or in tiles" if not tile else ""
        what = f"a forecast of {steps} frames of {format_size((c, h, w))}"
        check_budget(need, options.budget, what, cure)

    def choose_tile(self, shape: Sequence[int], steps: int, options: TiledOptions) -> int:
        """The side of tiles that is given; else 0, which takes frames whole, or tiles where frames
        have more than four times the area that was trained on, unless the model sees large frames
        reduced; smaller ones where the forecast would not stay within the budget.

        Args:
            shape: of the past, (T,C,H,W) in pixels.
            steps, options: as in `predict`.
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
        return open_recording(self, source, recording, reading)

    def forecast_from(
        self, clip: Clip, first: int, steps: int, past: int, options: TiledOptions
    ) -> tuple[Clip, Any]:
        """Forecast frames `first` to `first + steps` of a recording from the `past` frames before.

        Returns:
            Those frames, fewer where the recording has fewer before `first`, and the forecast,
            with the recording's own times as far as it goes: a clip, or an `Ensemble` of members.

        Raises:
            ValueError: as `predict`.
        """
        before = clip[max(0, first - past) : first]
        future = self.predict(before, steps, options, known=known_after(clip, first, steps))
        times = clip.times_from(first, steps)
        if isinstance(future, Ensemble):
            return before.without_inputs(), Ensemble([replace(of, times=times) for of in future])
        return before.without_inputs(), replace(future, times=times)

    def stream(
        self, steps: int | None = None, options: ForecastOptions | None = None, **changes: Any
    ) -> Stream:
        """A forecast after every frame: `live = forecaster.stream()`, then
        `forecast = live.push(frame)` for each frame of a camera.

        Args:
            steps: of each forecast; by default as many as were trained for.
            options, changes: fields of `ForecastOptions`, as in `predict`.

        Raises:
            ValueError: steps below 1; a precision, a match or members that `predict` refuses.
        """
        options = self.options(replace(options or ForecastOptions(), **changes))
        return Stream(self, checked_steps(self.window.future if steps is None else steps), options)

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
            "trained": self.trained.config(),
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
        folder = Path(folder)
        write_forecaster(folder, self.config(), self.model.state_dict(), half)
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
        loaded = read_forecaster(what, device)
        try:
            return cls(**vars(loaded))
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None


def joined(forecasters: Sequence[Forecaster], names: Sequence[str]) -> Forecaster:
    """One forecaster whose members are the forecasts of these, and whose forecast is their mean.

    Args:
        forecasters: at least one; that it was trained on is what the first was.
        names: of each, for messages and the model card.

    Raises:
        ValueError: forecasters of other channels, or of another scaling, than the first.
    """
    first = forecasters[0]
    for name, other in zip(names, forecasters, strict=True):
        if other.scaling.config() != first.scaling.config():
            raise ValueError(
                f"the values of an ensemble are on one scale, but {name} scales them otherwise "
                f"than {names[0]}; train both with the same --scaling"
            )
    of = [{model_name(one.model): one.model.args} for one in forecasters]
    model = ModelEnsemble(of)
    for own, one in zip(model.each, forecasters, strict=True):
        own.load_state_dict(one.model.state_dict())
    trained = replace(first.trained, preset="", seed=None)  # which each has of its own
    about = {"title": f"Ensemble of {plural(len(of), 'forecaster')}", "members": list(names)}
    return Forecaster(model.eval(), first.window, first.scaling, trained, about)
