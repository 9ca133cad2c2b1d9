"""A model with its window, scaling and options of reading, which forecasts, is saved and loaded."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.hub import upload
from foreframe.base.notes import warn
from foreframe.base.schema import check_at_least
from foreframe.clips.clip import Clip
from foreframe.clips.ensembles import Ensemble
from foreframe.clips.frames import fill_missing
from foreframe.clips.units import check_units
from foreframe.data.arrays import data_name
from foreframe.data.inputs import known_after
from foreframe.data.readers import read_clips
from foreframe.forecasting.forecast_options import ForecastOptions, TiledOptions, changed
from foreframe.forecasting.network import ScaledNetwork
from foreframe.forecasting.recordings import (
    at_known_pace,
    check_channels,
    doubts,
    number_of,
    on_known_grid,
    reading_as_trained,
    without_fills,
)
from foreframe.forecasting.rollout import frames_ahead
from foreframe.forecasting.saving import read_forecaster, write_forecaster
from foreframe.forecasting.streaming import Stream
from foreframe.models import model_name
from foreframe.models.names import name_of

Frames = TypeVar("Frames", Clip, Tensor, np.ndarray)


class Forecaster(ScaledNetwork):
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
        match: the default match of forecasts: "last", "guide", "layers" or "none" (see
            `ForecastOptions`).
        free: a baseline loaded by its name; it takes its scaling from the frames to forecast.
        folder: the folder it was loaded from; None for a new one or a baseline.
    """

    def __repr__(self) -> str:
        window, scaling = self.window, self.scaling
        weights = sum(p.numel() for p in self.model.parameters())
        values = f"{scaling.low:g} to {scaling.high:g} {scaling.units}".rstrip()
        return (
            f"Forecaster: {model_name(self.model)} of {weights:,} parameters, "
            f"{window.future} frames from {window.past}, values of {values} ({scaling.kind})"
        )

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
            follow, for a `Clip`. With members there is a leading axis, (members,...), or
            an `Ensemble` for a `Clip`.

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

        The first `steps` frames equal `predict(frames, steps)` to the bit; more frames follow.

        Args:
            frames: (T,C,H,W) or (T,H,W), an array or a tensor, or a `Clip`: the past, as of
                `predict`.
            steps: how many are computed at a time; by default the horizon of training.
            options, changes: fields of `ForecastOptions`, as in `predict`.
            known: (S,I,H,W), inputs of the future; by default the known inputs of a `Clip`
                for the next `steps` frames. Later frames keep the last value.

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

    def _predict_clip(
        self, clip: Clip, steps: int, known: Any, options: TiledOptions, times: Any
    ) -> Clip | Ensemble:
        f, past, dtype = self._past(clip)
        futures = f._forecast(past, steps, known, options, dtype).cpu().numpy()
        return f.as_clip(futures, clip, times)

    @torch.inference_mode()
    def _forecast(
        self, past: Tensor, steps: int, known: Any, options: TiledOptions, dtype: Any = None
    ) -> Tensor:
        """The forecast in units of the data, or on 0 to 255 for pictures of 8 bits (`dtype`)."""
        self.check_size(past.shape, steps, options, options.tile or 0)
        single = past.ndim == 4
        past, last = fill_missing(past.unsqueeze(0) if single else past)
        known = None if known is None else self.known_inputs(known, last)
        drawn = self.scaling.network_bounds, self.pace
        futures, guide = self.compute.forecast(past, steps, known, options, *drawn)
        future = self.finished(futures, last, guide, options, dtype)  # (members,B,steps,C,H,W)
        future = future.squeeze(1) if single else future
        return future.squeeze(0) if options.members is None else future

    def open(self, source: Any, recording: int | None = None, **reading: Any) -> Clip:
        """Open a recording with the read options of training, changed by `reading`. A film is a
        single recording, even if training was split by scenes.

        Args:
            source: as in `foreframe.clips_from`.
            recording: number of the recording, counted from 0, if the source holds several; by
                default the last of those that differ in time alone.
            reading: fields of `foreframe.data.ReadOptions` that replace the options of training.

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
        clips = read_clips(source, reading_as_trained(self, source, given, whole=True))
        clips = [at_known_pace(self, clip, reading) for clip in clips]
        return [on_known_grid(self, clip, reading) for clip in clips]

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
        """Load a saved folder, an exported one, a run, a checkpoint, published weights or a
        baseline. A run's best checkpoint is loaded, or with a warning the one before if the best is
        damaged. Files are never unpickled.

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

    def push_to_hub(
        self,
        name: str,
        *,
        private: bool | None = None,
        commit_message: str = "A forecaster of foreframe",
    ) -> str:
        """Upload what `save` writes to the Hugging Face Hub, the card as README.md.

        Args:
            name: hf://USER/NAME or hf://USER/NAME@BRANCH; what does not exist is created.
            private: whether a new repository is; by default as the account says.

        Returns:
            The address of the commit.

        Raises:
            ValueError: as `save`; the package huggingface_hub is missing; no token, no network.
        """
        with TemporaryDirectory() as folder:
            return upload(self.save(folder), name, commit_message, private)


def open_forecaster(
    what: Any, device: str = "cpu", compile: bool | str = True
) -> tuple[Forecaster, str]:
    """Return a forecaster and its name, given the forecaster or what `Forecaster.load` takes.

    Raises:
        ValueError: as `Forecaster.load`.
    """
    if isinstance(what, Forecaster):
        return what, what.trained.preset or "a forecaster"
    forecaster = Forecaster.load(os.fspath(what), device)
    if not compile:
        forecaster.model.never_compile()
    return forecaster, name_of(os.fspath(what))
