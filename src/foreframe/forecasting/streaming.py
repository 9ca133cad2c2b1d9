"""Live forecasts: a model state carried from frame to frame."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor

from foreframe.base.budget import OverBudgetError
from foreframe.base.extras import needed
from foreframe.base.files import atomic_write
from foreframe.base.schema import check_at_least, typed
from foreframe.base.wording import in_one_line, plural
from foreframe.clips.clip import check_frames
from foreframe.clips.frames import fill_missing
from foreframe.clips.scaling import FAR, Scaling
from foreframe.data.maps import on_map
from foreframe.forecasting.compute import computing, requested
from foreframe.forecasting.forecast_options import ForecastOptions
from foreframe.forecasting.matches import match_of, model_of
from foreframe.forecasting.network import ScaledNetwork
from foreframe.forecasting.saving import fingerprint
from foreframe.models import Model, forecast_of, model_name, with_known
from foreframe.models.footprint import group_size

Array = TypeVar("Array", Tensor, np.ndarray)
HEADER = 2**22  # bytes of a saved state that are not tensors: read by one thread, in one go


class Map(TypedDict):
    """Centres of columns and rows, in the units of a map projection."""

    x: list[float]
    y: list[float]
    crs: str


class Source(TypedDict, total=False):
    """The source of a stream's frames.

    Args:
        path: of the source.
        frames: number of frames read from the file, or from the last file of a folder.
        last: name of the last file of a folder.
        number: number of frames in the source so far, for `every`.
        time: of the last frame.
        steps: seconds between the last few frames.
        undated: number of frames without a date since the last one with a date.
        grid: a digest of the grid.
        map: the grid that a client has sent.
    """

    path: str
    frames: int
    last: str
    number: int
    time: str
    steps: list[float]
    undated: int
    grid: str
    map: Map


class Stream:
    """A live forecast that updates its state with each frame, in constant memory.

    Forecasts equal `predict` on all frames so far, in the same precision. A pixel that is missing
    in all frames of the model's past is missing in the forecast.

    Attributes:
        options: options of each forecast.
        seen: number of frames pushed.
        pictures: whether the last of them had 8 bits, 0 to 255.
        source: where the caller is in the source of frames; saved and restored with the stream.
    """

    def __init__(self, forecaster: ScaledNetwork, steps: int, options: ForecastOptions) -> None:
        self.forecaster, self.steps, self.options, self.seen = forecaster, steps, options, 0
        self.pictures, self.source = False, dict[str, Any]()
        self.state: dict[str, Tensor] | None = None
        # The last value seen at each pixel, which replaces missing values, and its age in frames:
        # None if nothing is missing in the last frame.
        self._last: Tensor | None = None
        self.age: Tensor | None = None

    def __repr__(self) -> str:
        members = self.options.members
        of = f" of {plural(members, 'member')}" if members else ""
        ahead = f"{plural(self.steps, 'frame')} ahead{of}, {plural(self.seen, 'frame')} seen"
        return f"Stream of {model_name(self.forecaster.model)}: {ahead}"

    def push(self, frame: Array, known: Any = None) -> Array:
        """Take a frame (C,H,W) and return the forecast after it, (steps,C,H,W) or
        (members,steps,C,H,W), in the data's units.

        8-bit frames are 0 to 255 even if the model was trained on 0 to 1, as in a `Clip`. NaN is a
        missing value; after the first frame, a frame of nothing but NaN only advances time.

        Raises:
            ValueError: as `Forecaster.predict`, or a frame of another size than before; the state
                is then unchanged.
            OverBudgetError: a forecast of frames as large as the first takes more memory than the
                budget.
        """
        self.take(frame)
        return self.forecast(like=frame, known=known)

    @torch.inference_mode()
    def take(self, frame: Any, anew: bool = False) -> None:
        """Take a frame without forecasting; errors as in `push`.

        Args:
            anew: forget what the frames before it have shown, as after a long gap.
        """
        last, age, state = (None, None, None) if anew else (self._last, self.age, self.state)
        if not isinstance(frame, Tensor | np.ndarray) or frame.ndim != 3:
            kind = getattr(frame, "shape", type(frame).__name__)
            raise ValueError(f"a frame is an array or a tensor (C,H,W), one at a time, not {kind}")
        if last is not None and frame.shape != last.shape[1:]:
            raise ValueError(
                f"a frame of {tuple(frame.shape)}, but the stream began with "
                f"{tuple(last.shape[1:])}"
            )
        f = self.forecaster.fitted(frame[None]) if last is None else self.forecaster
        pictures = isinstance(frame, np.ndarray) and frame.dtype == np.uint8
        if isinstance(frame, np.ndarray):
            frame = f.scaling.from_pictures(frame)
        if last is not None and bool((frame != frame).all()):  # nothing but NaN: an outage
            past, pictures = torch.full_like(last, torch.nan), self.pictures
        else:
            past = f.past(frame[None])
        if last is None:
            f.check_size(past.shape, self.steps, self.options)
        last, age = self._within_window(past, last, age)
        past, last = fill_missing(past.unsqueeze(0), last)
        with self._computing():
            state = self.model.encode(past, state)
        # In a single statement: Ctrl-C may come at any time.
        now = (f, state, last, age, pictures, self.seen + 1)
        self.forecaster, self.state, self._last, self.age, self.pictures, self.seen = now

    def _within_window(
        self, frame: Tensor, last: Tensor | None, age: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the last values before a frame (1,C,H,W) that may replace its missing values, and
        the ages of values after it.
        """
        missing = frame.isnan()
        if not missing.any():
            return last, None
        age = missing.short() if age is None else torch.where(missing, age + 1, 0)
        if last is not None:
            last = last.where(age < self.forecaster.window.past, torch.nan)
        return last, age

    @torch.inference_mode()
    def forecast(self, steps: int | None = None, like: Any = None, known: Any = None) -> Any:
        """Forecast (steps,C,H,W) from the frames so far: a tensor, or an array if `like` is one, on
        0 to 255 if that has 8 bits. `known` as in `Forecaster.predict`.

        Raises:
            ValueError: before the first frame; inputs that do not fit.
        """
        if self.state is None or self._last is None:
            raise ValueError("this stream has seen no frame yet: push one first")
        f, steps = self.forecaster, self.steps if steps is None else steps
        check_at_least(1, steps=steps)
        frame, options = self._last.shape[1:], self.options
        ensemble = requested(options, f.scaling.network_bounds)
        f.check_size((1, *frame), steps, options)
        group = group_size(self.model, options.members or 1, 1, frame, steps, ensemble is not None)
        with self._computing():
            state = self.state
            if known is not None:
                state = with_known(state, f.known_inputs(known, self._last))
            guided = match_of(options.match).guided
            future, guide = forecast_of(self.model, state, steps, guided, ensemble, group)
        dtype = like.dtype if isinstance(like, np.ndarray) else None
        future = f.finished(future, self._last, guide, options, dtype)[:, 0]
        future = future[0] if ensemble is None else future
        if isinstance(like, np.ndarray):
            return future.cpu().numpy()
        return future if like is None else future.to(like.device)

    @property
    def last(self) -> np.ndarray:
        """The last value seen at each pixel, (C,H,W), in the data's units, on 0 to 255 if it had 8
        bits; NaN if it is missing in all frames of the model's past.

        Raises:
            ValueError: before the first frame.
        """
        if self._last is None:
            raise ValueError("this stream has seen no frame yet: push one first")
        dtype = np.dtype(np.uint8 if self.pictures else np.float32)
        values = self.forecaster.scaling.of(dtype).to_units(self._last[0])
        values = values[: self.forecaster.model.channels]
        return values.cpu().numpy().astype(dtype)

    @property
    def model(self) -> Model:
        """The model that makes the forecasts."""
        f = self.forecaster
        return model_of(f.model.at_pace(f.trained.pace(pace(self, 1))), self.options.match)

    def _computing(self) -> AbstractContextManager[Any]:
        return computing(self.options.precision, self.forecaster.device, self.model)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it keeps from frame to frame."""
        return sum(value.nbytes for value in (self.state or {}).values())

    def fork(self) -> "Stream":
        """A copy of this stream, independent from here on."""
        other = copy(self)  # states are never changed, only replaced
        other.source = self.source.copy()
        return other

    def save(self, path: str | Path) -> None:
        """Write the stream's state to a file (safetensors), for `restore` in another process.

        Raises:
            ValueError: before the first frame, or the file cannot be written.
        """
        content = self.dumps()
        with atomic_write(path) as rough:
            rough.write_bytes(content)

    def restore(self, path: str | Path) -> "Stream":
        """Continue from a file of `save`; returns this stream.

        Raises:
            ValueError: no such file; as `loads`.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"there is no saved stream {path} ({error.strerror})") from None
        return self.loads(content, f"{path}")

    def dumps(self) -> bytes:
        """The stream's state as bytes (safetensors), for `loads` on another machine.

        Raises:
            ValueError: before the first frame.
        """
        from safetensors.torch import save

        if self.state is None or self._last is None:
            raise ValueError("this stream has seen no frame yet: there is nothing to save")
        tensors = {f"state.{name}": value for name, value in self.state.items()}
        tensors["last"] = self._last
        if self.age is not None:
            tensors["age"] = self.age
        # Copies: a state may be the last frame itself, and safetensors refuses shared memory.
        content = {
            name: value.cpu().clone(memory_format=torch.contiguous_format)
            for name, value in tensors.items()
        }
        about = {
            "seen": self.seen,
            "pictures": self.pictures,
            "model": _fingerprint(self.forecaster),
            "scaling": self.forecaster.scaling.config(),
            "source": self.source,
        }
        return save(content, {"stream": json.dumps(about)})

    def loads(self, content: bytes, name: str = "this") -> "Stream":
        """Continue from bytes of `dumps`, which a stranger may have made; returns this stream.

        A state in another precision is converted to this stream's.

        Args:
            name: of the bytes, for messages.

        Raises:
            ValueError: a state of another model, or damaged bytes; the stream is then unchanged.
            OverBudgetError: a forecast from this state takes more memory than the budget.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(content)
            # The header is JSON after eight bytes of its length; `load` has checked both.
            length = int.from_bytes(content[:8], "little")
            if length > HEADER:
                raise ValueError(f"{length} bytes of JSON")
            header = json.loads(content[8 : 8 + length])
            about = typed(_About, json.loads(header["__metadata__"]["stream"]), "")
            f = self.forecaster.scaled(about.scaling)  # of a baseline, set by its first frame
            if about.model != _fingerprint(f) or about.seen < 1:
                raise ValueError("another model, or no frame")
            last = check_frames(
                tensors.pop("last"), channels=f.model.takes, low=-FAR, high=FAR, missing=True
            )
            if last.ndim != 4 or len(last) != 1:
                raise ValueError("not a single frame")
            age = tensors.pop("age", None)
            if age is not None and (age.shape != last.shape or age.dtype != torch.short):
                raise ValueError("ages of other values")
            f.check_size(last.shape, self.steps, self.options)
            own = {n.removeprefix("state."): t for n, t in tensors.items()}
            state = self._fitted(own, last, about.seen)
        except OverBudgetError:
            raise
        except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{name} is no saved stream of this model, or a damaged one; start again without it"
            ) from error
        self._last, self.state, self.forecaster = last.to(f.device), state, f
        self.age = None if age is None else age.to(f.device)
        self.seen, self.pictures, self.source = about.seen, about.pictures, dict(about.source)
        return self

    @torch.inference_mode()
    def _fitted(self, state: Mapping[str, Tensor], last: Tensor, seen: int) -> dict[str, Tensor]:
        """The state on the model's device and in this stream's precision.

        Raises:
            ValueError: the model has no such state after so many frames of that size.
        """
        zeros = torch.zeros_like(last, device=self.forecaster.device).unsqueeze(1)
        with self._computing():
            like = self.model.encode(zeros)
        fitted = {name: state[name].to(value) for name, value in like.items()}
        for name in state:
            own, first = fitted[name], like[name]
            if own.shape != first.shape or not own.isfinite().all():
                raise ValueError(name)
            if own.ndim == 1 and not ((first <= own) & (own <= seen)).all():
                raise ValueError(f"{name}: no number of the frames seen")
        return fitted


def note_time(source: dict[str, Any], time: np.datetime64, frames: int = 1) -> None:
    """Note the time of the last frame of a source, and the step to it from the last frame with a
    time, which was that many frames before.
    """
    if "time" in source:
        passed = (time - np.datetime64(source["time"])) / np.timedelta64(1, "s")
        source["steps"] = [*source.get("steps", ()), float(passed) / frames][-5:]
    source["time"] = str(time)


def pace(live: Stream, fewest: int) -> np.timedelta64 | None:
    """The usual step of a stream of dated frames: the middle one of the last few, or, of fewer than
    `fewest`, that of training; None if both are unknown.
    """
    steps = sorted(live.source.get("steps", ()))
    usual = steps[(len(steps) - 1) // 2] if steps else None
    if len(steps) < fewest:
        usual = live.forecaster.trained.step or usual
    return np.timedelta64(round(1e6 * usual), "us") if usual else None


@dataclass(frozen=True)
class _About:
    """The saved values of a stream without its tensors; `model` is its fingerprint."""

    seen: int
    pictures: bool
    model: str
    scaling: Scaling
    source: Source


def _fingerprint(forecaster: ScaledNetwork) -> str:
    """A digest of a network's arguments, scaling and weights."""
    config = forecaster.config()
    return fingerprint(forecaster.model, *(config[name] for name in ("model", "args", "scaling")))


def coordinates(live: Stream) -> Mapping[str, Any]:
    """The place of a stream's frames, as `on_map` returns it; empty for a stream without a grid.

    Raises:
        ValueError: PROJ does not know the map projection; pyproj is not installed.
    """
    grid = live.source.get("map")
    if grid is None:
        return {}
    pyproj = needed("pyproj", "radar", "a grid")
    with in_one_line(f"crs {grid['crs']} is not known"):
        crs = pyproj.CRS(grid["crs"])
    x, y = (np.asarray(grid[axis], np.float64) for axis in "xy")
    if crs.is_geographic and not (np.abs(y) <= 90).all():
        raise ValueError("a grid in degrees has y from -90 to 90; of another map give its crs")
    return on_map(crs, x, y)
