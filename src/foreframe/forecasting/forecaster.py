"""A model with its window, scaling and options of reading, which forecasts, is saved and loaded."""

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe import __version__
from foreframe.base.budget import GIB, check_budget
from foreframe.base.hub import HUB, MAIN, upload
from foreframe.base.notes import warn
from foreframe.base.schema import check_at_least
from foreframe.base.wording import plural
from foreframe.clips.clip import Clip, Window, check_frames
from foreframe.clips.ensembles import Ensemble
from foreframe.clips.frames import fill_missing, missing_where_unseen
from foreframe.clips.scaling import Scaling
from foreframe.clips.units import check_units
from foreframe.data.arrays import data_name
from foreframe.data.inputs import known_after
from foreframe.data.readers import read_clips
from foreframe.forecasting.compute import Compute
from foreframe.forecasting.forecast_options import (
    GUIDE,
    LAST,
    NONE,
    ForecastOptions,
    TiledOptions,
    changed,
    check_match,
)
from foreframe.forecasting.matching import match_members, match_to
from foreframe.forecasting.recordings import (
    NO_RAIN,
    check_channels,
    doubts,
    number_of,
    on_grid_of,
    reading_as_trained,
    scaling_of,
    without_fills,
)
from foreframe.forecasting.rollout import frames_ahead
from foreframe.forecasting.saving import read_forecaster, write_forecaster
from foreframe.forecasting.streaming import Stream
from foreframe.forecasting.tiles import LONG, tile_size
from foreframe.forecasting.trained import Trained
from foreframe.models import Model, model_name
from foreframe.models.exported import Exported
from foreframe.models.footprint import bound

Frames = TypeVar("Frames", Clip, Tensor, np.ndarray)
Options = TypeVar("Options", bound=ForecastOptions)

COPIES = 4  # of a forecast at once, on its way to the data's units and to a file


class Forecaster:
    """Forecasts in the data's own units.

        forecaster = foreframe.Forecaster.load("scenes")
        past = forecaster.open("film.mp4")[-10:]  # or an array (T,C,H,W)
        future = forecaster.predict(past, steps=20)  # a `Clip` with times, or such an array
        ahead = forecaster.stream(steps=5).push(past.frames[0])
        forecaster.save("mine")

    Args:
        model: a network with the interface of `foreframe.models`.
        window: past and future frames in training.
        scaling: from the data's units to [0,1] and back.
        trained: the data of training and how they were read (see `Trained`); other recordings are
            read alike.
        about: plain values for the model card, such as "title", "license" (as the Hub writes it:
            "mit") and "scores" ({name: number}); the code never reads them.
        match: the default match of forecasts: "last", "guide" or "none" (see
            `ForecastOptions`).
        free: a baseline loaded by its name; it takes its scaling from the frames to forecast.
        folder: where it was loaded from; None for a new one or a baseline.
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
        folder: Path | None = None,
    ) -> None:
        self._elsewhere: Compute | None = None
        self.model, self.window, self.trained = model.in_units(scaling), window, trained
        self.scaling = scaling
        self.about, self.free, self.match = dict(about or {}), free, match
        self.folder = folder
        self.check_match(match)

    def __repr__(self) -> str:
        window, scaling = self.window, self.scaling
        weights = sum(p.numel() for p in self.model.parameters())
        values = f"{scaling.low:g} to {scaling.high:g} {scaling.units}".rstrip()
        return (
            f"Forecaster: {model_name(self.model)} of {weights:,} parameters, "
            f"{window.future} frames from {window.past}, values of {values} ({scaling.kind})"
        )

    @property
    def device(self) -> torch.device:
        """Where frames are scaled and matched: with the weights, if these are in this process."""
        weight = next(self.model.parameters(), None)
        return torch.device("cpu") if weight is None or weight.is_meta else weight.device

    @property
    def compute(self) -> Compute:
        """What runs the model: this process, unless it is `computed_by` something else."""
        return self._elsewhere or Compute(self.model)

    def computed_by(self, compute: Compute) -> "Forecaster":
        """This forecaster, run elsewhere: its own weights may be on torch's meta device."""
        other = copy(self)
        other._elsewhere = compute
        return other

    @overload
    def predict(
        self, frames: Clip, steps: int, options: Any = None, *, members: int, **changes: Any
    ) -> Ensemble: ...

    @overload
    def predict(
        self, frames: Frames, steps: int, options: TiledOptions | None = None, **changes: Any
    ) -> Frames: ...

    def predict(
        self,
        frames: Any,
        steps: int,
        options: TiledOptions | None = None,
        *,
        known: Any = None,
        **changes: Any,
    ) -> Any:
        """Forecast the next `steps` frames.

        Args:
            frames: (T,C,H,W) or (B,T,C,H,W), array or tensor, any T >= 1, in the data's units;
                (T,H,W) is (T,1,H,W). Or a `Clip`, whose 8-bit pictures are 0 to 255 even if the
                model was trained on 0 to 1.
                NaN is a missing value and is filled by the last value seen at that pixel. A model
                with I inputs takes (T,C+I,H,W), inputs last.
            steps: number of frames, at least 1; may exceed the horizon of training.
            options, changes: fields of `TiledOptions` (forecasting/forecast_options.py) by name,
                such as `tile=256` or `members=8`, or an object of them, which the named fields
                change. Without `tile` frames are forecast whole. Tiles discard the outer third of
                their overlap; they equal the whole forecast if that third is at least the model's
                receptive field. Group norm takes statistics over a frame, so its tiles only come
                close. Matching is applied after tiles are joined.
            known: (S,I,H,W) or (B,S,I,H,W), inputs of the next S frames, NaN where unknown; unknown
                inputs keep their last value.

        Returns:
            (steps,C,H,W), also of (T,H,W), or (B,steps,C,H,W), float32, array or tensor as given,
            in the same units, NaN where every past value was missing; a `Clip`, with the times that
            follow, for a `Clip`. Of members the same with an axis for them before it,
            (members,...), or an `Ensemble` for a `Clip`.

        Raises:
            ValueError: frames of the wrong rank, channels, dtype or range, or with nothing but
                missing values; steps below 1; a clip in other units than the forecaster's; tiles
                that cannot be laid; more memory than the budget; a precision that is unknown, or
                that the device does not have; a match that is unknown, or to a guide that the model
                lacks; members below 1, or of a model that draws none.
        """
        check_at_least(1, steps=steps)
        options = self.options(changed(options or TiledOptions(), changes))
        if isinstance(frames, Clip):
            known = known_after(frames, len(frames), steps) if known is None else known
            return self._predict_clip(frames, steps, known, options, frames.times_after(steps))
        f, past, _ = self._past(frames)
        future = f._forecast(past, steps, known, options)
        return future.cpu().numpy() if isinstance(frames, np.ndarray) else future.to(frames.device)

    def rollout(
        self,
        frames: Any,
        steps: int | None = None,
        options: ForecastOptions | None = None,
        *,
        known: Any = None,
        **changes: Any,
    ) -> Iterator[Float[np.ndarray, "*m c h w"]]:
        """Forecast frame by frame, in constant memory, until the caller stops:

            for frame in forecaster.rollout(past):
                ...

        The frames are those of `predict(frames, steps)`, to the bit, and the following ones go on
        from there.

        Args:
            frames: (T,C,H,W) or (T,H,W), an array or a tensor, or a `Clip`: the past, as of
                `predict`.
            steps: how many are computed at a time; by default the horizon of training.
            options, changes: fields of `ForecastOptions`, as in `predict`.
            known: (S,I,H,W), inputs of the future; by default what a `Clip` tells of those of the
                next `steps` frames. Later ones keep their last value.

        Yields:
            The forecast of each lead time, (C,H,W), or (members,C,H,W), float32, in the data's
            units.

        Raises:
            ValueError: as `predict`, before the first frame.
        """
        steps = self.window.future if steps is None else steps
        check_at_least(1, steps=steps)
        options = self.options(changed(options or ForecastOptions(), changes))
        if isinstance(frames, Clip) and known is None:
            known = known_after(frames, len(frames), steps)
        f, past, dtype = self._past(frames)
        if past.ndim != 4:
            raise ValueError(f"a rollout is of one past (T,C,H,W), not of {tuple(past.shape)}")
        f.check_size(past.shape, steps, options)
        return frames_ahead(f, past, steps, known, options, dtype)

    def _past(self, frames: Any) -> tuple["Forecaster", Tensor, Any]:
        """The forecaster `fitted` to frames; these on the network's scale; and, of a `Clip`, their
        dtype.
        """
        f, dtype, what = self.fitted(frames), None, "frames"
        if isinstance(frames, Clip):
            what = frames.name or "the clip"
            check_units(frames.units, f.scaling.units, what)
            dtype = frames.frames.dtype
            frames = f.scaling.from_pictures(np.asarray(frames.frames[0 : len(frames)]))
        elif isinstance(frames, np.ndarray | Tensor) and frames.ndim == 3:
            frames = frames[:, None]
        return f, f.past(frames, what), dtype

    def options(self, options: Options) -> Options:
        """Fill in the forecaster's `match` if the options leave it open, and check them.

        Raises:
            ValueError: a match to a guide, or members, that the model does not have.
        """
        options = replace(options, match=options.match or self.match)  # type: ignore[arg-type]
        self.check_match(options.match)
        if options.members and not self.model.draws:
            self.check_weights()
            raise ValueError(
                "this model has one future, and draws no members: train a flow of it, by --config "
                "RUN/config.yaml --weights RUN --model flow --model_args {} --loss mse"
            )
        return options

    def _predict_clip(
        self, clip: Clip, steps: int, known: Any, options: TiledOptions, times: Any
    ) -> Clip | Ensemble:
        f, past, dtype = self._past(clip)
        futures = f._forecast(past, steps, known, options, dtype).cpu().numpy()
        return f.as_clip(futures, clip, times)

    def as_clip(self, futures: np.ndarray, past: Clip, times: Any) -> Clip | Ensemble:
        """A forecast (S,C,H,W), or of members (M,S,C,H,W), with what the past says of itself, and
        its own times.
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

    @torch.inference_mode()
    def _forecast(
        self, past: Tensor, steps: int, known: Any, options: TiledOptions, dtype: Any = None
    ) -> Tensor:
        """The forecast in units of the data, or on 0 to 255 for pictures of 8 bits (`dtype`)."""
        self.check_size(past.shape, steps, options, options.tile or 0)
        single = past.ndim == 4
        past, last = fill_missing(past.unsqueeze(0) if single else past)
        known = None if known is None else self.known_inputs(known, last)
        bounds = self.scaling.network_bounds
        futures, guide = self.compute.forecast(past, steps, known, options, bounds)
        future = self.finished(futures, last, guide, options, dtype)  # (members,B,steps,C,H,W)
        future = future.squeeze(1) if single else future
        return future.squeeze(0) if options.members is None else future

    def finished(
        self,
        future: Float[Tensor, "n s c h w"],
        last: Float[Tensor, "b _ h w"],
        guide: Float[Tensor, "b s c h w"] | None,
        options: ForecastOptions,
        dtype: Any = None,
    ) -> Float[Tensor, "m b s c h w"]:
        """A network's forecast, the members of the first clip first, matched and in the data's
        units; NaN where no past frame had a value.

        Args:
            last: the last value seen at each pixel, on the network's scale.
            guide: the forecast of the model's guide, for a match to it.
            dtype: of the frames seen: 8-bit pictures are on 0 to 255.
        """
        each, last = future.unflatten(0, (len(last), -1)), last[:, : future.shape[2]]
        if options.match not in (None, NONE):
            if options.members is None:
                each = match_to(options.match, each[:, 0], last, guide).unsqueeze(1)
            else:
                each = match_members(options.match, each, last, guide)
        scaling, members = self.scaling.of(dtype), each.unbind(dim=1)
        return torch.stack([scaling.to_units(missing_where_unseen(m, last)) for m in members])

    def fitted(self, frames: Any) -> "Forecaster":
        """This forecaster, or for a baseline without scaling a copy scaled to these frames: 0 to
        255 for 8-bit pictures, else from the lowest to the highest value, with the units of a
        `Clip`. Frames as in `predict`.

        Raises:
            ValueError: no finite value.
        """
        if not self.free:
            return self
        scaled = self.scaled(scaling_of(frames, self.model.channels))
        if isinstance(frames, Clip):
            scaled.model = on_grid_of(frames, scaled.model)
        return scaled

    def scaled(self, scaling: Scaling) -> "Forecaster":
        """For a baseline without scaling a copy with this one; else this forecaster."""
        if not self.free:
            return self
        scaled = copy(self)
        scaled.model, scaled.scaling, scaled.free = self.model.in_units(scaling), scaling, False
        return scaled

    def check_match(self, *match: str | None) -> None:
        """Refuse unknown matches, and a match to the guide of a model without one.

        Raises:
            ValueError: the first of them.
        """
        check_match(*match)
        if GUIDE in match and self.model.guide is None:
            raise ValueError(
                f"match {GUIDE}: this model has no guide; choose {LAST}, which takes the "
                "values of the last frame seen"
            )

    def check_size(
        self, shape: Sequence[int], steps: int, options: ForecastOptions, tile: int = 0
    ) -> None:
        """Refuse a forecast that takes more memory than the budget even if members, clips and tiles
        are computed one at a time.

        Args:
            shape: shape of the past, (T,C,H,W) or (B,T,C,H,W) in pixels.
            steps, options: as in `predict`.
            tile: side of tiles; 0 for whole frames.

        Raises:
            OverBudgetError: names the memory needed and a cure.
        """
        (t, c, h, w), clips = shape[-4:], shape[0] if len(shape) == 5 else 1
        values = clips * (options.members or 1) * steps * (c - self.model.inputs) * h * w
        past, part, made = min(t, LONG), tile_size(self.model, (c, h, w), tile), steps
        if isinstance(self.model, Exported):  # its graph always computes so many
            past, made = max(past, self.model.frames), max(steps, self.model.horizon)
        size = past, part, made
        need = 4 * COPIES * values + bound(*size)
        if need > options.budget * GIB:
            need = 4 * COPIES * values + self.compute.footprint(*size, options.members is not None)
        what, cure = f"a forecast of {steps} frames of {c}x{h}x{w}", "forecast less, or in tiles"
        check_budget(need, options.budget, what, cure)

    def open(self, source: Any, recording: int | None = None, **reading: Any) -> Clip:
        """Open a recording with the read options of training, changed by `reading`. A film is a
        single recording, even if training was split by scenes.

        Args:
            source: as in `foreframe.clips_from`.
            recording: number of the recording, counted from 0, if the source holds several; by
                default the last of those that differ in time alone.
            reading: fields of `foreframe.data.ReadOptions` that replace those of training.

        Warns:
            Note: notes of the reader, and doubts that the data are of the kind of training.

        Raises:
            ValueError: errors of reading; several recordings and none chosen; channels that the
                model does not take.
        """
        return self.chosen(self.recordings(source, **reading), source, recording)

    def recordings(self, source: Any, **reading: Any) -> list[Clip]:
        """All recordings of a source, or of a list of sources, as `open` reads them, not checked
        yet.
        """
        given = {"cuts": False, **reading}
        return read_clips(source, reading_as_trained(self, source, given, whole=True))

    def chosen(self, clips: Sequence[Clip], source: Any, recording: int | None) -> Clip:
        """One of the recordings of a source, checked: of stretches of one series the last, unless
        `recording` says otherwise. Raises and warns as `open`.
        """
        sources = source if isinstance(source, list) else [source]
        name = data_name(sources[0]) + (f" and {len(sources) - 1} more" if sources[1:] else "")
        clip = without_fills(self, clips[number_of(clips, name, recording)])
        check_channels(self, clip.frames.shape[1], name, clip.frames.dtype)
        for note in (*clip.notes, *doubts(self, clip)):
            warn(f"{name}: {note}")
        return clip

    def forecast_from(
        self, clip: Clip, first: int, steps: int, past: int, options: TiledOptions
    ) -> tuple[Clip, Any]:
        """Forecast frames `first` to `first + steps` of a recording from the `past` frames before
        `first`.

        Args:
            options: as `Forecaster.options` gives them.

        Returns:
            The past frames, fewer at the start of a recording, and the forecast, with the times of
            the recording while it lasts: a `Clip`, or an `Ensemble` of members.

        Raises:
            ValueError: as `predict`.
        """
        before = clip[max(0, first - past) : first]
        known, times = known_after(clip, first, steps), clip.times_from(first, steps)
        future = self._predict_clip(before, steps, known, options, times)
        return before.without_inputs(), future

    def stream(
        self, steps: int | None = None, options: ForecastOptions | None = None, **changes: Any
    ) -> Stream:
        """A live forecast: `live = forecaster.stream()`, then `forecast = live.push(frame)` for
        each frame of a camera.

        Args:
            steps: frames of each forecast; by default the horizon of training.
            options, changes: fields of `ForecastOptions`, as in `predict`.

        Raises:
            ValueError: steps below 1; a precision, a match or members that `predict` refuses.
        """
        steps = self.window.future if steps is None else steps
        check_at_least(1, steps=steps)
        return Stream(self, steps, self.options(changed(options or ForecastOptions(), changes)))

    def past(self, frames: Any, what: str = "frames") -> Tensor:
        low, high = self.scaling.bounds
        c, least, most = self.model.takes, low, high
        if self.model.inputs:  # which may leave the range of what is forecast
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

    def check_weights(self) -> None:
        """Refuse a network that was exported, where more than its forecast is wanted.

        Raises:
            ValueError: it was.
        """
        if isinstance(self.model, Exported):
            raise ValueError(
                "an exported forecaster draws no members, and is neither saved nor exported again: "
                "for these take the one that was exported"
            )

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

    def save(self, folder: str | Path) -> Path:
        """Write config.json, model.safetensors and a model card, README.md.

        Args:
            folder: is created if it does not exist.

        Raises:
            ValueError: the folder cannot be written, the model has no name in MODELS, or it was
                exported.
        """
        self.check_weights()
        folder = Path(folder)
        write_forecaster(folder, self.config(), self.model.state_dict(), self.folder)
        return folder

    @classmethod
    def load(cls, what: str | Path, device: str | torch.device = "cpu") -> "Forecaster":
        """Load a saved folder, an exported one, a run (its best checkpoint, or with a warning the
        one before if that is damaged), a checkpoint, published weights or a baseline. Nothing is
        unpickled.

        Args:
            what: the name of published weights, such as "scenes", or of a baseline, such as
                "persistence"; a folder or file, "./radar" if it has such a name; or a repository
                of the Hugging Face Hub, "hf://USER/NAME" or "hf://USER/NAME@REVISION" (extra
                `hub`).
            device: a torch device, or "auto": CUDA if available.

        Raises:
            ValueError: it does not exist, is damaged, or does not fit its description.
        """
        model, of, where = read_forecaster(what, device)
        if of is None:
            return cls(model, free=True)
        about = of.window, of.scaling, of.trained, of.about, of.match
        return cls(model, *about, folder=where)

    @classmethod
    def from_pretrained(
        cls, repository: str, revision: str = MAIN, device: str | torch.device = "cpu"
    ) -> "Forecaster":
        """Load a forecaster from the Hugging Face Hub, as `load("hf://USER/NAME@REVISION")` does.

        Args:
            repository: USER/NAME.
            revision: a branch, a tag or a commit.
            device: as in `load`.

        Raises:
            ValueError: as `load`; the package huggingface_hub is missing; no such repository, or
                one without safetensors; no network and no earlier download.
        """
        return cls.load(f"{HUB}{repository}@{revision}", device)

    def push_to_hub(
        self,
        repository: str,
        *,
        revision: str = MAIN,
        private: bool | None = None,
        commit_message: str = "A forecaster of foreframe",
    ) -> str:
        """Upload what `save` writes to the Hugging Face Hub, the card as README.md.

        Args:
            repository: USER/NAME; is created if it does not exist.
            revision: a branch; likewise.
            private: whether a new repository is; by default as the account says.

        Returns:
            The address of the commit.

        Raises:
            ValueError: as `save`; the package huggingface_hub is missing; no token, no network.
        """
        name = f"{HUB}{repository}@{revision}"
        with TemporaryDirectory() as folder:
            return upload(self.save(folder), name, commit_message, private)
